"""The contents and coordinates of a surface's panels, as values; :mod:`surfaces` draws them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.colors import Colormap, Normalize

from sweeps.engine.analysis.interpolation import Cliff, Field, coordinates, gp_field, to_axis
from sweeps.engine.analysis.noise import Noise
from sweeps.engine.analysis.panels import Panel
from sweeps.engine.analysis.surface import Point, Surface, edges
from sweeps.engine.figures.style import MAP, SIGNED, colour_range, limits, signed_range, ticks
from sweeps.engine.format import NBSP
from sweeps.engine.wording.study import hidden_range_text
from zsr_core.space import Domain

How = Literal["cells", "contour", "gp", "gp sd"]
ABREAST = 3  # largest number of panels side by side
LEVELS = 13  # limits between the colours of a contour
NAMED_LEVELS = 7  # approximate number of ticks on an axis of a fine grid
Strip = tuple[float, float, float]  # a level, and the two ends of its strip


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One panel: a surface, the way it is drawn, and its colours."""

    title: str
    data: Surface
    how: How
    norm: Normalize
    colours: Colormap
    unit: str = "%"
    field: Field | None = None  # only for a Gaussian process
    chosen: tuple[float, float] | None = None
    noise: Noise | None = None  # of the points

    @property
    def in_cells(self) -> bool:
        """Whether the panel shows the cells of a grid as measured."""
        return self.how == "cells" and self.data.is_grid

    @property
    def levels(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The values at which the colours of a contour change."""
        return np.linspace(float(self.norm.vmin or 0), float(self.norm.vmax or 0), LEVELS)


@dataclass(frozen=True, kw_only=True)
class Box:
    """A cell of a grid in drawn coordinates, and the point measured there, if any."""

    left: float
    bottom: float
    width: float
    height: float
    point: Point | None

    @property
    def corners(self) -> tuple[tuple[float, float], ...]:
        right, top = self.left + self.width, self.bottom + self.height
        return (self.left, self.bottom), (right, self.bottom), (right, top), (self.left, top)

    def upper(self, share: float) -> Box:
        """Return the box without its lower ``share``."""
        bottom = self.bottom + self.height * share
        return Box(left=self.left, bottom=bottom, width=self.width, height=self.bottom + self.height - bottom,
                   point=self.point)  # fmt: skip

    def middle_at(self, share: float) -> tuple[float, float]:
        """Return the point in the middle from left to right, at ``share`` of the height."""
        return self.left + self.width / 2, self.bottom + share * self.height


def views(panels: Sequence[Panel], how: How, *, shared: bool, unit: str = "%") -> list[View]:
    """Return the views of the panels, with one colour scale for all if ``shared``.

    A Gaussian process gives two views per surface, the mean and its sd: of up to :data:`ABREAST` panels all means come
    first. It smooths scattered points unless they are drawn as a ``contour``; too few of them are drawn as a contour
    too. A difference with both signs has a scale centred on 0.
    """
    means = [[p.mean for p in _shown(panel.surface, how) if p.mean is not None] for panel in panels]
    everywhere = [mean for part in means for mean in part]
    pairs = []
    for panel, own in zip(panels, means, strict=True):
        title, data = panel.title, panel.surface
        norm, colours = _scale(everywhere if shared else own)
        smoothed = how == "gp" or (how == "cells" and not data.is_grid)
        field = gp_field(data, panel.noise.errors() if panel.noise else None) if smoothed else None
        drawn: How = "gp" if field else "contour" if smoothed else how
        pair = [View(title=title, how=drawn, norm=norm, field=field, unit=unit, colours=colours, data=data,
                     chosen=panel.chosen, noise=panel.noise)]  # fmt: skip
        if field is not None and field.sd is not None:
            top = max(float(np.nanmax(field.sd)), 0.5)
            pair.append(View(title=f"{title}: sd", how="gp sd", norm=Normalize(0, top), field=field, unit="points",
                             colours=MAP, data=data, chosen=panel.chosen))  # fmt: skip
        pairs.append(pair)
    if len(pairs) > ABREAST:
        return [view for pair in pairs for view in pair]
    return [pair[i] for i in (0, 1) for pair in pairs if i < len(pair)]


def _scale(values: Sequence[float]) -> tuple[Normalize, Colormap]:
    if min(values, default=0.0) < 0 < max(values, default=0.0):
        return signed_range(values), SIGNED
    return colour_range(values), MAP


def _shown(data: Surface, how: How) -> tuple[Point, ...]:
    return (*data.points, *data.off_axis) if how == "cells" and data.is_grid else data.points


def caption(shown: Sequence[View]) -> str:
    """Return the caption: how the panels interpolate the points, and the points that their axes cannot show."""
    data, how = shown[0].data, shown[0].how
    texts = [_way(shown[0])]
    texts += [noise_text([view for view in shown if view.how == "gp"])] if how == "gp" else []
    failed = [p for view in shown for p in view.data.points if p.failed]
    if shown[0].in_cells:
        texts += ["Half hatched: some seeds failed."] if any(p.n for p in failed) else []
    elif failed and how != "gp":
        texts.append("Left open: around a failure.")
    texts += [range_text(view) for view in shown if hidden(view)]
    if data.off_axis and not shown[0].in_cells:
        off = [f"({p.x:g}, {p.y:g})" for p in data.off_axis]
        named = ", ".join(off) if len(off) <= 3 else f"{len(off)} points with a weight at 0"
        texts.append(f"Off the log axes, in the table: {named}.")
    return " ".join(texts)


def _way(view: View) -> str:
    if view.in_cells:
        many = any(p.n > 1 for p in view.data.points)
        return f"Each cell is {'the mean of the seeds of ' if many else ''}one configuration, nothing is interpolated."
    if view.field is not None:
        return f"{view.field.how} through the points, with its sd; nothing outside the points' hull."
    if view.data.is_grid:
        return "Bilinear interpolation between sampled cells, on the drawn axes; nothing beyond them."
    return "Linear interpolation between sampled points (Delaunay triangles on the drawn axes); nothing beyond."


def noise_text(shown: Sequence[View]) -> str:
    """Return the scatter of the points around each panel's Gaussian process, in points of score."""
    found = [(view.title.lower(), view.field.noise or 0.0) for view in shown if view.field is not None]
    each = [f"{title} ±{NBSP}{noise:.1f}" for title, noise in found if noise >= 0.05]
    return f"Scatter of the points around it (sd): {', '.join(each)} points." if each else ""


def hidden(view: View) -> bool:
    """Return whether the noise of a panel's points is as large as the range of their scores."""
    return range_text(view) != ""


def subtitle(view: View) -> list[str]:
    """Return the lines between a panel's title and the panel: what the scores stand beside, and if noise hides them."""
    data, lines = view.data, []
    if data.baseline is not None and view.how != "gp sd":
        name = "untouched model" if data.chance is None else "untouched"
        chance = "" if data.chance is None else f", chance {data.chance:.1f} {view.unit}"
        lines.append(f"{name} {data.baseline:.1f} {view.unit}{chance}")
    return [*lines, "range within noise"] if hidden(view) else lines


def range_text(view: View) -> str:
    """Return that the range of a panel's scores lies within the noise, with both numbers; else an empty text."""
    words = "" if view.noise is None else hidden_range_text(view.noise)
    return f"{view.title}: {words}" if words else ""


# Coordinates of points and cells.


def place(data: Surface, at: tuple[float, float]) -> tuple[float, float] | None:
    """Return the drawn coordinates of ``at``; None for a value that a log axis cannot show."""
    if (data.x_log and at[0] <= 0) or (data.y_log and at[1] <= 0):
        return None
    return (math.log10(at[0]) if data.x_log else at[0], math.log10(at[1]) if data.y_log else at[1])


def spans(levels: Sequence[float], log: bool, *, off: bool) -> list[Strip]:
    """Return each level's strip in drawn coordinates; with ``off``, also a separate strip for 0 beside a log axis."""
    cuts = [math.log10(v) if log else v for v in edges(levels, log)]
    strips_of_levels = [(level, low, high) for level, low, high in zip(levels, cuts, cuts[1:], strict=False)]
    if not off:
        return strips_of_levels
    width = cuts[1] - cuts[0]
    return [(0.0, cuts[0] - 1.2 * width, cuts[0] - 0.2 * width), *strips_of_levels]


def strips(data: Surface) -> tuple[list[Strip], list[Strip]]:
    """Return :func:`spans` of both axes of a grid."""
    x_off = data.x_log and any(p.x <= 0 for p in data.off_axis)
    y_off = data.y_log and any(p.y <= 0 for p in data.off_axis)
    return spans(data.xs, data.x_log, off=x_off), spans(data.ys, data.y_log, off=y_off)


def boxes(data: Surface) -> list[Box]:
    """Return the cells of a grid, by rising y, then x; cells with a weight at 0 are in separate strips."""
    known = {(p.x, p.y): p for p in (*data.points, *data.off_axis)}
    columns, rows = strips(data)
    return [
        Box(left=left, bottom=bottom, width=right - left, height=top - bottom, point=known.get((x, y)))
        for y, bottom, top in rows
        for x, left, right in columns
        if (x, y) in known or place(data, (x, y)) is not None  # a strip of 0 shows only cells that were planned
    ]


def box_at(data: Surface, at: tuple[float, float]) -> Box | None:
    """Return the cell of a grid that was measured at ``at``; None if none was."""
    return next((b for b in boxes(data) if b.point and (b.point.x, b.point.y) == at), None)


def beside(data: Surface, cliff: Cliff) -> list[Box]:
    """Return the rectangles between a grid's levels that have the cliff as a side."""
    i = [data.xs.index(cliff.a.x), data.xs.index(cliff.b.x)]
    j = [data.ys.index(cliff.a.y), data.ys.index(cliff.b.y)]
    along_x = i[0] != i[1]
    lefts = [min(i)] if along_x else [i[0] - 1, i[0]]
    lows = [j[0] - 1, j[0]] if along_x else [min(j)]
    xs, ys = to_axis(data.xs, data.x_log), to_axis(data.ys, data.y_log)
    return [
        Box(left=float(xs[a]), bottom=float(ys[b]), width=float(xs[a + 1] - xs[a]), height=float(ys[b + 1] - ys[b]),
            point=None)
        for a in lefts
        for b in lows
        if 0 <= a < len(xs) - 1 and 0 <= b < len(ys) - 1
    ]  # fmt: skip


def best_shown(view: View) -> Point | None:
    """Return the best point of the panel among those without a failure; the first in case of a tie."""
    if view.data.optimum is None or view.how != "cells":
        return view.data.optimum
    rivals = [p for p in view.data.off_axis if p.mean is not None and not p.failed] if view.data.is_grid else []
    return max([view.data.optimum, *rivals], key=lambda p: -math.inf if p.mean is None else view.data.sense * p.mean)


def star_place(view: View, best_point: Point) -> tuple[float, float]:
    """Return the position of the best point's star: on the point, or in a grid above its cell's number."""
    if view.in_cells:
        return next(b for b in boxes(view.data) if b.point == best_point).middle_at(0.72)
    x, y = coordinates(view.data, [best_point])
    return float(x[0]), float(y[0])


# Limits and ticks of the axes.


def ends(view: View, domains: Mapping[str, Domain]) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return (low, high) of both axes: a grid's strips, the outermost samples of a contour, or the domains."""
    data = view.data
    if view.in_cells:
        columns, rows = strips(data)
        return (columns[0][1], columns[-1][2]), (rows[0][1], rows[-1][2])
    if data.is_grid:
        return limits(data.xs, None, data.x_log), limits(data.ys, None, data.y_log)
    return (
        limits([p.x for p in data.points], domains.get(data.x), data.x_log),
        limits([p.y for p in data.points], domains.get(data.y), data.y_log),
    )


def x_ticks(view: View, domains: Mapping[str, Domain]) -> list[tuple[float, str]]:
    """Return the ticks of the x axis; the strip of a weight at 0 is named 0."""
    data = view.data
    values = [p.x for p in data.points]
    return _off_tick(view, 0) + ticks(data.x, _few(data.xs), values, domains.get(data.x), data.x_log)


def y_ticks(view: View, domains: Mapping[str, Domain]) -> list[tuple[float, str]]:
    """Return the ticks of the y axis; the strip of a weight at 0 is named 0."""
    data = view.data
    values = [p.y for p in data.points]
    return _off_tick(view, 1) + ticks(data.y, _few(data.ys), values, domains.get(data.y), data.y_log)


def _off_tick(view: View, axis: int) -> list[tuple[float, str]]:
    if not view.in_cells or not (view.data.x_log, view.data.y_log)[axis]:
        return []
    return [((low + high) / 2, "0") for level, low, high in strips(view.data)[axis] if level == 0.0]


def _few(levels: Sequence[float]) -> Sequence[float]:
    """Return the levels of a grid to label: all, or about :data:`NAMED_LEVELS` evenly chosen ones of a fine grid."""
    return levels[:: max(1, math.ceil(len(levels) / NAMED_LEVELS))] if levels else levels
