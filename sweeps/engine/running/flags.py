"""Flags as text: a parser whose mistakes are one line each, and strict readers of numbers, names and folders."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from zsr_core.codec import ConfigError, is_finite, require, unknown

WHOLE = re.compile(r"[0-9]{1,15}")  # longer ones are refused unread: no count of anything here has 16 digits
DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
MOST = 1_000_000  # trials, images or workers that one flag can ask for, unless it says otherwise
GPUS = 1024  # of one machine, at most
Name = TypeVar("Name", bound=str)


class Parser(argparse.ArgumentParser):
    """argparse, except that a mistake raises ``ConfigError`` instead of printing the usage and ending the process."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.flags: list[str] = []  # in the order of the help text, to answer an unknown flag with
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        self.flags += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **kwargs)

    def error(self, message: str) -> NoReturn:
        raise ConfigError(message)


def unknown_flag(extra: Sequence[str], flags: Collection[str]) -> ConfigError:
    """Return the error for arguments that no flag takes, named by the first of them."""
    return unknown("flag", extra[0].split("=")[0], flags)


def read_whole(flag: str, text: str, *, least: int = 1, most: int = MOST) -> int:
    """Return the whole number that ``text`` is.

    Raises:
        ConfigError: naming the flag, the text and the range, for anything else.
    """
    sound = bool(WHOLE.fullmatch(text)) and least <= int(text) <= most
    require(sound, flag, shown(text), f"a whole number, at least {least} and at most {most}")
    return int(text)


def read_points(flag: str, text: str) -> float:
    """Return the difference of two scores, in points, that ``text`` is."""
    value = _decimal(text)
    require(value is not None and 0 <= value <= 100, flag, shown(text), "a number of points from 0 to 100")
    return float(value or 0.0)


def read_gpus(flag: str, text: str) -> float:
    """Return the share of a GPU, or the number of GPUs, that ``text`` is."""
    value = _decimal(text)
    sound = value is not None and 0 <= value <= GPUS and (value <= 1 or value.is_integer())
    require(sound, flag, shown(text), f"a share of one GPU in [0, 1], or a whole number of GPUs up to {GPUS}")
    return float(value or 0.0)


def _decimal(text: str) -> float | None:
    """Return the finite number that ``text`` is; None for nan, inf, and what only Python reads as a number (1_0)."""
    value = float(text) if DECIMAL.fullmatch(text) else None
    return value if is_finite(value) else None


def read_name(flag: str, text: str, known: Collection[Name]) -> Name:
    """Return the one of ``known`` that ``text`` is; otherwise the error lists them and gives the nearest."""
    for name in known:
        if name == text:
            return name
    raise unknown(flag, text, known)


def read_text(flag: str, text: str | None, expected: str) -> str | None:
    """Return ``text``, None if the flag was not given; an empty text is refused, because it means nothing."""
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
    """Return a flag's text as an error repeats it: shortened, because a long number would fill the screen."""
    return text if len(text) <= 40 else f"{text[:37]}..."
