"""``zsr table``: ``table.md``, or the matrix printed in a form that a paper, a page or a spreadsheet takes."""

from __future__ import annotations

import argparse
import re
import sys

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.documents.forms import FORMS
from sweeps.engine.running.flags import Parser, read_name, read_text
from zsr_core.codec import require

LABEL = re.compile(r"[A-Za-z0-9:._/-]+")  # what \\label and \\ref take in every document
WORDS = "write table.md, or print the matrix for a paper, a page or a spreadsheet"


def add(command: Parser) -> None:
    add_study(command)
    flag = command.add_argument
    flag("--format", metavar="FORM", help="print the matrix with its tests in this form instead of writing table.md: "
         f"{', '.join(FORMS)}")  # fmt: skip
    flag("--baseline", metavar="LABEL", help="the row to compare with; by default the design's own")
    flag("--metric", nargs="+", metavar="SCORE", help="which scores, such as clean robust (default: the study's own)")
    flag("--columns", nargs="+", metavar="COLUMN", help="which columns in this order: scores as their heads name them, "
         "with --per-set also sets")  # fmt: skip
    flag("--caption", metavar="TEXT", help="latex: the caption, in place of the study's question and setting")
    flag("--label", metavar="NAME", help="latex: the label of the first table, such as tab:weights")
    flag("--published", action="store_true", help="below it the papers' numbers beside the study's")
    flag("--per-set", action="store_true", help="each set by itself too, with McNemar's exact test")
    flag("--all-eps", action="store_true", help="robust accuracy at every budget of the suite")


def run(options: argparse.Namespace) -> int:
    form = _form(options)
    read_text("--baseline", options.baseline, "the label of a row")
    path = read_study_path(options.study)
    from sweeps.engine.analysis.matrix import MatrixRequest  # noqa: PLC0415 - brings torch
    from sweeps.engine.documents.forms.latex import Typeset  # noqa: PLC0415
    from sweeps.engine.documents.forms.written import matrix_text  # noqa: PLC0415
    from sweeps.engine.documents.published import beside_lines  # noqa: PLC0415
    from sweeps.engine.documents.table import write_table  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415
    from sweeps.engine.study.objectives import TITLES  # noqa: PLC0415

    scores = tuple(read_name("--metric", name, TITLES) for name in options.metric) if options.metric else None
    folder = open_study(path)
    if form is None:
        return say([write_table(folder)])
    asked = MatrixRequest(
        baseline=options.baseline, metrics=scores, per_set=options.per_set, all_budgets=options.all_eps,
        columns=tuple(options.columns) if options.columns else None,
    )  # fmt: skip
    typeset = Typeset(caption=options.caption, label=options.label)
    lines = [matrix_text(folder, form, asked, color=sys.stdout.isatty(), typeset=typeset).rstrip("\n")]
    lines += ["", *beside_lines(folder)] if options.published else []
    return say(lines)


def _form(options: argparse.Namespace) -> str | None:
    """Return the form to print, None to write ``table.md``; flags that would have no effect are refused."""
    form = options.format or ("terminal" if options.published else None)
    require(options.format != "", "--format", options.format, f"one of {', '.join(FORMS)}")
    if form is None:
        for flag in ("baseline", "metric", "columns", "per_set", "all_eps", "caption", "label"):
            value = getattr(options, flag)
            require(
                not value and value != "",
                f"--{flag.replace('_', '-')}",
                value,
                "--format with it: table.md has all scores and the design's own baseline",
            )
        return None
    read_name("--format", form, FORMS)
    for flag in ("caption", "label"):
        text = getattr(options, flag)
        require(text is None or form == "latex", f"--{flag}", text, "--format latex with it")
        read_text(f"--{flag}", text, "a text")
    label = options.label or "tab:a"
    require(LABEL.fullmatch(label) is not None, "--label", options.label, "letters, digits and : . _ / - alone")
    require(not options.published or form in ("terminal", "md"), "--published", form, "--format terminal or md with it")
    return form
