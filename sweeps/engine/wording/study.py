"""The setting of a study in sentences: training, scoring, spread and provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from sweeps.engine.format import MINIATURES, NBSP, counted, eps_text
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.objectives import shown_headline
from zsr_core.attacks import Pgd
from zsr_core.codec import to_plain
from zsr_core.data import trained_names
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.trial.result import TrialResult


def training_text(study: Study) -> str:
    """Return the training as text: method, model, data, length, attack and budget."""
    base = study.base
    varied = {path for trial in study.plan for path in trial.overrides}
    swept = {str(to_plain(trial.overrides["method"])["type"]) for trial in study.plan if "method" in trial.overrides}
    title = base.method.title if len(swept) <= 1 else counted(len(swept), "method")
    budget = "several budgets" if "threat.eps" in varied else f"{eps_text(base.threat.eps)} ({base.threat.norm})"
    return (
        f"{title} on {base.model.name}, trained on {base.train_data.called} "
        f"for {counted(base.epochs, 'epoch')} against {training_attack(base.train_attack)} at {budget}"
    )


def training_attack(attack: Pgd) -> str:
    """Return the training attack as text, without ``last``, because all papers keep the last iterate."""
    named = replace(attack, keep="last", step_size=None, step_ratio=0.25).name.removesuffix("-last")
    step = f"{attack.step_ratio:.3g} eps" if attack.step_size is None else eps_text(attack.step_size)
    return f"{named}, step {step},"


def attacks_of(results: Iterable[TrialResult]) -> list[str]:
    """Return the names of the attacks that were run, in order."""
    return sorted({m.attack for result in results for m in result.measurements} - {"none", WORST})


def scoring_text(folder: StudyFolder) -> str:
    """Return the scoring of the finished trials as text: sets, split, attacks, budget and seeds."""
    study = folder.study
    cells = folder.done(trial for trial in study.plan if trial.role == "cell").values()
    trained = trained_names(study.base.eval_suite.tasks, study.base.train_data)
    sets = {m.task for result in cells for m in result.measurements} - {ZERO_SHOT_MEAN, *trained}
    attacks = attacks_of(cells)
    per_image = " (worst per image)" if len(attacks) > 1 else ""
    return (
        f"Mean of {counted(len(sets), 'zero-shot set')}, {study.base.eval_suite.split} split; "
        f"robust to {' + '.join(attacks) or 'no attack'}{per_image} at {eps_text(study.score_eps)}; "
        f"{counted(len(study.seeds), 'seed')}"
    )


def spread_text(folder: StudyFolder) -> str:
    """Return the median half-width of one trial's intervals over images, as a sentence; empty if unknown."""
    halves: dict[str, list[float]] = {}
    for result in folder.results.values():
        for name, m in shown_headline(result, folder.study.score_eps, folder.study.objectives).items():
            if m.low is not None and m.high is not None and math.isfinite(m.high - m.low):
                halves.setdefault(name, []).append((m.high - m.low) / 2)
    parts = [f"{name}{NBSP}±{NBSP}{median(widths):.1f}" for name, widths in halves.items()]
    return f"95 % interval of one trial over its images: {', '.join(parts)} points." if parts else ""


def scale_note(study: Study) -> str:
    """Return the label of numbers from the built-in miniature; empty for other models."""
    return "measured on the built-in miniature" if study.base.model.name in MINIATURES else ""


def provenance_text(study: Study, results: Iterable[TrialResult]) -> str:
    """Return the preset, study, versions, commit and device behind the numbers; each distinct value once."""
    facts = [result.provenance for result in results]
    parts = [f"preset {study.preset}", f"study {study.study}"]
    for key in ("zsr", "git_sha", "torch", "device"):
        values = list(dict.fromkeys(fact[key][:12] for fact in facts if fact.get(key)))
        parts += [f"{key.replace('git_sha', 'commit')} {', '.join(values)}"] if values else []
    return "; ".join(parts) + "."
