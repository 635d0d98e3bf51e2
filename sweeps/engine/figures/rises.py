"""The rise of uncertainty under attack over the attack's budget: a panel per attack, a line per row."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.analysis.rises import Rise, Rises
from sweeps.engine.figures.style import COLUMN, FAINT, PAGE, headed, legend_columns, line_style

ACROSS = 3


def rises_figure(found: Rises, setting: Sequence[str]) -> Figure:
    """Return a panel per attack; below 0 a model becomes surer under attack."""
    attacks = [attack for attack in found.attacks if found.under(attack)]
    labels = list(dict.fromkeys(row.label for row in found.rows))
    across = min(ACROSS, len(attacks))
    rows = math.ceil(len(attacks) / across)
    width = COLUMN if across == 1 else PAGE
    per_row = legend_columns(labels, width - 0.2, 6.3)
    foot = 0.72 + 0.13 * math.ceil(len(labels) / per_row)
    figure, top = headed(width, rows * 2.0 + (rows - 1) * 0.3 + foot, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(rows, across, left=0.55 / width, right=1 - 0.1 / width, bottom=foot / height,
                               top=top - 0.22 / height, wspace=0.12, hspace=0.35)  # fmt: skip
    first: Axes | None = None
    for i, attack in enumerate(attacks):
        axes = figure.add_subplot(grid[i // across, i % across], sharey=first)
        first = first or axes
        for row in found.under(attack):
            _draw(axes, row, labels.index(row.label))
        axes.axhline(0, color=FAINT, lw=0.7, zorder=1)
        axes.set_title(attack, fontsize=8, fontweight="bold", pad=3)
        budgets = sorted({255 * p.eps for row in found.under(attack) for p in row.points})
        axes.set_xticks(budgets, [f"{b:.3g}" for b in budgets])
        axes.set_xlabel("budget of the attack, eps × 255", labelpad=2)
        axes.tick_params(labelleft=i % across == 0)
        axes.set_ylabel("rise of the entropy, nats" if i % across == 0 else "", labelpad=2)
    handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=per_row, fontsize=6.3,
                  bbox_to_anchor=(0.5, 0.2 / height), borderaxespad=0, borderpad=0, labelspacing=0.3)  # fmt: skip
    words = "Attacked images only; bands: 95 % paired bootstrap over images. Below 0 a model is surer under attack."
    figure.text(0.5, 0.14 / height, words, ha="center", va="top", fontsize=6.0, color=FAINT)
    return figure


def _draw(axes: Axes, row: Rise, i: int) -> None:
    look = line_style(i)
    x = 255 * np.array([p.eps for p in row.points])
    if all(p.low is not None for p in row.points):
        low, high = (np.array([getattr(p, end) for p in row.points]) for end in ("low", "high"))
        axes.fill_between(x, low, high, color=look["color"], alpha=0.13, lw=0, zorder=2)
    axes.plot(x, [p.value for p in row.points], **look, zorder=3, label=row.label, mec="white", mew=0.3)
