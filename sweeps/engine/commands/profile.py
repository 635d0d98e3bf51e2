"""``zsr profile``: a page on a study's methods beyond accuracy, with the published claims beside what was measured."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser

WORDS = "write profile.html: methods compared beyond accuracy, published claims beside what was measured"


def add(command: Parser) -> None:
    add_study(command)
    command.add_argument("--row", metavar="LABEL", help="write profile-LABEL.html instead, a page on this row alone")


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.documents.profile import write_profile  # noqa: PLC0415 - brings torch
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    return say([write_profile(open_study(read_study_path(options.study)), options.row)])
