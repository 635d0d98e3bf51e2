"""The setting of a study in sentences: training, scoring, spread and provenance."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from statistics import median

from sweeps.engine.analysis.noise import Noise
from sweeps.engine.analysis.panels import Unseen
from sweeps.engine.analysis.score_query import Reading, under_attack
from sweeps.engine.format import MINIATURES, NBSP, counted, eps_text, is_budget, leaf, listed, sentence, setting_text
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.objectives import CLEAN, HARMONIC, deciding_score, shown_headline
from zsr_core.attacks import Pgd
from zsr_core.codec import is_finite, to_plain
from zsr_core.data import trained_names
from zsr_core.data.shifts.names import is_shift
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.measurement import distinct_among, where
from zsr_core.evaluation.metrics import OWN_SETS
from zsr_core.trial.provenance import SET_NOTES
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
    numbers = distinct_among([result.measurements for result in results], "metric", "attack")
    names = {attack for metric, attack in numbers if metric not in OWN_SETS}
    return sorted(name for name in names - {"none", WORST} if not is_shift(name))


def scoring_text(folder: StudyFolder, shown: Sequence[Reading] = (), facet: str | None = None) -> str:
    """Return the scoring of the finished trials as text: sets, split, attacks, budget and seeds.

    ``shown``: the readings that a figure shows, split by ``facet``; by default the study's scores at its budget.
    """
    study = folder.study
    cells = folder.done(trial for trial in study.plan if trial.role == "cell").values()
    trained = trained_names_of(study)
    sizes = images_per_set(cells)
    sets = {name: n for name, n in sizes.items() if name not in trained}
    of = f" of {_counts(sets.values(), 'image')}" if sets else ""
    over = f"Mean of {counted(len(sets), 'zero-shot set')}{of}"
    if sizes and not sets:
        over = f"Not zero-shot, because only the training set {', '.join(sizes)} is evaluated: "
        over += _counts(sizes.values(), "image")
    elif facet == "dataset":
        over = f"{counted(len(sets), 'zero-shot set')}{of}, each by itself"
    named = dict.fromkeys(part.task for part in shown)
    if facet != "dataset" and shown and ZERO_SHOT_MEAN not in named:
        over = f"Set {' and '.join(named)}"
    attacked = [part for part in shown if under_attack(part)]
    robust = "" if shown and not attacked else f"{_attacked_text(folder, attacked, facet)}; "
    return f"{over}, {study.base.eval_suite.split} split; {robust}{counted(len(study.seeds), 'seed')}"


def images_per_set(results: Iterable[TrialResult]) -> dict[str, int]:
    """Return of how many images of each set the scores are; a corruption or a factor may be of others."""
    clean = (m for result in results for m in where(result.measurements, metric=CLEAN.name))
    return {m.task: m.n for m in clean if m.task != ZERO_SHOT_MEAN}


def _counts(counts: Iterable[int], noun: str) -> str:
    """Return ``24 images``, or ``24 to 120 images``."""
    least, most = min(counts := list(counts)), max(counts)
    return counted(most, noun) if least == most else f"{least:,} to {most:,} {noun}s"


def sizes_text(sizes: Mapping[str, int]) -> str:
    """Return the images of each set as text: ``animals 24, dishes 36``, or ``24 each of animals, dishes``."""
    if len(sizes) > 1 and len(set(sizes.values())) == 1:
        return f"{next(iter(sizes.values())):,} each of {', '.join(sizes)}"
    return ", ".join(f"{name} {n:,}" for name, n in sizes.items())


def images_text(folder: StudyFolder) -> str:
    """Return the number of images of each set, by split, as a sentence; empty if nothing was measured."""
    parts = []
    for split in ("selection", "report"):
        sizes = images_per_set(folder.done(t for t in folder.study.plan if t.split == split).values())
        parts += [f"{sizes_text(sizes)} on the {split} split"] if sizes else []
    return f"Images: {'; '.join(parts)}." if parts else ""


def notes_text(folder: StudyFolder) -> str:
    """Return what was odd in reading the sets, as a sentence; empty if nothing was."""
    notes = dict.fromkeys(result.provenance.get(SET_NOTES, "") for result in folder.results.values())
    return f"Notes on the sets: {'; '.join(filter(None, notes))}." if any(notes) else ""


def fewer_seeds_text(folder: StudyFolder) -> str:
    """Return which rows are means over fewer seeds than the others of their split, as a sentence; empty if none is."""
    parts = []
    for split in ("selection", "report"):
        done = [(row, len(folder.by_seed(row.trials))) for row in folder.study.rows(split=split)]
        most = max((len(row.trials) for row, _ in done), default=0)
        fewer = [f"{row.cell} ({n} of {most})" for row, n in done if 0 < n < most]
        parts += [f"on the {split} split: {listed(fewer)}"] if fewer else []
    return f"Means over fewer seeds than others {'; '.join(parts)}." if parts else ""


def curves_text(folder: StudyFolder) -> str:
    """Return what a figure's curves of equal harmonic mean are, if its score is another mean; else an empty text."""
    scored = images_per_set(folder.done().values()).keys() - {*trained_names_of(folder.study)}
    if deciding_score(folder.study.objectives) != HARMONIC or len(scored) < 2:
        return ""
    return (
        "Curves: the harmonic mean of the two axes. The score is the mean of the sets' own harmonic means, which can "
        "order two points differently."
    )


def trained_names_of(study: Study) -> tuple[str, ...]:
    """Return the names of the sets of the study's base that are its training set."""
    return trained_names(study.base.eval_suite.tasks, study.base.train_data)


def _attacked_text(folder: StudyFolder, shown: Sequence[Reading], facet: str | None) -> str:
    """Return the attacks and the budgets of the readings under attack, by default those of the study's scores."""
    results = folder.done(trial for trial in folder.study.plan if trial.role == "cell").values()
    named = list(dict.fromkeys(part.attack for part in shown))
    attacks = attacks_of(results) if None in named or not named else [str(name) for name in named]
    together = facet != "attack" and (None in named or not named) and len(attacks) > 1
    per_image = " (worst per image)" if together else ", each by itself," if facet == "attack" else ""
    usual = folder.study.score_eps
    budgets = sorted({usual if part.eps is None else part.eps for part in shown} or {usual})
    if facet == "eps":
        numbers = distinct_among([result.measurements for result in results], "attack", "eps")
        budgets = sorted({eps for attack, eps in numbers if attack == WORST})
    return f"robust to {' + '.join(attacks) or 'no attack'}{per_image} at {' and '.join(map(eps_text, budgets))}"


def unseen_text(axes: Sequence[Unseen]) -> str:
    """Return the axes that a figure or table over two axes does not show although they vary, as a sentence."""
    named = [(f"{axis.of} {leaf(axis.path)}".lstrip(), axis) for axis in axes]
    held = [f"{name} = {setting_text(axis.path, axis.held)}" for name, axis in named if axis.held is not None]
    free = [f"{name} ({_range(axis)})" for name, axis in named if axis.held is None]
    parts = [f"not shown although varied: {', '.join(free)}"] if free else []
    whose = "each method's best configuration" if any(axis.of for axis in axes) else "the chosen configuration"
    parts += [f"held at the value of {whose}: {', '.join(held)}"] if held else []
    return sentence("; ".join(parts))


def hidden_range_text(noise: Noise) -> str:
    """Return that the range of a surface's scores lies within the noise, with both numbers; empty if it does not."""
    if not noise.hides_the_range:
        return ""
    return (
        f"the range of {noise.range:.1f} points lies within the noise, because {len(noise.at)} equally good points "
        f"would differ by up to {noise.equal_range:.1f} points (95 % of resamples of {noise.over})."
    )


def _range(axis: Unseen) -> str:
    if not all(is_finite(value) for value in axis.values):
        return counted(len(axis.values), "value")
    ends = [float(end) for end in (min(axis.values), max(axis.values))]
    if is_budget(axis.path):
        return " to ".join(setting_text(axis.path, end) for end in ends)
    return " to ".join(f"{float(f'{end:.2g}'):g}" for end in ends)


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
