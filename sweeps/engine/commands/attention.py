"""``zsr attention``: a page of attention maps."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_model, read_eps, read_model, read_study_path, say
from sweeps.engine.running.flags import Parser, read_whole

WORDS = "draw where a model looks, untouched and tuned, without attack and under it"


def add(command: Parser) -> None:
    add_model(command)
    flag = command.add_argument
    flag("--task", default="", metavar="NAME", help="which set (default: the first zero-shot set that has masks)")
    flag("--images", default="4", metavar="N", help="the first N of its images (default 4)")
    flag("--attack", default="", metavar="NAME", help="by default the first attack of the evaluation")
    flag("--eps", metavar="EPS", help="the attack's budget, e.g. 2/255 (default: the one of the trial's scores)")


def run(options: argparse.Namespace) -> int:
    evaluated, images, eps = read_model(options), read_whole("--images", options.images), read_eps(options.eps)
    from sweeps.engine.running.afterwards.attention import Request, evaluated_page, study_pages  # noqa: PLC0415 - brings torch

    request = Request(task=options.task, images=images, attack=options.attack, eps=eps)
    if evaluated is not None:
        return say(evaluated_page(evaluated, request))
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    return say(study_pages(open_study(read_study_path(options.study)), options.trial, request))
