"""Run trials in this process, one at a time, without Ray; a trial with several GPUs gets one process per GPU."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from sweeps.engine.running.jobs import Job, Source, Watch, perform
from zsr_core.codec import require
from zsr_core.trial.rungs import Rungs

LOOK_SECONDS = 1.0


def check_gpus(processes: int) -> None:
    """Raise ``ConfigError`` unless this machine has a GPU for each of the processes of a trial."""
    gpus = torch.cuda.device_count()
    require(processes == 1 or processes <= gpus, "--gpus-per-trial", processes, f"at most the {gpus} GPUs there are")


def check_limit(limit: float | None) -> None:
    """Raise ``ConfigError`` if trials have a time limit that this thread cannot enforce."""
    able = limit is None or threading.current_thread() is threading.main_thread()
    require(able, "--trial-timeout", limit, "the main thread of this process, because signals reach no other; or Ray")


def run_here(
    source: Source,
    folder: Path,
    watch: Watch,
    processes: int = 1,
    limit: float | None = None,
    rungs: Rungs | None = None,
    device: str | None = None,
    *,
    deterministic: bool = False,
) -> None:
    """Run every job of ``source`` into ``folder``, and report to ``watch``; ``processes`` share each trial.

    ``rungs``: when trials are scored while they train. A trial that runs longer than ``limit`` seconds fails.
    ``device``: default CUDA where there is one. ``deterministic``: the same sums in every run on a GPU.

    Uses one thread, as on Ray, so that sums have the same order and the numbers are the same.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _looked_after(watch):
            while isinstance(job := source.next(), Job):  # one at a time: there is never a job to wait for
                watch.started(job)
                perform(
                    job.configs, folder, watch.progress, score_eps=job.score_eps, device=device, processes=processes,
                    limit=limit, rungs=rungs, at_rung=None if rungs is None else watch.at_rung, metrics=job.metrics,
                    deterministic=deterministic,
                )  # fmt: skip
                watch.finished(job)
                source.finished(job)
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _looked_after(watch: Watch) -> Iterator[None]:
    """Within, ``watch`` looks after the running trials once a second, in a thread of its own."""
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(LOOK_SECONDS):
            watch.look(time.monotonic())

    thread = threading.Thread(target=look, name="zsr-look", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
