"""One evaluation on several workers: each takes every K-th image; the records equal those of one process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

import ray
import torch
from ray.exceptions import RayTaskError

from sweeps.engine.running.cluster.health import watched
from sweeps.engine.running.cluster.join import Cluster, cluster
from zsr_core.codec import ConfigError, from_plain, require, to_plain
from zsr_core.duration import duration
from zsr_core.evaluation.meter import Meter, Standing
from zsr_core.evaluation.suite import merged
from zsr_core.files import write_text
from zsr_core.records import WITH_EMBEDDING, SampleRecord, from_table, to_table
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext, Spread
from zsr_core.trial.cost import evaluation_parts
from zsr_core.trial.run import evaluate_shard

POLL_S = 5.0


def spread_over(workers: int, gpus: float | None, say: Callable[[str], None], *, deterministic: bool = False) -> Spread:
    """Return a function that evaluates a trial on ``workers`` Ray workers, each with ``gpus`` (or one CPU).

    ``deterministic``: the same sums in every run on a GPU. A worker that dies is restarted and reads its finished
    batches from the trial's folder, which all nodes share.

    Raises:
        ConfigError: for less than one worker, or more GPUs than there are.
    """
    require(workers >= 1, "--workers", workers, "at least 1")

    def spread(config: TrialConfig, parts: Path) -> list[SampleRecord]:
        with cluster(gpus, workers) as on:
            return watched(lambda go_on: _run(config, parts, workers, on, say, go_on, deterministic=deterministic))

    return spread


def _run(
    config: TrialConfig,
    parts: Path,
    workers: int,
    on: Cluster,
    say: Callable[[str], None],
    go_on: Callable[[], None],
    *,
    deterministic: bool,
) -> list[SampleRecord]:
    threads = int(on.cpus_per_trial)
    work = ray.remote(num_cpus=threads, num_gpus=on.gpus_per_trial, max_retries=3)(_shard)
    stated = to_plain(config)
    jobs = {work.remote(stated, str(parts), k, workers, threads, deterministic): k for k in range(workers)}
    records: dict[int, list[SampleRecord]] = {}
    waiting = list(jobs)
    begun = time.monotonic()
    while waiting:
        go_on()
        done, waiting = ray.wait(waiting, timeout=POLL_S)
        for job in done:
            records[jobs[job]] = from_table(_answer(job), WITH_EMBEDDING)
        say(f"{_standing(parts, workers, set(records))}, {duration(time.monotonic() - begun)} so far")
    return merged([records[k] for k in range(workers)])


def _standing(parts: Path, workers: int, done: Collection[int]) -> str:
    """Return the progress of the shards by their last reports: the mean share, and the longest time left."""
    shares, left = dict.fromkeys(done, 1.0), [0.0]
    for k in set(range(workers)) - set(done):
        try:
            share, _, seconds = _file_of(parts, k, workers).read_text(encoding="utf-8").partition(" ")
        except OSError:
            continue  # it has not reported yet
        shares[k] = float(share)
        left.append(float(seconds or "inf"))
    known = len(shares) == workers and math.isfinite(max(left))
    progress = f"{100 * sum(shares.values()) / workers:5.1f} %  {len(done)} of {workers} shards done"
    return f"{progress}, about {duration(max(left))} left" if known and len(done) < workers else progress


def _file_of(parts: Path, k: int, of: int) -> Path:
    return parts / f"shard-{k}-of-{of}.txt"


def _meter(config: TrialConfig, parts: Path, k: int, of: int) -> Meter:
    """Return a meter that writes the progress of shard ``k`` to a file for the waiting process."""
    parts.mkdir(parents=True, exist_ok=True)

    def write(at: Standing) -> None:
        write_text(_file_of(parts, k, of), f"{at.share} {'' if at.left is None else at.left}")

    classifying = evaluation_parts(config.with_({"eval_suite.retrieval": None}))  # one process runs the retrieval
    own = [replace(part, images=len(range(k, part.images, of))) for part in classifying]
    return Meter(own, write, every=POLL_S)


def _answer(job: Any) -> Any:
    try:
        return ray.get(job)
    except RayTaskError as error:
        cause = error.cause
        if isinstance(cause, (ConfigError, ArithmeticError)):
            raise cause from None
        raise


def _shard(config: dict[str, Any], parts: str, k: int, of: int, threads: int, deterministic: bool) -> Any:
    """Return the records of one shard, with embeddings if they are kept, as an Arrow table; runs in a worker."""
    torch.set_num_threads(threads)
    trial = from_plain(TrialConfig, config)
    context = RunContext(on_event=_meter(trial, Path(parts), k, of), deterministic=deterministic)
    return to_table(evaluate_shard(trial, Path(parts), (k, of), context), WITH_EMBEDDING)
