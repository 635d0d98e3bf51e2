"""``zsr data check``: which of the public image sets are on this disk."""

from __future__ import annotations

import argparse
import os

from sweeps.engine.commands.shared import say
from sweeps.engine.running.exit_codes import DONE, INCOMPLETE
from sweeps.engine.running.flags import Parser, read_folder
from zsr_core.codec import parse_names, require

WORDS = "look after the public image sets"
CHECK = "say which sets are there, whole and as published; exit code 1 if one of --tasks is not"


def add(command: Parser) -> None:
    verbs = command.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=Parser)
    check = verbs.add_parser("check", help=CHECK, description=f"{CHECK.capitalize()}.")
    flag = check.add_argument
    flag("--root", default=os.environ.get("ZSR_DATA", "data"), metavar="DIR",
         help="the folder that holds the sets; by default $ZSR_DATA, else data")  # fmt: skip
    flag("--tasks", nargs="+", metavar="NAME", help="sets to look for, by blanks or commas; by default all")
    flag("--decode", action="store_true", help="decode every image too, which takes long")
    flag("--write-splits", action="store_true", help="store which images are held out for selection")
    command.flags += check.flags


def run(options: argparse.Namespace) -> int:
    from zsr_core.data.check import check_sets, report  # noqa: PLC0415 - brings torch

    names = [name for words in options.tasks or () for name in parse_names(words)]
    require(options.tasks is None or bool(names), "--tasks", " ".join(options.tasks or ()), "at least one set")
    root = read_folder("--root", options.root)
    findings = check_sets(root, names, decode=options.decode, write_splits=options.write_splits)
    say(report(findings))
    lacking = bool(names) and any(finding.state != "found" for finding in findings)
    return INCOMPLETE if lacking else DONE
