"""Weights files as people publish them: names and tensors, read without running anything that a file carries.

Read are safetensors; ``.pt`` state dicts, bare or within a training checkpoint; and TorchScript archives such as
OpenAI's own ``ViT-B-32.pt``, of which only the tensors are taken. A tensor's name may stand behind any prefix
("module.", "model.visual.", ...): the image tower is looked for by its own names.
"""

from __future__ import annotations

import io
import math
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from zsr_core.codec import ConfigError, require

SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
TOWER_ALONE = "vision_encoder_state_dict"
# What training checkpoints call the weights, in the order they are looked for. TeCoA, PMG-AFT and TGA-ZSR keep the
# image tower beside a "state_dict" that is their visual prompt's (``finetuning.py`` of each).
WRAPPERS = (TOWER_ALONE, "state_dict", "model_state_dict", "model")
OPENAI_NUMBERS = ("input_resolution", "context_length", "vocab_size")  # kept among the weights by OpenAI's archives
# Tensors without weights: what some versions of a model keep among them and others do not.
IDLE = {*OPENAI_NUMBERS, "attn_mask", "mask", "mean", "std", "num_batches_tracked", "position_ids"}
OPTIONAL = {"logit_scale", "logit_bias"}
SHOWN = 3  # mismatching tensors that an error names
# What checkpoints hold beside tensors, of types that are read as nothing: numbers of a log, command lines, paths.
PASSED_OVER = (
    "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "argparse.Namespace",
    "pathlib.PosixPath", "pathlib._local.PosixPath",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Weights:
    """What a file holds, and what it says of the activation that its weights were trained with."""

    tensors: dict[str, Tensor]  # by the file's own names; on the meta device if only shapes were asked for
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


def read_weights(file: Path, path: str = "weights", *, shapes_only: bool = False) -> Weights:
    """Return the tensors in ``file``.

    Args:
        path: the field that errors name.
        shapes_only: leave values on the disk as far as the format allows.

    Raises:
        ConfigError: if the file is missing, truncated, no weights file, or holds pickled code.
    """
    require(file.is_file(), path, str(file), "a file that exists")
    if file.suffix == ".safetensors":
        return _safetensors(file, path, shapes_only)
    if _is_script(file):
        return Weights(
            tensors=_of_script(file, path), quick_gelu=True, hint="it is a TorchScript archive, as OpenAI publishes"
        )
    return _unwrapped(_load(file, path), file, path)


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
    return _hinted(tensors, None if said is None else said == "true")


def _hinted(tensors: dict[str, Tensor], recorded: bool | None, openai: str = "") -> Weights:
    if recorded is not None:
        return Weights(tensors=tensors, quick_gelu=recorded, hint="it records so under 'quick_gelu'")
    named = [name for name in OPENAI_NUMBERS if any(own.split(".")[-1] == name for own in tensors)]
    hint = openai or (f"it holds {named[0]!r}, as OpenAI's state dicts do" if named else "")
    return Weights(tensors=tensors, quick_gelu=True if hint else None, hint=hint)


class _Nothing:
    """Stands for an object that is passed over: made and filled without effect."""

    def __init__(self, *args: object) -> None:
        """Take what the object would have been made of."""

    def __setstate__(self, state: object) -> None:
        """Take what it would have been filled with."""


def _load(file: Path, path: str) -> Any:
    try:
        passed = torch.serialization.safe_globals([(_Nothing, name) for name in PASSED_OVER])
        with passed, warnings.catch_warnings(action="ignore"):  # of foreign files, which then are refused
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        raise ConfigError(
            f"{path}: {file} holds pickled code or is no weights file ({_asked_for(error)}); expected plain tensors: "
            "where you trust the file, save its state_dict alone, or convert it to safetensors"
        ) from None
    except Exception as error:  # bytes that are no weights make the readers stumble in any way
        raise ConfigError(f"{path}: {file} is truncated or no weights file ({_first_line(error)})") from None


def _asked_for(error: Exception) -> str:
    """Return what a pickle asked for, without torch's advice on how to let it have that."""
    found = re.search(r"[Uu]nsupported [^\n]+?(?= was not an allowed| whose module|\n|$)", str(error))
    return found.group() if found else "it is no file of torch.save's"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _unwrapped(loaded: Any, file: Path, path: str) -> Weights:
    recorded, openai = None, ""
    if isinstance(loaded, dict):
        recorded = loaded.get("quick_gelu")
        wrapper = next((name for name in WRAPPERS if isinstance(loaded.get(name), Mapping)), None)
        if wrapper == TOWER_ALONE:
            openai = f"it holds {wrapper!r}, as checkpoints of TeCoA, PMG-AFT and TGA-ZSR do, who tune OpenAI's weights"
        loaded = loaded if wrapper is None else loaded[wrapper]
    return _hinted(_tensors_alone(loaded, file, path), recorded if isinstance(recorded, bool) else None, openai)


def _tensors_alone(state: Any, file: Path, path: str) -> dict[str, Tensor]:
    """Return the state dict; OpenAI's three numbers and a recorded activation may stand in it as they are."""
    aside = {*OPENAI_NUMBERS, "quick_gelu"}
    sound = isinstance(state, Mapping) and all(
        isinstance(name, str) and (isinstance(value, Tensor) or name in aside) for name, value in state.items()
    )
    found = {n: torch.as_tensor(v) for n, v in state.items() if n != "quick_gelu"} if sound else {}
    dense = all(tensor.layout == torch.strided and not tensor.is_quantized for tensor in found.values())
    require(bool(found) and dense, path, str(file), "a state dict: names and tensors")
    return found


def _is_zip(file: Path) -> bool:
    with file.open("rb") as f:
        return f.read(2) == b"PK"


# TorchScript archives: a zip of pickled attributes, tensor data and source code. The code is never looked at.


def _is_script(file: Path) -> bool:
    if not _is_zip(file):
        return False
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # a damaged file of any kind: the reader that follows says so


class _Script:
    """A module of the archive: its attributes, whatever its class was."""


STORAGES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
}  # fmt: skip


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)


CALLED: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
    ("collections", "OrderedDict"): dict,
    ("torch.jit._pickle", "build_intlist"): list,
    ("torch.jit._pickle", "build_doublelist"): list,
    ("torch.jit._pickle", "build_boollist"): list,
    ("torch.jit._pickle", "build_tensorlist"): list,
    ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
}


class _ScriptReader(pickle.Unpickler):
    """Unpickles modules and tensors alone: every name that a file may call is listed here."""

    def __init__(self, archive: zipfile.ZipFile, root: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{root}/data.pkl")))
        self._archive, self._root = archive, root

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            return _Script
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) not in CALLED:
            raise pickle.UnpicklingError(f"it calls {module}.{name}")
        return CALLED[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        _, dtype, key, _, n = pid
        entry = self._archive.getinfo(f"{self._root}/data/{key}")
        if entry.compress_type != zipfile.ZIP_STORED or entry.file_size < n * dtype.itemsize:
            raise ValueError(f"tensor data {key!r} is not whole")
        if n == 0:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(bytearray(self._archive.read(entry)), dtype=dtype, count=n)


def _of_script(file: Path, path: str) -> dict[str, Tensor]:
    try:
        with zipfile.ZipFile(file) as archive:
            roots = {name.split("/")[0] for name in archive.namelist()}
            if len(roots) != 1:
                raise ValueError(f"{len(roots)} archives in one")
            (root,) = roots
            order = f"{root}/byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise ValueError("its numbers are big-endian")
            found = dict(_attributes(_ScriptReader(archive, root).load(), ""))
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{path}: {file} holds pickled code ({error}); expected modules and tensors alone") from None
    except Exception as error:  # a damaged archive makes the readers stumble in any way
        raise ConfigError(f"{path}: {file} is no whole TorchScript archive ({_first_line(error)})") from None
    require(bool(found), path, str(file), "an archive that holds tensors")
    return found


def _attributes(module: Any, prefix: str) -> Iterable[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Script):
            yield from _attributes(value, f"{prefix}{name}.")


# Which tensor of a file fills which of the model.


def fit(found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], file: Path, path: str) -> Fit:
    """Return how the tensors of a file fill a model, whole or its image tower alone; both by name and shape.

    Raises:
        ConfigError: naming the first tensors that are missing, left over or of another shape, or the two image towers
            between which a file leaves the choice.
    """
    bare = {name.removeprefix("visual."): name for name in wanted if name.startswith("visual.")}
    prefix = _image_prefix(found, bare, file, path)
    names = {prefix + name: to for name, to in bare.items() if prefix + name in found}
    text = _text_names(found, wanted, prefix.removesuffix("visual.")) if prefix.endswith("visual.") else {}
    whole = any(to not in OPTIONAL for to in text.values())
    names |= text if whole else {}
    differs = _differs(found, wanted, names, prefix, whole)
    if differs is not None:
        raise ConfigError(f"{path}: {file} is of another architecture: {differs}")
    return Fit(names=names, whole=whole)


def _differs(
    found: Mapping[str, tuple[int, ...]],
    wanted: Mapping[str, tuple[int, ...]],
    names: Mapping[str, str],
    prefix: str,
    whole: bool,
) -> str | None:
    """Return by which tensors the file is not the model, the first ones named; None where it is."""
    wrong = [
        f"{name} has shape {list(found[name])}, expected {list(wanted[to])}"
        for name, to in names.items()
        if math.prod(found[name]) != math.prod(wanted[to]) or (found[name] != wanted[to] and to not in OPTIONAL)
    ]
    if wrong:
        return f"{'; '.join(wrong[:SHOWN])} ({len(wrong)} such)"
    filled = {*names.values()}
    of_model = [name for name in wanted if (whole or name.startswith("visual.")) and not _idle(name)]
    lacking = [name for name in of_model if name not in filled]
    if lacking:
        first, held = ", ".join(lacking[:SHOWN]), ", ".join([*found][:SHOWN])
        return f"it lacks {len(lacking)} tensors, first {first}; it holds {held}, ..."
    root, kinds = prefix.removesuffix("visual."), {name.split(".")[0] for name in wanted} | {"text"}
    over = [
        name
        for name in found
        if name not in names
        and not _idle(name)
        and (name.startswith(prefix) or (whole and name.removeprefix(root).split(".")[0] in kinds))
    ]
    return f"it holds {len(over)} tensors more, first {', '.join(over[:SHOWN])}" if over else None


def _idle(name: str) -> bool:
    return name.split(".")[-1] in IDLE | OPTIONAL


def _image_prefix(found: Mapping[str, tuple[int, ...]], bare: Mapping[str, str], file: Path, path: str) -> str:
    """Return what stands before the image tower's own names in the file: "visual.", "module.", or nothing."""
    # The first convolution tells an image tower from a text tower, whose blocks are called the same.
    anchor = "conv1.weight" if "conv1.weight" in bare else next(iter(bare))
    ends = [name.removesuffix(anchor) for name in found if name == anchor or name.endswith(f".{anchor}")]
    share = {prefix: sum(prefix + name in found for name in bare) / len(bare) for prefix in ends}
    if not share:
        return "visual."
    best = max(share, key=lambda prefix: (share[prefix], -len(prefix)))
    rivals = [prefix for prefix, covered in share.items() if covered >= 0.9 * share[best]]
    if len(rivals) > 1 and share[best] > 0.5:
        towers = ", ".join(repr(f"{prefix}{anchor}") for prefix in rivals[:SHOWN])
        raise ConfigError(f"{path}: {file} holds {len(rivals)} image towers, {towers}; expected the one meant, alone")
    return best


def _text_names(
    found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]], root: str
) -> dict[str, str]:
    """Return file name -> model name of all that is not the image tower.

    open_clip keeps some text towers under "text." and others, like OpenAI, at the top: either fills either.
    """
    names: dict[str, str] = {}
    for to in wanted:
        if to.startswith("visual."):
            continue
        other = to.removeprefix("text.") if to.startswith("text.") else f"text.{to}"
        name = next((root + each for each in (to, other) if root + each in found), None)
        if name is not None:
            names[name] = to
    return names
