"""Accuracy under common corruptions: a panel per row of the study, kinds down and severities across."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from sweeps.engine.analysis.shifts import CorruptionMap, Shown
from sweeps.engine.analysis.stats import Number
from sweeps.engine.figures.style import FAILED, FAINT, MAP, PAGE, colour_range, draw_bar, headed, text_colour
from zsr_core.data.shifts.kinds import Cell

ACROSS = 2
CELL = 0.165  # inches of a kind's line


def corruptions_figure(shown: Shown, setting: Sequence[str]) -> Figure:
    """Return the heatmaps on one scale of colours; right of each line stands the corruption error of its kind."""
    maps = shown.corruptions
    kinds = list(dict.fromkeys(cell.kind for each in maps for cell in each.accuracy))
    severities = sorted({cell.severity for each in maps for cell in each.accuracy})
    norm = colour_range([number.value for each in maps for number in each.accuracy.values()])
    across = min(ACROSS, len(maps))
    rows = math.ceil(len(maps) / across)
    figure, top = headed(PAGE, rows * (len(kinds) * CELL + 0.75) + 0.4, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(rows, across + 1, left=1.15 / PAGE, right=1 - 0.45 / PAGE, bottom=0.68 / height,
                               top=top - 0.42 / height, wspace=0.3, hspace=0.75 / (len(kinds) * CELL),
                               width_ratios=[1] * across + [0.035])  # fmt: skip
    for i, each in enumerate(maps):
        axes = figure.add_subplot(grid[i // across, i % across])
        _draw(axes, each, kinds, severities, norm)
        axes.tick_params(labelleft=i % across == 0)
    draw_bar(figure, figure.add_subplot(grid[0, across]), norm, "%", inside=True)
    words = (
        f"Accuracy in percent, without attack, {shown.images} images ({shown.split} split). Right: corruption error, "
        "the model's errors in percent of the untouched model's\non the same images, summed over severities; above 100 "
        "tuning made it worse. –: not measured, or the untouched model makes no error."
    )
    figure.text(0.5, 0.3 / height, words, ha="center", va="top", fontsize=6.3, color=FAINT, linespacing=1.3)
    return figure


def _draw(axes: Axes, each: CorruptionMap, kinds: Sequence[str], severities: Sequence[int], norm: Normalize) -> None:
    axes.set_facecolor(FAILED)
    for y, kind in enumerate(kinds):
        for x, severity in enumerate(severities):
            number = each.accuracy.get(Cell(kind=kind, severity=severity))
            if number is not None:
                share = float(norm(number.value))
                axes.fill_between([x - 0.5, x + 0.5], y - 0.5, y + 0.5, color=MAP(share), lw=0)
                axes.text(x, y, f"{number.value:.0f}", ha="center", va="center", fontsize=6, color=text_colour(share))
        axes.text(len(severities) - 0.35, y, _text(each.errors.get(kind)), va="center", fontsize=6)
    axes.text(len(severities) - 0.35, -0.8, "error", va="center", fontsize=6, color=FAINT)
    axes.set_xlim(-0.5, len(severities) - 0.5)
    axes.set_ylim(len(kinds) - 0.5, -0.5)
    axes.set_xticks(range(len(severities)), [str(s) for s in severities])
    axes.set_yticks(range(len(kinds)), [kind.replace("_", " ") for kind in kinds])
    axes.tick_params(length=0, labelsize=6.5, pad=2)
    axes.set_xlabel("severity", labelpad=1)
    axes.set_title(each.label, fontsize=7.5, fontweight="bold", pad=13, loc="left")
    words = f"accuracy {_text(each.mean_accuracy, 1)} %, mean corruption error {_text(each.mean_error, 1)} %"
    axes.text(0, 1 + 4 / (72 * CELL * len(kinds)), words, transform=axes.transAxes, fontsize=6.5)


def _text(number: Number | None, digits: int = 0) -> str:
    return "–" if number is None else f"{number.value:.{digits}f}"
