"""The style of all figures: sizes for a column of 8.5 cm, colours, ticks and legends, and saving to files."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from sweeps.engine.analysis.rounding import round_values
from sweeps.engine.format import is_budget
from zsr_core.files import write_whole
from zsr_core.space import Domain

MAP = matplotlib.colormaps["cividis"]  # readable with any colour vision, and in grey
SIGNED = matplotlib.colormaps["PuOr"]  # for differences: both ends differ in hue for any colour vision, white is 0
INK, FAINT, FAILED = "#1a1a1a", "#5f5f5f", "#d9d9d9"
ACCENT = "#d1341f"  # for the chosen cell; the only colour that is not in the map
# Okabe and Ito (2008), without yellow, which is too light for a line on white; black comes last.
LINES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
COLUMN, PAGE = 3.35, 7.2  # inches: the widths of one column (8.5 cm) and of a page
LEAST_RANGE = 2.0  # smallest range of a colour bar in points, so that noise does not look like a cliff
BAR = 0.05  # width of a colour bar, in widths of a panel with its bar
UPRIGHT = 22  # characters that fit under a panel side by side; longer tick labels are slanted
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 7.5,
    "axes.titlesize": 8.5,
    "axes.labelsize": 8,
    "axes.edgecolor": INK,
    "axes.linewidth": 0.6,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "hatch.linewidth": 0.6,
    "legend.fontsize": 7,
    "legend.frameon": False,
    "text.color": INK,
    "text.parse_math": False,  # a label with $ in it is text; nothing in the figures is typeset as mathematics
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "pdf.fonttype": 42,  # TrueType: editors and publishers can read the text
    "svg.hashsalt": "zsr",  # the same study gives the same bytes
}


def save(figure: Figure, stem: Path) -> list[Path]:
    """Write ``figure`` as PNG, SVG and PDF, by rename and without dates: equal data gives equal bytes."""
    FigureCanvasAgg(figure)
    kinds: tuple[tuple[str, dict[str, Any]], ...] = (
        ("png", {"dpi": 220}),
        ("svg", {"metadata": {"Date": None}}),
        ("pdf", {"metadata": {"CreationDate": None}}),
    )
    paths = []
    for kind, options in kinds:
        path = stem.with_name(f"{stem.name}.{kind}")
        with matplotlib.rc_context(STYLE):  # some settings, such as the hash salt, are read while writing
            write_whole(path, lambda part, k=kind, o=options: figure.savefig(part, format=k, **o))  # type: ignore[misc]
        paths.append(path)
    return paths


def headed(width: float, body: float, setting: Sequence[str]) -> tuple[Figure, float]:
    """Return a figure ``width`` inches wide with the question and the setting on top, and the body's top (0 to 1)."""
    question, *lines = setting
    title = textwrap.wrap(question, round(10.5 * width))
    words = [part for line in lines if line for part in textwrap.wrap(line, round(19 * width))]
    below = 0.1 + 0.175 * len(title)  # inches from the top
    head = below + 0.13 * len(words)
    figure = Figure(figsize=(width, head + body))
    left, height = 0.1 / width, head + body
    figure.text(left, 1 - 0.08 / height, "\n".join(title), va="top", fontsize=9.5, fontweight="bold")
    figure.text(left, 1 - below / height, "\n".join(words), va="top", fontsize=6.8, color=FAINT, linespacing=1.35)
    return figure, body / (head + body)


def colour_range(means: Sequence[float]) -> Normalize:
    """Return the colour scale: the measured range, widened to :data:`LEAST_RANGE` around its middle."""
    low, high = min(means, default=0.0), max(means, default=0.0)
    spare = max(0.0, LEAST_RANGE - (high - low)) / 2
    return Normalize(low - spare, high + spare)


def signed_range(means: Sequence[float]) -> Normalize:
    """Return the colour scale of a difference: as far below 0 as above."""
    reach = max(LEAST_RANGE / 2, *(abs(v) for v in (0.0, *means)))
    return Normalize(-reach, reach)


def text_colour(share: float, colours: Colormap = MAP) -> str:
    """Return black or white, whichever reads better on the map at ``share`` of its range."""
    red, green, blue, _ = colours(share)
    return INK if 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.45 else "white"


def draw_bar(
    figure: Figure, axes: Axes, norm: Normalize, unit: str, colours: Colormap = MAP, *, inside: bool = False
) -> None:
    """Draw the colour bar beside the panel ``axes``, or ``inside`` these axes, with its unit on top."""
    width, height = axes.get_window_extent().size
    aspect = max(20.0, height / (BAR * width))  # a bar of the usual aspect is lower than a narrow panel
    where: Any = {"cax": axes} if inside else {"ax": axes, "fraction": BAR, "pad": 0.03, "aspect": aspect}
    bar = figure.colorbar(ScalarMappable(norm=norm, cmap=colours), **where)
    bar.outline.set_linewidth(0.4)
    bar.ax.tick_params(length=2, width=0.5, labelsize=6.3, pad=1.5)
    bar.locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10])
    bar.update_ticks()
    bar.ax.set_title(unit, fontsize=6.5, pad=3)


def crowded(marks: Sequence[tuple[float, str]], most: int = UPRIGHT) -> bool:
    """Return whether horizontal tick labels would overlap, where ``most`` characters fit under a panel."""
    return sum(len(name) for _, name in marks) > most


def limits(values: Sequence[float], domain: Domain | None, log: bool) -> tuple[float, float]:
    """Return the drawn ends of a scattered axis: those of the domain, else of the samples, with a margin."""
    bounds = [b for b in (getattr(domain, "low", None), getattr(domain, "high", None)) if b is not None]
    at = [math.log10(v) if log else float(v) for v in (bounds or values)]
    margin = 0.04 * (max(at) - min(at)) or 0.5
    return min(at) - margin, max(at) + margin


def ticks(
    path: str, levels: Sequence[float], values: Sequence[float], domain: Domain | None, log: bool
) -> list[tuple[float, str]]:
    """Return (place, label): the levels of a grid; else 1, 2, 5 per decade on a log axis, or even round steps.

    Budgets are round, and labelled, in 255ths.
    """
    unit, of = (255.0, "/255") if is_budget(path) else (1.0, "")
    if levels:
        chosen = [unit * level for level in levels]
    else:
        low, high = ((10**end if log else end) * unit for end in limits(values, domain, log))
        chosen = round_values(low, high, log=log)
    places = [math.log10(v / unit) if log else v / unit for v in chosen]
    return [(at, f"{name}{of}") for at, name in zip(places, short_names(chosen), strict=True)]


def short_names(values: Sequence[float]) -> list[str]:
    """Return the values with two digits, or with as many as make different values differ."""
    for digits in (2, 3, 4, 6):
        names = [f"{v:.{digits}g}" for v in values]
        if len(set(names)) == len(set(values)) and all("e" not in name for name in names):
            return names
    return [f"{v:g}" for v in values]


def legend_columns(names: Sequence[str], width: float, size: float = 7.0) -> int:
    """Return the number of columns with which a legend of ``names`` fits into ``width`` inches."""
    for columns in range(min(6, len(names)), 1, -1):
        rows = -(-len(names) // columns)
        widest = [max(len(n) for n in names[i * rows : (i + 1) * rows] or [""]) for i in range(columns)]
        if sum(widest) * size * 0.0082 + columns * 0.42 <= width:
            return -(-len(names) // rows)  # no more columns than these rows need
    return 1


def padded(values: Sequence[float], margin: float = 0.12) -> tuple[float, float]:
    """Return the range of ``values`` with a margin on both sides."""
    low, high = min(values), max(values)
    spare = margin * max(high - low, LEAST_RANGE)
    return low - spare, high + spare


def line_style(i: int) -> dict[str, Any]:
    """Return the style of the i-th line; when colours repeat, the dashes differ."""
    turn = i // len(LINES)
    return {
        "color": LINES[i % len(LINES)],
        "linestyle": DASHES[turn % len(DASHES)],
        "marker": MARKERS[i % len(MARKERS)],
        "markersize": 3.2,
        "linewidth": 1.1,
    }
