"""Run trials in this process, one at a time, without Ray; a trial with several GPUs gets one process per GPU."""

from __future__ import annotations

from pathlib import Path

import torch

from sweeps.engine.running.jobs import Source, Watch, perform
from zsr_core.codec import require


def check_gpus(processes: int) -> None:
    """Raise ``ConfigError`` unless this machine has a GPU for each of the processes of a trial."""
    gpus = torch.cuda.device_count()
    require(processes == 1 or processes <= gpus, "--gpus-per-trial", processes, f"at most the {gpus} GPUs there are")


def run_here(source: Source, folder: Path, watch: Watch, processes: int = 1) -> None:
    """Run every job of ``source`` into ``folder``, and report to ``watch``; ``processes`` share each trial.

    Uses one thread, as on Ray, so that sums have the same order and the numbers are the same.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        while (job := source.next()) is not None:
            watch.started(job)
            perform(job.configs, folder, watch.progress, score_eps=job.score_eps, processes=processes)
            watch.finished(job)
            source.finished(job)
    finally:
        torch.set_num_threads(threads)
