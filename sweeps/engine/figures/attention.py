"""Attention maps over their images: a row per image, a group of columns per kind of map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.figures.style import ACCENT, FAINT, INK, MAP, PAGE, headed

TITLES = {"text": "text-guided", "complementary": "complementary", "gradcam": "Grad-CAM"}
OVER = 0.55  # how much of the colour is the map's
GREY = np.array([0.299, 0.587, 0.114])  # luminance, ITU-R BT.601
Picture = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Map:
    """One map and what is beside it."""

    values: Picture  # [S, S] in [0, 1]
    below: Picture  # [S, S, 3], the image that it is a map of
    overlap: float | None  # soft IoU with the mask; None where there is none
    answer: str  # the class that the model gives the image


@dataclass(frozen=True, kw_only=True, eq=False)
class Seen:
    """One image and its maps, by (kind, model, "clean" or "attacked")."""

    image: Picture  # [S, S, 3] in [0, 1]
    name: str  # of its class
    mask: npt.NDArray[np.bool_] | None  # [S, S]
    maps: Mapping[tuple[str, str, str], Map]


def attention_figure(rows: Sequence[Seen], setting: Sequence[str]) -> Figure:
    """Return the page: the image with its mask's outline, then per kind of map every model clean and attacked."""
    kinds = list(dict.fromkeys(kind for kind, _, _ in rows[0].maps))
    columns = list(rows[0].maps)
    gap = 0.25  # of a tile, between groups
    tile = (PAGE - 0.2) / (1 + len(columns) + gap * len(kinds))
    step, head = tile + 0.24, 0.36  # inches down per row, and above the first
    figure, top = headed(PAGE, head + step * len(rows) + 0.1, setting)
    height = figure.get_figheight()

    def tile_at(across: float, row: int) -> Axes:
        bottom = top * height - head - step * row - tile
        return figure.add_axes((across / PAGE, bottom / height, 0.96 * tile / PAGE, tile / height))

    for i, seen in enumerate(rows):
        at = 0.1
        _draw(tile_at(at, i), seen.image, seen.mask, seen.name, "")
        for kind in kinds:
            at += gap * tile
            if i == 0:
                own = [c for c in columns if c[0] == kind]
                figure.text((at + tile * (1 + len(own) / 2)) / PAGE, top - 0.04 / height, TITLES[kind], ha="center",
                            va="top", fontsize=7.5, fontweight="bold")  # fmt: skip
            for _, model, state in (c for c in columns if c[0] == kind):
                at += tile
                one = seen.maps[kind, model, state]
                axes = tile_at(at, i)
                overlap = "" if one.overlap is None else f"{one.overlap:.2f}"
                _draw(axes, overlay(one), seen.mask, overlap, one.answer, wrong=one.answer != seen.name)
                if i == 0:
                    axes.set_title(f"{model}\n{state}", fontsize=5.2, pad=2, linespacing=1.1)
    return figure


def overlay(one: Map) -> Picture:
    """Return [S, S, 3]: the map in colour over the grey image."""
    grey = (one.below @ GREY)[..., None]
    return np.asarray((1 - OVER) * grey + OVER * MAP(one.values)[..., :3], np.float32)


def _draw(axes: Axes, picture: Picture, mask: Any, first: str, second: str, *, wrong: bool = False) -> None:
    axes.imshow(np.clip(picture, 0, 1), interpolation="nearest")
    if mask is not None:
        axes.contour(mask.astype(float), levels=[0.5], colors="white", linewidths=0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for text, down, size, colour in ((first, 2, 5.4, INK), (_short(second), 8.5, 4.6, ACCENT if wrong else FAINT)):
        axes.annotate(text, (0.5, 0), (0, -down), xycoords="axes fraction", textcoords="offset points", ha="center",
                      va="top", fontsize=size, color=colour)  # fmt: skip


def _short(name: str, most: int = 14) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"
