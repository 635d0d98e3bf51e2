"""CLIP models by name: the built-in miniature or any open_clip architecture, with weights of a tag or a local file."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from zsr_core.codec import ConfigError, did_you_mean, fingerprint, require, unknown
from zsr_core.data import miniature
from zsr_core.lazy import LazyModule
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower
from zsr_core.model.weights import PROJECTION, SUFFIXES, Fit, Weights, fit, read_weights
from zsr_core.text import TextBank, check_tokens

open_clip = LazyModule("open_clip")

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, [0, 1] units


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model: ``name`` is "miniature", "miniature-96" or an open_clip architecture.

    ``pretrained`` is an open_clip tag or a local file. A file may hold a whole CLIP or an image tower alone, in any of
    the formats of ``zsr_core.weights``. The text tower and the logit scale come from ``text_from``, a tag or file,
    where it is given; a tower alone needs it (but for the miniatures). Without ``pretrained`` an open_clip model has
    random weights drawn from ``init_seed``.
    """

    name: str = miniature.NAME
    pretrained: str | None = None
    text_from: str | None = None
    init_seed: int = 0
    pixels: Literal["own", "imagenet"] = "own"  # mean and std of the input; PMG-AFT's code feeds CLIP ImageNet's

    def __post_init__(self) -> None:
        require(bool(self.name), "name", self.name, "a model name")
        require(self.pixels in ("own", "imagenet"), "pixels", self.pixels, "'own' or 'imagenet'")


@dataclass(frozen=True, kw_only=True, eq=False)
class Clip:
    """A loaded model, frozen: fine-tuning changes copies of its towers."""

    ref: ModelRef
    tower: ImageTower
    encode_text: Callable[[Sequence[str]], Tensor]  # texts -> raw [N, D]
    scale: float  # exp(logit_scale)
    bias: float  # 0 for softmax CLIP
    sha: str  # of the image tower's weights
    text_tower: TextTower | None = None  # what ``encode_text`` calls; a method that tunes texts needs it
    # Class texts by classes and templates, as they are encoded, because the trials of a worker ask for the same ones.
    text_banks: dict[tuple[tuple[str, ...], tuple[str, ...]], TextBank] = field(default_factory=dict)

    @property
    def teacher_key(self) -> str:
        """What decides the frozen model's features of given pixels: its weights, and how it normalises."""
        return self.sha if self.ref.pixels == "own" else f"{self.sha}-{self.ref.pixels}"


def is_file(pretrained: str) -> bool:
    """Return whether ``pretrained`` names a local file rather than an open_clip tag."""
    return pretrained.endswith(SUFFIXES) or "/" in pretrained or Path(pretrained).is_file()


def check_model(ref: ModelRef, path: str = "config.model") -> None:
    """Raise ``ConfigError`` if the model cannot be loaded; cheap: shapes are compared, weights are not.

    Catches an unknown architecture or tag, weights trained with another activation, a tower without its texts, a
    tokenizer that is not here, and a file that is missing, truncated, of another architecture, or holds pickled code.
    """
    _check_weights(ref, path)
    _tokenizer(ref.name, path)


def check_texts(ref: ModelRef, classes: Sequence[str], templates: Sequence[str], path: str = "classes") -> None:
    """Raise ``ConfigError`` at ``path`` naming classes that the model's tokenizer turns into equal tokens."""
    check_tokens(_tokenizer(ref.name, "config.model"), classes, templates, path)


def _check_weights(ref: ModelRef, path: str) -> None:
    if ref.name not in (*miniature.NAMES, *open_clip.list_models()):
        raise ConfigError(
            f"{path}.name: unknown model {ref.name!r}"
            f"{did_you_mean(ref.name, [*miniature.NAMES, *open_clip.list_models()])}; expected 'miniature-96', its "
            "forerunner 'miniature', or an open_clip architecture"
        )
    for name in ("pretrained", "text_from"):
        value = getattr(ref, name)
        if value is not None and not is_file(value):
            check_tag(ref.name, value, f"{path}.{name}")
        elif value is not None:
            _fitting(ref, name, read_weights(Path(value), f"{path}.{name}", shapes_only=True), path)
    shapes_model(ref.name)


def check_tag(name: str, tag: str, path: str) -> None:
    """Raise ``ConfigError`` unless open_clip lists ``tag`` for the architecture, with the activation it computes."""
    tags = [] if name in miniature.NAMES else open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise unknown(path, tag, [*tags, "a local .safetensors or .pt file"])
    trained = bool(open_clip.get_pretrained_cfg(name, tag).get("quick_gelu", False))
    _check_activation(name, trained, f"{path}: tag {tag!r}", "open_clip lists it so")


def computes_quick_gelu(name: str) -> bool:
    """Return whether the architecture computes QuickGELU, x sigmoid(1.702 x), as OpenAI's models do, and not GELU."""
    config = miniature.model_config(name) if name in miniature.NAMES else open_clip.get_model_config(name)
    return bool(config.get("quick_gelu", False))


def _check_activation(name: str, trained: bool, what: str, why: str) -> None:
    """Raise ``ConfigError`` for the wrong activation where there is a choice: it runs, and costs points of accuracy."""
    twin = f"{name}-quickgelu" if trained else name.removesuffix("-quickgelu")
    if computes_quick_gelu(name) == trained or twin == name or twin not in open_clip.list_models():
        return
    has, other = ("QuickGELU", "GELU") if trained else ("GELU", "QuickGELU")
    raise ConfigError(f"{what} was trained with {has} ({why}), but {name!r} computes {other}; expected name {twin!r}")


def _fitting(ref: ModelRef, field: str, weights: Weights, path: str) -> Fit:
    """Return how the file of ``field`` fills the model, or raise ``ConfigError``."""
    file, at = Path(str(getattr(ref, field))), f"{path}.{field}"
    filled = fit(weights.shapes, _shapes_of(ref.name), file, at)
    if weights.quick_gelu is not None:
        _check_activation(ref.name, weights.quick_gelu, f"{at}: {file}", weights.hint)
    if field == "text_from":
        require(filled.whole, at, str(file), "a whole CLIP: the file holds an image tower alone")
        require(filled.projected, at, str(file), "a whole CLIP: the image tower has no projection")
    elif not filled.whole and ref.text_from is None and ref.name not in miniature.NAMES:
        tags = open_clip.list_pretrained_tags_by_model(ref.name)
        one = f"such as {'openai' if 'openai' in tags else tags[0]!r}" if tags else "or a file"
        raise ConfigError(f"{at}: {file} holds an image tower alone; expected {path}.text_from to name a tag, {one}")
    return filled


def load_clip(ref: ModelRef, device: torch.device | str = "cpu") -> Clip:
    """Return the model in eval mode, fp32, all weights frozen, on ``device``.

    Raises:
        ConfigError: naming ``config.model`` where the model or its weights cannot be used. A tokenizer that is not
            here is met when texts are encoded; :func:`check_model` asks for it beforehand.
    """
    _check_weights(ref, "config.model")
    model = _build(ref).to(device=device, dtype=torch.float32).eval().requires_grad_(False)
    size, mean, std = _pixels(ref, model)
    tower = ImageTower(model.visual, mean, std, size).to(device).eval().requires_grad_(False)

    del model.visual  # the image tower holds it; what is left is the text side

    def tokenize(texts: list[str]) -> Tensor:
        return _tokenizer(ref.name, "config.model")(texts)

    texts = TextTower(model, tokenize)
    bias = getattr(model, "logit_bias", None)
    return Clip(
        ref=ref,
        tower=tower,
        encode_text=texts.encode,
        text_tower=texts,
        scale=float(model.logit_scale.exp()),
        bias=0.0 if bias is None else float(bias),
        sha=weights_sha(tower),
    )


@cache
def _tokenizer(name: str, path: str) -> Callable[[list[str]], Tensor]:
    if name in miniature.NAMES:
        return miniature.tokenize
    try:
        tokenizer: Callable[[list[str]], Tensor] = open_clip.get_tokenizer(name)
    except Exception as error:  # some come from a hub by a library of its own: absent, offline, or changed
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(
            f"{path}.name: the tokenizer of {name!r} is not here ({first}); expected the package transformers "
            "and a network or a filled cache"
        ) from error
    return tokenizer


def _build(ref: ModelRef) -> Any:
    if ref.name in miniature.NAMES:
        model: Any = miniature.load_model(ref.name)
    elif ref.pretrained is not None and not is_file(ref.pretrained):
        model = _of_tag(ref.name, ref.pretrained, "config.model.pretrained")
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ref.init_seed)  # open_clip draws its initial weights from the global generator
            model = _unfilled(ref.name)
    projected = True
    if ref.pretrained is not None and is_file(ref.pretrained):
        image = _renamed(ref, "pretrained")
        projected = PROJECTION in image or PROJECTION not in model.state_dict()
        _fill(model, image)
    if ref.text_from is not None:
        whole = (
            _renamed(ref, "text_from")
            if is_file(ref.text_from)
            else _of_tag(ref.name, ref.text_from, "config.model.text_from").state_dict()
        )
        # A tower without its projection gets the one that goes with the texts.
        taken = {name for name in whole if not name.startswith("visual.") or (name == PROJECTION and not projected)}
        _fill(model, {name: whole[name] for name in taken})
    return model


def _of_tag(name: str, tag: str, path: str) -> Any:
    try:
        return open_clip.create_model(name, pretrained=tag)
    except Exception as error:  # the hub's client raises many kinds; each means the tag's weights are not here
        raise ConfigError(
            f"{path}: the weights of tag {tag!r} could not be fetched ({error}); "
            "expected a network, a filled cache, or a local file"
        ) from error


def _renamed(ref: ModelRef, field: str) -> dict[str, Tensor]:
    """Return the tensors of the file in ``field`` that the model takes, by the model's names."""
    file, at = Path(str(getattr(ref, field))), f"config.model.{field}"
    weights = read_weights(file, at)
    filled = _fitting(ref, field, weights, "config.model")
    broken = [name for name in filled.names if not weights.tensors[name].isfinite().all()]
    if broken:
        raise ConfigError(f"{at}: {file} holds NaN or infinite numbers in {len(broken)} tensors, first {broken[0]}")
    if not any(bool(weights.tensors[name].any()) for name, to in filled.names.items() if to.startswith("visual.")):
        raise ConfigError(f"{at}: {file} holds an image tower of zeros alone, as a difference of two models may be")
    return {to: weights.tensors[name] for name, to in filled.names.items()}


@torch.no_grad()
def _fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    own = model.state_dict()
    for name, tensor in tensors.items():
        own[name].copy_(tensor.reshape(own[name].shape))


def tower_shapes(ref: ModelRef) -> ImageTower:
    """Return the image tower on the meta device: how it is built, without weights."""
    model = shapes_model(ref.name)
    size, mean, std = _pixels(ref, model)
    return ImageTower(model.visual, mean, std, size)


def image_size_of(ref: ModelRef) -> int:
    """Return the pixels a side of the model's input; no weights are loaded."""
    return _pixels(ref, shapes_model(ref.name))[0]


def _pixels(ref: ModelRef, model: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    size, mean, std = _own_pixels(ref, model)
    return (size, IMAGENET_MEAN, IMAGENET_STD) if ref.pixels == "imagenet" else (size, mean, std)


def _own_pixels(ref: ModelRef, model: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    if ref.name in miniature.NAMES:
        return miniature.IMAGE_SIZE_OF[ref.name], miniature.MEAN, miniature.STD
    cfg = open_clip.get_model_preprocess_cfg(model)
    size = cfg.get("size", model.visual.image_size)
    side = size if isinstance(size, int) else size[0]
    mean = cfg.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = cfg.get("std") or open_clip.OPENAI_DATASET_STD
    if ref.pretrained is None or is_file(ref.pretrained):  # open_clip knows statistics by tag; a file has none
        mean, std = _usual_pixels(ref.name) or (mean, std)
    return int(side), tuple(mean), tuple(std)


def _usual_pixels(name: str) -> tuple[tuple[float, ...], tuple[float, ...]] | None:
    """Return mean and std of the architecture's published weights, if all agree: SigLIP's are not CLIP's."""
    tags = [open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)]
    pairs = {(tuple(tag["mean"]), tuple(tag["std"])) for tag in tags if tag.get("mean") and tag.get("std")}
    return next(iter(pairs)) if len(pairs) == 1 else None


def _unfilled(name: str, device: str = "cpu") -> Any:
    """Return open_clip's architecture with random weights, without its warning that they are."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return open_clip.create_model(name, pretrained=None, device=device)
    except Exception as error:  # some text towers take their configuration from a hub, by clients of many kinds
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ConfigError(f"config.model.name: {name!r} cannot be built here ({first})") from error
    finally:
        logging.disable(level)


@cache
def shapes_model(name: str) -> Any:
    """Return the architecture on the meta device: every shape, no weights, no memory."""
    with torch.device("meta"):
        if name in miniature.NAMES:
            return open_clip.model.CLIP(**miniature.model_config(name)).eval()
        return _unfilled(name, "meta").eval()


def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in shapes_model(name).state_dict().items()}


def weights_sha(module: nn.Module) -> str:
    """Return 12 hex digits over names, shapes and fp32 bytes of the module's parameters and persistent buffers."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()


def towers_sha(tower: ImageTower, texts: TextTower | None = None) -> str:
    """Return what names a tuned model's weights: :func:`weights_sha` of its image tower, and of ``texts`` if tuned."""
    own = weights_sha(tower)
    return own if texts is None else fingerprint([own, weights_sha(texts)])
