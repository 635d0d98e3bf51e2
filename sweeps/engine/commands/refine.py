"""``zsr refine``: the trials between neighbours whose scores are too far apart, proposed or run."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_cliff, add_scores, add_study, add_tracking, read_study_path, say
from sweeps.engine.running.flags import Parser, read_points, read_text
from zsr_core.codec import require

WORDS = "propose, or run, the trials between neighbours whose scores are too far apart"


def add(command: Parser) -> None:
    add_study(command)
    add_scores(command)
    add_cliff(command)
    flag = command.add_argument
    flag("--run", action="store_true", dest="go", help="run them, then choose and score anew")
    flag("--local", action="store_true", help="with --run: in this process, without Ray")
    add_tracking(command)


def run(options: argparse.Namespace) -> int:
    from sweeps.engine.analysis.cliffs import refine_study, refined  # noqa: PLC0415 - brings SciPy
    from sweeps.engine.analysis.score_query import parse_score, shown_readings  # noqa: PLC0415
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415
    from sweeps.engine.wording.cliffs import proposal_lines  # noqa: PLC0415

    cliff = read_points("--cliff", options.cliff)
    for flag in ("local", "tracking"):
        require(options.go or not getattr(options, flag), f"--{flag}", getattr(options, flag), "--run with it")
    read_text("--tracking", options.tracking, "a URI, or none")
    path = read_study_path(options.study)
    folder = open_study(path)
    scores = [parse_score(text) for text in options.z] or list(shown_readings(folder.study.objectives))
    proposals = refine_study(folder, scores, cliff)
    lines = proposal_lines(folder.study, proposals, scores, cliff)
    if not proposals:
        return say(lines)
    if not options.go:
        return say([*lines, "To run them: the same command with --run."])
    from sweeps.engine.running.launch import go_on  # noqa: PLC0415

    say(lines)
    return go_on(
        path, lambda now: refined(now.study, refine_study(now, scores, cliff)), local=options.local,
        tracking=options.tracking,
    )  # fmt: skip
