"""A finished trial before the audit: its classifier from the kept weights, its records, verdicts beside its result."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path

import torch

from zsr_core.audit.plan import Tier
from zsr_core.audit.probes import Autocast, Scene
from zsr_core.audit.report import Report, audit, scene_of, write_report
from zsr_core.audit.rules import Row, skip
from zsr_core.audit.verdict import RULES
from zsr_core.codec import ConfigError
from zsr_core.evaluation.victim import Victim
from zsr_core.records import SampleRecord, from_table, read_samples
from zsr_core.trial.deploy import restored
from zsr_core.trial.result import TrialResult, write_result


def trial_scene(
    result: TrialResult,
    folder: Path,
    cache: Path,
    *,
    tier: Tier,
    images: int | None = None,
    autocast: Autocast = "none",
    device: str | None = None,
) -> tuple[Scene, list[SampleRecord]]:
    """Return what a tier looks at of the trial in ``folder``, and the trial's records.

    Raises:
        ConfigError: if the weights are not those that the trial's numbers were measured on.
    """
    config, where = result.config, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    victim, banks, size = restored(config, cache, where)
    sha = result.provenance.get("weights_sha", "")
    if victim.sha != sha:
        raise ConfigError(f"weights: got {victim.sha} for trial {result.trial_id}, expected {sha}, which was measured")
    path = folder / "samples.parquet"
    records = from_table(read_samples(path)) if path.is_file() else []
    scene = scene_of(
        victim, config.eval_suite, banks, size, tier=tier, eps=config.headline_eps, images=images, seed=config.seed,
        device=where, autocast=autocast, records=records, trained_on=config.train_data,
    )  # fmt: skip
    return scene, records


def audit_trial(
    result: TrialResult,
    folder: Path,
    cache: Path,
    *,
    tier: Tier,
    only: Collection[str] = tuple(RULES),
    images: int | None = None,
    autocast: Autocast = "none",
    device: str | None = None,
    others: Mapping[str, Victim] | None = None,
    own: Row | None = None,
    baseline: Row | None = None,
    say: Callable[[str, int, int], None] | None = None,
) -> Report:
    """Audit a finished trial, keep ``audit.json`` in its ``folder`` and the statuses in its result; return all of it.

    Args:
        cache: the folder that the study's trials share, where the tuned weights are.
        others: further models from which examples are transferred.

    The rest is :func:`zsr_core.audit.audit`'s.
    """
    begun = time.perf_counter()
    scene, records = trial_scene(result, folder, cache, tier=tier, images=images, autocast=autocast, device=device)
    scene = replace(scene, victim=replace(scene.victim, others={**scene.victim.others, **(others or {})}))
    report, surface = audit(
        scene, result.config.eval_suite.attacks, tier=tier, only=only, trial_id=result.trial_id, records=records,
        measurements=result.measurements, own=own, baseline=baseline, say=say,
    )  # fmt: skip
    kept = write_report(folder, report, surface)
    cost = {**result.cost, "seconds_audit": time.perf_counter() - begun}
    write_result(folder, replace(result, audit=kept.statuses, cost=cost))
    return kept


def keep_failure(result: TrialResult, folder: Path, error: Exception) -> Report:
    """Keep an audit that broke: every rule is skipped, and says why."""
    reason = f"the audit stopped: {type(error).__name__}: {error}"
    suite = result.config.eval_suite
    report = Report(
        trial_id=result.trial_id, weights_sha=result.provenance.get("weights_sha", ""), norm=suite.norm,
        eps=result.config.headline_eps, tier="none", images=0, passes=0,
        verdicts=tuple(skip(rule, reason, "Audit the trial again: zsr audit --trial.") for rule in RULES),
    )  # fmt: skip
    kept = write_report(folder, report)
    write_result(folder, replace(result, audit=kept.statuses))
    return kept
