"""The layout of a figure of surfaces, in inches: panels side by side, with legend and caption below them."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.figures.style import COLUMN, PAGE, UPRIGHT, crowded, legend_columns
from sweeps.engine.figures.surface_views import ABREAST, View, subtitle, x_ticks, y_ticks
from zsr_core.space import Domain

SIDES = {1: 2.3, 2: 2.35, 3: 1.83}  # side of a panel, by the number of panels in a row
ABOVE = 0.37  # height of a panel's title with one line below it
LEFT = 0.68  # width of the y axis's label and ticks
TEXT_LINE, LEGEND_LINE = 0.125, 0.132
LABELS = 0.68  # extra width between panels that each label their y axis
SLANTED = 0.17  # extra height below a panel with slanted tick labels


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The sizes of the parts. Widths and heights are in inches, ``wspace`` and ``hspace`` in shares of a panel."""

    rows: int
    columns: int
    width: float  # of the figure
    body: float  # height below the heading
    above: float  # height of a panel's title
    lines: int  # of text between a title and its panel
    foot: float  # height below the panels
    right: float  # room right of the panels, for a colour bar's ticks
    wspace: float
    hspace: float
    legend_columns: int
    caption: tuple[str, ...]  # line by line
    upright: int  # characters of tick labels that fit under a panel
    alike: bool  # the panels have the same levels, so that only the first of a row labels them

    @property
    def caption_top(self) -> float:
        return 0.08 + TEXT_LINE * len(self.caption)

    def first_of_row(self, i: int) -> bool:
        return i % self.columns == 0

    def last_of_column(self, i: int, panels: int) -> bool:
        return i + self.columns >= panels


def layout(shown: Sequence[View], domains: Mapping[str, Domain], entries: Sequence[str], text: str) -> Layout:
    """Return the layout of panels with legend ``entries`` and a caption.

    One panel fits a column, several take a page's width. A row has up to three panels. A Gaussian process has a row of
    means above a row of sds; alone, or with more panels than fit a row, it has its sd beside it.
    """
    means = sum(view.how != "gp sd" for view in shown)
    pairs = means < len(shown)
    columns = 2 if pairs and (means == 1 or means > ABREAST) else min(means, ABREAST)
    rows = math.ceil(len(shown) / columns)
    width = COLUMN if columns == 1 else PAGE
    alike = len({tuple(y_ticks(view, domains)) for view in shown}) == 1
    upright = UPRIGHT if alike else round(UPRIGHT * SIDES[columns] / (SIDES[columns] + LABELS))
    slanted = SLANTED if any(crowded(x_ticks(view, domains), upright) for view in shown) else 0.0
    per_row = legend_columns(entries, width - 0.2)
    lines = textwrap.wrap(text, round(21 * width))
    side = SIDES[columns]
    foot = 0.52 + slanted + LEGEND_LINE * math.ceil(len(entries) / per_row) + TEXT_LINE * len(lines)
    under_title = max(len(subtitle(view)) for view in shown)
    further = TEXT_LINE * max(0, under_title - 1)
    return Layout(
        rows=rows,
        columns=columns,
        width=width,
        body=rows * (side + ABOVE + further) + (rows - 1) * (0.25 + slanted) + foot,
        above=ABOVE + further,
        lines=under_title,
        foot=foot,
        right=0.36 if columns == 1 else 0.27,
        wspace=(0.26 if columns == 2 else 0.2) + (0.0 if alike else LABELS / side),
        hspace=(0.62 + further + slanted) / side,
        legend_columns=per_row,
        caption=tuple(lines),
        alike=alike,
        upright=upright,
    )
