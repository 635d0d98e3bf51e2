"""``zsr audit``: the rules G01 to G27 applied to a study's trials, on the weights that the study kept."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import torch

from sweeps.engine.study.folder import PlannedTrial, StudyFolder
from zsr_core.attacks import Pgd
from zsr_core.audit import plan as core
from zsr_core.audit.evidence import Autocast
from zsr_core.audit.facts import Row
from zsr_core.audit.report import report_lines
from zsr_core.audit.rules import RULES
from zsr_core.codec import ConfigError, did_you_mean, require, unknown
from zsr_core.evaluation.measure import WORST, score_task
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.trial.audited import Neighbours, audit_trial, trial_scene
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import restored
from zsr_core.trial.result import TrialResult

SIBLINGS = 2  # other trials of the study whose examples are transferred


@dataclass(frozen=True, kw_only=True)
class Request:
    """Which trials of a study to audit, and the options of each audit."""

    trial: str = ""  # an id, its beginning, or a label; default: the trials on the report split
    tier: core.Tier = "cheap"
    rules: tuple[str, ...] = tuple(RULES)
    images: int | None = None
    autocast: Autocast = "none"
    plan: bool = False  # list what would run, without running it

    def __post_init__(self) -> None:
        require(self.images is None or self.images >= 1, "--images", self.images, "at least 1")
        for rule in self.rules:
            if rule not in RULES:
                raise unknown("--rules", rule, RULES)

    def at(self, eps: float) -> core.Request:
        """Return the options of each trial's audit, at the budget at which the study's scores are read."""
        return core.Request(tier=self.tier, rules=self.rules, images=self.images, autocast=self.autocast, eps=eps)


def audit_study(folder: StudyFolder, request: Request) -> list[str]:
    """Audit the requested trials, write the verdicts beside their results, and return them as lines.

    Raises:
        ConfigError: if no such trial is done, or its weights have changed since it was measured.
    """
    lines: list[str] = []
    for trial in wanted(folder, request.trial):
        lines += ["", f"{trial.trial_id}  {trial.label} ({trial.role})"]
        lines += _audited(folder, trial, request)
    return lines[1:]


def wanted(folder: StudyFolder, name: str) -> list[PlannedTrial]:
    """Return the finished trials of this name; without a name those on the report split, or all if it has none."""
    done = [trial for trial in folder.study.plan if folder.is_done(trial)]
    require(bool(done), "study", folder.study.study, "at least one finished trial")
    if not name:
        return [trial for trial in done if trial.is_report] or done
    called = [t for t in done if t.trial_id.startswith(name) or name in (t.label, t.cell)]
    if not called:
        known = [text for t in done for text in (t.trial_id, t.label)]
        raise ConfigError(f"--trial: no finished trial is called {name!r}{did_you_mean(name, known)}")
    return called


def _audited(folder: StudyFolder, trial: PlannedTrial, request: Request) -> list[str]:
    result, place = folder.results[trial.trial_id], folder.trial_path(trial.trial_id)
    eps = folder.study.score_eps
    asked = request.at(eps)
    if request.plan:
        scene, evaluation = trial_scene(result, place, folder.path, asked)
        return core.plan_lines(scene, evaluation.attacks, asked)
    near = siblings(folder, trial) if request.tier == "full" else []
    neighbours = Neighbours(
        own=row_of(result, eps),
        baseline=baseline(folder, trial),
        others={f"sibling-{config.trial_id}": _as_source(config, folder.path) for config in near},
    )
    return report_lines(audit_trial(result, place, folder.path, asked, neighbours=neighbours, say=_say))


def _as_source(config: TrialConfig, folder: Path) -> Victim:
    """Return a trial's network without its defence, as a source of transferred examples."""
    victim = restored(config, folder, torch.device("cuda" if torch.cuda.is_available() else "cpu")).victim
    return Victim(
        embed=victim.embed, scale=victim.scale, bias=victim.bias, sha=victim.sha, own_text=victim.own_text,
        tuned_texts=victim.tuned_texts,
    )  # fmt: skip


def _say(name: str, number: int, of: int) -> None:
    print(f"  {number}/{of} {name}", file=sys.stderr, flush=True)


def siblings(folder: StudyFolder, trial: PlannedTrial) -> list[TrialConfig]:
    """Return up to :data:`SIBLINGS` finished trials of this architecture with other weights, the same seed first."""
    mine = folder.results[trial.trial_id].config
    others = [other for other in folder.study.plan if folder.is_done(other)]
    configs = [folder.results[t.trial_id].config for t in sorted(others, key=lambda t: t.seed != trial.seed)]
    alike = [c for c in configs if c.epochs and c.model.name == mine.model.name and c.training_id != mine.training_id]
    distinct = {c.training_id: c for c in reversed(alike)}
    return list(distinct.values())[-SIBLINGS:]


def baseline(folder: StudyFolder, trial: PlannedTrial) -> Row | None:
    """Return the numbers of a TeCoA trial with the same budget and evaluation, if the study has one."""
    mine = folder.results[trial.trial_id].config
    for trial_id, result in folder.done().items():
        other = result.config
        alike = other.threat == mine.threat and other.eval_suite == mine.eval_suite and other.defence is None
        if trial_id != trial.trial_id and alike and isinstance(other.method, TeCoA) and other.epochs:
            return row_of(result, folder.study.score_eps)
    return None


def row_of(result: TrialResult, eps: float) -> Row | None:
    """Return a trial's zero-shot clean, PGD and worst-case accuracy; None if PGD is its strongest attack."""
    suite = result.config.eval_suite
    pgd = next((a.name for a in suite.attacks if isinstance(a, Pgd)), "")
    scored = score_task(result.measurements)
    mean = {(m.metric, m.attack, m.eps): m.value for m in result.measurements if m.task == scored}
    keys = [("clean", "none", 0.0), ("robust", pgd, eps), ("robust", WORST, eps)]
    clean, plain, worst = (mean.get(key) for key in keys)
    if all(isinstance(a, Pgd) for a in suite.attacks) or clean is None or plain is None or worst is None:
        return None
    return Row(clean=clean, pgd=plain, worst=worst)
