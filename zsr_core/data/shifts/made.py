"""Corrupted images that others made: folders of ImageNet-C's layout, ``KIND/SEVERITY/CLASS/IMAGE``.

ImageNet-3DCC and Tiny-ImageNet-C have it too. An image is the corrupted one of a set's own image if both have one class
folder and one file name up to the suffix, or, where the set's images lie in other folders, if only one file of the cell
has that name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from zsr_core.codec import fingerprint, require
from zsr_core.data.formats.listing import images_below
from zsr_core.data.open import ImageSet
from zsr_core.data.pictures import PREPROCESSING, Files, Preprocessing, picture, to_tensor
from zsr_core.data.shifts.kinds import Cell

Key = tuple[str, str]  # a class folder and a file name without its suffix


def made(images: ImageSet, root: Path, cell: Cell, size: int, preprocessing: Preprocessing) -> ImageSet:
    """Return the same images under one corruption, read from a folder.

    Images that have ``size`` x ``size`` pixels are taken as they are, because ImageNet-C's are already cropped; others
    go through ``preprocessing``.

    Raises:
        ConfigError: naming the folder, where the cell or one of the images is missing; naming the image, where it
            cannot be decoded.
    """
    files = _files(images, root, cell)
    stamp = files.stamp(range(len(files.names)))
    key = fingerprint(["made", images.key, str(files.base), files.names, stamp, size, preprocessing], 24)
    return replace(images, key=key, pixels=Made(files=files, size=size, preprocessing=preprocessing), in_memory=False)


def content_of(images: ImageSet, root: Path, cells: Sequence[Cell]) -> str:
    """Return a digest of the names and sizes of the files that :func:`made` reads, as sets of folders have theirs."""
    each = [_files(images, root, cell) for cell in cells]
    sizes = [[(files.base / name).stat().st_size for name in files.names] for files in each]
    return fingerprint([[cell.kind, cell.severity, files.names, size]
                        for cell, files, size in zip(cells, each, sizes, strict=True)], 24)  # fmt: skip


def _files(images: ImageSet, root: Path, cell: Cell) -> Files:
    """Return the files of these images under one corruption, in their order."""
    folder = root / cell.kind / str(cell.severity)
    require(folder.is_dir(), "corrupted", str(folder), f"a folder KIND/SEVERITY of {images.name}'s corrupted images")
    names = _names(folder, folder.stat().st_mtime_ns)
    found = [_match(names, sample_id) for sample_id in images.ids]
    missing = [sample_id for sample_id, name in zip(images.ids, found, strict=True) if name is None]
    expected = f"an image of every one that is measured; {len(missing)} are missing, first {missing[:1]}"
    require(not missing, "corrupted", str(folder), expected)
    return Files(base=folder, names=tuple(name for name in found if name is not None))


@dataclass(frozen=True, kw_only=True, eq=False)
class Made:
    """Reads corrupted images from their files: rows -> uint8 [b, 3, S, S]."""

    files: Files
    size: int
    preprocessing: Preprocessing

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return torch.stack([self._one(row) for row in rows])

    def _one(self, row: int) -> Tensor:
        image = picture(self.files, row)
        if image.size != (self.size, self.size):
            image = PREPROCESSING[self.preprocessing](image, self.size)
        return to_tensor(image)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Names:
    """The files of one cell by class folder and name, and by name alone where only one has it."""

    by_key: Mapping[Key, str]
    by_stem: Mapping[str, str]


@lru_cache(maxsize=8)
def _names(folder: Path, stamp: int) -> _Names:
    """``stamp``: when the folder was written last."""
    files = images_below(folder, "")
    require(len(files) > 0, "corrupted", str(folder), "class folders with images; found none")
    times = Counter(_key(file)[1] for file in files)
    return _Names(
        by_key={_key(file): file for file in files},
        by_stem={_key(file)[1]: file for file in files if times[_key(file)[1]] == 1},
    )


def _match(names: _Names, sample_id: str) -> str | None:
    key = _key(sample_id)
    return names.by_key.get(key) or names.by_stem.get(key[1])


def _key(name: str) -> Key:
    path = PurePosixPath(name)
    return path.parent.name, path.stem
