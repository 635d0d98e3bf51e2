"""``zsr audit``: which robustness numbers may be believed."""

from __future__ import annotations

import argparse
from typing import get_args

from sweeps.engine.commands.shared import read_study_path, say
from sweeps.engine.running.flags import Parser, read_folder, read_name, read_whole
from zsr_core.codec import require

WORDS = "say which robustness numbers may be believed: of a study's trials, or of the papers' tables"


def add(command: Parser) -> None:
    flag = command.add_argument
    flag("--study", metavar="DIR", help="the study's folder")
    flag("--published", action="store_true", help="the papers' own tables, by the rules that numbers alone decide")
    flag("--out", metavar="DIR",
         help="where --published writes audit_published.md and .html (default ./results)")  # fmt: skip
    flag("--trial", default="", help="an id, its beginning or a label; default: the study's end")
    flag("--tier", help="cheap or full; full varies all of the attack (default cheap)")
    flag("--rules", nargs="+", metavar="G17", help="only these; probes that no other rule needs are left out")
    flag("--images", metavar="N", help="at most so many (default: cheap 64, full 512)")
    flag("--autocast", metavar="TYPE",
         help="judge the numbers of attacks made in this precision (G05): bfloat16 or float16 (default none); the "
              "audit's own attacks run in fp32")  # fmt: skip
    flag("--plan", action="store_true", help="print the probes and their cost, and start nothing")


def run(options: argparse.Namespace) -> int:
    given = options.study is not None
    require(given != options.published, "--study", options.study, "a study's folder, or --published instead of it")
    _check_read(options)
    if options.published:
        from sweeps.engine.documents.papers_audit import terminal_lines, write_audit  # noqa: PLC0415 - brings torch

        folder = read_folder("--out", "results" if options.out is None else options.out)
        lines = terminal_lines()
        return say([*lines, "", *write_audit(folder)])
    images = None if options.images is None else read_whole("--images", options.images)
    path = read_study_path(options.study)
    from sweeps.engine.running.audit import Request, audit_study  # noqa: PLC0415 - brings torch
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415
    from zsr_core.audit.evidence import Autocast  # noqa: PLC0415
    from zsr_core.audit.plan import TIERS  # noqa: PLC0415

    tier = read_name(
        "--tier", "cheap" if options.tier is None else options.tier, [tier for tier in TIERS if tier != "none"]
    )
    autocast = read_name("--autocast", "none" if options.autocast is None else options.autocast, get_args(Autocast))
    rules = {"rules": tuple(options.rules)} if options.rules else {}
    request = Request(trial=options.trial, tier=tier, images=images, autocast=autocast, plan=options.plan, **rules)
    return say(audit_study(open_study(path), request))


def _check_read(options: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for a flag that would be ignored: of a study's audit with --published, or the reverse."""
    if not options.published:
        require(options.out is None, "--out", options.out, "--published with it: verdicts are kept in the study")
        return
    for flag in ("trial", "tier", "rules", "images", "autocast", "plan"):
        value = getattr(options, flag)
        require(not value, f"--{flag}", value, "--study with it: the papers' tables are judged by their numbers alone")
