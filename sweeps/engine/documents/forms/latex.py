"""A matrix as LaTeX tables (booktabs)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.analysis.difference import Cell, Difference
from sweeps.engine.analysis.matrix import Block, Matrix
from sweeps.engine.wording.matrix import (
    DAGGER,
    Described,
    closing_lines,
    gap_text,
    head_text,
    heading,
    note_text,
    split_text,
    spread_text,
    star,
)

# ---- LaTeX

TEX: Mapping[str, str] = {
    "‡": r"\ddag{}",
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " ", "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$",
    "≈": r"$\approx$", "†": r"$^{\dagger}$", "–": "--", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
    "λ": r"$\lambda$", "τ": r"$\tau$", "\u00a0": "~",
}  # fmt: skip


LIGATURES = ("--", "''", "``", ",,", "?`", "!`")  # pairs of characters that LaTeX would print as one
BLANK = r"\ "  # because math mode drops plain blanks


def tex(text: str) -> str:
    """Return ``text`` escaped for LaTeX; a leading ``[`` or ``*`` is not read as an option of the line before."""
    pairs = zip(" " + text, text, strict=False)
    escaped = "".join(("{}" if before + now in LIGATURES else "") + TEX.get(now, now) for before, now in pairs)
    return f"{{}}{escaped}" if escaped.lstrip()[:1] in ("[", "*") else escaped


PAGE_WIDTH = 345.0  # points: the text of an article at 10 pt
LETTER, BETWEEN = 4.7, 12.0  # points: the width of a letter at \small, and the space between two columns
LABELS = "p{3.6cm}"  # the column of labels if some are long
LONG_LABEL = 24  # letters; longer labels are wrapped


@dataclass(frozen=True, kw_only=True)
class Typeset:
    """Caption and label of a LaTeX table; None stands for the study's own."""

    caption: str | None = None  # plain text, which is escaped
    label: str | None = None  # of the first table; further ones have a number after it


def latex(described: Described, asked: Typeset | None = None) -> str:
    """Return ``table`` floats for a paper, the first with the notes, as wide as a page; they need booktabs."""
    matrix, asked = described.matrix, asked or Typeset()
    label = asked.label or f"tab:{re.sub(r'[^A-Za-z0-9-]', '-', matrix.study)}-{matrix.split}"
    lines = ["% needs \\usepackage{booktabs}"]
    parts = [(block, columns) for block in matrix.blocks for columns in _side_by_side(matrix, block)]
    for i, (block, columns) in enumerate(parts):
        words = (matrix.question, split_text(matrix), *(described.setting if not i else (f"{heading(block)}.",)))
        if asked.caption is not None:
            words = (asked.caption, *((f"{heading(block)}.",) if i else ()))
        notes = [tex(line) for line in (*(() if i else _latex_notes(described)), *closing_lines(matrix, block))]
        lines += [
            "\\begin{table}[t]",
            "\\centering\\small",
            f"\\caption{{{tex(' '.join(words))}}}",
            f"\\label{{{label}{f'-{i + 1}' if i else ''}}}",
            *_latex_block(matrix, block, columns),
            "\\par\\medskip",
            "\\begin{minipage}{\\linewidth}\\footnotesize\\raggedright",
            *(f"{line}\\par" for line in (*notes, *([f"Signs as in Table~\\ref{{{label}}}."] if i else []))),
            "\\end{minipage}",
            "\\end{table}",
        ]
    return "\n".join(lines) + "\n"


def _latex_notes(described: Described) -> list[str]:
    """Return the notes below the first table: the rows with failed or missing seeds, and the legend."""
    rows = [row for row in described.matrix.rows if row.failed or len(row.seeds) < row.planned]
    return [*(f"{row.label}: {note_text(row)}." for row in rows), *described.legend]


def _side_by_side(matrix: Matrix, block: Block) -> list[tuple[int, ...]]:
    """Return the block's columns in parts that fit the width of a page."""
    if block.kind == "mean":
        return [block.columns]
    longest = max((len(row.label) for row in matrix.rows), default=0)
    first = min(longest, LONG_LABEL) * LETTER
    parts: list[tuple[int, ...]] = []
    room = 0.0
    for j in block.columns:
        width = max(6, len(head_text(block, matrix.columns[j]))) * LETTER + BETWEEN
        if not parts or width > room:
            parts.append(())
            room = PAGE_WIDTH - first
        parts[-1] = (*parts[-1], j)
        room -= width
    return parts


def _latex_block(matrix: Matrix, block: Block, columns: Sequence[int]) -> list[str]:
    head = [tex(head_text(block, matrix.columns[j])) for j in columns]
    long = any(len(row.label) > LONG_LABEL for row in matrix.rows)
    title = f"{heading(block)}{'' if columns[:1] == block.columns[:1] else ' (continued)'}"
    lines = [
        f"\\begin{{tabular}}{{{LABELS if long else 'l'}{'l' * len(head)}}}",
        "\\toprule",
        f"\\multicolumn{{{1 + len(head)}}}{{l}}{{\\emph{{{tex(title)}}}}} \\\\",
        f"{' & '.join(('configuration', *head))} \\\\",
        "\\midrule",
    ]
    for row in matrix.rows:
        cells = [row.cells[j] for j in columns]
        label = f"\\raggedright {tex(row.label)}" if long else tex(row.label)
        lines.append(" & ".join([label, *(_latex_value(cell, block) for cell in cells)]) + r" \\")
        if block.kind == "mean" and any(cell.gap for cell in cells):
            lines.append(" & ".join(["", *(_latex_gap(cell.gap) for cell in cells)]) + r" \\ \addlinespace[2pt]")
    return [*lines, "\\bottomrule", "\\end{tabular}"]


def _latex_value(cell: Cell, block: Block) -> str:
    if cell.value is None:
        return "--"
    number = f"\\textbf{{{cell.value:.1f}}}" if cell.best else f"{cell.value:.1f}"
    number += TEX[DAGGER] if cell.doubted else ""
    if block.kind == "sets":
        return number + ("$^{*}$" if star(cell.gap) else "")
    spread = spread_text(cell)
    return f"{number} {{\\footnotesize {tex(spread)}}}" if spread else number


def _latex_gap(gap: Difference | None) -> str:
    return f"\\footnotesize ${gap_text(gap).replace(' ', BLANK, 1)}{'^{*}' if star(gap) else ''}$" if gap else ""
