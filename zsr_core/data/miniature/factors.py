"""Scenes that differ in one visual factor alone: colour, texture, size, position, occlusion and others.

A factor has five levels. Image i shows the same object in the same scene at every level, so that two levels are
compared in pairs. These scenes are drawn from keys of their own: no training, selection or report image is among them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Final

import torch
from torch import Tensor

from zsr_core.data.miniature.scenes import (
    CLOUD_CELLS,
    CONTRASTS,
    FINE_SIZE,
    GAINS,
    MAX_NOISE,
    between,
    cells,
    clouded,
    draw,
    even_labels,
    keyed_generator,
    placed,
    premultiplied,
)
from zsr_core.data.miniature.sets import Vendor, known, rows_by_name, set_named

LEVELS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One scene's parts before they are composed; a factor changes one of them."""

    art: Tensor  # [4, S, S], premultiplied: the drawing
    other: Tensor  # [4, S, S]: the other vendor's drawing of the same object
    clutter: Tensor  # [K, 4, S, S]: drawings of other objects
    angle: float  # radians
    scale: float  # of the image's side
    shift: tuple[float, float]  # of the centre, in half image sides
    gains: Tensor  # [3], per colour channel
    background: Tensor  # [3, S, S] in [0, 1]
    direction: float  # radians, of a shift
    hide: float = 0.0  # share of the object's side that a grey bar covers
    copies: int = 1
    clutters: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Factored:
    """Images of one factor at one level. Shared between callers: read only."""

    images: Tensor  # uint8 [N, 3, S, S]
    labels: Tensor  # int64 [N], positions in the set's classes
    masks: Tensor  # bool [N, S, S], where an object of the class covers more than half of the pixel
    value: float  # what the level means, in the factor's own unit


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A visual factor: its values at levels 0 (easiest) to 4, their unit, and how a value changes a scene."""

    values: tuple[float, float, float, float, float]
    unit: str
    change: Callable[[Scene, float], Scene]


def _with(**changes: Callable[[Scene, float], Any]) -> Callable[[Scene, float], Scene]:
    def change(scene: Scene, value: float) -> Scene:
        return replace(scene, **{name: of(scene, value) for name, of in changes.items()})

    return change


def _hue(art: Tensor, degrees: float) -> Tensor:
    """Rotate the colours about the grey axis."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    third, cross = (1 - c) / 3, s / math.sqrt(3)
    rows = [[c + third, third - cross, third + cross], [third + cross, c + third, third - cross],
            [third - cross, third + cross, c + third]]  # fmt: skip
    turned = torch.einsum("ij,jhw->ihw", torch.tensor(rows), art[:3])
    return torch.cat([torch.minimum(turned.clamp(min=0), art[3:]), art[3:]])


def _striped(art: Tensor, amplitude: float) -> Tensor:
    """Stripes of six pixels over the object."""
    size = art.shape[-1]
    wave = (torch.arange(size) // 3 % 2 * 2 - 1).float() * amplitude
    colour = art[:3] + wave[None, None, :] * art[3:]
    return torch.cat([torch.minimum(colour.clamp(min=0), art[3:]), art[3:]])


# Ranges are ours: the first level is as easy as the easiest scenes of the sets, the last one leaves a person in doubt.
FACTORS: Final[Mapping[str, Factor]] = {
    "colour": Factor(
        values=(0, 36, 72, 108, 144), unit="degrees of hue", change=_with(art=lambda s, v: _hue(s.art, v))
    ),
    "texture": Factor(
        values=(0, 0.1, 0.2, 0.3, 0.4), unit="amplitude", change=_with(art=lambda s, v: _striped(s.art, v))
    ),
    "size": Factor(
        values=(1.0, 0.8, 0.65, 0.5, 0.38), unit="of the image's side",
        change=_with(scale=lambda s, v: v, shift=lambda s, v: (0.0, 0.0)),
    ),
    "position": Factor(
        values=(0, 0.15, 0.3, 0.45, 0.6), unit="half image sides",
        change=_with(shift=lambda s, v: (v * math.cos(s.direction), v * math.sin(s.direction))),
    ),
    "rotation": Factor(
        values=(0, 22.5, 45, 90, 180), unit="degrees",
        change=_with(angle=lambda s, v: math.copysign(math.radians(v), math.cos(s.direction))),
    ),
    "occlusion": Factor(values=(0, 0.15, 0.3, 0.45, 0.6), unit="of the side", change=_with(hide=lambda s, v: v)),
    "count": Factor(values=(1, 2, 3, 4, 5), unit="objects", change=_with(copies=lambda s, v: int(v))),
    "background": Factor(
        values=(0, 0.5, 1.0, 1.5, 2.0), unit="times the colours' range",
        change=_with(background=lambda s, v: (0.5 + v * (s.background - 0.5)).clamp(0, 1)),
    ),
    "clutter": Factor(values=(0, 1, 2, 3, 4), unit="other objects", change=_with(clutters=lambda s, v: int(v))),
    "style": Factor(
        values=(0, 0.25, 0.5, 0.75, 1.0), unit="share of the other drawing",
        change=_with(art=lambda s, v: (1 - v) * s.art + v * s.other),
    ),
}  # fmt: skip


def _spots(count: int) -> list[tuple[float, float]]:
    """Centres of ``count`` objects on a ring, in half image sides; one object stays in the middle."""
    if count == 1:
        return [(0.0, 0.0)]
    turns = [2 * math.pi * k / count for k in range(count)]
    return [(0.5 * math.cos(t), 0.5 * math.sin(t)) for t in turns]


def put(scene: Tensor, art: Tensor, angle: float, scale: float, shift: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Lay a drawing over a scene [3, S, S]; return the scene and the drawing's coverage [S, S]."""
    posed = placed(art[None], torch.tensor([angle]), torch.tensor([scale]), torch.tensor([shift]))[0]
    return posed[:3] + (1 - posed[3:]) * scene, posed[3]


def _composed(scene: Scene) -> tuple[Tensor, Tensor]:
    """Return the scene's image [3, S, S] in [0, 1] and the coverage [S, S] of objects of its class."""
    image, covered = scene.background, torch.zeros(scene.art.shape[-2:])
    for k in range(scene.clutters):
        turn = scene.direction + 2 * math.pi * k / len(scene.clutter)
        image, over = put(image, scene.clutter[k], 0.0, 0.35, (0.65 * math.cos(turn), 0.65 * math.sin(turn)))
    gained = torch.cat([scene.art[:3] * scene.gains[:, None, None], scene.art[3:]])
    for at in _spots(scene.copies):
        small = 1.0 if scene.copies == 1 else 0.5
        shift = (scene.shift[0] * small + at[0], scene.shift[1] * small + at[1])
        image, over = put(image, gained, scene.angle, scene.scale * small, shift)
        covered = torch.maximum(covered, over)
    if scene.hide:
        size = image.shape[-1]
        width = round(scene.hide * scene.scale * size)
        left = max(0, round(((scene.shift[0] + 1) * size - scene.scale * size) / 2))
        image, covered = image.clone(), covered.clone()
        image[:, :, left : left + width], covered[:, left : left + width] = 0.5, 0.0
    return image, covered


@lru_cache(maxsize=16)
def _strangers(name: str) -> list[int]:
    """Return the rows of the drawings that show none of a set's classes."""
    classes = set(set_named(name).classes)
    return [row for emoji, row in rows_by_name().items() if emoji not in classes]


def _scene(name: str, i: int, label: int, size: int) -> tuple[Scene, float, Tensor]:
    """Return image i's scene, its contrast and its noise [3, S, S]."""
    spec = set_named(name)
    generator = keyed_generator(name, "factors", "scene", i)
    uniforms, normals = draw(generator, 1, size)
    u = uniforms[0]
    vendors: tuple[Vendor, Vendor] = ("noto", "twemoji")
    other: Vendor = vendors[1] if spec.vendor == vendors[0] else vendors[0]
    row, strangers = rows_by_name()[spec.classes[label]], _strangers(name)
    chosen = torch.tensor([strangers[int(k)] for k in generator.integers(len(strangers), size=LEVELS - 1)])
    scale = float(between((0.75, 0.95), u[1]))
    scene = Scene(
        art=premultiplied(cells(spec.vendor, size)[row][None])[0],
        other=premultiplied(cells(other, size)[row][None])[0],
        clutter=premultiplied(cells(spec.vendor, size)[chosen]),
        angle=0.2 * float(2 * u[0] - 1),
        scale=scale,
        shift=((1 - scale) * float(2 * u[4] - 1), (1 - scale) * float(2 * u[5] - 1)),
        gains=between(GAINS, u[6:9]),
        background=clouded(u[None, 10:13], u[13:].reshape(1, 3, CLOUD_CELLS, CLOUD_CELLS), size)[0],
        direction=2 * math.pi * float(u[9]),
    )
    return scene, float(between(CONTRASTS, u[2])), float(MAX_NOISE * u[3]) * normals[0]


def _pixels(image: Tensor, contrast: float, noise: Tensor) -> Tensor:
    return ((0.5 + contrast * (image - 0.5) + noise).clamp(0, 1) * 255 + 0.5).to(torch.uint8)


@torch.no_grad()
def render_factor(
    name: str, factor: str, level: int, n: int, size: int = FINE_SIZE, *, first: int = 0, step: int = 1
) -> Factored:
    """Return ``n`` images of a set at one level of one factor: those numbered first, first + step and so on.

    Raises:
        ValueError: for an unknown set or factor, with the nearest, or a level outside 0 to 4.
    """
    known("factor", factor, tuple(FACTORS))
    if level not in range(LEVELS):
        raise ValueError(f"miniature: level {level} is not one of {list(range(LEVELS))}")
    return _render_factor(name, factor, level, range(first, first + step * n, step), size)


@lru_cache(maxsize=16)
def _render_factor(name: str, factor: str, level: int, numbers: range, size: int) -> Factored:
    row = FACTORS[factor]
    every = even_labels(name, "factors", len(set_named(name).classes), numbers[-1] + 1)
    labels = [every[i] for i in numbers]
    images, masks = [], []
    for i, label in zip(numbers, labels, strict=True):
        scene, contrast, noise = _scene(name, i, label, size)
        image, covered = _composed(row.change(scene, row.values[level]))
        images.append(_pixels(image, contrast, noise))
        masks.append(covered > 0.5)
    return Factored(
        images=torch.stack(images), labels=torch.tensor(labels), masks=torch.stack(masks), value=row.values[level]
    )
