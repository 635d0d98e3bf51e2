"""``zsr measure``: further metrics of finished trials, from their files alone."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, read_study_path, say
from sweeps.engine.running.flags import Parser, read_text

WORDS = "compute further metrics from the records and embeddings on disk, without any attack"


def add(command: Parser) -> None:
    add_study(command)
    flag = command.add_argument
    flag("--metrics", metavar="A[,B]", help="metrics by name, such as ece,auroc_adv, or all (default: print what there "
         "is to choose from)")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    read_text("--metrics", options.metrics, "metrics by name, such as ece,auroc_adv, or all")
    path = read_study_path(options.study)
    from sweeps.engine.running.afterwards.measuring import asked_metrics, catalogue, measure_study  # noqa: PLC0415 - brings torch

    if options.metrics is None:
        return say(catalogue())
    return say(measure_study(path, asked_metrics(options.metrics, "--metrics")))
