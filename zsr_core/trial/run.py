"""``run_trial``: one trial, whole. It knows no Ray and no tracker."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from zsr_core.codec import ConfigError, to_plain
from zsr_core.data import ImageSet, zero_shot_names
from zsr_core.evaluation.journal import Journal, Tick
from zsr_core.evaluation.measure import measure
from zsr_core.evaluation.suite import evaluate, merged
from zsr_core.evaluation.victim import Victim
from zsr_core.files import write_text
from zsr_core.model.distributed import ALONE, Broken, Said, World, together
from zsr_core.model.load import Clip
from zsr_core.records import SampleRecord, write_samples
from zsr_core.text import TextBank
from zsr_core.training.fit import Report
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import deployed, evaluation_bank, tuned_tower, untouched_clip
from zsr_core.trial.provenance import _peak_bytes, provenance, set_notes, skipped
from zsr_core.trial.result import TrialResult, read_result, write_result

# (config, folder of finished batches) -> the records of the whole suite
Spread = Callable[[TrialConfig, Path], list[SampleRecord]]
PARTS = "parts"  # below a trial's folder, while its evaluation lasts


def run_trial(
    config: TrialConfig,
    folder: Path,
    *,
    report: Report | None = None,
    cache: Path | None = None,
    device: str | None = None,
    tick: Tick | None = None,
    spread: Spread | None = None,
    world: World = ALONE,
) -> TrialResult:
    """Train, attack, measure, and leave config, records and result in ``folder``; the result is written last.

    Args:
        report: gets a dict of numbers after each epoch ("epoch", "loss", terms) and each task ("task", "tasks").
        cache: a folder that trials share: teacher features, tuned weights by training hash, training checkpoints.
        device: "cpu" or "cuda"; by default CUDA where there is one.
        tick: hears of every batch that was attacked.
        spread: evaluates in place of this process, for instance many at once; batches finished before a kill are found
            again in the folder it is given.
        world: the processes that run this trial together, each in this function; the leading one writes. If one
            fails, it raises: see :func:`run_trial_together`, which starts them.

    Returns the stored result at once if the folder holds one with status "done". A trial that fails is a result with
    status "failed" and its reason; only an interrupt passes through.

    Raises:
        ConfigError: if the folder holds the result of another trial, or one that cannot be read.
    """
    stored = _done(config, folder)
    if stored is not None:
        return stored
    if world.leads:
        _begin(config, folder)
    started = _now()
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        result = _run(config, folder, report, cache, where, tick, spread, world)
    except Exception as error:  # whatever stops a trial becomes its row; the traceback stays beside it
        if world.size > 1:
            raise
        reason = str(error).strip() or type(error).__name__
        kind = "" if isinstance(error, (ConfigError, ArithmeticError)) else f"{type(error).__name__}: "
        result = _failed(config, folder, f"{kind}{reason}", traceback.format_exc())
    return _end(result, folder, where, started) if world.leads else result


def run_trial_together(
    config: TrialConfig,
    folder: Path,
    processes: int,
    *,
    report: Report | None = None,
    cache: Path | None = None,
    device: str | None = None,
) -> TrialResult:
    """Run one trial as :func:`run_trial` does, in ``processes`` processes of this machine, one a GPU or CPU core.

    The numbers are those of one process up to the order of sums. If a process is killed, all are started once more
    and go on from the last checkpoint; a second time, or an error, is a failed result.
    """
    if processes == 1:
        return run_trial(config, folder, report=report, cache=cache, device=device)
    stored = _done(config, folder)
    if stored is not None:
        return stored
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    threads, started = max(1, torch.get_num_threads() // processes), _now()
    for last in (False, True):
        try:
            together(
                processes, _member, (config, folder, cache), cuda=where.type == "cuda", report=report, threads=threads
            )
            break
        except Broken as error:
            if last or not error.killed:
                _begin(config, folder)
                return _end(_failed(config, folder, str(error), error.trace), folder, where, started)
    result = read_result(folder)
    assert result is not None
    return result


def _member(
    world: World, device: str, report: Said | None, config: TrialConfig, folder: Path, cache: Path | None
) -> None:
    run_trial(config, folder, report=report, cache=cache, device=device, world=world)


def _done(config: TrialConfig, folder: Path) -> TrialResult | None:
    stored = read_result(folder)
    if stored is not None and stored.trial_id != config.trial_id:
        raise ConfigError(f"folder: {folder} holds trial {stored.trial_id}, expected {config.trial_id} or none")
    return stored if stored is not None and stored.status == "done" else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begin(config: TrialConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "config.json", json.dumps(to_plain(config), indent=1) + "\n")


def _failed(config: TrialConfig, folder: Path, reason: str, trace: str) -> TrialResult:
    write_text(folder / "traceback.txt", trace)
    return TrialResult(trial_id=config.trial_id, config=config, status="failed", error=reason)


def _end(result: TrialResult, folder: Path, where: torch.device, started: str) -> TrialResult:
    facts = {**provenance(where), **result.provenance, "started": started, "finished": _now()}
    result = replace(result, provenance=facts)
    write_result(folder, result)
    if result.status == "done":
        shutil.rmtree(folder / PARTS, ignore_errors=True)
    return result


def _run(
    config: TrialConfig,
    folder: Path,
    report: Report | None,
    cache: Path | None,
    device: torch.device,
    tick: Tick | None,
    spread: Spread | None,
    world: World,
) -> TrialResult:
    begun = time.perf_counter()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clip = untouched_clip(config.model, str(device))
    clip.tower.world = world
    tower, history, cost = tuned_tower(config, clip, report, cache, device)
    trained = time.perf_counter()
    clip.tower.world = tower.world = ALONE  # from here on each process has images of its own
    victim = deployed(config, clip, tower)

    def progress(done: int, of: int, _: str) -> None:
        if report is not None:
            report({"task": done, "tasks": of})

    if spread is not None:
        records = spread(config, folder / PARTS)
    else:
        journal = Journal(folder=folder / PARTS)
        own = _records(config, clip, victim, device, journal, tick, progress, (world.rank, world.size))
        records = own if world.size == 1 else merged(world.collect(own))
    if not world.leads:
        return TrialResult(trial_id=config.trial_id, config=config, status="done")
    write_samples(folder / "samples.parquet", records)
    notes = set_notes(config, clip.tower.image_size)
    zero_shot = zero_shot_names(config.eval_suite.tasks, config.train_data)
    ended = time.perf_counter()
    seconds = {"seconds_train": trained - begun, "seconds_eval": ended - trained, "seconds_total": ended - begun}
    gpu = {"gpu_seconds": world.size * (ended - begun)} if device.type == "cuda" else {}
    return TrialResult(
        trial_id=config.trial_id, config=config, status="done", measurements=tuple(measure(records, zero_shot)),
        history=tuple(history), cost={**cost, **seconds, **gpu, "peak_bytes": _peak_bytes(device)},
        provenance={
            "weights_sha": victim.sha, "initial_weights_sha": clip.sha, "processes": str(world.size),
            **skipped(config, clip.tower.image_size),
            **({"data_notes": "; ".join(notes)} if notes else {}),
        },
    )  # fmt: skip


def _records(
    config: TrialConfig,
    clip: Clip,
    victim: Victim,
    device: torch.device,
    journal: Journal,
    tick: Tick | None,
    progress: Callable[[int, int, str], None] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> list[SampleRecord]:
    def bank(images: ImageSet) -> TextBank:
        return evaluation_bank(config, clip, images, str(device))

    return evaluate(
        victim, config.eval_suite, bank, clip.tower.image_size, seed=config.seed, trial_id=config.trial_id,
        device=device, progress=progress, journal=journal, tick=tick, shard=shard,
        trained_on=config.train_data,
    )  # fmt: skip


def evaluate_shard(
    config: TrialConfig,
    parts: Path,
    shard: tuple[int, int],
    *,
    cache: Path | None = None,
    device: str | None = None,
    tick: Tick | None = None,
) -> list[SampleRecord]:
    """Return the records of images k, k + K, ... of every task, ``shard`` being (k, K); see :func:`evaluate.merged`.

    Args:
        parts: the folder of finished batches, which shards may share.
        cache: where the trial's tuned weights are kept; needless for an untouched model.
    """
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    clip = untouched_clip(config.model, str(where))
    tower, _, _ = tuned_tower(config, clip, None, cache, where)
    victim = deployed(config, clip, tower)
    return _records(config, clip, victim, where, Journal(folder=parts), tick, shard=shard)
