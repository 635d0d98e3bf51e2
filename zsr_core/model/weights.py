"""Weights files as people publish them: names and tensors, read without running anything that a file carries.

Read are safetensors; ``.pt`` state dicts, bare or within a training checkpoint, however it wraps them; TorchScript
archives such as OpenAI's own ``ViT-B-32.pt``, of which only the tensors are taken; and the names that Hugging Face
gives to CLIP's tensors. A tensor's name may stand behind any prefix ("model.visual.", "net.clip.", ...): the image
tower is looked for by its own names.
"""

from __future__ import annotations

import json
import math
import pickle
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.model.huggingface import in_open_clip_names
from zsr_core.model.torchscript import first_line, is_script, tensors_of_script

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
TOWER_ALONE = "vision_encoder_state_dict"
# What training checkpoints call the weights, in the order they are looked for. TeCoA, PMG-AFT and TGA-ZSR keep the
# image tower beside a "state_dict" that is their visual prompt's (``finetuning.py`` of each).
WRAPPERS = (TOWER_ALONE, "state_dict", "model_state_dict", "model")
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # kept among the weights by OpenAI's archives
# Tensors without weights: what some versions of a model keep among them and others do not.
IDLE = {*OPENAI_NUMBERS, "attn_mask", "mask", "mean", "std", "num_batches_tracked", "position_ids"}
OPTIONAL = {"logit_scale", "logit_bias"}
PROJECTION = "visual.proj"
SHOWN = 3  # mismatching tensors that an error names
LISTED = 6  # entries of a file that an error lists
DEEPEST = 4  # wrappers around weights that are looked into
ALIKE = 0.9  # share of equal shapes from which two state dicts may be one model's
BESIDE = {"quick_gelu"}  # what may stand in a state dict and is no tensor of it
MODULES = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
LFS_POINTER, ZIP = b"version https://git-lfs", b"PK"
# Types that checkpoints hold beside tensors and that are passed over: numbers of a log, command lines, paths.
PASSED_OVER = (
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "argparse.Namespace",
    "pathlib.PosixPath", "pathlib._local.PosixPath",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What a file holds, and the activation that its weights were trained with, where it states one."""

    # By the file's own names, Hugging Face's by open_clip's; on the meta device if only shapes were asked for.
    tensors: dict[str, Tensor]
    quick_gelu: bool | None = None  # None: nothing in the file says so
    hint: str = ""  # how it says so

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(tensor.shape) for name, tensor in self.tensors.items()}


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Which tensor of a file fills which of the model."""

    names: dict[str, str]  # file -> model
    whole: bool  # the text tower is among them
    projected: bool = True  # the image tower's projection is among them, which Hugging Face's CLIPVisionModel lacks


def read_weights(file: Path, path: str = "weights", *, shapes_only: bool = False) -> Weights:
    """Return the tensors in ``file``.

    Args:
        path: the field that errors name.
        shapes_only: leave values on the disk as far as the format allows.

    Raises:
        ConfigError: if the file is missing, truncated, no weights file, or holds pickled code.
    """
    inside = sorted(p.name for p in file.iterdir() if p.name.endswith(SUFFIXES)) if file.is_dir() else []
    expected = f"a file that exists{f'; the folder holds {inside[0]}' if inside else ''}"
    require(file.is_file(), path, str(file), expected)
    try:
        with file.open("rb") as f:
            start = f.read(len(LFS_POINTER))
    except OSError as error:
        raise ConfigError(f"{path}: {file} cannot be read ({error.strerror})") from None
    require(start != LFS_POINTER, path, str(file), "the weights; the file is Git LFS's pointer to them: git lfs pull")
    if file.suffix == ".safetensors":
        return _safetensors(file, path, shapes_only)
    if start.startswith(ZIP) and is_script(file):
        hint = "it is a TorchScript archive, as OpenAI publishes"
        return Weights(tensors=tensors_of_script(file, path), quick_gelu=True, hint=hint)
    return _unwrapped(_load(file, path, zipped=start.startswith(ZIP)), file, path)


def _safetensors(file: Path, path: str, shapes_only: bool) -> Weights:
    try:
        with safe_open(file, framework="pt") as f:
            said = (f.metadata() or {}).get("quick_gelu")
            tensors = {
                name: torch.empty(f.get_slice(name).get_shape(), device="meta") if shapes_only else f.get_tensor(name)
                for name in f.keys()  # noqa: SIM118
            }
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{path}: {file} is no whole safetensors file ({error})") from None
    return _hinted(tensors, None if said is None else said == "true", file, path)


def _hinted(tensors: dict[str, Tensor], recorded: bool | None, file: Path, path: str, openai: str = "") -> Weights:
    """Return the tensors by open_clip's names, and what the file says of its activation."""
    tensors = _bare(tensors, file, path)
    renamed = in_open_clip_names(tensors, f"{path}: {file}")
    if recorded is not None:
        return Weights(tensors=renamed or tensors, quick_gelu=recorded, hint="it records so under 'quick_gelu'")
    if renamed is not None:
        acts = _hidden_act(file.parent / "config.json")
        hint = f"config.json beside it says hidden_act {acts!r}" if acts else ""
        return Weights(tensors=renamed, quick_gelu=acts == "quick_gelu" if acts else None, hint=hint)
    named = [name for name in OPENAI_NUMBERS if any(own.split(".")[-1] == name for own in tensors)]
    hint = openai or (f"it holds {named[0]!r}, as OpenAI's state dicts do" if named else "")
    return Weights(tensors=tensors, quick_gelu=True if hint else None, hint=hint)


def _bare(tensors: dict[str, Tensor], file: Path, path: str) -> dict[str, Tensor]:
    """Return the tensors without the parts of their names that torch's wrappers of modules add."""
    bare = {".".join(part for part in name.split(".") if part not in MODULES): t for name, t in tensors.items()}
    require(len(bare) == len(tensors), path, str(file), f"names that differ beside {', '.join(MODULES)}")
    return bare


def _hidden_act(config: Path) -> str:
    """Return the activation of the image tower that a Hugging Face ``config.json`` states; empty where it does not."""
    try:
        plain = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    of_image = plain.get("vision_config", plain) if isinstance(plain, dict) else {}
    said = of_image.get("hidden_act") if isinstance(of_image, dict) else None
    return said if isinstance(said, str) else ""


class _Nothing:
    """Takes the place of an object that is passed over: made and filled without effect."""

    def __init__(self, *args: object) -> None:
        """Take what the object would have been made of."""

    def __setstate__(self, state: object) -> None:
        """Take what it would have been filled with."""


def _load(file: Path, path: str, *, zipped: bool) -> Any:
    try:
        passed = torch.serialization.safe_globals([(_Nothing, name) for name in PASSED_OVER])
        with passed, warnings.catch_warnings(action="ignore"):  # torch warns of some files that are refused afterwards
            return torch.load(file, map_location="cpu", weights_only=True, mmap=zipped)
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path}: {file} holds pickled code or is no weights file ({_asked_for(error)}); expected plain tensors: "
            "where you trust the file, save its state_dict alone, or convert it to safetensors"
        ) from None
    except Exception as error:  # readers fail in more ways than can be listed on bytes that are no weights
        raise ConfigError(f"{path}: {file} is truncated or no weights file ({first_line(error)})") from None


def _asked_for(error: Exception) -> str:
    """Return what a pickle asked for, without torch's advice on how to let it have that."""
    match = re.search(r"[Uu]nsupported [^\n]+?(?= was not an allowed| whose module|\n|$)", str(error))
    return match.group() if match else "it is no file of torch.save's"


def _unwrapped(loaded: Any, file: Path, path: str) -> Weights:
    recorded = loaded.get("quick_gelu") if isinstance(loaded, Mapping) else None
    at, state = _chosen(dict(_states(loaded)), loaded, file, path)
    openai = ""
    if at.endswith(TOWER_ALONE):
        openai = f"it holds {at!r}, as checkpoints of TeCoA, PMG-AFT and TGA-ZSR do, who tune OpenAI's weights"
    tensors = {
        name: torch.as_tensor(value) for name, value in state.items() if name not in BESIDE and value is not None
    }
    dense = all(tensor.layout == torch.strided and not tensor.is_quantized for tensor in tensors.values())
    require(dense, path, str(file), "a state dict: names and tensors, neither sparse nor quantized")
    return _hinted(tensors, recorded if isinstance(recorded, bool) else None, file, path, openai)


def _states(value: Any, at: str = "", depth: int = 0) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield (dotted place, state dict) of every state dict in a checkpoint, however it is wrapped."""
    if not isinstance(value, Mapping) or depth > DEEPEST:
        return
    if _is_state(value):
        yield at, value
        return
    for name, below in value.items():
        if isinstance(name, str):
            yield from _states(below, f"{at}.{name}" if at else name, depth + 1)


def _is_state(value: Mapping[Any, Any]) -> bool:
    """Whether it is names and tensors; OpenAI's three numbers and a recorded activation may stand among them."""
    aside = {*OPENAI_NUMBERS, *BESIDE}
    named = all(
        isinstance(name, str)
        and (isinstance(entry, Tensor) or name in aside or (entry is None and name.endswith("_extra_state")))
        for name, entry in value.items()
    )
    return named and any(isinstance(entry, Tensor) for entry in value.values())


def _chosen(
    states: Mapping[str, Mapping[str, Any]], loaded: Any, file: Path, path: str
) -> tuple[str, Mapping[str, Any]]:
    """Return the weights among the state dicts of a checkpoint: by a known name, else the one of most tensors.

    Raises:
        ConfigError: if there is none, saying what there is, or if another one is as likely: raw weights beside their
            moving average give different numbers.
    """
    require(bool(states), path, str(file), f"a state dict: names and tensors; it holds {_contents(loaded)}")
    by_name = (at for known in WRAPPERS for at in states if at.rpartition(".")[2] == known)
    at = next(by_name, None) or max(states, key=lambda place: len(states[place]))
    rivals = [other for other in states if other != at and _alike(states[at], states[other])]
    if rivals and not at.endswith(TOWER_ALONE):
        named = ", ".join(map(repr, (at, *rivals)))
        raise ConfigError(
            f"{path}: {file} holds {1 + len(rivals)} sets of weights of the same shapes, {named}; expected one: save "
            "the one that is meant alone"
        )
    return at, states[at]


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    shapes = [Counter(tuple(t.shape) for t in state.values() if isinstance(t, Tensor)) for state in (one, other)]
    return (shapes[0] & shapes[1]).total() >= ALIKE * shapes[0].total()


def _contents(loaded: Any) -> str:
    """Return what a file holds, by the first names of its entries and what these are."""
    if not isinstance(loaded, Mapping):
        return f"a {type(loaded).__name__}"
    parts = [
        f"{name} ({len(entry)} entries)" if isinstance(entry, Mapping) else f"{name} ({type(entry).__name__})"
        for name, entry in loaded.items()
    ]
    return ", ".join(parts[:LISTED]) + (f" and {len(parts) - LISTED} more" if len(parts) > LISTED else "") or "nothing"


# Which tensor of a file fills which of the model.


def fit(shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], file: Path, path: str) -> Fit:
    """Return how the tensors of a file fill a model, whole or its image tower alone; both by name and shape.

    Raises:
        ConfigError: naming the first tensors that are missing, left over or of another shape, or the two image towers
            that a file holds.
    """
    bare = {name.removeprefix("visual."): name for name in wanted if name.startswith("visual.")}
    prefix = _image_prefix(shapes, bare, file, path)
    names = {prefix + name: to for name, to in bare.items() if prefix + name in shapes}
    text = _text_names(shapes, wanted, prefix.removesuffix("visual.")) if prefix.endswith("visual.") else {}
    whole = any(to not in OPTIONAL for to in text.values())
    names |= text if whole else {}
    differs = _differs(shapes, wanted, names, prefix, whole)
    if differs is not None:
        raise ConfigError(f"{path}: {file} is of another architecture: {differs}")
    return Fit(names=names, whole=whole, projected=PROJECTION in names.values() or PROJECTION not in wanted)


def _differs(
    shapes: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    prefix: str,
    whole: bool,
) -> str | None:
    """Return by which tensors the file is not the model, the first ones named; None where it is."""
    wrong = [
        f"{name} has shape {list(shapes[name])}, expected {list(wanted[to])}"
        for name, to in names.items()
        if math.prod(shapes[name]) != math.prod(wanted[to]) or (shapes[name] != wanted[to] and to not in OPTIONAL)
    ]
    if wrong:
        return f"{'; '.join(wrong[:SHOWN])} ({len(wrong)} such)"
    filled = {*names.values()}
    of_model = [name for name in wanted if (whole or name.startswith("visual.")) and not _idle(name)]
    lacking = [name for name in of_model if name not in filled]
    if lacking and (whole or lacking != [PROJECTION]):
        first, held = ", ".join(lacking[:SHOWN]), ", ".join([*shapes][:SHOWN])
        return f"it lacks {len(lacking)} tensors, first {first}; it holds {held}, ..."
    root, kinds = prefix.removesuffix("visual."), {name.split(".")[0] for name in wanted} | {"text"}
    over = [
        name
        for name in shapes
        if name not in names
        and not _idle(name)
        and (name.startswith(prefix) or (whole and name.removeprefix(root).split(".")[0] in kinds))
    ]
    return f"it holds {len(over)} tensors more, first {', '.join(over[:SHOWN])}" if over else None


def _idle(name: str) -> bool:
    return name.split(".")[-1] in IDLE | OPTIONAL


def _image_prefix(shapes: Mapping[str, tuple[int, ...]], bare: Mapping[str, str], file: Path, path: str) -> str:
    """Return what stands before the image tower's own names in the file: "visual.", "module.", or nothing."""
    # The first convolution tells an image tower from a text tower, whose blocks are called the same.
    anchor = "conv1.weight" if "conv1.weight" in bare else next(iter(bare))
    ends = [name.removesuffix(anchor) for name in shapes if name == anchor or name.endswith(f".{anchor}")]
    share = {prefix: sum(prefix + name in shapes for name in bare) / len(bare) for prefix in ends}
    if not share:
        return "visual."
    best = max(share, key=lambda prefix: (share[prefix], -len(prefix)))
    rivals = [prefix for prefix, covered in share.items() if covered >= 0.9 * share[best]]
    if len(rivals) > 1 and share[best] > 0.5:
        towers = ", ".join(repr(f"{prefix}{anchor}") for prefix in rivals[:SHOWN])
        raise ConfigError(f"{path}: {file} holds {len(rivals)} image towers, {towers}; expected the one meant, alone")
    return best


def _text_names(
    shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], root: str
) -> dict[str, str]:
    """Return file name -> model name of all that is not the image tower.

    open_clip keeps some text towers under "text." and others, like OpenAI, at the top: either fills either.
    """
    names: dict[str, str] = {}
    for to in wanted:
        if to.startswith("visual."):
            continue
        other = to.removeprefix("text.") if to.startswith("text.") else f"text.{to}"
        name = next((root + each for each in (to, other) if root + each in shapes), None)
        if name is not None:
            names[name] = to
    return names
