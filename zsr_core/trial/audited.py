"""The audit of a finished trial: on its kept weights and records, with the verdicts kept beside its result."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from zsr_core.audit.evidence import Evaluation
from zsr_core.audit.facts import Row
from zsr_core.audit.finding import skipped
from zsr_core.audit.gather import Say
from zsr_core.audit.plan import Request
from zsr_core.audit.report import Report, audit, scene_of, write_report
from zsr_core.audit.rules import RULES
from zsr_core.audit.scene import Scene
from zsr_core.audit.verdict import Verdict
from zsr_core.codec import ConfigError
from zsr_core.evaluation.victim import Victim
from zsr_core.model.precision import decide
from zsr_core.records import from_table, read_samples
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import restored
from zsr_core.trial.result import TrialResult, write_result


@dataclass(frozen=True, kw_only=True, eq=False)
class Neighbours:
    """What a study holds beside a trial: the trial's row of its table, a baseline's row, and other models."""

    own: Row | None = None
    baseline: Row | None = None  # a TeCoA of the same budget
    others: Mapping[str, Victim] = field(default_factory=dict)  # from which examples are transferred


def trial_scene(
    result: TrialResult, folder: Path, cache: Path, request: Request, *, device: str | None = None
) -> tuple[Scene, Evaluation]:
    """Return the scene of a request on the trial in ``folder``, and what the trial's evaluation left behind.

    Raises:
        ConfigError: if the weights are not those that the trial's numbers were measured on.
    """
    decide(deterministic=result.provenance.get("deterministic") == "true")
    config, where = result.config, torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = restored(config, cache, where)
    victim, sha = model.victim, result.provenance.get("weights_sha", "")
    if victim.sha != sha:
        raise ConfigError(f"weights: got {victim.sha} for trial {result.trial_id}, expected {sha}, which was measured")
    path = folder / "samples.parquet"
    records = from_table(read_samples(path)) if path.is_file() else []
    suite = config.eval_suite
    asked = replace(request, eps=budget_of(config, request.eps))
    scene = scene_of(
        victim, suite, model.banks, model.image_size, asked, seed=config.seed, device=where, records=records,
        trained_on=config.train_data,
    )  # fmt: skip
    return scene, Evaluation(attacks=suite.attacks, records=tuple(records), measurements=tuple(result.measurements))


def budget_of(config: TrialConfig, eps: float | None) -> float:
    """Return the budget that is audited: ``eps``, by default the one that the trial's robust scores are read at."""
    return config.headline_eps if eps is None else eps


def audit_trial(
    result: TrialResult,
    folder: Path,
    cache: Path,
    request: Request,
    *,
    neighbours: Neighbours | None = None,
    device: str | None = None,
    say: Say | None = None,
) -> Report:
    """Audit a finished trial, keep ``audit.json`` in its ``folder`` and the statuses in its result; return all of it.

    Args:
        cache: the folder that the study's trials share, where the tuned weights are.
        say: called before each probe.
    """
    begun = time.perf_counter()
    beside = neighbours or Neighbours()
    scene, evaluation = trial_scene(result, folder, cache, request, device=device)
    scene = replace(scene, victim=replace(scene.victim, others={**scene.victim.others, **beside.others}))
    evaluation = replace(evaluation, own=beside.own, baseline=beside.baseline)
    report, surface = audit(scene, evaluation, request, trial_id=result.trial_id, say=say)
    kept = write_report(folder, report, surface)
    cost = {**result.cost, "seconds_audit": time.perf_counter() - begun}
    write_result(folder, replace(result, audit=kept.statuses, cost=cost))
    return kept


def keep_failure(result: TrialResult, folder: Path, error: BaseException, *, eps: float | None = None) -> Report:
    """Keep an audit that stopped with an error: every rule is skipped, and its verdict gives the error."""
    finding = skipped(
        f"the audit stopped: {type(error).__name__}: {error}", "Audit the trial again: zsr audit --trial."
    )
    report = Report(
        trial_id=result.trial_id, weights_sha=result.provenance.get("weights_sha", ""),
        norm=result.config.eval_suite.norm, eps=budget_of(result.config, eps), tier="none", images=0, passes=0,
        verdicts=tuple(Verdict.of(rule, finding) for rule in RULES),
    )  # fmt: skip
    kept = write_report(folder, report)
    write_result(folder, replace(result, audit=kept.statuses))
    return kept
