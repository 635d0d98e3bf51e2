"""Profiles of visual factors: the gap over the levels of each factor; of a set without levels the ratio of errors."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.analysis.shifts import FactorProfile, Shown
from sweeps.engine.figures.style import FAINT, PAGE, headed, legend_columns, line_style

ACROSS = 5


def factors_figure(shown: Shown, setting: Sequence[str]) -> Figure:
    """Return a panel per factor with a line per row of the study; without levels one panel with a point per factor."""
    levels = any(level is not None for each in shown.factors for _, level in each.gaps)
    return _by_level(shown, setting) if levels else _by_factor(shown, setting)


def _by_level(shown: Shown, setting: Sequence[str]) -> Figure:
    factors = list(dict.fromkeys(factor for each in shown.factors for factor, _ in each.gaps))
    across = min(ACROSS, len(factors))
    rows = math.ceil(len(factors) / across)
    figure, top, foot = _begun(shown, setting, rows * 1.45)
    height = figure.get_figheight()
    grid = figure.add_gridspec(rows, across, left=0.5 / PAGE, right=1 - 0.1 / PAGE, bottom=foot / height,
                               top=top - 0.25 / height, wspace=0.12, hspace=0.38)  # fmt: skip
    first: Axes | None = None
    for i, factor in enumerate(factors):
        axes = figure.add_subplot(grid[i // across, i % across], sharey=first)
        first = first or axes
        for k, each in enumerate(shown.factors):
            _line(axes, each, factor, k)
        axes.axhline(0, color=FAINT, lw=0.7, zorder=1)
        axes.set_title(factor, fontsize=8, fontweight="bold", pad=3)
        axes.tick_params(labelleft=i % across == 0, labelbottom=i + across >= len(factors))
        axes.set_ylabel("factor gap, points" if i % across == 0 else "", labelpad=2)
        axes.set_xlabel("level" if i + across >= len(factors) else "", labelpad=2)
        axes.set_xticks(range(1, 6))
    words = (
        "Factor gap: accuracy where the factor is changed minus accuracy of the same scenes unchanged, without attack; "
        f"bands: 95 % paired bootstrap over images.\n{shown.images} images a level ({shown.split} split). "
        "Level 1 is the easiest; zsr_core/data/miniature/factors.py says what each level is."
    )
    return _ended(figure, words)


def _line(axes: Axes, each: FactorProfile, factor: str, k: int) -> None:
    found = {level: n for (name, level), n in each.gaps.items() if name == factor and level is not None}
    x, numbers = sorted(found), [found[level] for level in sorted(found)]
    look = line_style(k)
    # An interval that does not exist, because all draws agree, has no width.
    low, high = (
        np.array([n.value if (e := getattr(n, end)) is None else e for n in numbers]) for end in ("low", "high")
    )
    axes.fill_between(x, low, high, color=look["color"], alpha=0.13, lw=0, zorder=2)
    axes.plot(x, [n.value for n in numbers], **look, zorder=3, label=each.label, mec="white", mew=0.3)


def _by_factor(shown: Shown, setting: Sequence[str]) -> Figure:
    factors = list(dict.fromkeys(factor for each in shown.factors for factor in each.ratios))
    factors.sort(key=lambda name: -max(each.ratios[name].value for each in shown.factors if name in each.ratios))
    step = 0.09 * len(shown.factors) + 0.12
    figure, top, foot = _begun(shown, setting, len(factors) * step + 0.3)
    height = figure.get_figheight()
    axes = figure.add_axes((1.3 / PAGE, foot / height, 1 - 1.45 / PAGE, top - (foot + 0.1) / height))
    for k, each in enumerate(shown.factors):
        look = line_style(k) | {"linestyle": "none"}
        at = [(y + (k - (len(shown.factors) - 1) / 2) * 0.09 / step, each.ratios[name])
              for y, name in enumerate(factors) if name in each.ratios]  # fmt: skip
        for y, number in at:
            if number.low is not None and number.high is not None:
                axes.plot([number.low, number.high], [y, y], color=look["color"], lw=1, zorder=2)
        axes.plot(
            [n.value for _, n in at], [y for y, _ in at], **look, zorder=3, label=each.label, mec="white", mew=0.3
        )
    axes.axvline(1, color=FAINT, lw=0.7, ls=(0, (4, 2)), zorder=1)
    axes.set_yticks(range(len(factors)), [name.replace("_", " ") for name in factors])
    axes.set_ylim(len(factors) - 0.5, -0.5)
    axes.set_xlabel("error ratio", labelpad=2)
    words = (
        "Error ratio: error rate of the images that show the factor over the error rate of all annotated images, "
        f"without attack ({shown.split} split).\nBars: 95 % bootstrap over images. Right of the dashed line "
        "the factor makes errors more frequent."
    )
    return _ended(figure, words)


def _begun(shown: Shown, setting: Sequence[str], body: float) -> tuple[Figure, float, float]:
    """Return a figure with its heading, the body's top (0 to 1) and its foot in inches."""
    labels = [each.label for each in shown.factors]
    foot = 0.78 + 0.13 * math.ceil(len(labels) / legend_columns(labels, PAGE - 0.2, 6.3))
    figure, top = headed(PAGE, body + foot, setting)
    return figure, top, foot


def _ended(figure: Figure, words: str) -> Figure:
    height = figure.get_figheight()
    handles = dict(zip(*reversed(figure.axes[0].get_legend_handles_labels()), strict=True))
    columns = legend_columns(list(handles), PAGE - 0.2, 6.3)
    figure.legend(list(handles.values()), list(handles), loc="lower center", ncols=columns, fontsize=6.3,
                  bbox_to_anchor=(0.5, 0.32 / height), borderaxespad=0, borderpad=0, labelspacing=0.3)  # fmt: skip
    figure.text(0.5, 0.27 / height, words, ha="center", va="top", fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure
