"""Clean against robust accuracy: a point per configuration, the Pareto front, and the growth of its hypervolume."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.engine.analysis.curves import Progress
from sweeps.engine.analysis.scores import CellScore, pareto
from sweeps.engine.analysis.stats import Interval, harmonic
from sweeps.engine.figures.style import ACCENT, COLUMN, FAINT, INK, LINES, MAP, MARKERS, headed, padded
from sweeps.engine.study.objectives import CLEAN, ROBUST, Score

HALF, LONGEST = 26, 56  # characters of a name that fit into half of the legend, and into its whole width
LANDMARKS = 6  # largest number of legend entries that are not configurations
NAMED = 18  # largest number of listed variants with a name per point in the legend
GREY = "#b5b5b5"
Bars = Mapping[str, Mapping[str, Interval]]  # by cell, then by score
NO_BARS: Bars = {}


def tradeoff_figure(
    cells: Sequence[CellScore],
    winner: CellScore | None,
    chosen_label: str,
    untouched: CellScore | None,
    published: Mapping[str, float],
    setting: Sequence[str],
    *,
    named: bool = False,
    bars: Bars = NO_BARS,
    chance: float | None = None,
) -> Figure:
    """Return clean against robust accuracy with the Pareto front and curves of equal harmonic mean.

    ``bars``: 95 % intervals of some cells by their names; without any, bars are the sd over seeds. ``named`` gives each
    point its own mark and name, as papers do with methods; else all look the same.
    """
    shown = [cell for cell in cells if measured(cell)]
    named = named and len(shown) <= NAMED
    across = 2 if not named or max((len(cell.cell) for cell in shown), default=0) <= HALF else 1
    rows = (len(shown) + LANDMARKS) / across if named else 0
    foot = 0.43 + 0.125 * math.ceil(rows) if named else 0.87
    figure, top = headed(COLUMN, 2.55 + foot, setting)
    height = figure.get_figheight()
    axes = figure.add_axes((0.145, foot / height, 0.825, top - (0.14 + foot) / height))
    box = frame(shown, untouched, bars)
    _draw_iso(axes, box)
    if named:
        _draw_named(axes, shown, bars)
    else:
        _draw_points(axes, shown, bars)
    _draw_front(axes, pareto(cells), box)
    _draw_winner(axes, winner, chosen_label, named)
    _draw_landmarks(axes, shown, untouched, published, box)
    _draw_chance(axes, chance, box)
    axes.set_xlim(box[0], box[1])
    axes.set_ylim(box[2], box[3])
    axes.set_xlabel("clean accuracy, %", labelpad=2)
    axes.set_ylabel("robust accuracy, %", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=across, bbox_to_anchor=(0.5, (foot - 0.39) / height),
                  handletextpad=0.4, columnspacing=1.0, borderaxespad=0, borderpad=0, labelspacing=0.3,
                  fontsize=6.3)  # fmt: skip
    return figure


def frame(
    shown: Sequence[CellScore], untouched: CellScore | None, bars: Bars = NO_BARS
) -> tuple[float, float, float, float]:
    """Return (left, right, bottom, top): limits for the cells with their bars, and the untouched model if near."""
    left, right = padded([v for cell in shown for v in ends(cell, CLEAN, bars)])
    bottom, top = padded([v for cell in shown for v in ends(cell, ROBUST, bars)])
    if untouched and measured(untouched):
        x, y = pair(untouched)
        wide, tall = 0.8 * (right - left), 0.8 * (top - bottom)
        near = left - wide < x < right + wide and bottom - tall < y < top + tall
        if near:
            left, right = padded([left, right, x], margin=0.04)
            bottom, top = padded([bottom, top, y], margin=0.04)
    return max(left, 0.0), min(right, 101.0), max(bottom, -0.5), min(top, 101.0)


def ends(cell: CellScore, score: Score, bars: Bars) -> tuple[float, ...]:
    """Return both ends of a cell's bar: its 95 % interval, or without ``bars`` its sd over seeds; () without a score.

    A cell without a bar has its score twice.
    """
    mean = cell.value(score.name)
    if mean is None:
        return ()
    if bars:
        interval = bars.get(cell.cell, {}).get(score.name)
        return (mean, mean) if interval is None else (min(interval.low, mean), max(interval.high, mean))
    sd = cell.sd(score.name) or 0.0
    return mean - sd, mean + sd


def measured(cell: CellScore) -> bool:
    """Return whether the cell has both a clean and a robust score."""
    return cell.value(CLEAN.name) is not None and cell.value(ROBUST.name) is not None


def pair(cell: CellScore) -> tuple[float, float]:
    """Return clean and robust accuracy, NaN where unknown."""
    x, y = cell.value(CLEAN.name), cell.value(ROBUST.name)
    return math.nan if x is None else x, math.nan if y is None else y


def _draw_iso(axes: Axes, box: tuple[float, float, float, float]) -> None:
    left, right, bottom, top = box
    clean, robust = np.meshgrid(np.linspace(max(left, 1e-3), right, 120), np.linspace(max(bottom, 1e-3), top, 120))
    lines = axes.contour(clean, robust, harmonic(clean, robust), levels=6, colors=GREY, linewidths=0.6, zorder=0.5)
    axes.clabel(lines, fmt="%g", fontsize=5.8, inline_spacing=2)
    axes.plot([], [], color=GREY, lw=0.6, label="equal harmonic mean of the two")


def _bars(axes: Axes, shown: Sequence[CellScore], bars: Bars) -> None:
    """Draw the cells' bars; with intervals only those of the cells that have one."""
    barred = [cell for cell in shown if cell.cell in bars] if bars else [cell for cell in shown if cell.n > 1]
    if not barred:
        return
    x, y = np.array([pair(cell) for cell in barred], dtype=float).T
    reach = [np.array([ends(cell, score, bars) for cell in barred]).T for score in (CLEAN, ROBUST)]  # [2][2, N]
    errors = [np.abs(each - middle) for each, middle in zip(reach, (x, y), strict=True)]
    some = " of the front" if bars and len(barred) < len(shown) else ""
    label = f"95 % intervals{some}" if bars else "sd over seeds"
    axes.errorbar(x, y, xerr=errors[0], yerr=errors[1], fmt="none", ecolor=FAINT, elinewidth=0.5, zorder=2,
                  label=label)  # fmt: skip


def _draw_points(axes: Axes, shown: Sequence[CellScore], bars: Bars = NO_BARS) -> None:
    _bars(axes, shown, bars)
    x, y = np.array([pair(cell) for cell in shown], dtype=float).T
    axes.scatter(x, y, s=13, color=MAP(0.3), edgecolors="white", linewidths=0.4, zorder=3, label="configuration")


def _draw_named(axes: Axes, shown: Sequence[CellScore], bars: Bars) -> None:
    _bars(axes, shown, bars)
    for i, cell in enumerate(shown):
        mark = MARKERS[(i + i // len(LINES)) % len(MARKERS)]  # another mark when colours repeat
        axes.scatter(*pair(cell), s=24, marker=mark, color=LINES[i % len(LINES)], edgecolors="white", linewidths=0.4,
                     zorder=3, label=textwrap.shorten(cell.cell, LONGEST, placeholder=" …"))  # fmt: skip


def _draw_front(axes: Axes, front: Sequence[CellScore], box: tuple[float, float, float, float]) -> None:
    if not front:
        return
    clean, robust = zip(*map(pair, front), strict=True)
    # Outline of the dominated area: horizontal left of the first cell, steps, vertical below the last cell.
    axes.plot([box[0], *clean, clean[-1]], [robust[0], *robust, box[2]], color=MAP(0.3), lw=1.0, drawstyle="steps-pre",
              zorder=2, label="Pareto front")  # fmt: skip


def _draw_winner(axes: Axes, winner: CellScore | None, chosen_label: str, named: bool) -> None:
    """Mark the chosen cell by a star; if points are named by a ring, because a star would hide the cell's mark."""
    if winner is None:
        return
    if named:
        axes.scatter(*pair(winner), s=95, facecolors="none", edgecolors=ACCENT, linewidths=1.3, zorder=6,
                     label=chosen_label)  # fmt: skip
    else:
        axes.scatter(*pair(winner), s=85, marker="*", color=ACCENT, edgecolors="white", lw=0.5, zorder=6,
                     label=chosen_label)  # fmt: skip


def _draw_landmarks(
    axes: Axes,
    shown: Sequence[CellScore],
    untouched: CellScore | None,
    published: Mapping[str, float],
    box: tuple[float, float, float, float],
) -> None:
    theirs = next((c for c in shown if published and all(c.overrides.get(k) == v for k, v in published.items())), None)
    if theirs:
        axes.scatter(*pair(theirs), s=48, marker="D", facecolors="none", edgecolors=INK, linewidths=1.0,
                     zorder=5, label="published weights")  # fmt: skip
    _draw_untouched(axes, untouched, box)


def _draw_chance(axes: Axes, chance: float | None, box: tuple[float, float, float, float]) -> None:
    """Draw the level of chance as a thin line across each axis that reaches it, and name it in the legend once."""
    if chance is None:
        return
    label = f"chance ({chance:.1f} %)"
    look: dict[str, Any] = {"color": FAINT, "lw": 0.8, "ls": (0, (1, 1.5)), "zorder": 1}
    if box[2] <= chance <= box[3]:
        axes.axhline(chance, label=label, **look)
        label = ""
    if box[0] <= chance <= box[1]:
        axes.axvline(chance, label=label, **look)


def _draw_untouched(axes: Axes, untouched: CellScore | None, box: tuple[float, float, float, float]) -> None:
    """Mark the untouched model, or write its scores above the panel if it lies beyond the axes."""
    if untouched is None or not measured(untouched):
        return
    x, y = pair(untouched)
    if box[0] <= x <= box[1] and box[2] <= y <= box[3]:
        axes.scatter(x, y, s=30, marker="s", color="white", edgecolors=INK, linewidths=1.0,
                     zorder=5, label="untouched model")  # fmt: skip
    else:
        words = f"untouched, beyond the axes: clean {x:.1f} %, robust {y:.1f} %"
        axes.text(0.5, 1.02, words, transform=axes.transAxes, fontsize=6.3, color=FAINT, ha="center")


def pareto_figure(
    progress: Progress,
    cells: Sequence[CellScore],
    winner: CellScore | None,
    chosen_label: str,
    setting: Sequence[str],
    untouched: CellScore | None = None,
    bars: Bars = NO_BARS,
) -> Figure:
    """Return two panels: the front, and below it the share of the square that it dominates after each cell."""
    foot, gap = 1.02, 0.5
    figure, top = headed(COLUMN, 3.75 + foot, setting)
    height = figure.get_figheight()
    lower = 1.1
    above = figure.add_axes((0.145, (foot + lower + gap) / height, 0.825, top - (foot + lower + gap + 0.16) / height))
    shown = [cell for cell in cells if measured(cell)]
    box = frame(shown, untouched, bars)
    _draw_points(above, shown, bars)
    _draw_front(above, progress.front, box)
    _draw_winner(above, winner, chosen_label, named=False)
    _draw_untouched(above, untouched, box)
    above.set(xlim=box[:2], ylim=box[2:])
    above.set_xlabel("clean accuracy, %", labelpad=2)
    above.set_ylabel("robust accuracy, %", labelpad=2)
    handles, labels = above.get_legend_handles_labels()
    figure.legend(handles, labels, loc="upper center", ncols=2, bbox_to_anchor=(0.5, (foot - 0.36) / height),
                  handletextpad=0.3, columnspacing=0.8, labelspacing=0.3, borderaxespad=0, borderpad=0,
                  fontsize=6.0)  # fmt: skip
    below = figure.add_axes((0.145, foot / height, 0.825, lower / height))
    steps = np.arange(1, len(progress.share) + 1)
    below.plot(steps, progress.share, color=MAP(0.3), lw=1.1, drawstyle="steps-post")
    below.scatter(steps, progress.share, s=6, color=MAP(0.3), zorder=3)
    below.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    below.yaxis.set_major_locator(MaxNLocator(5))
    below.set_xlabel("configurations finished", labelpad=2)
    below.set_ylabel("hypervolume, %", labelpad=2)
    low, high = min(progress.share), max(progress.share)
    below.set_ylim(low - 0.12 * ((high - low) or 1), high + 0.12 * ((high - low) or 1))
    words = (
        f"Share of the 100 % × 100 % square that the front dominates;\nlast raised by configuration {progress.settled}."
    )
    figure.text(0.5, 0.07 / height, words, ha="center", fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure
