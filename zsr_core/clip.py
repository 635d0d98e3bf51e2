"""CLIP models by name: the built-in miniature or any open_clip architecture, with weights from a tag or a local file.

Local files are read without running anything they carry: safetensors, or ``.pt`` by ``torch.load(weights_only=True)``.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import open_clip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from zsr_core.codec import ConfigError, did_you_mean, require, unknown
from zsr_core.data import miniature
from zsr_core.tower import ImageTower

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # torchvision's, [0, 1] units
WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt")
# Wrappers that published checkpoints put around the state dict, in the order they are looked for.
WRAPPERS = ("state_dict", "vision_encoder_state_dict", "model_state_dict", "model")


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """A model: ``name`` is "miniature" or an open_clip architecture; ``pretrained`` an open_clip tag or a local file.

    A file may hold a whole CLIP, or an image tower alone (then the text tower comes from ``text_from``, a tag or file).
    Without ``pretrained`` an open_clip model has random weights drawn from ``init_seed``.
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
    """A loaded model. The text side is only ever called; the image tower is what fine-tuning changes."""

    ref: ModelRef
    tower: ImageTower
    encode_text: Callable[[Sequence[str]], Tensor]  # texts -> raw [N, D]
    scale: float  # exp(logit_scale)
    bias: float  # 0 for softmax CLIP
    sha: str  # of the image tower's weights

    @property
    def teacher_key(self) -> str:
        """What decides the frozen model's features of given pixels: its weights, and how it normalises."""
        return self.sha if self.ref.pixels == "own" else f"{self.sha}-{self.ref.pixels}"


def is_file(pretrained: str) -> bool:
    """Return whether ``pretrained`` names a local file rather than an open_clip tag."""
    return pretrained.endswith(WEIGHT_FILES) or "/" in pretrained or Path(pretrained).is_file()


def check_model(ref: ModelRef, path: str = "config.model") -> None:
    """Raise ``ConfigError`` if the model cannot be loaded; cheap: shapes are compared, weights are not.

    Catches an unknown architecture or tag, a file that is missing, truncated, of another architecture, or that
    holds pickled code.
    """
    if ref.name == miniature.NAME:
        known: list[str] = []
    else:
        known = open_clip.list_models()
        if ref.name not in known:
            raise ConfigError(
                f"{path}.name: unknown model {ref.name!r}; expected 'miniature' or an open_clip architecture"
                f"{did_you_mean(ref.name, [miniature.NAME, *known])}"
            )
    for field in ("pretrained", "text_from"):
        value = getattr(ref, field)
        if value is None:
            continue
        if is_file(value):
            fit(read_shapes(Path(value), f"{path}.{field}"), _shapes_of(ref.name), Path(value), f"{path}.{field}")
        elif ref.name == miniature.NAME or value not in open_clip.list_pretrained_tags_by_model(ref.name):
            tags = [] if ref.name == miniature.NAME else open_clip.list_pretrained_tags_by_model(ref.name)
            raise unknown(f"{path}.{field}", value, [*tags, "a local .safetensors or .pt file"])


def load_clip(ref: ModelRef, device: torch.device | str = "cpu") -> Clip:
    """Return the model in eval mode, fp32, all weights frozen, on ``device``.

    Raises:
        ConfigError: naming ``config.model`` where the model or its weights cannot be used.
    """
    check_model(ref)
    model = _build(ref).to(device=device, dtype=torch.float32).eval().requires_grad_(False)
    size, mean, std = _pixels(ref, model)
    tower = ImageTower(model.visual, mean, std, size).to(device).eval().requires_grad_(False)
    tokenize = miniature.tokenize if ref.name == miniature.NAME else open_clip.get_tokenizer(ref.name)

    @torch.no_grad()
    def encode_text(texts: Sequence[str]) -> Tensor:
        raw: Tensor = model.encode_text(tokenize(list(texts)).to(device))
        return raw

    bias = getattr(model, "logit_bias", None)
    return Clip(
        ref=ref,
        tower=tower,
        encode_text=encode_text,
        scale=float(model.logit_scale.exp()),
        bias=0.0 if bias is None else float(bias),
        sha=weights_sha(tower),
    )


def _build(ref: ModelRef) -> Any:
    if ref.name == miniature.NAME:
        model: Any = miniature.load_model()
    elif ref.pretrained is not None and not is_file(ref.pretrained):
        try:
            model = open_clip.create_model(ref.name, pretrained=ref.pretrained)
        except Exception as error:  # the hub's client raises many kinds; each means the tag's weights are not here
            raise ConfigError(
                f"config.model.pretrained: the weights of tag {ref.pretrained!r} could not be fetched ({error}); "
                "expected a network, a filled cache, or a local file"
            ) from error
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(ref.init_seed)  # open_clip draws its initial weights from the global generator
            model = _unfilled(ref.name)
    if ref.text_from is not None and is_file(ref.text_from):
        _load_into(model, Path(ref.text_from), "config.model.text_from")
    if ref.pretrained is not None and is_file(ref.pretrained):
        _load_into(model, Path(ref.pretrained), "config.model.pretrained")
    return model


def image_size_of(ref: ModelRef) -> int:
    """Return the pixels a side of the model's input; no weights are loaded."""
    return _pixels(ref, shapes_model(ref.name))[0]


def _pixels(ref: ModelRef, model: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    size, mean, std = _own_pixels(ref, model)
    return (size, IMAGENET_MEAN, IMAGENET_STD) if ref.pixels == "imagenet" else (size, mean, std)


def _own_pixels(ref: ModelRef, model: Any) -> tuple[int, tuple[float, ...], tuple[float, ...]]:
    if ref.name == miniature.NAME:
        return miniature.IMAGE_SIZE, miniature.MEAN, miniature.STD
    cfg = open_clip.get_model_preprocess_cfg(model)
    size = cfg.get("size", model.visual.image_size)
    side = size if isinstance(size, int) else size[0]
    mean = cfg.get("mean") or open_clip.OPENAI_DATASET_MEAN
    std = cfg.get("std") or open_clip.OPENAI_DATASET_STD
    return int(side), tuple(mean), tuple(std)


def read_shapes(file: Path, path: str) -> dict[str, tuple[int, ...]]:
    """Return tensor names and shapes in a weights file; an error names ``path`` and the file."""
    if file.suffix == ".safetensors":
        require(file.is_file(), path, str(file), "a file that exists")
        try:
            with safe_open(file, framework="pt") as f:
                return strip({name: tuple(f.get_slice(name).get_shape()) for name in f.keys()})  # noqa: SIM118
        except (SafetensorError, OSError) as error:
            raise ConfigError(f"{path}: {file} is no whole safetensors file ({error})") from None
    return {name: tuple(tensor.shape) for name, tensor in read_state(file, path).items()}


def read_state(file: Path, path: str = "weights") -> dict[str, Tensor]:
    """Return the state dict in a ``.safetensors`` or ``.pt`` file, unwrapped, without running anything it carries."""
    require(file.is_file(), path, str(file), "a file that exists")
    try:
        if file.suffix == ".safetensors":
            return strip(load_file(file))
        loaded = torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"{path}: {file} holds pickled code or is no weights file ({first}); expected plain tensors: "
            "save a state_dict, or convert it to safetensors"
        ) from None
    except Exception as error:  # bytes that are no weights make the readers stumble in any way
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(f"{path}: {file} is truncated or no weights file ({first})") from None
    for wrapper in WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    tensors = (
        isinstance(loaded, dict)
        and bool(loaded)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items())
    )
    require(tensors, path, str(file), "a state dict: names and tensors")
    return strip(loaded)


def strip(state: dict[str, Any]) -> dict[str, Any]:
    """Return ``state`` without the prefixes that wrappers add to every name ("module.", "model.", "clip.")."""
    for prefix in ("module.", "model.", "clip."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _is_zip(file: Path) -> bool:
    with file.open("rb") as f:
        return f.read(2) == b"PK"


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
        if name == miniature.NAME:
            return open_clip.model.CLIP(**miniature.model_config()).eval()
        return _unfilled(name, "meta").eval()


def _shapes_of(name: str) -> dict[str, tuple[int, ...]]:
    return {k: tuple(v.shape) for k, v in shapes_model(name).state_dict().items()}


def fit(found: dict[str, tuple[int, ...]], wanted: dict[str, tuple[int, ...]], file: Path, path: str) -> dict[str, str]:
    """Return which name in the file fills which name of the model: a whole CLIP, or its image tower alone.

    Raises:
        ConfigError: naming the first tensors that are missing, unexpected or of another shape.
    """
    visual = {k: v for k, v in wanted.items() if k.startswith("visual.")}
    bare = {k.removeprefix("visual."): k for k in visual}
    if any(name.startswith("visual.") for name in found):
        names = {name: name for name in found if name in wanted}
        whole = wanted if len(names) > len(visual) else visual
    else:
        names = {name: bare[name] for name in found if name in bare}
        whole = visual
    optional = {"logit_scale", "logit_bias"}
    missing = [name for name in whole if name not in set(names.values()) - optional and name not in optional]
    wrong = [
        n
        for n, to in names.items()
        if math.prod(found[n]) != math.prod(wanted[to]) or (found[n] != wanted[to] and to not in optional)
    ]
    if wrong:
        n = wrong[0]
        raise ConfigError(
            f"{path}: {file} is of another architecture: {n} has shape {list(found[n])}, "
            f"expected {list(wanted[names[n]])} ({len(wrong)} such)"
        )
    if missing:
        raise ConfigError(
            f"{path}: {file} is of another architecture: it lacks {len(missing)} tensors, first {missing[0]!r}; "
            f"it holds {', '.join(list(found)[:3])}, ..."
        )
    return names


def _load_into(model: nn.Module, file: Path, path: str) -> None:
    state = read_state(file, path)
    own = model.state_dict()
    names = fit({k: tuple(v.shape) for k, v in state.items()}, {k: tuple(v.shape) for k, v in own.items()}, file, path)
    with torch.no_grad():
        for name, to in names.items():
            own[to].copy_(state[name].reshape(own[to].shape))


def weights_sha(module: nn.Module) -> str:
    """Return 12 hex digits over names, shapes and fp32 bytes of the module's parameters and persistent buffers."""
    digest = hashlib.blake2b(digest_size=6)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(json.dumps([name, list(tensor.shape)]).encode())
        digest.update(tensor.detach().to("cpu", torch.float32).contiguous().numpy().data)
    return digest.hexdigest()
