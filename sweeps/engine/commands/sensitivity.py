"""``zsr sensitivity``: how much a score falls when a weight is a little off."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_best, add_cliff, add_scores, add_study, read_study_path, say
from sweeps.engine.running.flags import Parser, read_name, read_points
from sweeps.engine.study.limits import BEST
from zsr_core.codec import require

WORDS = "write sensitivity.md: how much each score falls when a weight is a little off"


def add(command: Parser) -> None:
    add_study(command)
    add_scores(command)
    add_best(command)
    add_cliff(command)


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.analysis.score_query import parse_score  # noqa: PLC0415 - brings torch
    from sweeps.engine.documents.sensitivity import write_sensitivity  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    cliff = read_points("--cliff", options.cliff)
    best = None if options.best is None else read_name("--best", options.best, BEST)
    require(best is None or bool(options.z), "--best", options.best, "--z with it, a difference of two scores")
    wanted = [parse_score(text, best) for text in options.z]
    path = write_sensitivity(open_study(read_study_path(options.study)), wanted, cliff)
    return say([path.read_text(encoding="utf-8"), path])
