"""The regret of replayed searches over the share of the grid's cost, and their hypervolume."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.analysis.searching.replay import Curve, Table, by_search
from sweeps.engine.analysis.stats import Array
from sweeps.engine.figures.style import COLUMN, FAINT, LINES, PAGE, headed
from sweeps.engine.format import counted

SIDE = 2.0  # height of a panel, in inches


def replay_figure(table: Table, curves: Sequence[Curve], setting: Sequence[str]) -> Figure:
    """Return a panel with the regret, and one with the hypervolume if two objectives were searched for."""
    two = any(curve.volume is not None for curve in curves)
    foot = 0.9
    figure, top = headed(PAGE if two else COLUMN, SIDE + foot, setting)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(1, 2 if two else 1, left=0.5 / width, right=1 - 0.1 / width, bottom=foot / height,
                               top=top - 0.08 / height, wspace=0.22)  # fmt: skip
    axes = figure.add_subplot(grid[0, 0])
    for i, curve in enumerate(curves):
        _draw(axes, curve.share, curve.regret, i, curve.search)
    axes.set_ylim(0, None)
    axes.set_ylabel("regret, points", labelpad=2)
    if two:
        second = figure.add_subplot(grid[0, 1])
        for i, curve in enumerate(curves):
            if curve.volume is not None:
                _draw(second, curve.share, 100 * curve.volume, i, curve.search)
        second.axhline(99, color=FAINT, lw=0.7, ls=(0, (1, 1.5)))
        second.set_ylim(0, 101)
        second.set_ylabel("hypervolume, % of the grid's", labelpad=2)
        second.set_xlabel("cost, % of the grid's", labelpad=2)
        second.set_xlim(0, 100)
    axes.set_xlim(0, 100)
    axes.set_xlabel("cost, % of the grid's", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), 4), bbox_to_anchor=(0.5, 0.32 / height),
                  fontsize=6.3, borderaxespad=0, borderpad=0, columnspacing=1.2)  # fmt: skip
    words = (
        f"Regret: {table.score} below the grid's best. Lines: median of {curves[0].repeats} replays;\n"
        "bands: 10th to 90th percentile."
    )
    figure.text(0.5, 0.05 / height, words, ha="center", fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure


def profile_figure(curves: Sequence[Sequence[Curve]]) -> Figure:
    """Return the performance profile of several grids: the share of replays that are done within a share of the cost.

    Dolan and More (2002), with the grid's whole cost as the unit.
    """
    foot = 0.72
    searches, grids = by_search(curves), counted(len(curves), "finished grid")
    words = f"{counted(curves[0][0].repeats, 'replay')} of each search on each grid; the grid's own order once"
    setting = [f"How soon does a search find 99 % of the best cell of {grids}?", words]
    figure, top = headed(COLUMN, SIDE + foot, setting)
    width, height = figure.get_size_inches()
    grid = figure.add_gridspec(1, 1, left=0.5 / width, right=1 - 0.1 / width, bottom=foot / height,
                               top=top - 0.08 / height)  # fmt: skip
    axes = figure.add_subplot(grid[0, 0])
    for i, own in enumerate(searches):
        reached = np.sort(np.concatenate([curve.near for curve in own]))
        done = 100 * np.arange(1, len(reached) + 1) / len(reached)
        ends = np.isfinite(reached)
        x = np.concatenate([[0.0], 100 * reached[ends], [100.0]])
        y = np.concatenate([[0.0], done[ends], [100 * ends.mean()]])
        axes.step(x, y, where="post", color=LINES[i % len(LINES)], lw=1.1, label=own[0].search)
    axes.set_xlim(0, 101)
    axes.set_ylim(0, 101)
    axes.set_xlabel("cost, % of the grid's", labelpad=2)
    axes.set_ylabel("replays that have found it, %", labelpad=2)
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=min(len(labels), 4), bbox_to_anchor=(0.5, 0.08 / height),
                  fontsize=6.3, borderaxespad=0, borderpad=0, columnspacing=1.2)  # fmt: skip
    return figure


def _draw(axes: Axes, share: Array, band: Array, i: int, name: str) -> None:
    colour = LINES[i % len(LINES)]
    axes.fill_between(100 * share, band[0], band[2], color=colour, alpha=0.13, lw=0, step="post")
    axes.step(100 * share, band[1], where="post", color=colour, lw=1.1, label=name)
