"""``zsr detect``: zero-shot detection by crops."""

from __future__ import annotations

import argparse
from pathlib import Path

from sweeps.engine.commands.shared import add_model, read_eps, read_model, read_study_path, say
from sweeps.engine.running.flags import Parser, read_text, read_whole
from zsr_core.codec import parse_names, parse_number, require

WORDS = "name the boxes of scenes, clean and attacked: crop accuracy, class-gated IoU, mAP"


def add(command: Parser) -> None:
    add_model(command)
    flag = command.add_argument
    flag("--boxes", metavar="FILE", help="COCO instances as JSON (default: the miniature's own scenes)")
    flag("--pictures", metavar="DIR", help="where the file names of --boxes start")
    flag("--proposals", metavar="FILE",
         help="a detector's boxes, Parquet: image_id, x0, y0, x1, y1, score (default: the true boxes)")  # fmt: skip
    flag("--scenes", default="16", metavar="N", help="how many of the miniature's (default 16)")
    flag("--attacks", default="", metavar="A,B", help="by default the first attack of the evaluation")
    flag("--eps", metavar="EPS", help="the attacks' budget, e.g. 2/255 (default: the one of the trial's scores)")
    flag("--pad", default="0", metavar="SHARE", help="widen a box on every side by this share of it (default 0)")


def run(options: argparse.Namespace) -> int:
    evaluated = read_model(options)
    for name, expected in (("boxes", "a file"), ("pictures", "a folder"), ("proposals", "a file")):
        read_text(f"--{name}", getattr(options, name), expected)
    eps, pad = read_eps(options.eps), parse_number(options.pad)
    require(pad is not None, "--pad", options.pad, "a number from 0 to 1")
    scenes = read_whole("--scenes", options.scenes)
    from sweeps.engine.running.afterwards.detection import Request, detect_evaluated, detect_study  # noqa: PLC0415 - brings torch

    paths = {name: getattr(options, name) for name in ("boxes", "pictures", "proposals")}
    request = Request(
        **{name: None if text is None else Path(text).expanduser() for name, text in paths.items()},
        scenes=scenes, attacks=parse_names(options.attacks), eps=eps, pad=pad or 0.0,
    )  # fmt: skip
    if evaluated is not None:
        return say(detect_evaluated(evaluated, request))
    from sweeps.engine.study.folder import open_study  # noqa: PLC0415

    return say(detect_study(open_study(read_study_path(options.study)), options.trial, request))
