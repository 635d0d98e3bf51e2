"""A matrix as an HTML fragment."""

from __future__ import annotations

import html

from sweeps.engine.analysis.difference import Cell
from sweeps.engine.analysis.matrix import Block, Matrix
from sweeps.engine.wording.matrix import (
    Described,
    closing_lines,
    gap_text,
    head_text,
    heading,
    note_text,
    p_text,
    short_text,
    split_text,
    star,
    value_text,
)

# ---- HTML

STYLE = """<style>
.zsr-matrix { font: 15px/1.45 system-ui, sans-serif; color: #1b1f24; max-width: 76rem; }
.zsr-matrix .wide { overflow-x: auto; }
.zsr-matrix table { border-collapse: collapse; margin: 0 0 .4rem; font-variant-numeric: tabular-nums; }
.zsr-matrix caption { text-align: left; font-weight: 600; padding: .9rem 0 .3rem; }
.zsr-matrix th, .zsr-matrix td { padding: .3rem .9rem .3rem 0; text-align: left; vertical-align: top; }
.zsr-matrix thead th { border-top: 2px solid; border-bottom: 1px solid; font-weight: 600; }
.zsr-matrix tbody tr:last-child > * { border-bottom: 2px solid; }
.zsr-matrix tbody th { font-weight: 400; min-width: 9rem; }
.zsr-matrix small { display: block; color: #57606a; white-space: nowrap; }
.zsr-matrix th small { white-space: normal; max-width: 20rem; }
.zsr-matrix td { white-space: nowrap; }
.zsr-matrix tr.baseline > * { background: #f3f5f7; }
.zsr-matrix tr.failed th { color: #a40e26; }
.zsr-matrix p { margin: .15rem 0; color: #57606a; font-size: .87em; }
</style>"""


def html_fragment(described: Described, *, style: bool = True) -> str:
    """Return a fragment for a page: a table per block and the legend. It loads no other file."""
    matrix = described.matrix
    lines = [*([STYLE] if style else []), '<section class="zsr-matrix">']
    lines += [f"<p>{html.escape(text)}</p>" for text in (split_text(matrix), *described.setting)]
    for block in matrix.blocks:
        lines += _html_block(matrix, block)
        lines += [f"<p>{html.escape(line)}</p>" for line in closing_lines(matrix, block)]
    lines += [f"<p>{html.escape(line)}</p>" for line in described.legend]
    return "\n".join([*lines, "</section>"]) + "\n"


def _html_block(matrix: Matrix, block: Block) -> list[str]:
    head = "".join(f'<th scope="col">{html.escape(head_text(block, matrix.columns[j]))}</th>' for j in block.columns)
    lines = [
        '<div class="wide"><table>',
        f"<caption>{html.escape(heading(block))}</caption>",
        f'<thead><tr><th scope="col">configuration</th>{head}</tr></thead>',
        "<tbody>",
    ]
    for row in matrix.rows:
        kinds = [name for name, holds in (("baseline", row.baseline), ("failed", row.failed > 0)) if holds]
        note = note_text(row, reason=block.kind == "mean")
        label = html.escape(row.label) + (f"<small>{html.escape(note)}</small>" if note else "")
        cells = "".join(_html_cell(row.cells[j], block) for j in block.columns)
        opening = f'<tr class="{" ".join(kinds)}">' if kinds else "<tr>"
        lines.append(f'{opening}<th scope="row">{label}</th>{cells}</tr>')
    return [*lines, "</tbody></table></div>"]


def _html_cell(cell: Cell, block: Block) -> str:
    text = html.escape(value_text(cell) if block.kind == "mean" else short_text(cell))
    text = f"<b>{text}</b>" if cell.best else text
    gap = cell.gap
    if gap is None:
        return f"<td>{text}</td>"
    difference = html.escape(", ".join(filter(None, (gap_text(gap), p_text(gap)))))
    if block.kind == "sets":
        return f'<td title="{difference}">{text}</td>'
    return f"<td>{text}<small>{difference}{' *' if star(gap) else ''}</small></td>"
