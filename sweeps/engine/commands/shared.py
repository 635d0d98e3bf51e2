"""Flags that several commands have, and how commands print."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from sweeps.engine.running.exit_codes import DONE
from sweeps.engine.running.flags import Parser, read_text
from sweeps.engine.study.limits import BEST, CLIFF
from zsr_core.codec import parse_number, require


def add_study(command: Parser) -> None:
    command.add_argument("--study", required=True, metavar="DIR", help="the study's folder")


def add_model(command: Parser) -> None:
    """Add the flags that name the models of a command: trials of a study, or a folder of ``zsr evaluate``."""
    flag = command.add_argument
    flag("--study", metavar="DIR", help="the study's folder")
    flag("--trial", default="", help="an id, its beginning or a label; default: the study's end")
    flag("--evaluated", metavar="DIR", help="instead of --study: the folder of one trial, as zsr evaluate leaves it")


def read_model(options: argparse.Namespace) -> Path | None:
    """Return the folder that ``--evaluated`` names, or None where ``--study`` is given.

    Raises:
        ConfigError: for both or neither of them, for ``--trial`` without a study, and for an empty text.
    """
    given = options.study is not None
    require(given != (options.evaluated is not None), "--study", options.study, "a study's folder, or --evaluated")
    require(given or not options.trial, "--trial", options.trial, "--study with it")
    read_text("--evaluated", options.evaluated, "the folder of a trial")
    return None if given else Path(options.evaluated).expanduser()


def read_eps(text: str | None) -> float | None:
    """Return the budget that ``--eps`` gives, None without the flag."""
    eps = None if text is None else parse_number(text) or 0.0
    require(eps is None or eps > 0, "--eps", text, "a budget above 0, e.g. 2/255")
    return eps


def add_scores(command: Parser) -> None:
    words = "a score such as robust or robust@2/255; may be given again (default: clean, robust, harmonic)"
    command.add_argument("--z", action="append", default=[], metavar="SCORE", help=words)


def add_best(command: Parser) -> None:
    words = f"whether a difference of two scores should be {' or '.join(BEST)} (default: neither; no best is marked)"
    command.add_argument("--best", metavar="WHICH", help=words)


def add_cliff(command: Parser) -> None:
    words = f"points between neighbours, above which what lies between is unresolved (default {CLIFF:g})"
    command.add_argument("--cliff", default=str(CLIFF), metavar="POINTS", help=words)


def add_tracking(command: Parser) -> None:
    words = "where to record; by default MLFLOW_TRACKING_URI, else mlflow.db beside the study's folder"
    command.add_argument("--tracking", metavar="URI", help=words)


def read_study_path(text: str, flag: str = "--study") -> Path:
    """Return the folder of a study that ``text`` names.

    Raises:
        ConfigError: naming the flag and the text, for nothing, a file, or a folder that does not exist.
    """
    expected = "the folder of a study, which a sweep has written"
    read_text(flag, text, expected)
    folder = Path(text).expanduser()
    require(not folder.is_file(), flag, text, f"{expected}; this is a file")
    require(folder.is_dir(), flag, text, f"{expected}; there is no such folder")
    return folder


def say(lines: Iterable[object]) -> int:
    """Print ``lines`` and return the exit code of a command that is done."""
    print("\n".join(str(line) for line in lines), flush=True)
    return DONE
