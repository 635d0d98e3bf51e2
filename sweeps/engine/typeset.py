"""A matrix as text: for a terminal, Markdown, LaTeX (booktabs), CSV and HTML. Nothing is computed here."""

from __future__ import annotations

import csv
import html
import io
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweeps.engine.matrix import BOLD, Block, Cell, Column, Gap, Matrix, Row
from sweeps.engine.stats import LEVEL

DASH = "–"
DAGGER = "†"


# ---- words that all forms share


def value_text(cell: Cell) -> str:
    """Return a number, daggered where the audit doubts it, with its spread."""
    if cell.value is None:
        return DASH
    return " ".join(filter(None, (f"{cell.value:.1f}{DAGGER if cell.doubted else ''}", spread_text(cell))))


def spread_text(cell: Cell) -> str:
    """Return half the t-interval over seeds, or with one seed the interval over images, or nothing."""
    if cell.value is not None and cell.t_high is not None:
        return f"± {cell.t_high - cell.value:.1f}"
    return bracket(cell.low, cell.high, ".1f").strip()


def gap_text(gap: Gap) -> str:
    """Return a difference in points with its interval, over seeds and images if there are records."""
    ends = (gap.t_low, gap.t_high) if gap.low is None else (gap.low, gap.high)
    return f"{gap.value:+.1f}{bracket(*ends, '+.1f')}"


def star(gap: Gap | None) -> str:
    """Return a star if the difference holds after Holm's correction."""
    return "*" if gap is not None and gap.p_holm is not None and gap.p_holm < LEVEL else ""


def p_text(p_holm: float | None) -> str:
    """Return the adjusted p, or nothing where nothing was tested."""
    if p_holm is None:
        return ""
    return "p<0.001" if p_holm < 0.001 else f"p={p_holm:.3f}"


def bracket(low: float | None, high: float | None, form: str) -> str:
    """Return an interval in brackets, or nothing where all resamples agree (no image stands): that is no certainty."""
    return "" if low is None or high is None or low == high else f" [{low:{form}}, {high:{form}}]"


def note_text(row: Row, *, reason: bool = True) -> str:
    """Return what a reader must know of a row: that it is the baseline or chosen, what failed, which audits fail."""
    notes = [name for name, holds in (("baseline", row.baseline), ("chosen", row.chosen)) if holds]
    of = f" {row.failed} of {row.planned} seeds" if row.planned > 1 else ""
    if row.failed:
        notes.append(f"failed{of}{f': {row.reason}' if reason else ''}")
    missing = row.planned - len(row.seeds) - row.failed
    if missing:
        notes.append(f"missing{f' {missing} of {row.planned} seeds' if row.planned > 1 else ''}")
    if row.fails:
        notes.append(f"{DAGGER} audit fails {', '.join(row.fails)}")
    return "; ".join(notes)


def _heading(block: Block) -> str:
    return block.title if block.kind == "mean" else f"{block.title}, by set"


def _head(block: Block, column: Column) -> str:
    return column.title if block.kind == "mean" else column.over


def _closing(block: Block) -> list[str]:
    return [f"{block.family}."] if block.family else []


def _split_text(matrix: Matrix) -> str:
    chosen = ": images that played no part in choosing" if matrix.split == "report" else ""
    return f"{matrix.split.capitalize()} split{chosen}."


# ---- terminal

LABEL_WIDTH = 26
MEAN_WIDTH, SET_WIDTH = 24, 12  # of a column, padding included


def terminal(matrix: Matrix, *, width: int = 100, color: bool = False) -> str:
    """Return the matrix as text of at most ``width`` columns: wide blocks continue below; ``color`` adds bold."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, force_terminal=color, color_system="standard" if color else None, highlight=False
    )
    console.print(textwrap.fill(f"{matrix.question} {_split_text(matrix)}", width), markup=False)
    for block in matrix.blocks:
        each = MEAN_WIDTH if block.kind == "mean" else SET_WIDTH
        room = max(1, (width - LABEL_WIDTH) // each)
        for at in range(0, len(block.columns), room):
            console.print(_terminal_table(matrix, block, block.columns[at : at + room], again=at > 0))
        for line in _closing(block):
            console.print(textwrap.fill(line, width), markup=False)
            console.print()
    for row in matrix.rows:
        if row.failed:
            console.print(textwrap.fill(f"{row.label}: {note_text(row)}", width, subsequent_indent="  "), markup=False)
    for line in (*matrix.setting, *(line for line in matrix.legend if color or line != BOLD)):
        console.print(textwrap.fill(line, width, subsequent_indent="  "), markup=False)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _terminal_table(matrix: Matrix, block: Block, columns: Sequence[int], *, again: bool) -> Table:
    title = f"{_heading(block)}{'' if columns[:1] == block.columns[:1] else ' (continued)'}"
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("", max_width=LABEL_WIDTH - 2, overflow="fold")
    for j in columns:
        wide = MEAN_WIDTH - 2 if block.kind == "mean" else SET_WIDTH - 2
        table.add_column(Text(_head(block, matrix.columns[j])), max_width=wide, overflow="fold", justify="left")
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
        return Text(_short(cell), style=style)
    text = Text(value_text(cell), style=style)
    if cell.gap is not None:
        text.append(f"\n{gap_text(cell.gap)}{' *' if star(cell.gap) else ''}", style="not bold")
    return text


def _short(cell: Cell) -> str:
    if cell.value is None:
        return DASH
    return f"{cell.value:.1f}{DAGGER if cell.doubted else ''}{star(cell.gap)}"


# ---- Markdown


def markdown(matrix: Matrix) -> str:
    """Return the matrix as Markdown: a table per block, readable as plain text too."""
    lines = [f"## {md(matrix.question)}", "", " ".join((_split_text(matrix), *matrix.setting)), ""]
    for block in matrix.blocks:
        lines += [*markdown_block(matrix, block), ""]
    return "\n".join([*lines, *(f"- {md(line)}" for line in matrix.legend)]) + "\n"


def markdown_block(matrix: Matrix, block: Block) -> list[str]:
    """Return one block: its title, its table, and the family that p holds for."""
    columns = [matrix.columns[j] for j in block.columns]
    if block.kind == "mean":
        head = ["configuration", *(f"{c.title}, %" for c in columns), *(f"Δ {c.title}" for c in columns), "notes"]
    else:
        head = ["configuration", *(md(c.over) for c in columns), "notes"]
    rows = [[md(row.label), *_markdown_cells(row, block), md(note_text(row))] for row in matrix.rows]
    tail = _closing(block)
    return [f"### {md(_heading(block))}", "", *markdown_table(head, rows), *([""] if tail else []), *tail]


def _markdown_cells(row: Row, block: Block) -> list[str]:
    cells = [row.cells[j] for j in block.columns]
    if block.kind == "sets":
        return [_markdown_bold(md(_short(cell)), cell) for cell in cells]
    gaps = [" ".join(filter(None, (gap_text(c.gap), p_text(c.gap.p_holm)))) if c.gap else DASH for c in cells]
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


# ---- LaTeX

TEX: Mapping[str, str] = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", '"': r"\textquotedbl{}", "\n": " ", "±": r"$\pm$", "×": r"$\times$", "Δ": r"$\Delta$",
    "≈": r"$\approx$", "†": r"$^{\dagger}$", "–": "--", "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$",
    "λ": r"$\lambda$", "τ": r"$\tau$", "\u00a0": "~",
}  # fmt: skip


LIGATURES = ("--", "''", "``", ",,", "?`", "!`")  # two signs that LaTeX would print as one
BLANK = r"\ "  # math mode drops plain ones


def tex(text: str) -> str:
    """Return ``text`` so that LaTeX prints it as it is; what may follow a line's end takes no option there."""
    pairs = zip(" " + text, text, strict=False)
    escaped = "".join(("{}" if before + now in LIGATURES else "") + TEX.get(now, now) for before, now in pairs)
    return f"{{}}{escaped}" if escaped.lstrip()[:1] in ("[", "*") else escaped


PAGE_WIDTH = 345.0  # points: the text of an article at 10 pt
LETTER, BETWEEN = 4.7, 12.0  # points a letter takes at \small, and the space between two columns
LABELS = "p{3.6cm}"  # a column of labels that are longer
LONG_LABEL = 24  # letters, beyond which labels are set in lines of their own width


def latex(matrix: Matrix) -> str:
    """Return ``table`` floats for a paper, the first with the notes, as wide as a page; they need booktabs."""
    label = f"tab:{re.sub(r'[^A-Za-z0-9-]', '-', matrix.study)}-{matrix.split}"
    lines = ["% needs \\usepackage{booktabs}"]
    parts = [(block, columns) for block in matrix.blocks for columns in _side_by_side(matrix, block)]
    for i, (block, columns) in enumerate(parts):
        words = (matrix.question, _split_text(matrix), *(matrix.setting if not i else (f"{_heading(block)}.",)))
        notes = [tex(line) for line in (*(() if i else _latex_notes(matrix)), *_closing(block))]
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


def _latex_notes(matrix: Matrix) -> list[str]:
    """Return what stands below the first table: the rows that are not whole, and the legend."""
    rows = [row for row in matrix.rows if row.failed or len(row.seeds) < row.planned]
    return [*(f"{row.label}: {note_text(row)}." for row in rows), *matrix.legend]


def _side_by_side(matrix: Matrix, block: Block) -> list[tuple[int, ...]]:
    """Return the block's columns in as many parts as it takes for each to fit the width of a page."""
    if block.kind == "mean":
        return [block.columns]
    longest = max((len(row.label) for row in matrix.rows), default=0)
    first = min(longest, LONG_LABEL) * LETTER
    parts: list[tuple[int, ...]] = []
    room = 0.0
    for j in block.columns:
        width = max(6, len(_head(block, matrix.columns[j]))) * LETTER + BETWEEN
        if not parts or width > room:
            parts.append(())
            room = PAGE_WIDTH - first
        parts[-1] = (*parts[-1], j)
        room -= width
    return parts


def _latex_block(matrix: Matrix, block: Block, columns: Sequence[int]) -> list[str]:
    head = [tex(_head(block, matrix.columns[j])) for j in columns]
    long = any(len(row.label) > LONG_LABEL for row in matrix.rows)
    title = f"{_heading(block)}{'' if columns[:1] == block.columns[:1] else ' (continued)'}"
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


def _latex_gap(gap: Gap | None) -> str:
    return f"\\footnotesize ${gap_text(gap).replace(' ', BLANK, 1)}{'^{*}' if star(gap) else ''}$" if gap else ""


# ---- CSV

FIELDS: tuple[tuple[str, Callable[[Matrix, Row, Column, Cell], object]], ...] = (
    ("study", lambda m, r, c, x: m.study),
    ("split", lambda m, r, c, x: m.split),
    ("configuration", lambda m, r, c, x: r.label),
    ("baseline", lambda m, r, c, x: m.baseline),
    ("metric", lambda m, r, c, x: c.metric),
    ("eps", lambda m, r, c, x: 0.0 if c.metric == "clean" else c.eps),
    ("over", lambda m, r, c, x: c.over),
    ("sets", lambda m, r, c, x: " ".join(c.sets)),
    ("value", lambda m, r, c, x: x.value),
    ("seeds", lambda m, r, c, x: len(r.seeds)),
    ("seeds_planned", lambda m, r, c, x: r.planned),
    ("seed_sd", lambda m, r, c, x: x.sd),
    ("seed_low", lambda m, r, c, x: x.t_low),
    ("seed_high", lambda m, r, c, x: x.t_high),
    ("image_low", lambda m, r, c, x: x.low),
    ("image_high", lambda m, r, c, x: x.high),
    ("gap", lambda m, r, c, x: x.gap and x.gap.value),
    ("gap_seeds", lambda m, r, c, x: x.gap and x.gap.seeds),
    ("gap_low", lambda m, r, c, x: x.gap and x.gap.low),
    ("gap_high", lambda m, r, c, x: x.gap and x.gap.high),
    ("gap_seed_low", lambda m, r, c, x: x.gap and x.gap.t_low),
    ("gap_seed_high", lambda m, r, c, x: x.gap and x.gap.t_high),
    ("better", lambda m, r, c, x: x.gap and x.gap.better),
    ("worse", lambda m, r, c, x: x.gap and x.gap.worse),
    ("test", lambda m, r, c, x: x.gap and x.gap.test),
    ("p", lambda m, r, c, x: x.gap and x.gap.p),
    ("p_holm", lambda m, r, c, x: x.gap and x.gap.p_holm),
    ("best", lambda m, r, c, x: int(x.best)),
    ("doubted", lambda m, r, c, x: int(x.doubted)),
    ("audit_fails", lambda m, r, c, x: " ".join(r.fails)),
    ("audit_warns", lambda m, r, c, x: " ".join(r.warns)),
    ("notes", lambda m, r, c, x: note_text(r)),
)


def comma_separated(matrices: Sequence[Matrix]) -> str:
    """Return one line per number, with everything that is known of it; numbers in full precision, empty for none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([name for name, _ in FIELDS])
    for matrix in matrices:
        for row in matrix.rows:
            for column, cell in zip(matrix.columns, row.cells, strict=True):
                writer.writerow([get(matrix, row, column, cell) for _, get in FIELDS])
    return out.getvalue()


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


def html_fragment(matrix: Matrix, *, style: bool = True) -> str:
    """Return a fragment to put into a page: a table per block and what it means. It loads nothing."""
    lines = [*([STYLE] if style else []), '<section class="zsr-matrix">']
    lines += [f"<p>{html.escape(text)}</p>" for text in (_split_text(matrix), *matrix.setting)]
    for block in matrix.blocks:
        lines += _html_block(matrix, block)
        lines += [f"<p>{html.escape(line)}</p>" for line in _closing(block)]
    lines += [f"<p>{html.escape(line)}</p>" for line in matrix.legend]
    return "\n".join([*lines, "</section>"]) + "\n"


def _html_block(matrix: Matrix, block: Block) -> list[str]:
    head = "".join(f'<th scope="col">{html.escape(_head(block, matrix.columns[j]))}</th>' for j in block.columns)
    lines = [
        '<div class="wide"><table>',
        f"<caption>{html.escape(_heading(block))}</caption>",
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
    text = html.escape(value_text(cell) if block.kind == "mean" else _short(cell))
    text = f"<b>{text}</b>" if cell.best else text
    gap = cell.gap
    if gap is None:
        return f"<td>{text}</td>"
    told = html.escape(", ".join(filter(None, (gap_text(gap), p_text(gap.p_holm)))))
    if block.kind == "sets":
        return f'<td title="{told}">{text}</td>'
    return f"<td>{text}<small>{told}{' *' if star(gap) else ''}</small></td>"


# ---- what the commands call


def written(matrices: Sequence[Matrix], form: str, *, color: bool = False) -> str:
    """Return the matrices in one of :data:`FORMS`."""
    if form == "csv":
        return comma_separated(matrices)
    one: dict[str, Callable[[Matrix], str]] = {
        "terminal": partial(terminal, color=color),
        "md": markdown,
        "latex": latex,
    }
    if form in one:
        return "\n".join(one[form](matrix) for matrix in matrices)
    return "\n".join(html_fragment(matrix, style=i == 0) for i, matrix in enumerate(matrices))


FORMS = ("terminal", "md", "latex", "csv", "html")
