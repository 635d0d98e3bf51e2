"""A matrix for a terminal."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.engine.analysis.difference import Cell
from sweeps.engine.analysis.matrix import Block, Matrix
from sweeps.engine.wording.matrix import (
    BOLD,
    Described,
    closing_lines,
    gap_text,
    head_text,
    heading,
    note_text,
    short_text,
    split_text,
    star,
    value_text,
)

# ---- terminal

LABEL_WIDTH = 26
MEAN_WIDTH, SET_WIDTH = 24, 12  # of a column, padding included


def terminal(described: Described, *, width: int = 100, color: bool = False) -> str:
    """Return the matrix as text of at most ``width`` columns: wide blocks continue below; ``color`` adds bold."""
    matrix, out = described.matrix, io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None, highlight=False
    )
    console.print(textwrap.fill(f"{matrix.question} {split_text(matrix)}", width), markup=False)
    for block in matrix.blocks:
        each = MEAN_WIDTH if block.kind == "mean" else SET_WIDTH
        room = max(1, (width - LABEL_WIDTH) // each)
        for at in range(0, len(block.columns), room):
            console.print(_terminal_table(matrix, block, block.columns[at : at + room], again=at > 0))
        for line in closing_lines(matrix, block):
            console.print(textwrap.fill(line, width), markup=False)
            console.print()
    for row in matrix.rows:
        if row.failed:
            console.print(textwrap.fill(f"{row.label}: {note_text(row)}", width, subsequent_indent="  "), markup=False)
    for line in (*described.setting, *(line for line in described.legend if color or line != BOLD)):
        console.print(textwrap.fill(line, width, subsequent_indent="  "), markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _terminal_table(matrix: Matrix, block: Block, columns: Sequence[int], *, again: bool) -> Table:
    title = f"{heading(block)}{'' if columns[:1] == block.columns[:1] else ' (continued)'}"
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", max_width=LABEL_WIDTH - 2, overflow="fold")
    for j in columns:
        wide = MEAN_WIDTH - 2 if block.kind == "mean" else SET_WIDTH - 2
        table.add_column(Text(head_text(block, matrix.columns[j])), max_width=wide, overflow="fold", justify="left")
    for row in matrix.rows:
        label = Text(row.label)
        note = note_text(row, reason=False)
        if note:
            label.append(f"\n{note}", style="dim")
        table.add_row(label, *(_terminal_cell(row.cells[j], block) for j in columns))
    return table


def _terminal_cell(cell: Cell, block: Block) -> Text:
    style = "bold" if cell.best else ""
    if block.kind == "sets":
        return Text(short_text(cell), style=style)
    text = Text(value_text(cell), style=style)
    if cell.gap is not None:
        text.append(f"\n{gap_text(cell.gap)}{' *' if star(cell.gap) else ''}", style="not bold")
    return text
