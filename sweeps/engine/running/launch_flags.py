"""The flags of every sweep script. Imports no torch, because ``--help`` needs none of it."""

from __future__ import annotations

from sweeps.engine.running.flags import Parser
from sweeps.engine.study.limits import CLIFF, SAMPLES
from zsr_core.names import CARDS

STOPS = ("asha", "hyperband", "watch", "none")
SEARCHES = ("tpe", "gp", "nsga2", "nsga3", "cmaes", "random", "qmc")
CONDITIONAL_SEARCHES = ("tpe", "random")  # those that can search a space whose axes depend on the method


def launch_parser(question: str) -> Parser:
    """Return the parser of a sweep script that asks ``question``."""
    parser = Parser(description=question)
    add = parser.add_argument
    add("--plan", action="store_true", help="print the trials and what they will cost; start nothing")
    add("--on", metavar="CARD", help=f"plan for graphics cards that need not be here, such as h100 or 8xh100: "
        f"{', '.join(CARDS)}")  # fmt: skip
    add("--search", metavar="NAME", help=f"search the space instead of the grid: {', '.join(SEARCHES)}")
    add("--samples", metavar="N", help="proposals of the search, earlier launches counted (default: the sweep's, "
        f"else {SAMPLES})")  # fmt: skip
    add("--objectives", metavar="A[,B]", help="scores to search for, such as clean,robust (two: a Pareto front)")
    add("--warm-start", nargs="+", default=[], metavar="DIR", help="earlier studies: scores of the same trials are "
        "told to the search; of anything else the best points run first")  # fmt: skip
    add(
        "--refine",
        nargs="?",
        const="1",
        metavar="ROUNDS",
        help=f"also run the midpoints between neighbours over {CLIFF:g} points apart, for ROUNDS rounds (default 1)",
    )
    add("--report-all", action="store_true", help="run every row on the report split, not only the chosen one")
    words = "run these rows on the report split too: labels, or numbers such as #003 of a search"
    add("--report-rows", nargs="+", default=[], metavar="ROW", help=words)
    add("--seeds", metavar="K", help="repeat every trial with K paired seeds; 1-5: with one, and with up to five those "
        "cells that may still be the best")  # fmt: skip
    add("--keep", nargs="+", default=[], metavar="COND", help="choose only among cells that keep these conditions, "
        "such as 'clean >= untouched - 2'")  # fmt: skip
    add("--preset", default="miniature", metavar="NAME", help="scale: miniature (default), miniature-long, paper, or "
        "another of the sweep's own")  # fmt: skip
    add("--results", metavar="DIR", help="where studies are kept (default ./results)")
    add("--tracking", metavar="URI", help="MLflow store; 'none' keeps no runs (default: SQLite in the results folder)")
    add("--local", action="store_true", help="run in this process, one trial at a time, without Ray")
    add("--limit", metavar="N", help="start at most N trials now")
    add("--budget", metavar="AMOUNT", help="spend at most so much, such as 2h, 20gpu-hours or 5e15flops: starts "
        "nothing that cannot finish, and keeps enough back to score the choice again")  # fmt: skip
    add("--until-certain", action="store_true", help="end a search when its expected further gain is below the noise "
        "of the best score")  # fmt: skip
    add("--notify", metavar="TARGET", help="a command or a URL that is told when the launch ends, fails or has used up "
        "its budget (default: ZSR_NOTIFY)")  # fmt: skip
    add("--resume", action="store_true", help="run only the missing trials (default)")
    add("--fresh", action="store_true", help="move an earlier study of this name aside and start anew")
    add("--gpus-per-trial", metavar="X", help="share of a GPU per trial, such as 0.25, or several GPUs of one "
        "machine, such as 4, with a process each (default 1 if there are GPUs)")  # fmt: skip
    add("--deterministic", action="store_true", help="the same sums in every run on a GPU, by slower kernels; recorded "
        "with each result")  # fmt: skip
    add("--max-concurrent", metavar="N", help="run at most N trials at a time")
    add("--stop", metavar="RULE", help=f"stop trials early that are clearly worse: {', '.join(STOPS)} (default: the "
        "sweep's, else none)")  # fmt: skip
    add("--resume-pruned", metavar="N", help="take up again the N best of the cells that were stopped early")
    add("--trial-timeout", metavar="TIME", help="a trial that runs longer fails, such as 90s, 30min or 2h (default: no "
        "limit; a warning after several times the expected time)")  # fmt: skip
    return parser
