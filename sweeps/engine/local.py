"""Trials in this process, one at a time: no Ray, no second process, the place to debug."""

from __future__ import annotations

from pathlib import Path

import torch

from sweeps.engine.work import Source, Watch, perform


def run_here(source: Source, folder: Path, watch: Watch) -> None:
    """Run every job of ``source`` into ``folder``, telling ``watch``.

    One thread, as a trial has on Ray: sums are then taken in the same order, and the numbers are the same.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        while (job := source.next()) is not None:
            watch.started(job)
            perform(job.configs, folder, watch.progress)
            watch.finished(job)
            source.finished(job)
    finally:
        torch.set_num_threads(threads)
