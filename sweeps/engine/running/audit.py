"""``zsr audit``: a study's trials before the rules G01 to G25, from the weights that the study kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeps.engine.study.folder import PlannedTrial, StudyFolder
from zsr_core.attacks import Pgd
from zsr_core.audit import report as core
from zsr_core.audit.plan import Tier, plan_lines
from zsr_core.audit.probes import Autocast
from zsr_core.audit.rules import Row
from zsr_core.audit.verdict import RULES
from zsr_core.codec import ConfigError, did_you_mean, require, unknown
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.trial.audited import audit_trial, trial_scene
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import restored
from zsr_core.trial.result import TrialResult

SIBLINGS = 2  # other trials of the study whose examples are transferred


@dataclass(frozen=True, kw_only=True)
class Request:
    """What of a study is audited, and how far."""

    trial: str = ""  # an id, its beginning, or a label; without one, the study's end
    tier: Tier = "cheap"
    rules: tuple[str, ...] = tuple(RULES)
    images: int | None = None
    autocast: Autocast = "none"
    plan: bool = False

    def __post_init__(self) -> None:
        require(self.images is None or self.images >= 1, "--images", self.images, "at least 1")
        for rule in self.rules:
            if rule not in RULES:
                raise unknown("--rules", rule, RULES)


def audit_study(folder: StudyFolder, request: Request) -> list[str]:
    """Audit the trials that are asked for, keep the verdicts beside their results, and return them as lines.

    Raises:
        ConfigError: where no such trial is done, or its weights are no longer those that its numbers were measured on.
    """
    lines: list[str] = []
    for trial in wanted(folder, request.trial):
        lines += ["", f"{trial.trial_id}  {trial.label} ({trial.role})"]
        lines += _audited(folder, trial, request)
    return lines[1:]


def wanted(folder: StudyFolder, name: str) -> list[PlannedTrial]:
    """Return the finished trials called so: without a name, those on the report split, else every finished one."""
    done = [trial for trial in folder.study.plan if folder.is_done(trial)]
    require(bool(done), "study", folder.study.study, "at least one finished trial")
    if not name:
        end = [trial for trial in done if trial.is_report]
        return end or done
    found = [t for t in done if t.trial_id.startswith(name) or name in (t.label, t.cell)]
    if not found:
        known = [text for t in done for text in (t.trial_id, t.label)]
        raise ConfigError(f"--trial: no finished trial is called {name!r}{did_you_mean(name, known)}")
    return found


def _audited(folder: StudyFolder, trial: PlannedTrial, request: Request) -> list[str]:
    result, place = folder.results[trial.trial_id], folder.trial_path(trial.trial_id)
    if request.plan:
        scene, _ = trial_scene(
            result, place, folder.path, tier=request.tier, images=request.images, autocast=request.autocast
        )
        return plan_lines(scene, result.config.eval_suite.attacks, request.tier, request.rules)
    near = siblings(folder, trial) if request.tier == "full" else []
    near_models = {f"sibling-{config.trial_id}": _as_source(config, folder.path) for config in near}
    report = audit_trial(
        result, place, folder.path, tier=request.tier, only=request.rules, images=request.images,
        autocast=request.autocast, others=near_models, own=row_of(result),
        baseline=baseline(folder, trial), say=_say,
    )  # fmt: skip
    return core.report_lines(report)


def _as_source(config: TrialConfig, folder: Path) -> Victim:
    """Return a trial's network alone: what is behind or beside it plays no part in examples made on it."""
    victim, _, _ = restored(config, folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return Victim(embed=victim.embed, scale=victim.scale, bias=victim.bias, sha=victim.sha)


def _say(name: str, number: int, of: int) -> None:
    print(f"  {number}/{of} {name}", file=sys.stderr, flush=True)


def siblings(folder: StudyFolder, trial: PlannedTrial) -> list[TrialConfig]:
    """Return up to :data:`SIBLINGS` finished trials of this architecture trained otherwise, of the same seed first."""
    mine = folder.results[trial.trial_id].config
    others = [other for other in folder.study.plan if folder.is_done(other)]
    configs = [folder.results[t.trial_id].config for t in sorted(others, key=lambda t: t.seed != trial.seed)]
    alike = [c for c in configs if c.epochs and c.model.name == mine.model.name and c.training_id != mine.training_id]
    distinct = {c.training_id: c for c in reversed(alike)}
    return list(distinct.values())[-SIBLINGS:]


def baseline(folder: StudyFolder, trial: PlannedTrial) -> Row | None:
    """Return the numbers of a TeCoA trained at the same budget and measured alike, where the study holds one."""
    mine = folder.results[trial.trial_id].config
    for trial_id, result in folder.done().items():
        if trial_id == trial.trial_id:
            continue
        other = result.config
        alike = other.threat == mine.threat and other.eval_suite == mine.eval_suite and other.defence is None
        if alike and isinstance(other.method, TeCoA) and other.epochs:
            return row_of(result)
    return None


def row_of(result: TrialResult) -> Row | None:
    """Return a trial's zero-shot clean, PGD and worst-case accuracy; None where it met no stronger attack than PGD."""
    suite, eps = result.config.eval_suite, result.config.headline_eps
    pgd = next((a.name for a in suite.attacks if isinstance(a, Pgd)), "")
    rows = [m for m in result.measurements if m.task == ZERO_SHOT_MEAN]
    mean = {(m.metric, m.attack, m.eps): m.value for m in rows if m.value is not None}
    keys = [("clean", "none", 0.0), ("robust", pgd, eps), ("robust", WORST, eps)]
    if all(isinstance(a, Pgd) for a in suite.attacks) or any(key not in mean for key in keys):
        return None
    clean, plain, worst = (mean[key] for key in keys)
    return Row(clean=clean, pgd=plain, worst=worst)
