"""Images of the miniature in which one visual factor is changed, as sets that can be evaluated."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from zsr_core.codec import ConfigError, fingerprint, require, unknown
from zsr_core.data.miniature.factors import FACTORS, LEVELS, render_factor
from zsr_core.data.open import ImageSet

EVERY = "all"
USUAL = 64  # images of each level, where the suite does not say how many
PLAIN = ("background", 2)  # a factor and a level at which the scene is as it was drawn


def factors_of(names: Sequence[str], field: str = "factors") -> tuple[str, ...]:
    """Return the factors that ``names`` stand for, each once, in their order; "all" is every one.

    Raises:
        ConfigError: naming ``field``, for an unknown factor, with the nearest.
    """
    for name in names:
        if name not in FACTORS and name != EVERY:
            raise unknown(field, name, (*FACTORS, EVERY))
    return tuple(factor for factor in FACTORS if factor in names or EVERY in names)


def factor_set(images: ImageSet, factor: str, level: int, n: int, size: int) -> ImageSet:
    """Return ``n`` scenes of a miniature set at one level, 1 (easiest) to 5, of one factor.

    Every factor and level shows the same objects in the same scenes. The selection split has scenes of its own.
    """
    require(level in range(1, LEVELS + 1), "level", level, f"1 to {LEVELS}")
    return _set(images, factor, level - 1, n, size, "factor")


def unchanged_set(images: ImageSet, n: int, size: int) -> ImageSet:
    """Return the same scenes with no factor changed."""
    return _set(images, *PLAIN, n, size, "unchanged")


def _set(images: ImageSet, factor: str, level: int, n: int, size: int, called: str) -> ImageSet:
    step, first = 2, int(images.split != "selection")
    try:
        drawn = render_factor(images.name, factor, level, n, size, first=first, step=step)
    except ValueError as error:
        raise ConfigError(f"factors: {error}") from None
    ids = tuple(f"{images.name}/factors/{i:05d}" for i in range(first, first + step * n, step))
    pixels = hashlib.blake2b(drawn.images.contiguous().numpy().data, digest_size=8).hexdigest()
    key = fingerprint(["factor", images.name, called, factor, level, list(ids), size, pixels])
    return replace(
        images, ids=ids, labels=drawn.labels, key=key, pixels=lambda rows: drawn.images[list(rows)], in_memory=True
    )
