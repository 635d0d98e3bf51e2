"""``zsr report``: one page on a study, or on several side by side."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.commands.shared import read_study_path, say
from sweeps.engine.running.flags import Parser, read_text
from zsr_core.codec import require

WORDS = "write one page on a study, or on several side by side: answer, table, figures, audit, cost, what is missing"


def add(command: Parser) -> None:
    flag = command.add_argument
    flag("--study", required=True, nargs="+", metavar="DIR",
         help="the study's folder; with several the first is compared with each of the others")  # fmt: skip
    flag("--out", metavar="FILE", help="by default report.html in the first study's folder")


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.documents.report.gather import write_report  # noqa: PLC0415 - brings torch
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    folders = [open_study(read_study_path(text)) for text in options.study]
    return say([write_report(folders, _page(options.out))])


def _page(text: str | None) -> Path | None:
    if read_text("--out", text, "a file to write") is None:
        return None
    page = Path(str(text)).expanduser()
    require(not page.is_dir(), "--out", text, "a file to write; this is a folder")
    return page
