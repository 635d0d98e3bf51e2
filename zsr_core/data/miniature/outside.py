"""Image sets of the miniature that are out of distribution (OOD): near ones, of the same art, and far ones.

``near_objects`` shows drawings that no other set holds, posed as theirs. ``far_patterns`` and ``far_noise`` show no
object at all. Each split has images of its own, and image i shows the same at both sizes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.data.miniature.scenes import (
    FINE_SIZE,
    IMAGE_SIZES,
    SIZES,
    Rendered,
    between,
    images_of,
    keyed_generator,
    render,
)
from zsr_core.data.miniature.sets import NEAR_SETS, known
from zsr_core.names import OodKind

UNIFORMS: Final = 16  # numbers in [0, 1) that fix a pattern
NOISE_CELLS: Final = 48  # a side; the largest number of cells of a noise image, so that both sizes show the same
FREQUENCIES: Final = (2.0, 9.0)  # periods across the image
CONTRASTS: Final = (0.45, 0.85)  # as of the scenes


# ---- patterns: coordinates (across, down) [S, S] in [0, 1), uniforms [UNIFORMS] -> share of the second colour [S, S]


def _wave(phase: Tensor) -> Tensor:
    """Return a soft square wave in [0, 1] with period 1."""
    return torch.sigmoid(6 * torch.sin(2 * math.pi * phase))


def _turned(x: Tensor, y: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return the coordinates rotated by a random angle and scaled to a random number of periods."""
    angle, periods = 2 * math.pi * float(u[0]), float(between(FREQUENCIES, u[1]))
    a, b = x - 0.5, y - 0.5
    return periods * (math.cos(angle) * a + math.sin(angle) * b), periods * (math.cos(angle) * b - math.sin(angle) * a)


def _stripes(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    return _wave(_turned(x, y, u)[0] + u[2])


def _checks(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    a, b = _turned(x, y, u)
    one, two = _wave(a + u[2]), _wave(b + u[3])
    return one + two - 2 * one * two


def _plaid(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    a, b = _turned(x, y, u)
    return (_wave(a + u[2]) + _wave(b + u[3])) / 2


def _dots(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    a, b = (coordinate % 1 - 0.5 for coordinate in _turned(x, y, u))
    return torch.sigmoid(30 * (between((0.15, 0.4), u[2]) - torch.hypot(a, b)))


def _rings(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    return _wave(between(FREQUENCIES, u[1]) * torch.hypot(x - u[2], y - u[3]) + u[4])


def _rays(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    turns = torch.atan2(y - 0.3 - 0.4 * u[3], x - 0.3 - 0.4 * u[2]) / (2 * math.pi)
    return _wave((3 + int(9 * u[1])) * turns + u[4])


def _ripples(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    a, b = _turned(x, y, u)
    return _wave(a + between((0.1, 0.6), u[2]) * torch.sin(2 * math.pi * (b / 3 + u[3])))


def _tiles(x: Tensor, y: Tensor, u: Tensor) -> Tensor:
    """Return rows of bricks: thin joints, every second row shifted by half a brick."""
    a, b = _turned(x, y, u)
    across = (a / 2 + 0.5 * (b.floor() % 2)) % 1
    joint = torch.minimum(torch.minimum(across, 1 - across) * 2, torch.minimum(b % 1, 1 - b % 1))
    return torch.sigmoid(40 * (joint - 0.08))


PATTERNS: Final[tuple[Callable[[Tensor, Tensor, Tensor], Tensor], ...]] = (
    _stripes, _checks, _plaid, _dots, _rings, _rays, _ripples, _tiles,
)  # fmt: skip


def _pattern(split: str, i: int, size: int) -> Tensor:
    u = torch.from_numpy(keyed_generator("far_patterns", split, i).random(UNIFORMS, dtype="float32"))
    at = (torch.arange(size) + 0.5) / size
    weight = PATTERNS[i % len(PATTERNS)](at[None, :].expand(size, size), at[:, None].expand(size, size), u)
    one, two = u[5:8, None, None], u[8:11, None, None]
    return _contrasted(one + weight[None] * (two - one), u[11])


# ---- noise


def _noise(split: str, i: int, size: int) -> Tensor:
    """Return noise of one kind: independent cells, clouds, black and white cells, or grey ones of one normal law."""
    generator = keyed_generator("far_noise", split, i)
    u = torch.from_numpy(generator.random(4, dtype="float32"))
    cells = int(2 ** between((3.0, math.log2(NOISE_CELLS)), u[0]))
    raw = torch.from_numpy(generator.random((3, cells, cells), dtype="float32"))
    kind = i % 4
    if kind == 2:
        raw = (raw[:1] < 0.2 + 0.6 * u[1]).float().expand(3, -1, -1)
    if kind == 3:
        raw = (0.5 + 0.25 * torch.erfinv((2 * raw[:1] - 1).clamp(-0.999, 0.999)) * math.sqrt(2)).expand(3, -1, -1)
    how = {"mode": "bilinear", "align_corners": False} if kind == 1 else {"mode": "nearest"}
    spread: Tensor = F.interpolate(raw[None].clamp(0, 1), size=(size, size), **how)[0]
    return _contrasted(spread, u[2])


def _contrasted(image: Tensor, uniform: Tensor) -> Tensor:
    return 0.5 + between(CONTRASTS, uniform) * (image - 0.5)


# ---- the sets

FAR: Final[Mapping[str, Callable[[str, int, int], Tensor]]] = {"far_patterns": _pattern, "far_noise": _noise}
OUTSIDE: Final[Mapping[str, OodKind]] = {**{spec.name: "near" for spec in NEAR_SETS}, **dict.fromkeys(FAR, "far")}


@torch.no_grad()
def render_outside(name: str, split: str, n: int | None = None, size: int = FINE_SIZE) -> Rendered:
    """Return the first ``n`` images of a split of a set that is out of distribution; labels are all 0.

    Without n: 96 images to select by, 256 to report, as of the other sets.

    Raises:
        ValueError: for an unknown set, split or size, with the nearest, or if ``n`` is below 1.
    """
    known("out-of-distribution set", name, tuple(OUTSIDE))
    known("split", split, tuple(SIZES))
    if size not in IMAGE_SIZES:
        raise ValueError(f"miniature: size {size} is not one of {list(IMAGE_SIZES)}")
    n = images_of(name, split, n)
    if name not in FAR:
        rendered = render(name, split, n, size)
        return replace(rendered, labels=torch.zeros_like(rendered.labels))
    return _far(name, split, n, size)


@lru_cache(maxsize=16)
def _far(name: str, split: str, n: int, size: int) -> Rendered:
    images = torch.stack([FAR[name](split, i, size) for i in range(n)])
    return Rendered(
        images=(images.clamp(0, 1) * 255 + 0.5).to(torch.uint8),
        labels=torch.zeros(n, dtype=torch.int64),
        masks=torch.zeros(n, size, size, dtype=torch.bool),
        ids=tuple(f"{name}/{split}/{i:05d}" for i in range(n)),
    )
