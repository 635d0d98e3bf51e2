"""The forest plot: the difference of each configuration to the baseline, with its interval."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Collection, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from sweeps.engine.figures.style import ACCENT, COLUMN, FAINT, INK, MAP, PAGE, headed
from sweeps.engine.wording.forest import Forest, Line, Mark
from sweeps.engine.wording.matrix import DAGGER

SIDE_BY_SIDE = {COLUMN: 3, PAGE: 5}  # largest number of panels, by the figure's width
GUTTER = {COLUMN: 1.08, PAGE: 2.05}  # inches, for the names
WRAP = {COLUMN: 17, PAGE: 38}  # characters of a name in one line
ROW, SECOND = 0.165, 0.1  # inches per line, and per further text line of its name
ABOVE, BELOW = 0.2, 0.36  # inches over and under a band of panels: titles, ticks and label


def forest_figure(data: Forest, setting: Sequence[str]) -> Figure:
    """Return the forest plot: a band of panels, or several bands if the panels do not fit side by side."""
    narrow = len(data.panels) <= SIDE_BY_SIDE[COLUMN] and all(
        len(line.label) <= 2 * WRAP[COLUMN] for line in data.lines
    )
    width = COLUMN if narrow else PAGE
    room = SIDE_BY_SIDE[width]
    bands = [range(at, min(at + room, len(data.panels))) for at in range(0, len(data.panels), room)]
    names = [wrapped(line, WRAP[width]) for line in data.lines]
    tall = [ROW + SECOND * (name.count("\n")) for name in names]  # inches, line by line
    foot = [part for text in data.words for part in textwrap.wrap(text, round(19 * width))]
    band = ABOVE + sum(tall) + BELOW
    below = 0.22 + 0.115 * len(foot)
    figure, top = headed(width, band * len(bands) + below, setting)
    height = figure.get_figheight()
    each = (width - GUTTER[width] - 0.1) / min(room, len(data.panels))
    for b, panels in enumerate(bands):
        bottom = top * height - (b + 1) * band + BELOW
        for i, j in enumerate(panels):
            box = (GUTTER[width] + i * each + 0.05, bottom, each - 0.1, sum(tall))
            axes = figure.add_axes((box[0] / width, box[1] / height, box[2] / width, box[3] / height))
            _draw_panel(axes, data, j, tall, ticks=3 if width == COLUMN else 4)
            if i == 0:
                _draw_names(axes, data.lines, names, tall, len(panels) * each)
                label = f"difference to {data.baseline}, points"
                figure.text((GUTTER[width] + len(panels) * each / 2) / width, (bottom - 0.26) / height, label,
                            ha="center", va="center", fontsize=7)  # fmt: skip
    _draw_key(figure, below / height, {m.holds for line in data.lines for m in line.marks if m is not None})
    figure.text(0.1 / width, 0.06 / height, "\n".join(foot), va="bottom", fontsize=6.0, color=FAINT, linespacing=1.3)
    return figure


def wrapped(line: Line, width: int) -> str:
    """Return a line's name and below it its note on missing data, wrapped to ``width`` characters."""
    lacks = line.note if any(line.marks) else ""
    return "\n".join(part for text in (line.label, lacks) for part in textwrap.wrap(text, width))


def middles(tall: Sequence[float]) -> list[float]:
    """Return each line's middle, in inches below the panel's top."""
    return [sum(tall[:i]) + each / 2 for i, each in enumerate(tall)]


def reach(data: Forest, scale: str) -> tuple[float, float]:
    """Return the range of the axis that panels of one scale share: 0, all marks with intervals, and a margin."""
    marks = [line.marks[j] for line in data.lines for j, name in enumerate(data.scales) if name == scale]
    at = [v for m in marks if m is not None for v in (m.value, m.low, m.high) if v is not None and math.isfinite(v)]
    low, high = min(0.0, *at) if at else 0.0, max(0.0, *at) if at else 0.0
    spare = 0.08 * (high - low) or 1.0
    return low - spare, high + spare


def _draw_panel(axes: Axes, data: Forest, j: int, tall: Sequence[float], *, ticks: int) -> None:
    axes.axvline(0, color=INK, lw=0.7, zorder=1)
    for line, y in zip(data.lines, middles(tall), strict=True):
        mark = line.marks[j]
        if mark is not None:
            _draw_mark(axes, mark, y, ACCENT if line.chosen else MAP(0.3))
    axes.set_xlim(*reach(data, data.scales[j]))
    axes.set_ylim(sum(tall), 0)
    axes.set_yticks([])
    axes.xaxis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10]))
    axes.tick_params(axis="x", labelsize=6.3, pad=1.5)
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.grid(axis="x", color="#e6e6e6", lw=0.5, zorder=0)
    axes.set_axisbelow(True)
    axes.set_title(data.panels[j], fontsize=7.5, pad=2.5)


def _draw_mark(axes: Axes, mark: Mark, y: float, colour: object) -> None:
    """Draw a difference: a filled mark if it is significant after Holm's correction, else an open one."""
    if mark.low is not None and mark.high is not None:
        axes.plot([mark.low, mark.high], [y, y], color=colour, lw=1.1, solid_capstyle="butt", zorder=2)
    face = colour if mark.holds else "white"
    axes.scatter(mark.value, y, s=15, color=face, edgecolors=colour, linewidths=0.9, zorder=3)  # type: ignore[arg-type]
    if mark.doubted:
        right = mark.value if mark.high is None else mark.high
        axes.annotate(DAGGER, (right, y), xytext=(2, 0), textcoords="offset points", fontsize=6.5, va="center",
                      annotation_clip=False)  # fmt: skip


def _draw_names(axes: Axes, lines: Sequence[Line], names: Sequence[str], tall: Sequence[float], room: float) -> None:
    """Write the names left of a band's first panel; for a line without marks, write the reason over ``room`` inches."""
    figure, box = axes.get_figure(), axes.get_position()
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    for line, name, y in zip(lines, names, middles(tall), strict=True):
        at = box.y1 - y / height
        figure.text(box.x0 - 0.05 / width, at, name, ha="right", va="center", fontsize=6.8, linespacing=1.05,
                    color=ACCENT if line.chosen else INK)  # fmt: skip
        if not any(line.marks):
            reason = textwrap.shorten(line.note, round(21 * room), placeholder=" …")
            figure.text(box.x0 + 0.04 / width, at, reason, va="center", fontsize=6.0, color=FAINT, style="italic",
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5})  # fmt: skip


KEY = {True: "p < 0.05 after Holm", False: "p ≥ 0.05", None: "not tested"}


def _draw_key(figure: Figure, y: float, holding: Collection[bool | None]) -> None:
    """Draw the legend of filled and open marks, for the kinds of marks that occur."""
    handles = [Line2D([], [], color=MAP(0.3), marker="o", ms=3.8, mfc=MAP(0.3) if full else "white", mew=0.9, lw=1.1,
                      label=KEY[full]) for full in KEY if full in holding]  # fmt: skip
    figure.legend(handles=handles, loc="upper center", bbox_to_anchor=(0.5, y), ncols=3, fontsize=6.5,
                  handletextpad=0.4, columnspacing=1.2, borderpad=0, borderaxespad=0)  # fmt: skip
