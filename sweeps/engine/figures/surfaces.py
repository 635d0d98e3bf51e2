"""A score over two weights as panels: the measured cells of a grid, or an interpolation between sampled points."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle
from matplotlib.tri import Triangulation

from sweeps.engine.analysis.interpolation import Field, cliffs, coordinates, linear_field, measured, mesh
from sweeps.engine.figures.style import ACCENT, FAILED, FAINT, INK, crowded, draw_bar, headed, text_colour
from sweeps.engine.figures.surface_layout import LEFT, Layout, layout
from sweeps.engine.figures.surface_views import (
    Box,
    View,
    beside,
    best_shown,
    box_at,
    boxes,
    caption,
    ends,
    place,
    star_place,
    subtitle,
    x_ticks,
    y_ticks,
)
from sweeps.engine.format import axis_label, published_text
from sweeps.engine.study.limits import CLIFF
from zsr_core.space import Domain

PRINTED = 7  # grids up to 7 x 7 print each cell's value
DOTS = 14  # grids up to 14 x 14 mark each sample
MANY = 150  # with more scattered points their marks are smaller, so that they do not hide the surface
NUMBER_AT, HATCHED_FROM = 0.09, 0.55  # shares of a cell's height: its number's baseline, the hatching's lower end
OPEN = "#f4f4f4"  # background, where no score is drawn
DOTTED: dict[str, Any] = {"facecolor": "#ececec", "edgecolor": "#b0b0b0", "hatch": "......", "linewidth": 0.0}
SLANTED: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
TIGHT: dict[str, Any] = {"borderaxespad": 0, "borderpad": 0, "labelspacing": 0.3, "handletextpad": 0.4}


def surfaces_figure(
    shown: Sequence[View],
    domains: Mapping[str, Domain],
    chosen_label: str,
    setting: Sequence[str],
    note: str = "",
    threshold: float = CLIFF,
) -> Figure:
    """Return one panel a view, with the chosen cell as ``chosen_label`` in the legend, and ``note`` in the caption."""
    entries = _legend(shown, chosen_label if any(view.chosen for view in shown) else "", threshold)
    names = [str(entry.get_label()) for entry in entries]
    plan = layout(shown, domains, names, f"{caption(shown)} {note}".strip())
    figure, top = headed(plan.width, plan.body, setting)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(plan.rows, plan.columns, left=LEFT / width, right=1 - plan.right / width,
                               top=top - plan.above / height, bottom=plan.foot / height, wspace=plan.wspace,
                               hspace=plan.hspace)  # fmt: skip
    for i, view in enumerate(shown):
        axes = figure.add_subplot(grid[i // plan.columns, i % plan.columns])
        _draw(axes, view, threshold)
        _draw_marks(axes, view)
        _dress(axes, view, domains, plan, first=plan.first_of_row(i) or not plan.alike,
               last=plan.last_of_column(i, len(shown)))  # fmt: skip
        draw_bar(figure, axes, view.norm, view.unit, view.colours)
    figure.legend(handles=entries, loc="lower center", ncols=plan.legend_columns, columnspacing=1.2,
                  bbox_to_anchor=(0.5, (plan.caption_top + 0.03) / height), **TIGHT)  # fmt: skip
    figure.text(0.5, plan.caption_top / height, "\n".join(plan.caption), ha="center", va="top", fontsize=6.3,
                color=FAINT, linespacing=1.3)  # fmt: skip
    return figure


def _draw(axes: Axes, view: View, threshold: float) -> None:
    if view.field is not None:
        _draw_field(axes, view, view.field)
    elif view.in_cells:
        _draw_cells(axes, view)
    elif view.data.is_grid:
        _draw_field(axes, view, linear_field(view.data, threshold))
        for cliff in cliffs(view.data, threshold):
            for box in beside(view.data, cliff):
                _fill(axes, box, zorder=1.5, **DOTTED)
    else:
        _draw_triangles(axes, view, threshold)


def _fill(axes: Axes, box: Box, **look: Any) -> None:
    axes.add_patch(Rectangle((box.left, box.bottom), box.width, box.height, **look))


# A grid's cells.


def _draw_cells(axes: Axes, view: View) -> None:
    cells = boxes(view.data)
    printed = max(len(view.data.xs), len(view.data.ys)) <= PRINTED
    filled = {b.corners: b.point.mean for b in cells if b.point is not None and b.point.mean is not None}
    values = np.array(list(filled.values()), dtype=float)
    axes.add_collection(PolyCollection([list(corners) for corners in filled], array=values, cmap=view.colours,
                                       norm=view.norm, edgecolors="white", linewidths=0.5))  # fmt: skip
    for box in cells:
        _draw_cell(axes, box, view, printed)


def _draw_cell(axes: Axes, box: Box, view: View, printed: bool) -> None:
    point = box.point
    mean = None if point is None else point.mean
    if point is not None and point.failed:
        hatched = box if mean is None else box.upper(HATCHED_FROM)  # leave a measured cell's number readable
        _fill(axes, hatched, fc=FAILED, ec=FAINT, hatch="/////", lw=0)
    elif mean is None:
        _fill(axes, box, fc="white", ec=FAILED, lw=0.5)
    if printed and mean is not None:
        axes.text(*box.middle_at(NUMBER_AT), f"{mean:.1f}", ha="center", va="baseline", fontsize=6.2, zorder=8,
                  color=text_colour(view.norm(mean), view.colours))  # fmt: skip


# Between the points.


def _draw_field(axes: Axes, view: View, field: Field) -> None:
    values = field.sd if view.how == "gp sd" else field.value
    assert values is not None
    if min(values.shape) < 2 or not np.isfinite(values).any():
        return
    levels = view.levels
    corners = view.how != "contour"  # cut corners only at a hull; an open cell of a contour stays open to its corners
    shown = np.ma.masked_invalid(np.clip(values, levels[0], levels[-1]))
    axes.contourf(field.x, field.y, shown, levels=levels, cmap=view.colours, norm=view.norm, corner_mask=corners)
    axes.contour(field.x, field.y, shown, levels=levels[2:-1:3], colors="white", linewidths=0.4, alpha=0.7,
                 corner_mask=corners)  # fmt: skip


def _draw_triangles(axes: Axes, view: View, threshold: float) -> None:
    net = mesh(view.data, threshold)
    if net is None:
        return
    corners = np.stack([net.x, net.y], axis=1)[net.triangles[net.cliff & ~net.open]]  # [K, 3, 2]
    axes.add_collection(PolyCollection(list(corners), zorder=0.5, **DOTTED))
    hidden = net.open | net.cliff
    if hidden.all():
        return
    triangles = Triangulation(net.x, net.y, net.triangles)
    triangles.set_mask(hidden)
    levels = view.levels
    axes.tricontourf(triangles, net.z, levels=levels, cmap=view.colours, norm=view.norm)
    axes.tricontour(triangles, net.z, levels=levels[2:-1:3], colors="white", linewidths=0.4, alpha=0.7)


# Marks.


def _draw_marks(axes: Axes, view: View) -> None:
    data = view.data
    _draw_samples(axes, view)
    published = place(data, data.published) if data.published else None
    if published:
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors="white", linewidths=2.4, zorder=4)
        axes.scatter(*published, s=24, marker="D", facecolors="none", edgecolors=INK, linewidths=1.1, zorder=5)
    best = best_shown(view)
    if best and view.how != "gp sd":
        axes.scatter(*star_place(view, best), s=52, marker="*", color="white", edgecolors=INK, linewidths=0.7, zorder=6)
    if view.chosen:
        _draw_chosen(axes, view, view.chosen)


def _draw_samples(axes: Axes, view: View) -> None:
    data = view.data
    x, y = coordinates(data, measured(data))
    if view.in_cells:
        if max(len(data.xs), len(data.ys)) <= DOTS:
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


def _draw_chosen(axes: Axes, view: View, chosen: tuple[float, float]) -> None:
    """Frame the chosen cell of a grid; elsewhere draw a ring around the chosen point, unless a log axis lacks it."""
    if view.in_cells:
        if (box := box_at(view.data, chosen)) is not None:
            _fill(axes, box, fc="none", ec=ACCENT, lw=1.6, zorder=7)
    elif (at := place(view.data, chosen)) is not None:
        axes.scatter(*at, s=130, marker="o", facecolors="none", edgecolors=ACCENT, linewidths=1.4, zorder=7)


# Axes and legend.


def _dress(axes: Axes, view: View, domains: Mapping[str, Domain], plan: Layout, *, first: bool, last: bool) -> None:
    """Write title, text below it, labels and ticks.

    Only the ``first`` panel of a row has y labels, and only the ``last`` row the x label.
    """
    data, below = view.data, subtitle(view)
    size = 8.5 if len(view.title) < 26 else 7
    axes.set_title(view.title, pad=5 + 8 * plan.lines, fontweight="bold", fontsize=size)
    below += [""] * (plan.lines - len(below))
    axes.text(0.5, 1.03, "\n".join(below), transform=axes.transAxes, ha="center", fontsize=6.8, color=FAINT)
    axes.set_xlabel(axis_label(data.x) if last else "", labelpad=2)
    axes.set_ylabel(axis_label(data.y) if first else "", labelpad=2)
    x_marks, y_marks = x_ticks(view, domains), y_ticks(view, domains)
    axes.set_xticks(
        [v for v, _ in x_marks], [name for _, name in x_marks], **(SLANTED if crowded(x_marks, plan.upright) else {})
    )
    axes.set_yticks([v for v, _ in y_marks], [name if first else "" for _, name in y_marks])
    x_ends, y_ends = ends(view, domains)
    axes.set_xlim(*x_ends)
    axes.set_ylim(*y_ends)
    axes.set_facecolor("white" if view.how == "cells" and data.off_axis else OPEN)


def _legend(shown: Sequence[View], chosen_label: str, threshold: float) -> list[Line2D | Patch]:
    points = [p for view in shown for p in view.data.points]
    dot: dict[str, Any] = {"color": "none", "markeredgecolor": INK, "linestyle": "none"}
    entries: list[Line2D | Patch] = [Line2D([], [], marker="o", ms=3, mfc="white", mew=0.5, label="sampled", **dot)]
    if any(best_shown(view) for view in shown):
        entries.append(Line2D([], [], marker="*", ms=8, mfc="white", mew=0.7, label="best in the panel", **dot))
    data, cells = shown[0].data, shown[0].in_cells
    if chosen_label and cells:
        entries.append(Patch(fc="none", ec=ACCENT, lw=1.4, label=chosen_label))
    elif chosen_label:
        ring = {**dot, "markeredgecolor": ACCENT}
        entries.append(Line2D([], [], marker="o", ms=8, mfc="none", mew=1.3, label=chosen_label, **ring))
    if data.published:
        label = f"published ({published_text(dict(zip((data.x, data.y), data.published, strict=True)))})"
        entries.append(Line2D([], [], marker="D", ms=5, mfc="none", mew=1.1, label=label, **dot))
    if any(p.failed for p in points) and not cells:
        entries.append(Line2D([], [], marker="x", ms=4, label="failed", **dot))
    elif any(p.failed for p in points):
        entries.append(Patch(fc=FAILED, ec=FAINT, hatch="/////", lw=0, label="failed"))
    if any(view.how == "contour" and cliffs(view.data, threshold) for view in shown):
        entries.append(Patch(label=f"unresolved: neighbours over {threshold:g} points apart", **DOTTED))
    return entries
