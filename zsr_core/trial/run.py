"""``run_trial``: one trial, whole. It knows no Ray and no tracker."""

from __future__ import annotations

import json
import shutil
import time
import traceback
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import torch

from zsr_core.codec import ConfigError, require, to_plain
from zsr_core.evaluation.attention import write_attention
from zsr_core.evaluation.detection import write_ood
from zsr_core.evaluation.embeddings import SHIFTED, write_embeddings
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.retrieval.store import write_retrieved
from zsr_core.evaluation.scenes.store import write_detected
from zsr_core.evaluation.shifted import How, Model, shifted_records
from zsr_core.evaluation.suite import evaluate, merged
from zsr_core.files import remove_stale, write_text
from zsr_core.methods.comp_tga import NON_CLASS
from zsr_core.model.distributed import World
from zsr_core.model.load import Clip
from zsr_core.model.precision import decide
from zsr_core.model.processes import Broken, Member, reason_of, together
from zsr_core.records import SampleRecord, write_samples
from zsr_core.training.pauses import TrainingStopped
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.content import changed_since, content_facts
from zsr_core.trial.context import HERE, RunContext
from zsr_core.trial.deploy import DeployedModel, class_bank, model_of, plain_bank, tuned_tower, untouched_clip
from zsr_core.trial.detecting import detected_of
from zsr_core.trial.ladder import Ladder
from zsr_core.trial.numbers import evaluated_of, measured
from zsr_core.trial.provenance import SET_NOTES, peak_bytes, provenance, set_notes, skipped
from zsr_core.trial.result import TrialResult, read_result, write_result
from zsr_core.trial.retrieving import retrieved_of

PARTS = "parts"  # below a trial's folder, while its evaluation lasts


def run_trial(config: TrialConfig, folder: Path, context: RunContext = HERE) -> TrialResult:
    """Train, attack, measure, and leave config, records and result in ``folder``; the result is written last.

    Batches that an earlier, killed run has finished are found again. With a ``context.world`` of several processes
    each of them calls this function, the leading one writes, and an error is raised: see :func:`run_trial_together`.

    Returns the stored result at once if the folder holds one with status "done". A trial that fails is a result with
    status "failed" and its reason, and one that ``context.goes_on`` stops at a rung one with status "pruned"; only an
    interrupt passes through.

    Raises:
        ConfigError: if the folder holds the result of another trial, or one that cannot be read.
    """
    stored = _done(config, folder)
    if stored is not None:
        return stored
    if context.world.leads:
        _begin(config, folder)
    started = _now()
    decide(deterministic=context.deterministic)
    try:
        result = _run(config, folder, context)
    except Exception as error:  # whatever stops a trial becomes its row; the traceback stays beside it
        if context.world.size > 1:
            raise
        result = _failed(config, folder, reason_of(error), traceback.format_exc())
    return _end(result, folder, context.where, started) if context.world.leads else result


def run_trial_together(config: TrialConfig, folder: Path, processes: int, context: RunContext = HERE) -> TrialResult:
    """Run one trial as :func:`run_trial` does, in ``processes`` processes of this machine, one a GPU or CPU core.

    The numbers are those of one process up to the order of sums. If a process is killed, all are started once more
    and go on from the last checkpoint; a second time, or an error, is a failed result.
    """
    if processes == 1:
        return run_trial(config, folder, context)
    stored = _done(config, folder)
    if stored is not None:
        return stored
    where, started = context.where, _now()
    threads = max(1, torch.get_num_threads() // processes)
    given = (config, folder, context.cache, context.deterministic, context.metrics)
    for last in (False, True):
        try:
            together(
                processes, _run_member, given, cuda=where.type == "cuda", on_event=context.on_event, threads=threads
            )
            break
        except Broken as error:
            if last or not error.killed:
                _begin(config, folder)
                return _end(_failed(config, folder, str(error), error.trace), folder, where, started)
    result = read_result(folder)
    assert result is not None
    return result


def _run_member(
    member: Member, config: TrialConfig, folder: Path, cache: Path | None, deterministic: bool, metrics: tuple[str, ...]
) -> None:
    context = RunContext(
        cache=cache,
        device=member.device,
        on_event=member.on_event,
        world=member.world,
        deterministic=deterministic,
        metrics=metrics,
    )
    run_trial(config, folder, context)


def evaluate_shard(
    config: TrialConfig, parts: Path, shard: tuple[int, int], context: RunContext = HERE
) -> list[SampleRecord]:
    """Return the records of images k, k + K, ... of every task, ``shard`` being (k, K); see :func:`evaluate.merged`.

    Args:
        parts: the folder of finished batches, which shards may share.
        context: its ``cache`` holds the trial's tuned weights; an untouched model needs none.
    """
    decide(deterministic=context.deterministic)
    clip = untouched_clip(config.model, str(context.where))
    model = model_of(config, clip, tuned_tower(config, clip, context))
    return _records(config, model, parts=parts, context=context, shard=shard)


def _done(config: TrialConfig, folder: Path) -> TrialResult | None:
    stored = read_result(folder)
    if stored is not None and stored.trial_id != config.trial_id:
        raise ConfigError(f"folder: {folder} holds trial {stored.trial_id}, expected {config.trial_id} or none")
    if stored is None or stored.status != "done":
        return None
    changed = changed_since(stored)
    expected = "what its numbers were measured on: restore it, or remove the folder to measure anew"
    require(not changed, f"folder {folder}", f"other contents of {', '.join(changed)}", expected)
    return stored


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _begin(config: TrialConfig, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for place in (folder, folder / PARTS):
        remove_stale(place)
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


def _run(config: TrialConfig, folder: Path, context: RunContext) -> TrialResult:
    begun, device, world = time.perf_counter(), context.where, context.world
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    clip = untouched_clip(config.model, str(device))
    ladder = _ladder(config, clip, folder, context)
    try:
        tuned = tuned_tower(config, clip, context, None if ladder is None else ladder.pauses())
    except TrainingStopped as stop:
        return _stopped(config, stop, ladder, _seconds(begun, time.perf_counter(), device, world))
    trained = time.perf_counter()
    model = model_of(config, clip, tuned)
    victim = model.victim
    if context.spread is not None:
        records = context.spread(config, folder / PARTS)
    else:  # from here on each process has images of its own
        own = _records(config, model, parts=folder / PARTS, context=context, shard=(world.rank, world.size))
        records = own if world.size == 1 else merged(world.collect(own))
    if not world.leads:
        return TrialResult(trial_id=config.trial_id, config=config, status="done")
    retrieved = retrieved_of(config, model.used, victim, parts=folder / PARTS, context=context)
    detected = detected_of(config, model, parts=folder / PARTS, context=context)
    evaluated = evaluated_of(config, model.used, victim, records, retrieved, detected)
    write_samples(folder / "samples.parquet", evaluated.records)
    write_embeddings(folder, evaluated)
    write_attention(folder, evaluated.records)
    write_ood(folder, evaluated.ood)
    write_detected(folder, detected)
    if evaluated.shifted:
        write_samples(folder / SHIFTED, evaluated.shifted)
    if config.eval_suite.keeps_embeddings:
        write_retrieved(folder, retrieved)
    seconds = _seconds(begun, trained, device, world)
    notes = set_notes(config, clip.tower.image_size)
    return TrialResult(
        trial_id=config.trial_id, config=config, status="done",
        measurements=tuple(measured(config, evaluated, asked=context.metrics)),
        history=tuple(tuned.history), cost={**tuned.cost, **seconds, "peak_bytes": peak_bytes(device)},
        provenance={
            "weights_sha": victim.sha, "initial_weights_sha": clip.sha, "processes": str(world.size),
            **skipped(config, clip.tower.image_size),
            **content_facts(config),
            **({SET_NOTES: "; ".join(notes)} if notes else {}),
        },
        rungs=ladder.rows() if ladder is not None else (),
    )  # fmt: skip


def _ladder(config: TrialConfig, clip: Clip, folder: Path, context: RunContext) -> Ladder | None:
    """Return the rungs of a trial; None where there are none. Nothing that several processes train has rungs."""
    if context.rungs is None or context.world.size > 1 or config.epochs == 0:
        return None
    return Ladder(
        config=config, clip=clip, folder=folder, rungs=context.rungs, where=context.where, goes_on=context.goes_on
    )


def _stopped(
    config: TrialConfig, stop: TrainingStopped, ladder: Ladder | None, seconds: dict[str, float]
) -> TrialResult:
    return TrialResult(
        trial_id=config.trial_id, config=config, status="pruned", error=str(stop), history=tuple(stop.history),
        cost={**stop.cost, **seconds}, provenance=content_facts(config),
        rungs=ladder.rows() if ladder is not None else (),
    )  # fmt: skip


def _seconds(begun: float, trained: float, device: torch.device, world: World) -> dict[str, float]:
    """Return what a trial has cost in time until now; ``begun`` and ``trained`` are of the same clock."""
    ended = time.perf_counter()
    gpu = {"gpu_seconds": world.size * (ended - begun)} if device.type == "cuda" else {}
    return {
        "seconds_train": trained - begun, "seconds_eval": ended - trained, "seconds_total": ended - begun, **gpu
    }  # fmt: skip


def _records(
    config: TrialConfig, model: DeployedModel, *, parts: Path, context: RunContext, shard: tuple[int, int]
) -> list[SampleRecord]:
    suite, size, journal = config.eval_suite, model.image_size, Journal(folder=parts)
    victim, bank = model.victim, model.banks
    records = evaluate(
        victim, suite, bank, size, seed=config.seed, trial_id=config.trial_id, device=context.where, journal=journal,
        on_event=context.on_event, shard=shard, trained_on=config.train_data,
        not_banks=lambda images: class_bank(model.used, images.classes, (NON_CLASS,)),
    )  # fmt: skip
    if not suite.corruptions and not suite.profiles:
        return records
    how = How(
        image_size=size, seed=config.seed, trial_id=config.trial_id, device=context.where, journal=journal,
        on_event=context.on_event, shard=shard, trained_on=config.train_data,
    )  # fmt: skip
    untouched = Model(victim=victim.others["untouched"], banks=lambda images: plain_bank(config, images, context.where))
    clean = [r for r in records if r.condition == "none" and r.split == suite.split]
    return records + shifted_records(Model(victim=victim, banks=bank), untouched, suite, clean, how)
