"""``zsr``: read studies again from their trial folders, attack any model, look after the data."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Protocol

from sweeps.engine.commands import (
    attention,
    audit,
    dashboard,
    data,
    detect,
    evaluate,
    export,
    health,
    measure,
    plot,
    profile,
    published,
    record,
    refine,
    replay,
    report,
    sensitivity,
    table,
)
from sweeps.engine.running.exit_codes import BAD_INPUT, DONE
from sweeps.engine.running.flags import Parser, read_name, unknown_flag
from sweeps.engine.running.output import encodable_output
from zsr_core import __version__
from zsr_core.codec import ConfigError

DESCRIPTION = "Read studies again from their trial folders alone, attack any model, look after the data."


class Command(Protocol):
    """The file of a command."""

    WORDS: str  # what it does, for the list of commands

    def add(self, command: Parser) -> None:
        """Add the command's flags to its parser."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Run the command, print what it made, and return the exit code."""
        ...


COMMANDS: Mapping[str, Command] = {
    "export": export,
    "table": table,
    "plot": plot,
    "sensitivity": sensitivity,
    "health": health,
    "refine": refine,
    "replay": replay,
    "dashboard": dashboard,
    "published": published,
    "record": record,
    "report": report,
    "profile": profile,
    "measure": measure,
    "audit": audit,
    "attention": attention,
    "detect": detect,
    "data": data,
    "evaluate": evaluate,
}


def parsers(asked: str = "") -> tuple[Parser, Parser]:
    """Return the parser of ``zsr`` and that of the command ``asked``, which alone has its flags; or the first twice."""
    top = Parser(prog="zsr", description=DESCRIPTION)
    top.add_argument("--version", action="version", version=f"zsr {__version__}")
    rows = top.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=Parser)
    named = top
    for name, command in COMMANDS.items():
        row = rows.add_parser(name, help=command.WORDS, description=f"{command.WORDS[0].upper()}{command.WORDS[1:]}.")
        if name == asked:
            command.add(row)
            named = row
    return top, named


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 2 for input that cannot be used, which is said in one line."""
    given = list(sys.argv[1:] if argv is None else argv)
    name = given[0] if given and not given[0].startswith("-") else ""
    with encodable_output():
        try:
            return _run(name, given)
        except (ConfigError, OSError) as error:
            if isinstance(error, BrokenPipeError):  # `zsr table | head`: the reader has closed the pipe
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
                return DONE
            print(f"zsr {name}".rstrip() + f": {error}", file=sys.stderr)
            return BAD_INPUT


def _run(name: str, given: Sequence[str]) -> int:
    if name:
        read_name("command", name, COMMANDS)
    top, named = parsers(name)
    options, extra = top.parse_known_args(given)
    if extra:
        raise unknown_flag(extra, named.flags)
    return COMMANDS[options.command].run(options)
