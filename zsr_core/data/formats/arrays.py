"""Sets whose pictures are arrays in few files: CIFAR-10, CIFAR-100 and STL-10.

Read by us, because torchvision hashes all their bytes whenever they are opened (3 GB of STL-10) and unpickles
whatever it finds.
"""

from __future__ import annotations

import io
import pickle
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsr_core.codec import require
from zsr_core.data.formats.listing import Part, PartName, Reader
from zsr_core.data.lists import names_in
from zsr_core.data.pictures import Binary, Pixels


class _ArraysOnly(pickle.Unpickler):
    """Reads lists, numbers, text and numpy arrays. A pickle that asks for anything else could run any code."""

    ALLOWED = frozenset(
        (module, name)
        for core in ("numpy.core.", "numpy._core.")
        for module, name in (
            (f"{core}multiarray", "_reconstruct"),
            (f"{core}multiarray", "scalar"),
            (f"{core}numeric", "_frombuffer"),
        )
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a batch of CIFAR holds arrays, not {module}.{name}")
        return super().find_class(module, name)


def _unpickled(file: Path) -> dict[str, Any]:
    try:
        content = _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle stops its reader in any way, none of which says which file
        raise ValueError(f"{file.name}: {error or type(error).__name__}") from error
    require(isinstance(content, dict), "root", str(file), "a batch of CIFAR's Python version")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in content.items()}


def _cifar(
    root: Path, part: PartName, *, folder: str, train: tuple[str, ...], test: str, names: str, key: str, label: str
) -> Part:
    place = root / folder
    files = [place / name for name in (train if part == "train" else (test,))]
    batches = [_unpickled(file) for file in files]
    array = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches])
    labels = torch.tensor([int(value) for batch in batches for value in batch[label]], dtype=torch.int64)
    classes = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in _unpickled(place / names)[key])
    whole = len(array) == len(labels) and bool(((labels >= 0) & (labels < len(classes))).all())
    require(whole, "root", str(place), f"a label of its {len(classes)} classes for each of {len(array)} images")
    which = "train" if part == "train" else "test"
    return Part(
        pictures=Pixels(
            array=np.ascontiguousarray(array.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), source=f"{place} {which}"
        ),
        ids=tuple(f"{which}-{row}" for row in range(len(labels))),
        labels=labels,
        classes=classes,
    )


cifar10: Reader = partial(
    _cifar, folder="cifar-10-batches-py", train=tuple(f"data_batch_{i}" for i in range(1, 6)), test="test_batch",
    names="batches.meta", key="label_names", label="labels",
)  # fmt: skip
cifar100: Reader = partial(
    _cifar, folder="cifar-100-python", train=("train",), test="test", names="meta", key="fine_label_names",
    label="fine_labels",
)  # fmt: skip


def stl10(root: Path, part: PartName) -> Part:
    """X: uint8, image after image, each plane by plane, each plane column by column. y: uint8 from 1."""
    place = root / "stl10_binary"
    which = "train" if part == "train" else "test"
    images, size = place / f"{which}_X.bin", 3 * 96 * 96
    labels = torch.from_numpy(np.fromfile(place / f"{which}_y.bin", dtype=np.uint8).astype(np.int64)) - 1
    length = images.stat().st_size
    require(length == size * len(labels), "root", str(images), f"{size * len(labels)} bytes, not {length}")
    classes = names_in(place / "class_names.txt")
    inside = bool(((labels >= 0) & (labels < len(classes))).all())
    require(inside, "root", str(place), f"labels from 1 to {len(classes)}, as class_names.txt lists")
    return Part(
        pictures=Binary(file=images, shape=(len(labels), 3, 96, 96)),
        ids=tuple(f"{which}-{row}" for row in range(len(labels))),
        labels=labels,
        classes=classes,
    )
