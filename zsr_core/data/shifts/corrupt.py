"""Common corruptions of a set's images, made here by the package ``imagecorruptions-imaug``.

An image's corruption depends on the set's name, the image's id, the kind and the severity alone, so that two processes
give equal bytes. Images are corrupted as the model sees them, after resizing and cropping, and are 8-bit afterwards,
as in ImageNet-C.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Lock
from types import ModuleType

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zsr_core.codec import ConfigError, fingerprint, require
from zsr_core.data.kept import cache_folder
from zsr_core.data.open import ImageSet, taken
from zsr_core.data.shifts.kinds import Cell
from zsr_core.data.workers import MOST, cores, in_workers
from zsr_core.files import write_whole
from zsr_core.rng import seed_for

PACKAGE = "imagecorruptions-imaug"
# What the pixels depend on; another version may round differently.
LIBRARIES = (PACKAGE, "numpy", "scipy", "scikit-image", "pillow", "opencv-python", "opencv-python-headless")
OWN_SEED = ("impulse_noise", "glass_blur")  # these take a seed of their own and do not read NumPy's
LEAST = 32  # pixels of a side, as the package asks for
BLOCK = 16  # images that a worker process corrupts at a time
FEW = 64  # images that are corrupted in this process, because starting workers would take longer
CHUNK = 1024  # images whose corrupted pixels are held at a time: 154 MB at 224 pixels
ROOM = 256 * 2**20  # bytes of corrupted images that a process keeps
_LOCK = Lock()  # NumPy's global generator is shared by all threads
_RECENT: dict[str, Tensor] = {}  # by key


@cache
def library() -> ModuleType:
    """Return the package that makes corruptions.

    Raises:
        ConfigError: saying how to install it, if it is not there or is its outdated forerunner of the same import name.
    """
    how = f"the package {PACKAGE}: pip install 'zsr[corruptions]'"
    try:
        version(PACKAGE)
        # OpenCV's threads do not survive the fork of a worker process, and the images are small.
        importlib.import_module("cv2").setNumThreads(0)
        return importlib.import_module("imagecorruptions")
    except ImportError as error:
        raise ConfigError(f"corruptions: got no package that makes them ({error}), expected {how}") from None


def corrupted(images: ImageSet, cell: Cell) -> ImageSet:
    """Return the same images under one corruption, with the same ids, labels and texts.

    Pixels are made when they are first asked for, all at once. The process keeps those made last, so that trials of one
    sweep share them. With the environment's ``ZSR_CACHE`` they are also kept in a file, which later runs read.

    Raises:
        ConfigError: if the package is missing; naming the set, if its images have fewer than 32 pixels a side.
    """
    library()
    made = Corrupted(images=images, cell=cell)
    return replace(images, key=made.key, pixels=made, in_memory=True)


def chunks(images: ImageSet) -> Iterator[ImageSet]:
    """Yield the images in their order, at most :data:`CHUNK` at a time."""
    n = len(images.labels)
    for first in range(0, n, CHUNK):
        yield images if n <= CHUNK else taken(images, range(first, min(first + CHUNK, n)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Corrupted:
    """Reads images of a set under one corruption: rows -> uint8 [b, 3, S, S]."""

    images: ImageSet
    cell: Cell

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return self.whole[list(rows)]

    @cached_property
    def key(self) -> str:
        """Hash of the images, the corruption and the libraries that make it."""
        libraries = [_version(name) for name in LIBRARIES]
        about = [self.images.name, self.images.key, list(self.images.ids)]
        return fingerprint(["corruption", *about, self.cell.kind, self.cell.severity, libraries], 24)

    @cached_property
    def whole(self) -> Tensor:
        """All images, uint8 [N, 3, S, S]."""
        kept = _RECENT.get(self.key)
        return kept if kept is not None else _remembered(self.key, self._read())

    def _read(self) -> Tensor:
        folder = cache_folder()
        file = (
            None if folder is None else folder / "corrupted" / f"{self.cell.kind}-{self.cell.severity}-{self.key}.npy"
        )
        if file is None:
            return self._made()
        stored = _stored(file, len(self.images.labels))
        if stored is None:
            stored = self._made()
            pixels = stored.numpy()
            write_whole(file, lambda part: np.save(part, pixels, allow_pickle=False))
        return stored

    def _made(self) -> Tensor:
        blocks = _Blocks(images=self.images, cell=self.cell)
        workers = 0 if len(self.images.labels) <= FEW else min(MOST, cores())
        return torch.cat(list(in_workers(blocks, len(blocks), workers)))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Blocks(Dataset[Tensor]):
    """Corrupts :data:`BLOCK` images at a time."""

    images: ImageSet
    cell: Cell

    def __len__(self) -> int:
        return -(-len(self.images.labels) // BLOCK)

    def __getitem__(self, index: int) -> Tensor:
        rows = range(index * BLOCK, min((index + 1) * BLOCK, len(self.images.labels)))
        eight = eight_bits(self.images.pixels(list(rows)))
        side = min(eight.shape[-2:])
        require(side >= LEAST, f"corruptions of {self.images.name}", side, f"images of at least {LEAST} pixels a side")
        return torch.stack([self._one(x, self.images.ids[row]) for x, row in zip(eight, rows, strict=True)])

    def _one(self, x: Tensor, sample_id: str) -> Tensor:
        return corrupt(x, self.cell, corruption_seed(self.images.name, sample_id, self.cell))


def corruption_seed(task: str, sample_id: str, cell: Cell) -> int:
    """Return the 32-bit seed of an image's corruption."""
    return seed_for(0, "corruption", task, sample_id, cell.kind, cell.severity) % 2**32


def corrupt(x: Tensor, cell: Cell, seed: int) -> Tensor:
    """Return one image, uint8 [3, H, W], under one corruption; equal seeds give equal bytes."""
    package = library()
    image = np.ascontiguousarray(x.permute(1, 2, 0).numpy())
    own = {"seed": seed} if cell.kind in OWN_SEED else {}
    with _numpy_seeded(seed):
        made = package.corrupt(image, severity=cell.severity, corruption_name=cell.kind, **own)
    return torch.from_numpy(np.array(made, np.uint8)).permute(2, 0, 1).contiguous()


def eight_bits(pixels: Tensor) -> Tensor:
    """Return uint8 pixels as they are, floats in [0, 1] rounded to 8 bits."""
    return (pixels * 255).round().to(torch.uint8) if pixels.is_floating_point() else pixels


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Seed NumPy's global generator, which the package draws from, and restore its state afterwards."""
    with _LOCK:
        before = np.random.get_state()
        np.random.seed(seed)
        try:
            yield
        finally:
            np.random.set_state(before)


def _remembered(key: str, pixels: Tensor) -> Tensor:
    """Keep ``pixels`` for the next trial of this process, and drop the oldest beyond :data:`ROOM` bytes."""
    _RECENT[key] = pixels
    while sum(each.nbytes for each in _RECENT.values()) > ROOM:
        _RECENT.pop(next(iter(_RECENT)))
    return pixels


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _stored(file: Path, n: int) -> Tensor | None:
    """Return the pixels in a file; None where it is not there or cannot be read, so that they are made again."""
    try:
        pixels = np.load(file, mmap_mode="c", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    return torch.from_numpy(pixels) if pixels.dtype == np.uint8 and len(pixels) == n else None
