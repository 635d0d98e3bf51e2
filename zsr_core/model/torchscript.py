"""TorchScript archives: a zip of pickled attributes, tensor data and source code. The code is never looked at."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, require


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


def is_script(file: Path) -> bool:
    """Return whether the file is such an archive."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError):
        return False  # a damaged file of any kind: the reader that follows says so


def tensors_of_script(file: Path, path: str) -> dict[str, Tensor]:
    """Return the tensors of the archive. Raises ``ConfigError`` at ``path`` for a damaged one, or one with code."""
    try:
        with zipfile.ZipFile(file) as archive:
            roots = {name.split("/")[0] for name in archive.namelist()}
            if len(roots) != 1:
                raise ValueError(f"{len(roots)} archives in one")
            (root,) = roots
            order = f"{root}/byteorder"
            if order in archive.namelist() and archive.read(order) != b"little":
                raise ValueError("its numbers are big-endian")
            tensors = dict(_attributes(_ScriptReader(archive, root).load(), ""))
    except pickle.UnpicklingError as error:
        raise ConfigError(f"{path}: {file} holds pickled code ({error}); expected modules and tensors alone") from None
    except Exception as error:  # a damaged archive makes the readers stumble in any way
        raise ConfigError(f"{path}: {file} is no whole TorchScript archive ({first_line(error)})") from None
    require(bool(tensors), path, str(file), "an archive that holds tensors")
    return tensors


def first_line(error: Exception) -> str:
    """Return an error's first line, or its kind if it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _attributes(module: Any, prefix: str) -> Iterable[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield prefix + name, value
        elif isinstance(value, _Script):
            yield from _attributes(value, f"{prefix}{name}.")
