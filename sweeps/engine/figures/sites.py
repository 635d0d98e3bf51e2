"""Scores by the site of the training perturbation: a panel per score, the budgets of each site side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.analysis.sites import SiteRow, Sites
from sweeps.engine.figures.style import COLUMN, FAINT, PAGE, headed, line_style
from sweeps.engine.study.objectives import Score

MOVED = ("pixel", "token", "embedding")
REFERENCES = (("none", "-"), ("untouched", ":"))


def sites_figure(found: Sites, setting: Sequence[str]) -> Figure:
    """Return a panel per score; the lines across are training without a perturbation and the untouched model."""
    across = min(2, len(found.scores))
    down = math.ceil(len(found.scores) / across)
    width = COLUMN if across == 1 else PAGE
    figure, top = headed(width, down * 1.85 + (down - 1) * 0.5 + 1.0, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(down, across, left=0.55 / width, right=1 - 0.1 / width, bottom=0.8 / height,
                               top=top - 0.22 / height, wspace=0.16, hspace=0.5)  # fmt: skip
    rows = [row for row in found.rows if row.site in MOVED]
    for i, score in enumerate(found.scores):
        _panel(figure.add_subplot(grid[i // across, i % across]), score, rows, found.rows)
    handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=5, fontsize=6.3,
                  bbox_to_anchor=(0.5, 0.22 / height), borderaxespad=0, borderpad=0)  # fmt: skip
    words = "Budgets of tokens and embeddings are shares of their length. Bars: 95 % bootstrap over images."
    figure.text(0.5, 0.16 / height, words, ha="center", va="top", fontsize=6.0, color=FAINT)
    return figure


def _panel(axes: Axes, score: Score, rows: Sequence[SiteRow], every: Sequence[SiteRow]) -> None:
    at = {id(row): x + 0.6 * MOVED.index(row.site) for x, row in enumerate(rows)}
    for i, site in enumerate(MOVED):
        own = [row for row in rows if row.site == site and score.name in row.points]
        if not own:
            continue
        points = [row.points[score.name] for row in own]
        x, y = [at[id(row)] for row in own], np.array([p.value for p in points])
        ends = np.array([[p.value if p.low is None else p.low, p.value if p.high is None else p.high] for p in points])
        look = line_style(i)
        spread = np.abs(ends.T - y)
        axes.errorbar(x, y, yerr=spread, ecolor=look["color"], elinewidth=0.8, fmt="none", zorder=2)
        axes.plot(x, y, **look, zorder=3, label=site, mec="white", mew=0.3)
    for name, dash in REFERENCES:
        point = next((row.points[score.name] for row in every if row.site == name and score.name in row.points), None)
        if point is not None:
            label = "no perturbation" if name == "none" else "untouched model"
            axes.axhline(point.value, color=FAINT, lw=0.9, ls=dash, zorder=1, label=label)
    axes.set_xticks(list(at.values()), [row.budget for row in rows], fontsize=6)
    axes.set_xlabel("budget of the training perturbation", labelpad=2)
    axes.set_title(score.title, fontsize=7, fontweight="bold", pad=3)
    axes.set_ylabel(score.unit or "value", labelpad=2)
