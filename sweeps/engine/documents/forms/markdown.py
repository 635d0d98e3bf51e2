"""A matrix as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sweeps.engine.analysis.difference import Cell
from sweeps.engine.analysis.matrix import Block, Matrix, Row
from sweeps.engine.wording.matrix import (
    DASH,
    Described,
    closing_lines,
    gap_text,
    heading,
    note_text,
    p_text,
    short_text,
    split_text,
    value_text,
)

# ---- Markdown

TAG = re.compile(r"(?<!\\)((?:\\\\)*)<(?=[A-Za-z/!?])")  # the beginning of a tag that no backslash escapes
SCRIPT_LINK = re.compile(r"\]\((?=[\s<]*(?:javascript|vbscript|data):)", re.I)


def markdown(described: Described) -> str:
    """Return the matrix as Markdown: a table per block, readable as plain text too."""
    matrix = described.matrix
    lines = [f"## {heading_text(matrix.question)}", "", " ".join((split_text(matrix), *described.setting)), ""]
    for block in matrix.blocks:
        lines += [*markdown_block(matrix, block), ""]
    return document([*lines, *(f"- {md(line)}" for line in described.legend)])


def document(lines: Iterable[str]) -> str:
    """Return the text of a Markdown file; no text in it becomes an HTML tag or runs a script."""
    return SCRIPT_LINK.sub(r"]\\(", TAG.sub(r"\1\\<", "\n".join(lines))) + "\n"


def heading_text(text: str) -> str:
    """Return ``text`` for a heading: escaped, and in one line."""
    return md(" ".join(text.split()))


def markdown_block(matrix: Matrix, block: Block) -> list[str]:
    """Return one block: its title, its table, and the family that p holds for."""
    columns = [matrix.columns[j] for j in block.columns]
    if block.kind == "mean":
        head = ["configuration", *(f"{c.title}, %" for c in columns), *(f"Δ {c.title}" for c in columns), "notes"]
    else:
        head = ["configuration", *(md(c.over) for c in columns), "notes"]
    rows = [[md(row.label), *_markdown_cells(row, block), md(note_text(row))] for row in matrix.rows]
    tail = closing_lines(matrix, block)
    return [f"### {md(heading(block))}", "", *markdown_table(head, rows), *([""] if tail else []), *tail]


def _markdown_cells(row: Row, block: Block) -> list[str]:
    cells = [row.cells[j] for j in block.columns]
    if block.kind == "sets":
        return [_markdown_bold(md(short_text(cell)), cell) for cell in cells]
    gaps = [" ".join(filter(None, (gap_text(c.gap), p_text(c.gap)))) if c.gap else DASH for c in cells]
    return [*(_markdown_bold(value_text(cell), cell) for cell in cells), *gaps]


def _markdown_bold(text: str, cell: Cell) -> str:
    return f"**{text}**" if cell.best else text


def md(text: str) -> str:
    """Return ``text`` so that Markdown shows it as it is."""
    return re.sub(r"([\\`*]|<(?=[A-Za-z/!?])|(?<=\])\(|(?<![^\W_])_|_(?![^\W_]))", r"\\\1", text)


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return a Markdown table whose columns line up as plain text too."""
    cells = [[text.replace("|", "\\|").replace("\n", " ") for text in row] for row in (head, *rows)]
    widths = [max(3, *(len(row[i]) for row in cells)) for i in range(len(head))]
    lines = ["| " + " | ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return [lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]]
