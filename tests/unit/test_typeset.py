from __future__ import annotations

import csv
import io
import re
import string
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import example as example_of
from hypothesis import given
from hypothesis import strategies as st

from sweeps.engine.analysis.difference import Cell, Column, Difference
from sweeps.engine.analysis.matrix import Block, Matrix, Row
from sweeps.engine.documents.forms import FORMS
from sweeps.engine.documents.forms.csv import comma_separated
from sweeps.engine.documents.forms.html import html_fragment
from sweeps.engine.documents.forms.latex import TEX, Typeset, latex, tex
from sweeps.engine.documents.forms.markdown import markdown, markdown_table, md
from sweeps.engine.documents.forms.terminal import terminal
from sweeps.engine.documents.forms.written import written
from sweeps.engine.wording.matrix import BOLD, Described, p_text, star, value_text

NASTY = '[50%] w/o <b>α_x</b> & $lr ~ {1e-3}^2 #1 | \\frac *a* "q"'
GAP = Difference(
    value=-1.25, seeds=3, t_low=-2.1, t_high=-0.4, low=-2.5, high=-0.1, test="bootstrap", p=0.01, p_holm=0.03
)
CELL = Cell(value=42.06, sd=0.5, t_low=40.8, t_high=43.3, low=41.0, high=43.0, gap=GAP)


def column(metric: str = "clean", over: str = "2-set mean", scope: str = "zero-shot") -> Column:
    return Column(metric=metric, eps=1 / 255, title=metric, sets=("a", "b"), over=over, scope=scope)  # type: ignore[arg-type]


def row(label: str = "full", cells: tuple[Cell, ...] = (CELL, CELL, CELL), **changes: object) -> Row:
    values = {
        "label": label, "role": "cell", "baseline": False, "chosen": False, "seeds": (0, 1, 2), "planned": 3,
        "failed": 0, "reason": "", "fails": (), "warns": (), "cells": cells, **changes,
    }  # fmt: skip
    return Row(**values)  # type: ignore[arg-type]


def example(*more: Row, sets: tuple[str, ...] = ()) -> Described:
    columns = tuple(column(metric) for metric in ("clean", "robust", "harmonic"))
    columns += tuple(column("clean", over=name, scope="set") for name in sets)
    cells = (replace(CELL, best=True), replace(CELL, doubted=True), Cell())
    rows = (
        row(NASTY, (*cells, *[CELL] * len(sets)), chosen=True, fails=("G19",)),
        row("base", tuple(replace(CELL, gap=None) for _ in columns), baseline=True),
        row("w/o x", tuple(Cell() for _ in columns), seeds=(), failed=3, reason="loss is NaN & 100% lost_at {step}"),
        *more,
    )
    blocks = [Block(title="2-set mean", columns=(0, 1, 2), kind="mean", scopes=("zero-shot",))]
    if sets:
        blocks += [Block(title="clean", columns=tuple(range(3, len(columns))), kind="sets", scopes=("set",))]
    matrix = Matrix(
        study="a_study", question="Does 5 % of α_x & β help?", split="selection", baseline="base", columns=columns,
        rows=rows, blocks=tuple(blocks),
    )  # fmt: skip
    return Described(
        matrix=matrix, setting=("Measured on the built-in miniature.",),
        legend=("* p < 0.05.", "† robustness unverified, the audit fails."),
    )  # fmt: skip


# ---- LaTeX: a strict reader, which knows the few commands that a table may use

ENVIRONMENTS = {"table", "tabular", "minipage"}
COMMANDS = {
    "begin", "end", "centering", "small", "caption", "label", "toprule", "midrule", "bottomrule", "multicolumn", "emph",
    "textbf", "footnotesize", "raggedright", "linewidth", "par", "medskip", "addlinespace", "textbackslash",
    "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar", "textquotedbl", "dagger", "pm", "times",
    "Delta", "approx", "alpha", "beta", "gamma", "lambda", "tau", "ref",
}  # fmt: skip
MATH_ONLY = {"dagger", "pm", "times", "Delta", "approx", "alpha", "beta", "gamma", "lambda", "tau"}
TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[{}$&^_#~]|%[^\n]*|[^\\{}$&^_#~%]+", re.DOTALL)


def read_latex(text: str) -> list[list[int]]:
    """Return, per tabular, the cells of each of its rows; fail on what LaTeX would stumble over."""
    assert "".join(TOKEN.findall(text)) == text
    open_: list[str] = []
    math, tables, cells = False, [], 1
    tokens = TOKEN.findall(text)
    for at, token in enumerate(tokens):
        name = token[1:] if token[0] == "\\" and token[1:].isalpha() else ""
        if name:
            assert name in COMMANDS, token
            assert math or name not in MATH_ONLY, f"{token} outside math"
        if name == "multicolumn":
            cells += int(tokens[at + 2]) - 1
        if name in ("begin", "end"):
            environment = tokens[at + 2]
            assert environment in ENVIRONMENTS
            if name == "begin":
                open_.append(environment)
                tables += [[]] if environment == "tabular" else []
            else:
                assert open_.pop() == environment
            cells = 1
        elif token == "{":
            open_.append("{")
        elif token == "}":
            assert open_.pop() == "{", f"brace closes an environment at {tokens[at - 3 : at + 3]}"
        elif token == "$":
            math = not math
            assert not (math and tokens[at + 1] == "$"), "display math"
        elif token in ("^", "_"):
            assert math, f"{token} outside math at {tokens[at - 3 : at + 3]}"
        elif token == "&":
            assert open_[-1] == "tabular", f"& outside a row at {tokens[at - 3 : at + 3]}"
            cells += 1
        elif token == "\\\\":
            assert open_[-1] == "tabular"
            assert not tokens[at + 1].lstrip().startswith(("[", "*")), "read as an option of the line's end"
            tables[-1].append(cells)
            cells = 1
        elif token.startswith("%"):
            assert at == 0 or tokens[at - 1].endswith("\n"), "text lost behind a comment sign"
        else:
            assert token != "#", "a bare #"
            assert token == "\\ " or name or token[0] != "\\" or token[1] in "{}&%$#_", token
            assert not any(letter in token for letter in '<>|"†±Δ×α'), token
    assert not open_
    assert not math
    return tables


def test_the_reader_of_latex_stumbles_where_latex_does() -> None:
    good = "\\begin{tabular}{ll}\na & $x^2$ \\\\\n\\end{tabular}\n"
    assert read_latex(good) == [[2]]
    for bad in ("a & b", "$x", "x^2", "{", "\\foo", "50% of", "\\begin{table}", "a < b", "\\pm", "#"):
        with pytest.raises((AssertionError, IndexError)):
            read_latex(f"text {bad}\n")


def test_many_sets_are_tables_below_each_other_that_fit_a_page() -> None:
    """Sixteen sets at about 40 points each are 640 wide: a page has 345."""
    text = latex(example(sets=tuple(f"set number {i}" for i in range(16))))
    wide, *tables = read_latex(text)
    assert wide == [4] * 6
    assert len(tables) > 1
    assert sum(table[0] - 1 for table in tables) == 16
    assert all(table[0] - 1 <= 5 for table in tables)
    assert text.count("\\begin{table}") == text.count("\\end{table}") == text.count("\\caption{") == 1 + len(tables)
    assert len(set(re.findall(r"\\label\{(.*?)\}", text))) == 1 + len(tables)
    assert text.count("by set (continued)}") == len(tables) - 1


@pytest.mark.parametrize("sets", [(), ("an_imals", "b&b")])
def test_latex_has_rows_of_one_width_and_escapes_every_label(sets: tuple[str, ...]) -> None:
    text = latex(example(sets=sets))
    tables = read_latex(text)
    # title, head, then a row and where there are differences a second one below it
    assert tables == [[4] * 6, [3] * 5][: 1 + bool(sets)]
    for rule in ("\\toprule", "\\midrule", "\\bottomrule"):
        assert text.count(rule) == len(tables)
    assert "\\textbf{42.1} {\\footnotesize $\\pm$ 0.5}" in text
    assert "42.1$^{\\dagger}$" in text
    assert "$-1.2\\ [-2.5, -0.1]^{*}$" in text
    assert "w/o x: failed 3 of 3 seeds: loss is NaN \\& 100\\% lost\\_at \\{step\\}." in text


@example_of(" *")  # LaTeX skips the space
@given(st.text(alphabet=string.printable + "αβ×±†", max_size=30))
def test_whatever_a_label_is_latex_reads_it(label: str) -> None:
    read_latex(f"\\begin{{tabular}}{{l}}\nx \\\\\n{tex(label)} \\\\\n\\end{{tabular}}\n")


@given(st.text(alphabet=string.ascii_letters + string.punctuation + " αβ×±†", max_size=30))
def test_latex_loses_nothing_of_a_label(label: str) -> None:
    back = {shown: letter for letter, shown in TEX.items() if letter not in "\n\u00a0"}
    found = re.split("(" + "|".join(map(re.escape, sorted(back, key=len, reverse=True))) + ")", tex(label))
    assert "".join(back.get(piece, piece.replace("{}", "")) for piece in found) == label
    assert not any(re.search("--|''|``|,,|[?!]`", piece) for piece in found if piece not in back)


# ---- Markdown


def body(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_markdown_has_one_line_per_row_and_no_label_breaks_it() -> None:
    found = body(markdown(example()))
    assert {len(cells) for cells in found} == {8}
    assert found[0] == [
        "configuration", "clean, %", "robust, %", "harmonic, %", "Δ clean", "Δ robust", "Δ harmonic", "notes"
    ]  # fmt: skip
    assert found[2][0] == '[50%] w/o \\<b>α_x\\</b> & $lr ~ {1e-3}^2 #1 \\| \\\\frac \\*a\\* "q"'
    assert found[2][1:5] == ["**42.1 ± 0.5**", "42.1† ± 0.5", "–", "-1.2 [-2.5, -0.1] p=0.030"]
    assert found[2][-1] == "chosen; † audit fails G19"
    assert found[3][-1] == "baseline"
    assert found[4][-1] == "failed 3 of 3 seeds: loss is NaN & 100% lost_at {step}"


def test_markdown_by_set_is_short() -> None:
    found = body(markdown(example(sets=("an", "b|b"))).split("### clean, by set")[1])
    assert found[0] == ["configuration", "an", "b\\|b", "notes"]
    assert found[2][1:3] == ["42.1\\*", "42.1\\*"]


def test_a_bar_in_a_reason_does_not_break_the_table() -> None:
    assert markdown_table(("a", "b"), [("x|y", "z\nw")]) == ["| a    | b   |", "|------|-----|", "| x\\|y | z w |"]


def test_markdown_takes_no_label_for_a_mark() -> None:
    assert md("a*b `c` <i> 1 < 2 [x](y) _z_ a_b \\") == "a\\*b \\`c\\` \\<i> 1 < 2 [x]\\(y) \\_z\\_ a_b \\\\"


# ---- terminal


@pytest.mark.parametrize("width", [80, 100, 160])
def test_the_terminal_holds_the_matrix_in_its_width(width: int) -> None:
    wide = row("a label that is far longer than the column it stands in " * 3)
    text = terminal(example(wide, sets=()), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "42.1 ± 0.5" in text
    assert "-1.2 [-2.5, -0.1] *" in text
    assert "w/o x: failed 3 of 3 seeds: loss is NaN & 100% lost_at {step}" in " ".join(text.split())
    assert "\x1b" not in text


def test_sixteen_sets_continue_below_in_a_hundred_columns() -> None:
    sets = tuple(f"dataset_{i}" for i in range(16))
    text = terminal(example(sets=sets), width=100)
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("clean, by set (continued)") == 2
    assert all(name in text for name in sets)


def test_bold_is_for_terminals_that_show_it_and_is_explained_there_alone() -> None:
    shown = replace(example(), legend=(BOLD,))
    assert "\x1b[1m42.1 ± 0.5" in terminal(shown, color=True)
    assert "Bold: the best" in terminal(shown, color=True)
    assert "Bold" not in terminal(shown)


# ---- CSV


def test_csv_has_every_number_in_full_and_nothing_for_none() -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated([example().matrix]))))
    assert len(rows) == 9
    first = rows[0]
    assert first["configuration"] == NASTY
    assert (float(first["value"]), float(first["gap_low"]), float(first["p_holm"])) == (42.06, -2.5, 0.03)
    assert (first["best"], rows[1]["doubted"], first["audit_fails"]) == ("1", "1", "G19")
    assert (float(first["eps"]), float(rows[1]["eps"])) == (0.0, 1 / 255)
    assert (rows[3]["gap"], rows[6]["value"], rows[6]["seeds"]) == ("", "", "0")
    assert rows[6]["notes"] == "failed 3 of 3 seeds: loss is NaN & 100% lost_at {step}"


# ---- HTML


class Reader(HTMLParser):
    """Collects the text of each table row, and holds that every element is closed by its own end."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.rows: list[list[str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


def test_html_is_well_formed_and_shows_labels_as_they_are() -> None:
    reader = Reader()
    text = html_fragment(example(sets=("a<b", "c&d")))
    reader.feed(text)
    reader.close()
    assert not reader.open
    assert reader.rows[0] == ["configuration", "clean", "robust", "harmonic"]
    assert reader.rows[1][0] == f"{NASTY}chosen; † audit fails G19"
    assert reader.rows[1][1:] == ["42.1 ± 0.5-1.2 [-2.5, -0.1], p=0.030 *", "42.1† ± 0.5-1.2 [-2.5, -0.1], p=0.030 *",
                                  "–"]  # fmt: skip
    assert reader.rows[4] == ["configuration", "a<b", "c&d"]
    assert "<b>42.1 ± 0.5</b>" in text
    assert not re.search(r"(src|href|url)\s*[=(]", text)


# ---- marks


@pytest.mark.parametrize(("p", "shown"), [(None, ""), (0.049, "*"), (0.05, ""), (1.0, "")])
def test_a_star_is_for_what_holds_after_correction(p: float | None, shown: str) -> None:
    assert star(replace(GAP, p_holm=p)) == shown


def test_where_few_seeds_do_not_bear_the_sign_out_there_is_neither_star_nor_p() -> None:
    assert p_text(GAP) == "p=0.030"
    doubtful = replace(GAP, t_low=-4.0, t_high=1.5)
    assert (star(doubtful), p_text(doubtful)) == ("", "")
    one = replace(GAP, seeds=1, t_low=None, t_high=None)
    assert (star(one), p_text(one)) == ("", "")
    many = replace(doubtful, seeds=5)
    assert (star(many), p_text(many)) == ("*", "p=0.030")


def test_one_seed_shows_the_interval_over_images_and_no_records_none() -> None:
    one = replace(CELL, sd=None, t_low=None, t_high=None)
    assert value_text(one) == "42.1 [41.0, 43.0]"
    assert value_text(replace(one, low=None, high=None)) == "42.1"
    assert value_text(replace(one, low=43.0, high=43.0)) == "42.1", "no certainty where all resamples agree"


@pytest.mark.parametrize("form", FORMS)
def test_every_form_holds_both_splits(form: str) -> None:
    first = example()
    second = replace(first.matrix, split="report", question="And on the report split?")
    text = written([first, replace(first, matrix=second)], form)
    assert text.count("w/o x") >= 2
    assert text.count("<style>") == (form == "html")


def test_a_paper_chooses_caption_and_label_of_its_tables() -> None:
    asked = Typeset(caption="Two weights, 5 % apart.", label="tab:weights")
    text = latex(example(sets=("an_imals",)), asked)
    assert r"\caption{Two weights, 5 \% apart.}" in text
    assert text.count(r"\label{tab:weights}") == 1
    assert r"\label{tab:weights-2}" in text
    assert "Why?" not in text
