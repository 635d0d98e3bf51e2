"""``zsr export``: a study as Parquet."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser

WORDS = "write study.parquet: one measurement a row, the whole configuration beside it"


def add(command: Parser) -> None:
    add_study(command)
    words = "write samples/ too: every image's record, cut by task and condition"
    command.add_argument("--samples", action="store_true", help=words)
    words = "write reliability.parquet too: per trial, set and condition the bins of a reliability diagram"
    command.add_argument("--reliability", action="store_true", help=words)


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.documents.parquet import export_study  # noqa: PLC0415 - brings pandas
    from sweeps.engine.documents.reliability import export_reliability  # noqa: PLC0415
    from sweeps.engine.documents.samples import export_samples  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    folder = open_study(read_study_path(options.study))
    made = [export_study(folder)]
    if options.samples:
        made.append(export_samples(folder))
    if options.reliability:
        made.append(export_reliability(folder))
    return say(made)
