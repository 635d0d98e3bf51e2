"""Flags that several commands have, and how commands print."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from sweeps.engine.running.exit_codes import DONE
from sweeps.engine.running.flags import Parser, read_text
from sweeps.engine.study.limits import BEST, CLIFF
from zsr_core.codec import require


def add_study(command: Parser) -> None:
    command.add_argument("--study", required=True, metavar="DIR", help="the study's folder")


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
