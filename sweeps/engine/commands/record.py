"""``zsr record``: the study's runs in MLflow, written from the trial folders."""

from __future__ import annotations

import argparse

from sweeps.engine.commands.shared import add_study, add_tracking, read_study_path, say
from sweeps.engine.running.flags import Parser, read_text
from sweeps.engine.tracking.address import check_tracking, resolve_tracking
from zsr_core.codec import ConfigError

WORDS = "bring the study's runs in MLflow up to date"


def add(command: Parser) -> None:
    add_study(command)
    words = "the tuned weights of the study's choice too, as files of their runs and in the model registry"
    command.add_argument("--weights", action="store_true", help=words)
    add_tracking(command)


def run(options: argparse.Namespace) -> int:
    read_text("--tracking", options.tracking, "a URI")
    folder = read_study_path(options.study)
    uri = resolve_tracking(options.tracking, folder.parent)
    if uri is None:
        raise ConfigError("tracking: got 'none', expected a URI: there is nowhere to record to")
    check_tracking(uri)
    from sweeps.engine.tracking.recorder import record_study  # noqa: PLC0415 - brings MLflow

    return say([record_study(folder, uri, weights=options.weights)])
