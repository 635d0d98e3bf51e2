"""Reliability diagrams: accuracy over confidence, with the diagonal of a calibrated model and the number of images."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sweeps.engine.analysis.reliability import Diagram
from sweeps.engine.figures.style import FAINT, INK, LINES, PAGE, headed
from sweeps.engine.format import eps_text

OVER, UNDER = LINES[1], LINES[0]  # bins that are surer than right, and the others
ACROSS = 4


def reliability_figure(diagrams: Sequence[Diagram], setting: Sequence[str]) -> Figure:
    """Return a panel per diagram: bars from confidence to accuracy, and below them the share of images per bin."""
    across = min(ACROSS, len(diagrams))
    rows = math.ceil(len(diagrams) / across)
    figure, top = headed(PAGE, rows * 2.5 + 0.6, setting)
    height = figure.get_figheight()
    grid = figure.add_gridspec(2 * rows, across, left=0.5 / PAGE, right=1 - 0.1 / PAGE, bottom=0.78 / height,
                               top=top - 0.28 / height, wspace=0.16, hspace=0.16,
                               height_ratios=[3, 1] * rows)  # fmt: skip
    for i, diagram in enumerate(diagrams):
        at = (2 * (i // across), i % across)
        _draw(figure.add_subplot(grid[at]), figure.add_subplot(grid[at[0] + 1, at[1]]), diagram, first=at[1] == 0)
    words = (
        "Dots: accuracy of the images of a bin, with its 95 % interval; bars run from there to the bin's mean "
        "confidence.\nOrange: surer than right. On the dashed line a model is right as often as it claims. "
        "Below: the share of images in each bin."
    )
    figure.text(0.5, 0.32 / height, words, ha="center", va="top", fontsize=6.3, color=FAINT, linespacing=1.3)
    return figure


def _draw(axes: Axes, below: Axes, diagram: Diagram, *, first: bool) -> None:
    axes.plot([0, 1], [0, 1], color=FAINT, lw=0.7, ls=(0, (4, 2)), zorder=1)
    for b in diagram.bins:
        colour = OVER if b.confidence > b.accuracy else UNDER
        axes.plot([b.confidence] * 2, [b.accuracy, b.confidence], color=colour, lw=3.2, alpha=0.35, zorder=2,
                  solid_capstyle="butt")  # fmt: skip
        axes.plot([b.confidence] * 2, [b.accuracy_low, b.accuracy_high], color=colour, lw=0.8, zorder=3)
        axes.plot(b.confidence, b.accuracy, "o", color=colour, ms=3, mec="white", mew=0.3, zorder=4)
        below.bar((b.low + b.high) / 2, b.n / diagram.n, width=b.high - b.low, color=INK, alpha=0.55, lw=0)
    condition = "clean" if diagram.attack == "none" else f"worst attack, {eps_text(diagram.eps)}"
    axes.set_title(f"{diagram.cell}\n{condition}", fontsize=7.2, fontweight="bold", pad=3)
    below.text(0.04, 0.9, f"ECE {100 * diagram.error:.1f} %\n{diagram.n} images", transform=below.transAxes, va="top",
               fontsize=6.3)  # fmt: skip
    for each in (axes, below):
        each.set_xlim(0, 1)
        each.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        each.tick_params(labelleft=first)
    axes.set_ylim(-0.02, 1.02)
    axes.tick_params(labelbottom=False)
    below.set_ylim(0, 1)
    below.set_yticks([0, 1], ["0", "1"])
    below.set_xlabel("confidence", labelpad=1)
    if first:
        axes.set_ylabel("accuracy", labelpad=2)
        below.set_ylabel("share", labelpad=2)
