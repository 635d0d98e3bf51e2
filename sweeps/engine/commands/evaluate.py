"""``zsr evaluate``: attack any model, also one that others trained, on one worker or many."""

from __future__ import annotations

import argparse

from sweeps.engine.running.flags import Parser, read_folder, read_gpus, read_text, read_whole
from zsr_core.cli.options import EVALUATION, add_evaluate_options
from zsr_core.codec import parse_names, require

WORDS = "attack any model, also one that others trained"
WORKERS = 10_000  # at most


def add(command: Parser) -> None:
    command.description = EVALUATION
    add_evaluate_options(command)
    command.add_argument("--workers", default="1", metavar="K", help="spread the images over so many Ray workers")
    command.add_argument("--gpus-per-worker", metavar="G", help="by default one each where there are any")


def run(options: argparse.Namespace) -> int:
    workers = read_whole("--workers", options.workers, most=WORKERS)
    gpus = None if options.gpus_per_worker is None else read_gpus("--gpus-per-worker", options.gpus_per_worker)
    require(gpus is None or workers > 1, "--gpus-per-worker", options.gpus_per_worker, "--workers above 1 with it")
    _check_texts(options)
    from zsr_core.cli.evaluate import evaluate_model  # noqa: PLC0415 - brings torch

    if workers == 1 or options.plan:
        return evaluate_model(options)
    from sweeps.engine.running.shards import spread_over  # noqa: PLC0415 - brings Ray

    return evaluate_model(options, spread_over(workers, gpus, print, deterministic=options.deterministic))


def _check_texts(options: argparse.Namespace) -> None:
    """Raise ``ConfigError`` for a flag without content: it would mean the default, which was not asked for."""
    for flag, text in (("--weights", options.weights), ("--text-from", options.text_from)):
        read_text(flag, text, "a file of weights, or an open_clip tag")
    read_text("--model", options.model, "'miniature-96' or an open_clip architecture")
    read_folder("--out", options.out)
    names = parse_names(options.tasks)
    require(not options.tasks or bool(names), "--tasks", options.tasks, "at least one set, e.g. cifar10,cifar100")
