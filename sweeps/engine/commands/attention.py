"""``zsr attention``: a page of attention maps."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.commands.shared import read_study_path, say
from sweeps.engine.running.flags import Parser, read_text, read_whole
from zsr_core.codec import parse_number, require

WORDS = "draw where a model looks, untouched and tuned, without attack and under it"


def add(command: Parser) -> None:
    flag = command.add_argument
    flag("--study", metavar="DIR", help="the study's folder")
    flag("--trial", default="", help="an id, its beginning or a label; default: the study's end")
    flag("--evaluated", metavar="DIR", help="instead of --study: the folder of one trial, as zsr evaluate leaves it")
    flag("--task", default="", metavar="NAME", help="which set (default: the first zero-shot set that has masks)")
    flag("--images", default="4", metavar="N", help="the first N of its images (default 4)")
    flag("--attack", default="", metavar="NAME", help="by default the first attack of the evaluation")
    flag("--eps", metavar="EPS", help="the attack's budget, e.g. 2/255 (default: the one of the trial's scores)")


def run(options: argparse.Namespace) -> int:
    given = options.study is not None
    require(given != (options.evaluated is not None), "--study", options.study, "a study's folder, or --evaluated")
    require(given or not options.trial, "--trial", options.trial, "--study with it")
    images = read_whole("--images", options.images)
    eps = None if options.eps is None else _budget(options.eps)
    read_text("--evaluated", options.evaluated, "the folder of a trial")
    from sweeps.engine.running.afterwards.attention import Request, evaluated_page, study_pages  # noqa: PLC0415 - brings torch

    request = Request(task=options.task, images=images, attack=options.attack, eps=eps)
    if not given:
        return say(evaluated_page(Path(options.evaluated).expanduser(), request))
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    return say(study_pages(open_study(read_study_path(options.study)), options.trial, request))


def _budget(text: str) -> float:
    eps = parse_number(text) or 0.0
    require(eps > 0, "--eps", text, "a budget above 0, e.g. 2/255")
    return eps
