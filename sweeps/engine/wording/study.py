"""How tables and figures say what was measured: the setting in one sentence, budgets, axes and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from statistics import median

from sweeps.engine.analysis.scores import headline
from sweeps.engine.format import MINIATURES, NBSP, counted, eps_text
from sweeps.engine.study.folder import Study
from sweeps.engine.study.objectives import AVERAGE, WORST, score_eps
from zsr_core.attacks import Pgd
from zsr_core.codec import to_plain
from zsr_core.trial.result import TrialResult


def training_text(study: Study) -> str:
    """Return what was trained: method, model, data, length, attack and budget."""
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
    """Return the training attack in words; that it keeps its last iterate goes without saying, as in the papers."""
    named = replace(attack, keep="last", step_size=None, step_ratio=0.25).name.removesuffix("-last")
    step = f"{attack.step_ratio:.3g} eps" if attack.step_size is None else eps_text(attack.step_size)
    return f"{named}, step {step},"


def scoring_text(study: Study, results: Iterable[TrialResult]) -> str:
    """Return how it was scored: sets, split, attacks, budget and seeds, as the finished trials have it."""
    cells = {trial.trial_id for trial in study.plan if trial.role == "cell"}
    rows = [m for result in results if result.trial_id in cells for m in result.measurements]
    sets = {m.task for m in rows} - {AVERAGE, study.base.train_data.called}
    attacks = sorted({m.attack for m in rows} - {"none", WORST})
    per_image = " (worst per image)" if len(attacks) > 1 else ""
    return (
        f"Mean of {counted(len(sets), 'zero-shot set')}, {study.base.eval_suite.split} split; "
        f"robust to {' + '.join(attacks) or 'no attack'}{per_image} at {eps_text(score_eps(study.base))}; "
        f"{counted(len(study.seeds), 'seed')}"
    )


def spread_text(results: Iterable[TrialResult]) -> str:
    """Return how far one trial's scores are uncertain from its finite number of images, as a sentence or nothing."""
    halves: dict[str, list[float]] = {}
    for result in results:
        for name, m in headline(result).items():
            if m.low is not None and m.high is not None and math.isfinite(m.high - m.low):
                halves.setdefault(name, []).append((m.high - m.low) / 2)
    parts = [f"{name}{NBSP}±{NBSP}{median(found):.1f}" for name, found in halves.items()]
    return f"95 % interval of one trial over its images: {', '.join(parts)} points." if parts else ""


def scale_note(study: Study) -> str:
    """Return the label that numbers of the built-in miniature carry wherever they appear, else an empty string."""
    return "measured on the built-in miniature" if study.base.model.name in MINIATURES else ""


def provenance_text(study: Study, results: Iterable[TrialResult]) -> str:
    """Return with what the numbers were made: versions, commit, device; each distinct value once."""
    facts = [result.provenance for result in results]
    parts = [f"preset {study.preset}", f"study {study.study}"]
    for key in ("zsr", "git_sha", "torch", "device"):
        values = list(dict.fromkeys(fact[key][:12] for fact in facts if fact.get(key)))
        parts += [f"{key.replace('git_sha', 'commit')} {', '.join(values)}"] if values else []
    return "; ".join(parts) + "."
