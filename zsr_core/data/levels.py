"""From stored numbers to 8 bits: which number is white, known by the format or by the set, never by one picture.

Formats of 8 bits say it themselves, and so do the 16-bit greys of PGM. Other files of 16 or 32 bits and floats do not:
a camera's 12 bits lie in 16-bit files, and floats reach to 1 or to 255. There the largest number of the set decides,
where it lies in the upper three quarters of one range alone; where it does not, the set is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

Kind = Literal["16-bit", "32-bit", "float", "16-bit colour"]
SAMPLED = 64  # pictures of a set whose numbers are looked at
FILLED = 0.25  # a range that is not filled to this share could be another one's dark pictures
RANGES = (255, 65535)
FLOAT_RANGES = (1, *RANGES)


class UnknownRange(ValueError):
    """Numbers of which nothing says which one is white."""


@dataclass(frozen=True, kw_only=True)
class Extent:
    """The smallest and the largest number of some pictures."""

    low: float
    high: float

    def __str__(self) -> str:
        return f"values from {self.low:.6g} to {self.high:.6g}"


def kind_of(image: Image.Image) -> Kind | None:
    """Return what kind of numbers the picture has, read from its header; None of 8 bits."""
    if image.mode == "F":
        return "float"
    if image.mode.startswith("I;16"):
        return "16-bit"
    if image.mode == "I":
        return "16-bit" if image.format == "PNG" else "32-bit"
    if image.format not in ("PNG", "TIFF"):
        return None
    raw = [str(word) for tile in getattr(image, "tile", ()) for word in _words(tile[3])]
    return "16-bit colour" if any(";16" in word for word in raw) else None


def _words(entry: object) -> tuple[object, ...]:
    return entry if isinstance(entry, tuple) else (entry,)


def in_eight_bits(image: Image.Image, extent: Callable[[Kind], Extent]) -> Image.Image:
    """Return a picture of any mode with 8 bits a channel.

    Args:
        image: as it was opened; its pixels may not have been read yet.
        extent: the numbers of the set that have the kind which is asked for.

    Raises:
        UnknownRange: with the values, where neither the format nor the set says which number is white.
    """
    kind = kind_of(image)
    if kind is None:
        return image
    if kind == "32-bit" and image.format == "PPM":  # PIL has scaled it to 16 bits by the range in its header
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    own = _extent_of(image)
    white = _white(kind, own, extent(kind))
    if kind == "16-bit colour" or (kind == "float" and white == 255):
        return image  # PIL keeps the upper 8 bits of a wide channel, and takes floats as they are
    numbers = np.asarray(image)
    if kind == "float":
        return Image.fromarray((numbers * np.float64(255 / white) + 0.5).astype(np.uint8))
    return Image.fromarray((numbers >> 8 if white > 255 else numbers).astype(np.uint8))


def _white(kind: Kind, own: Extent, of_set: Extent) -> float:
    """Return the number that is white: 1, 255 or 65535. The set decides, and the picture must be within."""
    white = _white_of(kind, of_set)
    if white is None or not (own.low >= 0 and own.high <= white):
        ranges = "0 to 1, to 255 or to 65535" if kind == "float" else "0 to 65535"
        raise UnknownRange(
            f"{kind} {own}, in a set with {of_set}: nothing says which value is white; expected 8 bits, or a set that "
            f"fills {ranges}"
        )
    return white


def _white_of(kind: Kind, of_set: Extent) -> float | None:
    if of_set.low < 0:
        return None
    if of_set.high == 0:
        return None if kind == "16-bit colour" else 255  # of colour, 8 bits in a wider file look black too
    if kind in ("16-bit", "32-bit") and of_set.high <= 255:
        return 255  # 8 bits in a wider file
    ranges = FLOAT_RANGES if kind == "float" else RANGES[1:]
    return next((top for top in ranges if FILLED * top < of_set.high <= top), None)


def _extent_of(image: Image.Image) -> Extent:
    """Return the picture's numbers without its transparency; of 16-bit colour as far as PIL keeps them."""
    numbers = np.asarray(image)
    if image.mode in ("RGBA", "LA"):
        numbers = numbers[..., :-1]
    if numbers.size == 0:
        return Extent(low=0, high=0)
    wide = 257 if numbers.dtype == np.uint8 else 1
    return Extent(low=float(numbers.min()) * wide, high=float(numbers.max()) * wide)


def extent_in(kind: Kind, count: int, opened: Callable[[int], Image.Image]) -> Extent:
    """Return the numbers of this kind in a set of ``count`` pictures, of which evenly spaced ones are looked at.

    Pictures that cannot be read are passed over here, because reading one raises its own error.
    """
    step = max(1, -(-count // SAMPLED))
    for rows in (range(0, count, step), range(count)):
        seen = [one for one in _extents(kind, rows, opened) if math.isfinite(one.low) and math.isfinite(one.high)]
        if any(one.high > 0 for one in seen):  # black pictures say nothing
            return Extent(low=min(one.low for one in seen), high=max(one.high for one in seen))
    return Extent(low=0, high=0)


def _extents(kind: Kind, rows: range, opened: Callable[[int], Image.Image]) -> Iterator[Extent]:
    for row in rows:
        try:
            with opened(row) as image:
                if kind_of(image) == kind:
                    yield _extent_of(image)
        except Exception:  # decoders fail in more ways than can be listed
            continue
