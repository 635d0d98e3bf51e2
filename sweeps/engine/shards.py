"""One evaluation spread over many workers: each takes every K-th image, and the records are those of one process."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from sweeps.engine.ray_tune import Cluster, cluster
from zsr_core.codec import ConfigError, from_plain, require, to_plain
from zsr_core.evaluate import merged
from zsr_core.records import SampleRecord, from_table, to_table
from zsr_core.trial import Spread, TrialConfig, evaluate_shard

POLL_S = 5.0


def spread_over(workers: int, gpus: float | None, say: Callable[[str], None], cache: Path | None = None) -> Spread:
    """Return what evaluates a trial on ``workers`` Ray workers at a time, each with ``gpus`` (or one CPU).

    A worker that dies is started again and finds its finished batches in the trial's folder, which all nodes share.

    Raises:
        ConfigError: for no worker at all, or more GPUs than there are.
    """
    require(workers >= 1, "--workers", workers, "at least 1")

    def spread(config: TrialConfig, parts: Path) -> list[SampleRecord]:
        with cluster(gpus, workers) as on:
            return _run(config, parts, workers, on, say, cache)

    return spread


def _run(
    config: TrialConfig, parts: Path, workers: int, on: Cluster, say: Callable[[str], None], cache: Path | None
) -> list[SampleRecord]:
    threads = int(on.cpus_per_trial)
    work = ray.remote(num_cpus=threads, num_gpus=on.gpus_per_trial, max_retries=3)(_shard)
    stated = to_plain(config)
    jobs = {
        work.remote(stated, str(parts), k, workers, None if cache is None else str(cache), threads): k
        for k in range(workers)
    }
    found: dict[int, list[SampleRecord]] = {}
    waiting = list(jobs)
    begun = time.monotonic()
    while waiting:
        done, waiting = ray.wait(waiting, timeout=POLL_S)
        for job in done:
            found[jobs[job]] = from_table(_answer(job))
        kept = sum(1 for _ in parts.glob("*.parquet")) if parts.is_dir() else 0
        say(f"{len(found)} of {workers} shards done, {kept} batches kept, {time.monotonic() - begun:.0f} s")
    return merged([found[k] for k in range(workers)])


def _answer(job: Any) -> Any:
    try:
        return ray.get(job)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, (ConfigError, ArithmeticError)):
            raise cause from None
        raise


def _shard(config: dict[str, Any], parts: str, k: int, of: int, cache: str | None, threads: int) -> Any:
    """Run in a worker: return the records of one shard as an Arrow table."""
    torch.set_num_threads(threads)
    where = None if cache is None else Path(cache)
    return to_table(evaluate_shard(from_plain(TrialConfig, config), Path(parts), (k, of), cache=where))
