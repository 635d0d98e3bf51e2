"""``zsr replay``: searches tried out over a finished grid, in seconds, on simulated workers."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser, read_name, read_whole
from sweeps.engine.running.launch_flags import SEARCHES, STOPS
from zsr_core.codec import parse_names

WORDS = "try searches out over a finished grid: which share of its cost each needs"
MOST_REPEATS, MOST_WORKERS = 10_000, 10_000


def add(command: Parser) -> None:
    add_study(command)
    flag = command.add_argument
    words = f"searches to replay: {', '.join(SEARCHES)} (default tpe); random and the grid's order stand beside them"
    flag("--search", nargs="+", default=["tpe"], metavar="NAME", help=words)
    flag("--stop", default="none", metavar="RULE", help="with early stopping: asha or hyperband (default none)")
    flag("--workers", default="1", metavar="N", help="simulated workers (default 1)")
    flag("--repeats", default="50", metavar="N", help="replays of each search, each with its own seed (default 50)")
    flag("--objectives", metavar="A[,B]", help="scores that the search is told (default: the study's deciding score; "
         "two: also the hypervolume)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    searches = [read_name("--search", name, SEARCHES) for name in options.search]
    workers = read_whole("--workers", options.workers, most=MOST_WORKERS)
    repeats = read_whole("--repeats", options.repeats, most=MOST_REPEATS)
    read_name("--stop", options.stop, STOPS)
    from sweeps.engine.documents.replay import write_replay  # noqa: PLC0415 - brings Optuna and matplotlib
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415
    from sweeps.engine.study.objectives import check_objectives, deciding_score  # noqa: PLC0415
    from sweeps.engine.study.stopping import check_stoppable, stopping  # noqa: PLC0415

    folder = open_study(read_study_path(options.study))
    objectives: tuple[str, ...] = (deciding_score(folder.study.objectives).name,)
    if options.objectives is not None:
        objectives = parse_names(options.objectives)
        check_objectives(objectives)
    stop = stopping(options.stop, "--stop")
    if stop is not None:
        check_stoppable(objectives, "--stop")
    lines, paths = write_replay(folder, searches, objectives=objectives, stop=stop, workers=workers, repeats=repeats)
    return say([*lines, "", *paths])
