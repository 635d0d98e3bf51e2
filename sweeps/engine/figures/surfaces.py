"""A score over two weights as panels: the cells of a grid as measured, or what lies between sampled points."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.tri import Triangulation

from sweeps.engine.analysis.interpolation import (
    CLIFF,
    Cliff,
    Field,
    cliffs,
    coordinates,
    gp_field,
    linear_field,
    measured,
    mesh,
    to_axis,
)
from sweeps.engine.analysis.panels import Panel
from sweeps.engine.analysis.surface import Point, Surface, edges
from sweeps.engine.figures.style import (
    ACCENT,
    COLUMN,
    FAILED,
    FAINT,
    INK,
    MAP,
    PAGE,
    SIGNED,
    colour_range,
    crowded,
    draw_bar,
    headed,
    legend_columns,
    limits,
    signed_range,
    text_colour,
    ticks,
)
from sweeps.engine.format import axis_label, published_text
from zsr_core.space import Domain

How = Literal["cells", "contour", "gp", "gp sd"]
PRINTED = 7  # grids up to 7 x 7 print each cell's value
MANY = 150  # scattered points, above which their marks shrink so that the surface is still seen
OPEN = "#f4f4f4"  # where nothing is known
DOTTED: dict[str, Any] = {"facecolor": "#ececec", "edgecolor": "#b0b0b0", "hatch": "......", "linewidth": 0.0}
LEVELS = 13  # colours of a contour


@dataclass(frozen=True, kw_only=True, eq=False)
class View:
    """One panel: a surface, how it is drawn, and in which colours."""

    title: str
    data: Surface
    how: How
    norm: Normalize
    colours: Colormap
    unit: str = "%"
    field: Field | None = None  # of a Gaussian process
    chosen: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Box:
    """Where a grid's cell is drawn, in drawn coordinates, and the point measured there, if one was."""

    left: float
    bottom: float
    width: float
    height: float
    point: Point | None


def views(found: Sequence[Panel], how: How, *, shared: bool, unit: str = "%") -> list[View]:
    """Return what is drawn of the panels, with one colour scale for all if ``shared``.

    ``gp`` gives two panels a surface, the mean and its sd; a difference with both signs has a scale centred on 0.
    """
    means = [[p.mean for p in _shown(panel.surface, how) if p.mean is not None] for panel in found]
    everywhere = [mean for part in means for mean in part]
    made = []
    for panel, own in zip(found, means, strict=True):
        title, data = panel.title, panel.surface
        norm, colours = _scale(everywhere if shared else own)
        field = gp_field(data) if how == "gp" else None
        made.append(View(title=title, how=how if how != "gp" or field else "contour", norm=norm, field=field, unit=unit,
                         colours=colours, data=data, chosen=panel.chosen))  # fmt: skip
        if field is not None and field.sd is not None:
            top = max(float(np.nanmax(field.sd)), 0.5)
            made.append(View(title=f"{title}: sd", how="gp sd", norm=Normalize(0, top), field=field, unit="points",
                             colours=MAP, data=data, chosen=panel.chosen))  # fmt: skip
    return made


def _scale(values: Sequence[float]) -> tuple[Normalize, Colormap]:
    if min(values, default=0.0) < 0 < max(values, default=0.0):
        return signed_range(values), SIGNED
    return colour_range(values), MAP


def _shown(data: Surface, how: How) -> tuple[Point, ...]:
    return (*data.points, *data.off_axis) if how == "cells" and data.is_grid else data.points


def surfaces_figure(
    shown: Sequence[View],
    domains: Mapping[str, Domain],
    crowned: str,
    setting: Sequence[str],
    note: str = "",
    threshold: float = CLIFF,
) -> Figure:
    """Return one panel a view: one fits a column, more stand up to three side by side on the width of a page."""
    pairs = any(view.how == "gp sd" for view in shown)  # a mean and its sd side by side
    columns = 2 if pairs else min(len(shown), 3)
    rows = math.ceil(len(shown) / columns)
    width = COLUMN if columns == 1 else PAGE
    slanted = 0.17 if any(crowded(x_ticks(view, domains)) for view in shown) else 0.0  # inches for slanted labels
    entries = _legend(shown, crowned if any(view.chosen for view in shown) else "", threshold)
    per_row = legend_columns([str(entry.get_label()) for entry in entries], width - 0.2)
    lines = textwrap.wrap(f"{caption(shown)} {note}".strip(), round(21 * width))
    side = {1: 2.3, 2: 2.35, 3: 1.83}[columns]  # of a panel, inches
    foot = 0.52 + slanted + 0.132 * math.ceil(len(entries) / per_row) + 0.125 * len(lines)
    body = rows * (side + 0.37) + (rows - 1) * (0.25 + slanted) + foot
    figure, top = headed(width, body, setting)
    height = figure.get_figheight()
    alike = len({tuple(y_ticks(view, domains)) for view in shown}) == 1  # else each panel names its own levels
    apart = (0.26 if columns == 2 else 0.2) + (0.0 if alike else 0.16)
    grid = figure.add_gridspec(rows, columns, left=0.68 / width, right=1 - (0.36 if columns == 1 else 0.27) / width,
                               top=top - 0.37 / height, bottom=foot / height, wspace=apart,
                               hspace=(0.62 + slanted) / side)  # fmt: skip
    for i, view in enumerate(shown):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        _draw(axes, view, threshold)
        _draw_marks(axes, view)
        _dress(axes, view, domains, first=i % columns == 0 or not alike, last=i + columns >= len(shown))
        draw_bar(figure, axes, view.norm, view.unit, view.colours)
    at = 0.08 + 0.125 * len(lines)
    tight: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0, "labelspacing": 0.3, "handletextpad": 0.4}
    figure.legend(handles=entries, loc="lower center", ncols=per_row, columnspacing=1.2,
                  bbox_to_anchor=(0.5, (at + 0.03) / height), **tight)  # fmt: skip
    figure.text(0.5, at / height, "\n".join(lines), ha="center", va="top", fontsize=6.3, color=FAINT, linespacing=1.3)
    return figure


def caption(shown: Sequence[View]) -> str:
    """Return how the panels were made from the points, and which points their axes cannot show."""
    data, how = shown[0].data, shown[0].how
    texts = [_way(shown[0])]
    failed = [p for view in shown for p in view.data.points if p.failed]
    if how == "cells" and data.is_grid:
        texts += ["Half hatched: some seeds failed."] if any(p.n for p in failed) else []
    elif failed and how != "gp":
        texts.append("Left open: around a failure.")
    if data.off_axis and not (how == "cells" and data.is_grid):
        off = [f"({p.x:g}, {p.y:g})" for p in data.off_axis]
        named = ", ".join(off) if len(off) <= 3 else f"{len(off)} points with a weight at 0"
        texts.append(f"Off the log axes, in the table: {named}.")
    return " ".join(texts)


def _way(view: View) -> str:
    if view.how == "cells" and view.data.is_grid:
        many = any(p.n > 1 for p in view.data.points)
        return f"Each cell is {'the mean of the seeds of ' if many else ''}one configuration, nothing is interpolated."
    if view.field is not None:
        return f"{view.field.how}; its sd beside it; nothing outside the points' hull."
    if view.data.is_grid:
        return "Bilinear interpolation between sampled cells, on the drawn axes; nothing beyond them."
    return "Linear interpolation between sampled points (Delaunay triangles on the drawn axes); nothing beyond."


def place(data: Surface, at: tuple[float, float]) -> tuple[float, float] | None:
    """Return where ``at`` is drawn; None for a value that a log axis does not have."""
    if (data.x_log and at[0] <= 0) or (data.y_log and at[1] <= 0):
        return None
    return (math.log10(at[0]) if data.x_log else at[0], math.log10(at[1]) if data.y_log else at[1])


def _draw(axes: Axes, view: View, threshold: float) -> None:
    if view.field is not None:
        _draw_field(axes, view, view.field)
    elif view.data.is_grid and view.how == "cells":
        _draw_cells(axes, view)
    elif view.data.is_grid:
        _draw_field(axes, view, linear_field(view.data, threshold))
        for cliff in cliffs(view.data, threshold):
            for box in beside(view.data, cliff):
                axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, zorder=1.5, **DOTTED))
    else:
        _draw_triangles(axes, view, threshold)


# A grid's cells.


def spans(levels: Sequence[float], log: bool, *, off: bool) -> list[tuple[float, float, float]]:
    """Return (level, low, high) of each level's strip as drawn; with ``off``, a strip for 0 apart from a log axis."""
    cuts = [math.log10(v) if log else v for v in edges(levels, log)]
    found = [(level, low, high) for level, low, high in zip(levels, cuts, cuts[1:], strict=False)]
    if off:
        width = cuts[1] - cuts[0]
        found.insert(0, (0.0, cuts[0] - 1.2 * width, cuts[0] - 0.2 * width))
    return found


def strips(data: Surface) -> tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]]:
    """Return :func:`spans` of both axes of a grid."""
    x_off = data.x_log and any(p.x <= 0 for p in data.off_axis)
    y_off = data.y_log and any(p.y <= 0 for p in data.off_axis)
    return spans(data.xs, data.x_log, off=x_off), spans(data.ys, data.y_log, off=y_off)


def boxes(data: Surface) -> list[Box]:
    """Return the cells of a grid, by rising y then x, those of a weight at 0 in strips of their own."""
    known = {(p.x, p.y): p for p in (*data.points, *data.off_axis)}
    columns, rows = strips(data)
    return [
        Box(left=left, bottom=bottom, width=right - left, height=top - bottom, point=known.get((x, y)))
        for y, bottom, top in rows
        for x, left, right in columns
    ]


def highest(view: View) -> Point | None:
    """Return the highest of the points that the panel shows, among those without a failure; the first of equals."""
    if view.data.optimum is None or view.how != "cells":
        return view.data.optimum
    rivals = [p for p in view.data.off_axis if p.mean is not None and not p.failed] if view.data.is_grid else []
    return max([view.data.optimum, *rivals], key=lambda p: -math.inf if p.mean is None else p.mean)


def _draw_cells(axes: Axes, view: View) -> None:
    found = boxes(view.data)
    printed = max(len(view.data.xs), len(view.data.ys)) <= PRINTED
    filled = [b for b in found if b.point is not None and b.point.mean is not None]
    corners = [[(b.left, b.bottom), (b.left + b.width, b.bottom), (b.left + b.width, b.bottom + b.height),
                (b.left, b.bottom + b.height)] for b in filled]  # fmt: skip
    values = np.array([b.point.mean for b in filled if b.point is not None], dtype=float)
    axes.add_collection(PolyCollection(corners, array=values, cmap=view.colours, norm=view.norm, edgecolors="white",
                                       linewidths=0.5))  # fmt: skip
    for box in found:
        _draw_cell(axes, box, view, printed)


def _draw_cell(axes: Axes, box: Box, view: View, printed: bool) -> None:
    point = box.point
    mean = None if point is None else point.mean
    if point is not None and point.failed:
        low = box.bottom + (0.0 if mean is None else box.height * 0.55)  # leaves a measured cell its number
        height = box.bottom + box.height - low
        axes.add_patch(Rectangle((box.left, low), box.width, height, fc=FAILED, ec=FAINT, hatch="/////", lw=0))
    elif mean is None:
        axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, fc="white", ec=FAILED, lw=0.5))
    if printed and mean is not None:
        axes.text(box.left + box.width / 2, box.bottom + box.height * 0.09, f"{mean:.1f}", ha="center", va="baseline",
                  fontsize=6.2, zorder=8, color=text_colour(view.norm(mean), view.colours))  # fmt: skip


# Between the points.


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


def _draw_field(axes: Axes, view: View, field: Field) -> None:
    values = field.sd if view.how == "gp sd" else field.value
    assert values is not None
    if min(values.shape) < 2 or not np.isfinite(values).any():
        return
    low, high = float(view.norm.vmin or 0), float(view.norm.vmax or 0)
    levels = np.linspace(low, high, LEVELS)
    corners = view.how != "contour"  # of a hull; a cell that is open is open to its corners
    shown = np.ma.masked_invalid(np.clip(values, low, high))
    axes.contourf(field.x, field.y, shown, levels=levels, cmap=view.colours, norm=view.norm, corner_mask=corners)
    axes.contour(field.x, field.y, shown, levels=levels[2:-1:3], colors="white", linewidths=0.4, alpha=0.7,
                 corner_mask=corners)  # fmt: skip


def _draw_triangles(axes: Axes, view: View, threshold: float) -> None:
    found = mesh(view.data, threshold)
    if found is None:
        return
    corners = np.stack([found.x, found.y], axis=1)[found.triangles[found.cliff & ~found.open]]  # [K, 3, 2]
    axes.add_collection(PolyCollection(list(corners), zorder=0.5, **DOTTED))
    hidden = found.open | found.cliff
    if hidden.all():
        return
    triangles = Triangulation(found.x, found.y, found.triangles)
    triangles.set_mask(hidden)
    levels = np.linspace(float(view.norm.vmin or 0), float(view.norm.vmax or 0), LEVELS)
    axes.tricontourf(triangles, found.z, levels=levels, cmap=view.colours, norm=view.norm)
    axes.tricontour(triangles, found.z, levels=levels[2:-1:3], colors="white", linewidths=0.4, alpha=0.7)


# Marks.


def _draw_marks(axes: Axes, view: View) -> None:
    data = view.data
    _draw_samples(axes, view)
    published = place(data, data.published) if data.published else None
    if published:
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors="white", linewidths=2.4, zorder=4)
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    best = highest(view)
    if best and view.how != "gp sd":
        axes.scatter(*star_place(view, best), s=52, marker="*", color="white", edgecolors=INK, linewidths=0.7, zorder=6)
    if view.chosen and (at := place(data, view.chosen)):
        _draw_winner(axes, view, view.chosen, at)


def _draw_samples(axes: Axes, view: View) -> None:
    data = view.data
    x, y = coordinates(data, measured(data))
    if view.how == "cells" and data.is_grid:
        if max(len(data.xs), len(data.ys)) <= 2 * PRINTED:
            axes.scatter(x, y, s=3, color="white", edgecolors=INK, linewidths=0.35, zorder=3)
        return
    z = np.array([p.mean for p in measured(data)], dtype=float)
    if view.how == "gp sd":
        axes.scatter(x, y, s=5, color="white", edgecolors=INK, linewidths=0.4, zorder=3)
    else:
        size, edge = (13.0, 0.6) if len(z) <= MANY else (3.0, 0.2)
        axes.scatter(x, y, c=z, cmap=view.colours, norm=view.norm, s=size, edgecolors="white", lw=edge, zorder=3)
    fx, fy = coordinates(data, [p for p in data.points if p.mean is None and p.failed])
    axes.scatter(fx, fy, s=14, marker="x", color=INK, linewidths=0.9, zorder=3)


def star_place(view: View, best_point: Point) -> tuple[float, float]:
    """Return where the best point's star goes: on the point, or in a grid above its cell's number."""
    if view.how == "cells" and view.data.is_grid:
        box = next(b for b in boxes(view.data) if b.point == best_point)
        return box.left + box.width / 2, box.bottom + 0.72 * box.height
    x, y = coordinates(view.data, [best_point])
    return float(x[0]), float(y[0])


def _draw_winner(axes: Axes, view: View, winner: tuple[float, float], at: tuple[float, float]) -> None:
    if view.how == "cells" and view.data.is_grid:
        box = next((b for b in boxes(view.data) if b.point and (b.point.x, b.point.y) == winner), None)
        if box is not None:
            axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, fc="none", ec=ACCENT, lw=1.6,
                                     zorder=7))  # fmt: skip
        return
    axes.scatter(*at, s=130, marker="o", facecolors="none", edgecolors=ACCENT, linewidths=1.4, zorder=7)


def _dress(axes: Axes, view: View, domains: Mapping[str, Domain], *, first: bool, last: bool) -> None:
    data = view.data
    known = data.baseline is not None and view.how != "gp sd"
    untouched = f"untouched model {data.baseline:.1f} {view.unit}" if known else ""
    size = 8.5 if len(view.title) < 26 else 7
    axes.set_title(view.title, pad=13 if untouched else 5, fontweight="bold", fontsize=size)
    axes.text(0.5, 1.03, untouched, transform=axes.transAxes, ha="center", fontsize=6.8, color=FAINT)
    axes.set_xlabel(axis_label(data.x) if last else "", labelpad=2)
    axes.set_ylabel(axis_label(data.y) if first else "", labelpad=2)
    x_marks, y_marks = x_ticks(view, domains), y_ticks(view, domains)
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks([v for v, _ in x_marks], [name for _, name in x_marks], **(slanted if crowded(x_marks) else {}))
    axes.set_yticks([v for v, _ in y_marks], [name if first else "" for _, name in y_marks])
    if data.is_grid:
        inner = (_inner(data.xs, data.x_log), _inner(data.ys, data.y_log))
        columns, rows = strips(data) if view.how == "cells" else inner
        axes.set_xlim(columns[0][1], columns[-1][2])
        axes.set_ylim(rows[0][1], rows[-1][2])
    else:
        axes.set_xlim(*limits([p.x for p in data.points], domains.get(data.x), data.x_log))
        axes.set_ylim(*limits([p.y for p in data.points], domains.get(data.y), data.y_log))
    axes.set_facecolor("white" if view.how == "cells" and data.off_axis else OPEN)


def _inner(levels: Sequence[float], log: bool) -> list[tuple[float, float, float]]:
    """The levels with a narrow margin, for a contour: it ends at the outermost samples."""
    low, high = limits(levels, None, log)
    return [(levels[0], low, high)]


def x_ticks(view: View, domains: Mapping[str, Domain]) -> list[tuple[float, str]]:
    """Return the ticks of the x axis; the strip of a weight at 0 is named 0."""
    data = view.data
    return _off_tick(view, 0) + ticks(_few(data.xs), [p.x for p in data.points], domains.get(data.x), data.x_log)


def y_ticks(view: View, domains: Mapping[str, Domain]) -> list[tuple[float, str]]:
    """Return the ticks of the y axis; the strip of a weight at 0 is named 0."""
    data = view.data
    return _off_tick(view, 1) + ticks(_few(data.ys), [p.y for p in data.points], domains.get(data.y), data.y_log)


def _off_tick(view: View, axis: int) -> list[tuple[float, str]]:
    if view.how != "cells" or not view.data.is_grid:
        return []
    return [((low + high) / 2, "0") for level, low, high in strips(view.data)[axis] if level == 0.0 and (
        view.data.x_log, view.data.y_log)[axis]]  # fmt: skip


def _few(levels: Sequence[float]) -> Sequence[float]:
    """Return a grid's levels to name: all, or every so many of a fine grid, so that about seven are."""
    return levels[:: max(1, math.ceil(len(levels) / 7))] if levels else levels


def _legend(shown: Sequence[View], crowned: str, threshold: float) -> list[Line2D | Patch]:
    points = [p for view in shown for p in view.data.points]
    dot: dict[str, Any] = {"color": "none", "markeredgecolor": INK, "linestyle": "none"}
    entries: list[Line2D | Patch] = [
        Line2D([], [], marker="o", ms=3, mfc="white", mew=0.5, label="sampled", **dot),
        Line2D([], [], marker="*", ms=8, mfc="white", mew=0.7, label="highest in the panel", **dot),
    ]
    data, how = shown[0].data, shown[0].how
    cells = data.is_grid and how == "cells"
    if crowned and cells:
        entries.append(Patch(fc="none", ec=ACCENT, lw=1.4, label=crowned))
    elif crowned:
        ring = {**dot, "markeredgecolor": ACCENT}
        entries.append(Line2D([], [], marker="o", ms=8, mfc="none", mew=1.3, label=crowned, **ring))
    if data.published:
        label = f"published ({published_text(dict(zip((data.x, data.y), data.published, strict=True)))})"
        entries.append(Line2D([], [], marker="D", ms=5, mfc="none", mew=1.1, label=label, **dot))
    if any(p.failed for p in points) and not cells:
        entries.append(Line2D([], [], marker="x", ms=4, label="failed", **dot))
    elif any(p.failed for p in points):
        entries.append(Patch(fc=FAILED, ec=FAINT, hatch="/////", lw=0, label="failed"))
    if how == "contour" and any(cliffs(view.data, threshold) for view in shown):
        entries.append(Patch(label=f"unresolved: neighbours over {threshold:g} points apart", **DOTTED))
    return entries
