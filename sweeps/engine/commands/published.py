"""``zsr published``: the papers' numbers beside the study's."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser

WORDS = "write published.md: the papers' numbers beside the study's, where they are of one kind"


def add(command: Parser) -> None:
    add_study(command)
    command.add_argument("--ranks", action="store_true", help="write ranks.md instead: Kendall's tau between the order "
        "of the study's methods and that of each published table")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.documents.published import write_beside  # noqa: PLC0415 - brings torch
    from sweeps.engine.documents.ranks import write_ranks  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    write = write_ranks if options.ranks else write_beside
    path = write(open_study(read_study_path(options.study)))
    return say([path.read_text(encoding="utf-8"), path])
