"""Command-line flags: a parser with errors of one line, and strict readers of numbers, names and folders."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from zsr_core.codec import ConfigError, is_finite, require, unknown

WHOLE = re.compile(r"[0-9]{1,15}")  # longer numbers are refused, because no count here needs 16 digits
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]+)?) ?(s|min|m|h|d)")
UNITS = {"s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 366 * UNITS["d"]
MOST = 1_000_000  # default upper limit of counts: trials, images, workers
GPUS = 1024  # most GPUs of one machine
Name = TypeVar("Name", bound=str)


class Parser(argparse.ArgumentParser):
    """argparse, except that an error raises ``ConfigError`` instead of printing the usage and ending the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.flags: list[str] = []  # in the order of the help text, for the error of an unknown flag
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def unknown_flag(extra: Sequence[str], flags: Collection[str]) -> ConfigError:
    """Return the error for unknown arguments; it names the first one."""
    return unknown("flag", extra[0].split("=")[0], flags)


def read_whole(flag: str, text: str, *, least: int = 1, most: int = MOST) -> int:
    """Return ``text`` as a whole number.

    Raises:
        ConfigError: naming the flag, the text and the range, for anything else.
    """
    sound = bool(WHOLE.fullmatch(text)) and least <= int(text) <= most
    require(sound, flag, shown(text), f"a whole number, at least {least} and at most {most}")
    return int(text)


def read_points(flag: str, text: str) -> float:
    """Return ``text`` as a difference of scores in points."""
    value = _decimal(text)
    require(value is not None and 0 <= value <= 100, flag, shown(text), "a number of points from 0 to 100")
    return float(value or 0.0)


def read_gpus(flag: str, text: str) -> float:
    """Return ``text`` as a share of one GPU or a number of GPUs."""
    value = _decimal(text)
    sound = value is not None and 0 <= value <= GPUS and (value <= 1 or value.is_integer())
    require(sound, flag, shown(text), f"a share of one GPU in [0, 1], or a whole number of GPUs up to {GPUS}")
    return float(value or 0.0)


def read_duration(flag: str, text: str) -> float:
    """Return a length of time such as ``90s``, ``30 min`` or ``1.5h`` in seconds."""
    match = DURATION.fullmatch(text.strip())
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    require(1 <= seconds <= LONGEST, flag, shown(text), "a length of time such as 90s, 30min or 2h, at least 1s")
    return seconds


def _decimal(text: str) -> float | None:
    """Return ``text`` as a finite number; None for anything else, also for nan, inf and Python's 1_0."""
    value = float(text) if DECIMAL.fullmatch(text) else None
    return value if is_finite(value) else None


def read_name(flag: str, text: str, known: Collection[Name]) -> Name:
    """Return the name in ``known`` that equals ``text``; the error lists all names and the nearest one."""
    for name in known:
        if name == text:
            return name
    raise unknown(flag, text, known)


def read_text(flag: str, text: str | None, expected: str) -> str | None:
    """Return ``text``, or None if the flag was not given; an empty text is refused."""
    require(text is None or text.strip() != "", flag, text, expected)
    return text


def read_folder(flag: str, text: str) -> Path:
    """Return the folder that ``text`` names, whether it exists or not.

    Raises:
        ConfigError: for an empty text, which would mean the current folder, and for the name of a file.
    """
    require(text.strip() != "", flag, text, "a folder")
    folder = Path(text).expanduser()
    require(not folder.is_file(), flag, text, "a folder; this is a file")
    return folder


def shown(text: str) -> str:
    """Return a flag's text shortened for an error message."""
    return text if len(text) <= 40 else f"{text[:37]}..."
