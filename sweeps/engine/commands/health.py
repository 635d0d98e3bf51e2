"""``zsr health``: what is odd about a study, each finding with what to do."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser

WORDS = "write health.md: what is odd about a study, and what to do"


def add(command: Parser) -> None:
    add_study(command)


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.documents.health import write_health  # noqa: PLC0415 - brings torch
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    path = write_health(open_study(read_study_path(options.study)))
    return say([path.read_text(encoding="utf-8"), path])
