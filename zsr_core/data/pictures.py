"""One picture at a time: from a file or an array to a square of 8-bit RGB, as each paper prepares it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.data.levels import Extent, Kind, extent_in, in_eight_bits

Preprocessing = Literal["resize256_crop224", "resize224", "resize224_bicubic"]
# A picture longer than so many times its width is cut to that before it is resized: only its middle is kept anyway,
# and a line of 1 x 100 000 pixels would be blown up to gigabytes.
LONGEST = 16


class Pictures(Protocol):
    """N pictures that are decoded when asked for; a value, so that worker processes can be given it."""

    def __hash__(self) -> int: ...

    def place(self, row: int) -> str:
        """Return where the picture is, to name it in an error."""
        ...

    def read(self, row: int) -> Image.Image:
        """Return the picture in 8-bit RGB. Raises whatever the decoder does."""
        ...

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        """Return what changes when these pictures are written anew, for the names of files made from them."""
        ...


def shown(name: str) -> str:
    """Return a file's name as text that can be printed and stored: bytes that are no UTF-8 become ``\\xe9``."""
    return name if name.isascii() else name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def written(file: Path) -> int:
    """Return when the file was last changed, in nanoseconds; -1 of one that is not there."""
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return -1


@dataclass(frozen=True, kw_only=True)
class Files:
    """Image files: ``names`` are relative to ``base``."""

    base: Path
    names: tuple[str, ...]

    def place(self, row: int) -> str:
        return shown(str(self.base / self.names[row]))

    def read(self, row: int) -> Image.Image:
        with self.opened(row) as image:
            return rgb(image, self.extents)

    def opened(self, row: int) -> Image.Image:
        """Return the picture as its file has it."""
        return Image.open(self.base / self.names[row])

    @cached_property
    def extents(self) -> Extents:
        """The range of the stored numbers of all of them."""
        return Extents(count=len(self.names), opened=self.opened)

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return [written(self.base / self.names[row]) for row in rows]


@dataclass(frozen=True, kw_only=True, eq=False)
class Pixels:
    """An array in memory, uint8 [N, H, W, 3]."""

    array: np.ndarray
    source: str

    def place(self, row: int) -> str:
        return f"{self.source}[{row}]"

    def read(self, row: int) -> Image.Image:
        return Image.fromarray(self.array[row])

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return hashlib.blake2b(self.array.data, digest_size=8).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Binary:
    """A file of raw pixels, uint8 [N, 3, W, H]: column after column, as MATLAB and STL-10 keep them. Memory-mapped."""

    file: Path
    shape: tuple[int, int, int, int]

    def place(self, row: int) -> str:
        return f"{self.file}[{row}]"

    def read(self, row: int) -> Image.Image:
        return Image.fromarray(np.ascontiguousarray(_mapped(self.file, self.shape)[row].transpose(2, 1, 0)))

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return [written(self.file)]


@lru_cache(maxsize=8)
def _mapped(file: Path, shape: tuple[int, ...]) -> np.ndarray:
    return np.memmap(file, dtype=np.uint8, mode="r", shape=shape)


@dataclass(frozen=True, kw_only=True)
class Hdf5:
    """The data set ``x`` of an HDF5 file, uint8 [N, H, W, 3]; ``opener`` is h5py's, which only such sets need."""

    file: Path
    opener: Callable[..., Any]

    def place(self, row: int) -> str:
        return f"{self.file}[{row}]"

    def read(self, row: int) -> Image.Image:
        # Handles of HDF5 do not survive a fork: each process opens its own.
        return Image.fromarray(_opened(self.file, self.opener, os.getpid())["x"][row])

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return [written(self.file)]


@lru_cache(maxsize=4)
def _opened(file: Path, opener: Callable[..., Any], process: int) -> Any:
    return opener(file, "r")


class Extents:
    """The smallest and largest number of the pictures of a set, for each kind of numbers that it has."""

    def __init__(self, *, count: int, opened: Callable[[int], Image.Image]) -> None:
        self._count, self._opened = count, opened
        self._known: dict[Kind, Extent] = {}

    def __call__(self, kind: Kind) -> Extent:
        """Return the range of the numbers of this kind; pictures are looked at once."""
        if kind not in self._known:
            self._known[kind] = extent_in(kind, self._count, self._opened)
        return self._known[kind]


def rgb(image: Image.Image, extents: Callable[[Kind], Extent]) -> Image.Image:
    """Return the image in 8-bit RGB. Transparency is dropped; numbers of more bits are scaled as their set has them."""
    eight = in_eight_bits(image, extents)
    if eight is image and "transparency" in image.info:
        eight = image.convert("RGBA")
    return eight.convert("RGB")


def _shorter_side(image: Image.Image, side: int, filter: Image.Resampling) -> Image.Image:
    """torchvision's ``Resize(side)`` of a PIL image: the longer side is rounded down."""
    width, height = image.size
    if max(width, height) > LONGEST * min(width, height):
        image = _middle(image, min(width, LONGEST * height), min(height, LONGEST * width))
        width, height = image.size
    if width <= height:
        return image.resize((side, int(side * height / width)), filter)
    return image.resize((int(side * width / height), side), filter)


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """torchvision's ``CenterCrop``, whose halves are rounded to even."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


# To which length the shorter side is resized before the middle is cut out. A model of another size than 224 gets the
# same proportions.
SIDES: Mapping[Preprocessing, Callable[[int], int]] = {
    "resize256_crop224": lambda size: round(size * 256 / 224),
    "resize224": lambda size: size,
    "resize224_bicubic": lambda size: size,
}


def prepared(image: Image.Image, size: int, preprocessing: Preprocessing, filter: Image.Resampling) -> Image.Image:
    """Return the middle of the resized image, ``size`` x ``size`` pixels."""
    return _middle(_shorter_side(image, SIDES[preprocessing](size), filter), size, size)


PREPROCESSING: Mapping[str, Callable[[Image.Image, int], Image.Image]] = {
    # TeCoA, PMG-AFT, TGA-ZSR and UCAT: Resize(256), CenterCrop(224), bilinear.
    "resize256_crop224": lambda image, size: prepared(image, size, "resize256_crop224", Image.Resampling.BILINEAR),
    # AGFT: Resize(224), CenterCrop(224), bilinear. Of square pictures all is kept: TGA-ZSR's Resize((224, 224)).
    "resize224": lambda image, size: prepared(image, size, "resize224", Image.Resampling.BILINEAR),
    # CLIP's own, which FARE uses: Resize(224, bicubic), CenterCrop(224).
    "resize224_bicubic": lambda image, size: prepared(image, size, "resize224_bicubic", Image.Resampling.BICUBIC),
}


def to_tensor(image: Image.Image) -> Tensor:
    """Return the RGB picture as uint8 [3, H, W]."""
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()


def picture(pictures: Pictures, row: int) -> Image.Image:
    """Return one picture in 8-bit RGB.

    Raises:
        ConfigError: naming it, if it is missing, truncated or no image.
    """
    try:
        return pictures.read(row)
    except (
        Exception
    ) as error:  # decoders fail in more ways than can be listed; each error becomes one line with the place
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"root: {pictures.place(row)} cannot be read as an image ({reason})") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class Decoded:
    """Rows to pixels: uint8 [b, 3, S, S]; with ``preprocessing`` None the pictures keep their own size."""

    pictures: Pictures
    rows: Tensor  # [N], which of the pictures
    size: int
    preprocessing: Preprocessing | None

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return torch.stack([self._one(int(self.rows[row])) for row in rows])

    def _one(self, row: int) -> Tensor:
        image = picture(self.pictures, row)
        if self.preprocessing is not None:
            return to_tensor(PREPROCESSING[self.preprocessing](image, self.size))
        if image.size != (self.size, self.size):
            own = f"{image.width} x {image.height}"
            raise ConfigError(
                f"root: {self.pictures.place(row)} has {own} pixels, expected {self.size} x {self.size}: "
                "the native pictures of a set have one size"
            )
        return to_tensor(image)


def unreadable(pictures: Pictures, rows: Sequence[int]) -> list[int]:
    """Return those of ``rows`` whose picture cannot be decoded. Decodes every one of them, in threads."""

    def bad(row: int) -> bool:
        try:
            picture(pictures, row)
        except ConfigError:
            return True
        return False

    with ThreadPoolExecutor(max_workers=8) as pool:
        return [row for row, broken in zip(rows, pool.map(bad, rows), strict=True) if broken]
