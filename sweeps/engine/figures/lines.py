"""Figures made of lines and bars: learning curves, robustness over the budget, slices, parallel axes, importance."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from sweeps.engine.analysis.curves import Curve, EpsCurve, Parallel, Slice
from sweeps.engine.analysis.importance import Importances
from sweeps.engine.figures.style import (
    ACCENT,
    COLUMN,
    FAINT,
    INK,
    LINES,
    MAP,
    PAGE,
    colour_range,
    crowded,
    draw_bar,
    headed,
    legend_columns,
    line_style,
    ticks,
)
from sweeps.engine.format import axis_label, leaf
from zsr_core.space import Domain, Real

NAMED = 7  # largest number of lines with a name and a colour; of more, the best are named and the rest are grey
GREY = "#c4c4c4"


def first_named(curves: Sequence[Curve], ranking: Sequence[str]) -> tuple[list[Curve], list[Curve]]:
    """Return (named, others): all curves if they are few, else the untouched model's and the first of ``ranking``."""
    if len(curves) <= NAMED:
        return list(curves), []
    place = {label: i for i, label in enumerate(ranking)}
    order = sorted(curves, key=lambda c: (c.role != "baseline", place.get(c.label, len(place))))
    names = {c.label for c in order[:NAMED]}
    return [c for c in curves if c.label in names], [c for c in curves if c.label not in names]


def learning_figure(
    columns: Sequence[tuple[str, Sequence[Curve]]], ranking: Sequence[str], setting: Sequence[str]
) -> Figure:
    """Return a panel per column of the training history over epochs, a line per configuration.

    ``ranking`` names the cells from the chosen one down; of many lines only the first few have a name and a colour.
    """
    panels = len(columns)
    across = min(panels, 3)
    rows = math.ceil(panels / across)
    width = COLUMN if across == 1 else PAGE
    named, others = first_named(columns[0][1], ranking)
    per_row = legend_columns([f"{c.label} (chosen)" for c in named], width - 0.2, 6.5)
    legend_rows = math.ceil((len(named) + bool(others)) / per_row)
    foot = 0.5 + 0.135 * legend_rows
    figure, top = headed(width, rows * 1.85 + (rows - 1) * 0.3 + foot, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(rows, across, left=0.52 / width, right=1 - 0.1 / width, bottom=foot / height,
                               top=top - 0.2 / height, wspace=0.3, hspace=0.32)  # fmt: skip
    names = [curve.label for curve in named]
    for i, (column, curves) in enumerate(columns):
        axes = figure.add_subplot(grid[i // across, i % across])
        for curve in curves:
            if curve.label not in names:
                axes.plot(curve.x, curve.mean, color=GREY, lw=0.6, zorder=1, marker=_dot(curve), ms=2)
        for curve in curves:
            if curve.label in names:
                _draw_curve(axes, curve, names.index(curve.label), curve.label == ranking[0])
        axes.set_title(column, fontweight="bold", fontsize=8, pad=3)
        axes.set_xlabel("epoch" if i + across >= panels else "", labelpad=2)
        last = max(curve.x[-1] for curve in curves)
        first = min(curve.x[0] for curve in curves)
        margin = 0.05 * (last - first) or 0.5
        axes.set_xlim(first - margin, last + margin)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
        axes.yaxis.set_major_locator(MaxNLocator(5))
    handles, labels = figure.axes[0].get_legend_handles_labels()
    if others:
        handles.append(figure.axes[0].plot([], [], color=GREY, lw=0.6)[0])
        labels.append(f"{len(others)} other configurations")
    figure.legend(handles, labels, loc="lower center", ncols=per_row, bbox_to_anchor=(0.5, 0.04 / height),
                  borderaxespad=0, borderpad=0, labelspacing=0.3, fontsize=6.5)  # fmt: skip
    return figure


def _dot(curve: Curve) -> str:
    return "o" if len(curve.x) == 1 else ""


def _draw_curve(axes: Axes, curve: Curve, i: int, chosen: bool, scale: float = 1.0) -> None:
    look = line_style(i)
    x = np.array(curve.x) * scale
    mean = np.array(curve.mean)
    deviation = np.array([s or 0.0 for s in curve.sd])
    if deviation.any():
        axes.fill_between(x, mean - deviation, mean + deviation, color=look["color"], alpha=0.15, lw=0, zorder=2)
    axes.plot(x, mean, **{**look, "linewidth": 1.8 if chosen else 1.1}, zorder=4 if chosen else 3,
              label=f"{curve.label} (chosen)" if chosen else curve.label, mec="white", mew=0.3)  # fmt: skip


def eps_figure(
    curves: Sequence[EpsCurve], best: str | None, setting: Sequence[str], chance: float | None = None
) -> Figure:
    """Return robust accuracy over the attack's budget, a line per configuration with its area in the legend.

    ``chance``: the accuracy of a guess, in percent, drawn as a thin line.
    """
    areas = {c.curve.label: c.auc for c in curves}
    order = sorted(areas, key=lambda label: (label != best, -areas[label]))
    named, others = first_named([c.curve for c in curves], order)
    entries = len(named) + bool(others)
    across = legend_columns([f"{c.label} (chosen): 00.0" for c in named], COLUMN - 0.1, 6.3)
    foot = 0.72 + 0.125 * math.ceil(entries / across)
    figure, top = headed(COLUMN, 2.35 + foot, setting)
    height = figure.get_figheight()
    axes = figure.add_axes((0.135, foot / height, 0.84, top - (foot + 0.05) / height))
    for curve in others:
        axes.plot(255 * np.array(curve.x), curve.mean, color=GREY, lw=0.6, zorder=1)
    drawn = sorted(named, key=lambda c: -areas[c.label])
    for i, curve in enumerate(drawn):
        _draw_curve(axes, curve, i, curve.label == best, scale=255)
    budgets = sorted({255 * x for c in curves for x in c.curve.x})
    axes.set_xticks(budgets, [f"{b:.3g}" for b in budgets])
    axes.set_xlim(-0.02 * budgets[-1], 1.02 * budgets[-1])
    axes.set_ylim(0, None)
    if chance is not None:
        axes.axhline(chance, color=FAINT, lw=0.8, ls=(0, (1, 1.5)), zorder=1)
        axes.text(1, chance, f"chance {chance:.1f} % ", transform=axes.get_yaxis_transform(), fontsize=6.0,
                  color=FAINT, ha="right", va="bottom")  # fmt: skip
    axes.set_xlabel("budget of the attack, eps × 255 (at 0: clean)", labelpad=2)
    axes.set_ylabel("accuracy, %", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    texts = [f"{label}: {areas[c.label]:.1f}" for label, c in zip(labels, drawn, strict=True)]
    if others:
        low, high = (f(areas[c.label] for c in others) for f in (min, max))
        handles.append(axes.plot([], [], color=GREY, lw=0.6)[0])
        texts.append(f"{len(others)} others: {low:.1f} to {high:.1f}")
    figure.legend(handles, texts, loc="lower center", bbox_to_anchor=(0.5, 0.07 / height), fontsize=6.3, ncols=across,
                  borderaxespad=0, borderpad=0, labelspacing=0.3, columnspacing=1.2)  # fmt: skip
    band = "; bands: sd over seeds" if any(any(c.curve.sd) for c in curves) else ""
    words = f"In the legend AUC_eps, in %: the mean accuracy over budgets\nfrom 0 to the largest{band}."
    figure.text(0.5, (foot - 0.39) / height, words, ha="center", va="top", fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure


def slices_figure(slices: Sequence[Slice], label: str, unit: str, chosen_label: str, setting: Sequence[str]) -> Figure:
    """Return a panel per weight: the score of every configuration over it, and the line through the chosen one."""
    across = min(len(slices), 3)
    rows = math.ceil(len(slices) / across)
    width = COLUMN if across == 1 else PAGE
    slanted = 0.2 if any(crowded(_marks(part)) for part in slices) else 0.0
    foot = 0.72 + slanted + (0.14 if across == 1 else 0.0)
    figure, top = headed(width, rows * 2.0 + (rows - 1) * (0.4 + slanted) + foot, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(rows, across, left=0.52 / width, right=1 - 0.1 / width, bottom=foot / height,
                               top=top - 0.08 / height, wspace=0.12, hspace=(0.4 + slanted) / 2)  # fmt: skip
    first: Axes | None = None
    for i, part in enumerate(slices):
        axes = figure.add_subplot(grid[i // across, i % across], sharey=first)
        first = first or axes
        _draw_slice(axes, part, chosen_label)
        axes.tick_params(labelleft=i % across == 0)
        axes.set_ylabel(f"{label}, {unit}" if i % across == 0 else "", labelpad=2)
    entries = {name: h for axes in figure.axes for h, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(list(entries.values()), list(entries), loc="lower center", ncols=2 if across == 1 else 4,
                  bbox_to_anchor=(0.5, 0.04 / height), borderaxespad=0, borderpad=0, labelspacing=0.3,
                  columnspacing=1.0, handletextpad=0.4, fontsize=6.3)  # fmt: skip
    return figure


def _draw_slice(axes: Axes, part: Slice, chosen_label: str) -> None:
    if part.log:
        axes.set_xscale("log")
    x, y = np.array(part.points).T
    axes.scatter(x, y, s=9, color=MAP(0.3), alpha=0.75, linewidths=0, zorder=2, label="configuration")
    if part.line:
        axes.plot(*np.array(part.line).T, color=ACCENT, lw=1.1, zorder=3, label="other weights as chosen")
    if part.chosen:
        axes.scatter(*part.chosen, s=70, marker="*", color=ACCENT, edgecolors="white", lw=0.5, zorder=5,
                     label=chosen_label)  # fmt: skip
    if part.published is not None and not (part.log and part.published <= 0):
        axes.axvline(part.published, color=INK, lw=0.8, ls=(0, (3, 2)), zorder=1, label="published")
    marks = _marks(part)
    at = [10**v if part.log else v for v, _ in marks]
    axes.xaxis.set_minor_locator(NullLocator())
    slanted: dict[str, Any] = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(at, [name for _, name in marks], **(slanted if crowded(marks) else {}))
    axes.set_xlabel(axis_label(part.path), labelpad=2)


def _marks(part: Slice) -> list[tuple[float, str]]:
    levels = sorted({x for x, _ in part.points})
    axis: Domain = Real(low=levels[0], high=levels[-1], log=part.log)
    return ticks(part.path, levels if len(levels) <= 6 else (), levels, axis, part.log)


def parallel_figure(data: Parallel, label: str, unit: str, setting: Sequence[str]) -> Figure:
    """Return every configuration as a line across the weights and the scores, coloured by the score ``label``.

    An axis is a band that holds its ticks, and lines run from band to band, so that no line crosses a label.
    """
    width = COLUMN if len(data.axes) <= 4 else PAGE
    figure, top = headed(width, 2.75, setting)
    height = figure.get_figheight()
    left, right = 0.14, width - 0.62
    axes = figure.add_axes((left / width, 0.5 / height, (right - left) / width, top - 0.62 / height))
    beside = figure.add_axes(((width - 0.47) / width, 0.5 / height, 0.09 / width, top - 0.75 / height))
    norm = colour_range(data.colours)
    halves = [
        max(len(name) for _, name in (*axis.ticks, (0.0, ""))) * LETTER / 2 + 0.06 for axis in data.axes
    ]  # inches
    places = band_places(halves, right - left)
    for heights, colour in zip(data.lines, data.colours, strict=True):
        _draw_across(axes, places, halves, heights, {"color": MAP(norm(colour)), "lw": 0.8, "alpha": 0.85, "zorder": 2})
    if data.best_last:
        _draw_across(axes, places, halves, data.lines[-1], {"color": ACCENT, "lw": 1.6, "zorder": 4})
    for axis, at, half in zip(data.axes, places, halves, strict=True):
        for edge in (at - half, at + half):
            axes.plot([edge, edge], [0, 1], color=INK, lw=0.6, zorder=3, clip_on=False)
        for h, name in axis.ticks:
            axes.plot([at - half, at - half + 0.03], [h, h], color=INK, lw=0.6, zorder=3)
            axes.plot([at + half - 0.03, at + half], [h, h], color=INK, lw=0.6, zorder=3)
            axes.text(at, h, name, fontsize=TICK, va="center", ha="center", zorder=5, clip_on=False)
    axes.set_xlim(0, right - left)
    axes.set_ylim(-0.04, 1.04)
    axes.set_xticks(places, [leaf(axis.label) for axis in data.axes], fontsize=6.8)
    axes.set_yticks([])
    for side in axes.spines.values():
        side.set_visible(False)
    axes.tick_params(length=0)
    draw_bar(figure, beside, norm, unit, inside=True)
    best = "; red: the best" if data.best_last else ""
    words = f"A line a configuration, coloured by {label}{best}."
    figure.text(0.5, 0.12 / height, words, ha="center", fontsize=6.3, color=FAINT)
    return figure


TICK, LETTER = 5.8, 0.051  # size of a tick's text in points, and the width of one of its letters in inches


def band_places(halves: Sequence[float], width: float) -> list[float]:
    """Return the middles of bands with these half widths, with equal gaps between them, over ``width`` inches."""
    gap = (width - 2 * sum(halves)) / max(len(halves) - 1, 1)
    return [2 * sum(halves[:i]) + half + i * gap for i, half in enumerate(halves)]


def _draw_across(
    axes: Axes, places: Sequence[float], halves: Sequence[float], heights: Sequence[float], look: dict[str, Any]
) -> None:
    """Draw a line from band to band; inside a band nothing is drawn."""
    for i in range(len(places) - 1):
        ends = [places[i] + halves[i], places[i + 1] - halves[i + 1]]
        axes.plot(ends, heights[i : i + 2], solid_capstyle="butt", **look)


def importance_figure(importances: Importances, label: str, setting: Sequence[str]) -> Figure:
    """Return both evaluators' shares per weight as bars, with their bootstrap intervals."""
    paths = importances.paths
    by_name = {(row.evaluator, row.path): row for row in importances.rows}
    lines = textwrap.wrap(importances.note(), 74)
    foot = 0.62 + 0.115 * len(lines)
    body = max(0.36 * len(paths), 0.7)
    figure, _ = headed(COLUMN, body + foot + 0.1, setting)
    height = figure.get_figheight()
    axes = figure.add_axes((0.25, foot / height, 0.71, body / height))
    for k, (evaluator, colour, hatch) in enumerate((("fANOVA", LINES[0], ""), ("PED-ANOVA", LINES[5], "////"))):
        rows = [by_name[evaluator, path] for path in paths]
        at = np.arange(len(rows)) + (k - 0.5) * 0.38
        shares = np.array([r.share for r in rows])
        error: Any = np.array([[r.share - r.low for r in rows], [r.high - r.share for r in rows]])
        axes.barh(at, shares, 0.36, color=colour, hatch=hatch, edgecolor="white", lw=0.4, label=evaluator, zorder=2)
        axes.errorbar(shares, at, xerr=error, fmt="none", ecolor=INK, elinewidth=0.8, capsize=1.8, zorder=3)
    axes.set_yticks(np.arange(len(paths)), [leaf(path) for path in paths])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel(f"share of importance for {label}", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, borderaxespad=0, borderpad=0,
                  bbox_to_anchor=(0.6, (foot - 0.38) / height), fontsize=6.5)  # fmt: skip
    figure.text(0.03, 0.06 / height, "\n".join(lines), fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure
