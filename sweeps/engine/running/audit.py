"""``zsr audit``: a study's trials judged by the rules G01 to G25, on the weights that the study kept."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeps.engine.study.folder import PlannedTrial, Study, read_results, read_study, trial_folder
from zsr_core.attacks import Pgd
from zsr_core.audit import plan as core
from zsr_core.audit.evidence import Autocast
from zsr_core.audit.facts import Row
from zsr_core.audit.report import report_lines
from zsr_core.audit.rules import RULES
from zsr_core.codec import ConfigError, did_you_mean, require, unknown
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.trial.audited import Neighbours, audit_trial, trial_scene
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import restored
from zsr_core.trial.result import TrialResult

SIBLINGS = 2  # other trials of the study whose examples are transferred


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which trials of a study are audited, and what each audit is asked for."""

    trial: str = ""  # an id, its beginning, or a label; by default the trials on the report split
    tier: core.Tier = "cheap"
    rules: tuple[str, ...] = tuple(RULES)
    images: int | None = None
    autocast: Autocast = "none"
    plan: bool = False  # say what would run, and run nothing

    def __post_init__(self) -> None:
        require(self.images is None or self.images >= 1, "--images", self.images, "at least 1")
        for rule in self.rules:
            if rule not in RULES:
                raise unknown("--rules", rule, RULES)

    def at(self, eps: float) -> core.Request:
        """Return what the audit of each trial is asked for, at the budget that the study's scores are read at."""
        return core.Request(tier=self.tier, rules=self.rules, images=self.images, autocast=self.autocast, eps=eps)


def audit_study(folder: Path, request: Request) -> list[str]:
    """Audit the trials that are asked for, keep the verdicts beside their results, and return them as lines.

    Raises:
        ConfigError: if no such trial is done, or its weights are not those that its numbers were measured on.
    """
    study = read_study(folder)
    results = read_results(folder, study)
    lines: list[str] = []
    for trial in wanted(study, results, request.trial):
        lines += ["", f"{trial.trial_id}  {trial.label} ({trial.role})"]
        lines += _audited(folder, study, results, trial, request)
    return lines[1:]


def wanted(study: Study, results: Mapping[str, TrialResult], name: str) -> list[PlannedTrial]:
    """Return the finished trials of this name; without a name those on the report split, or else every finished one."""
    done = [t for t in study.plan if t.trial_id in results and results[t.trial_id].status == "done"]
    require(bool(done), "study", study.study, "at least one finished trial")
    if not name:
        end = [t for t in done if results[t.trial_id].config.eval_suite.split == "report"]
        return end or done
    called = [t for t in done if t.trial_id.startswith(name) or name in (t.label, t.cell)]
    if not called:
        known = [text for t in done for text in (t.trial_id, t.label)]
        raise ConfigError(f"--trial: no finished trial is called {name!r}{did_you_mean(name, known)}")
    return called


def _audited(
    folder: Path, study: Study, results: Mapping[str, TrialResult], trial: PlannedTrial, request: Request
) -> list[str]:
    result, place = results[trial.trial_id], trial_folder(folder, trial.trial_id)
    eps = result.config.headline_eps
    asked = request.at(eps)
    if request.plan:
        scene, evaluation = trial_scene(result, place, folder, asked)
        return core.plan_lines(scene, evaluation.attacks, asked)
    near = siblings(study, results, trial) if request.tier == "full" else []
    neighbours = Neighbours(
        own=row_of(result, eps),
        baseline=baseline(study, results, trial, eps),
        others={f"sibling-{config.trial_id}": _as_source(config, folder) for config in near},
    )
    return report_lines(audit_trial(result, place, folder, asked, neighbours=neighbours, say=_say))


def _as_source(config: TrialConfig, folder: Path) -> Victim:
    """Return a trial's network alone, because a defence plays no part in examples that are made on it."""
    victim, _, _ = restored(config, folder, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    return Victim(embed=victim.embed, scale=victim.scale, bias=victim.bias, sha=victim.sha)


def _say(name: str, number: int, of: int) -> None:
    print(f"  {number}/{of} {name}", file=sys.stderr, flush=True)


def siblings(study: Study, results: Mapping[str, TrialResult], trial: PlannedTrial) -> list[TrialConfig]:
    """Return up to :data:`SIBLINGS` finished trials of this architecture trained otherwise, of the same seed first."""
    mine = results[trial.trial_id].config
    others = [t for t in study.plan if t.trial_id in results and results[t.trial_id].status == "done"]
    configs = [results[t.trial_id].config for t in sorted(others, key=lambda t: t.seed != trial.seed)]
    alike = [c for c in configs if c.epochs and c.model.name == mine.model.name and c.training_id != mine.training_id]
    distinct = {c.training_id: c for c in reversed(alike)}
    return list(distinct.values())[-SIBLINGS:]


def baseline(study: Study, results: Mapping[str, TrialResult], trial: PlannedTrial, eps: float) -> Row | None:
    """Return the numbers of a TeCoA trained at the same budget and measured alike, if the study holds one."""
    mine = results[trial.trial_id].config
    for planned in study.plan:
        result = results.get(planned.trial_id)
        if result is None or result.status != "done" or planned.trial_id == trial.trial_id:
            continue
        other = result.config
        alike = other.threat == mine.threat and other.eval_suite == mine.eval_suite and other.defence is None
        if alike and isinstance(other.method, TeCoA) and other.epochs:
            return row_of(result, eps)
    return None


def row_of(result: TrialResult, eps: float) -> Row | None:
    """Return a trial's zero-shot clean, PGD and worst-case accuracy; None if PGD is its strongest attack."""
    suite = result.config.eval_suite
    pgd = next((a.name for a in suite.attacks if isinstance(a, Pgd)), "")
    mean = {(m.metric, m.attack, m.eps): m.value for m in result.measurements if m.task == ZERO_SHOT_MEAN}
    keys = [("clean", "none", 0.0), ("robust", pgd, eps), ("robust", WORST, eps)]
    if all(isinstance(a, Pgd) for a in suite.attacks) or any(key not in mean for key in keys):
        return None
    clean, plain, worst = (mean[key] for key in keys)
    return Row(clean=clean, pgd=plain, worst=worst)
