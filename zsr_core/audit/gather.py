"""From a request to evidence: the probes of its tier, run one after the other, each adding what it measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from zsr_core.attacks import Adaptive, Attack, AutoAttack, OfficialAutoAttack, Square
from zsr_core.audit.evidence import Evaluation, Evidence, Probe, Run
from zsr_core.audit.outcomes import Outcomes, image_key, outcomes, together
from zsr_core.audit.plan import Request, Step, steps
from zsr_core.audit.probes.attacks import under
from zsr_core.audit.probes.gradients import gradients, slopes
from zsr_core.audit.probes.loss import roughness, surface
from zsr_core.audit.probes.outputs import answers, disagreeing
from zsr_core.audit.probes.watch import watch
from zsr_core.audit.scene import Scene
from zsr_core.records import SampleRecord

Say = Callable[[str, int, int], None]  # (probe, its number from 1, how many there are)
Look = Callable[[Evidence, Scene, Step], Evidence]


def gather(scene: Scene, evaluation: Evaluation, request: Request, *, say: Say | None = None) -> Evidence:
    """Return the evidence that a request's rules need, on the images of ``scene``.

    Args:
        say: called before each probe.
    """
    evidence = Evidence(
        threat=scene.threat, n=scene.n, evaluation=evaluation, models=_models(evaluation.records),
        certain=scene.victim.defended is None, autocast=request.autocast, headline=_headline(scene, evaluation),
        largest_class=scene.largest_class, runs=recorded(evaluation, scene.threat.eps),
    )  # fmt: skip
    todo = steps(scene, evaluation.attacks, request) if scene.n else ()
    for k, step in enumerate(todo):
        if say is not None:
            say(step.run.text, k + 1, len(todo))
        evidence = _LOOKS.get(step.run.probe, _attacked)(evidence, scene, step)
    return evidence


def _answers(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    outputs, repeats = answers(scene)
    clean = {image_key(r): r for r in evidence.evaluation.records if r.condition == "none"}
    differ, of = disagreeing(scene, clean)
    sha = scene.victim.sha
    again = sha if differ == 0 else f"another ({differ} of {of} answers differ)"
    models = {**evidence.models, "weights at hand": sha, **({"clean answers": again} if of else {})}
    return replace(evidence, outputs=outputs, repeats=repeats, models=models)


def _watched(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    attack = _attack(step)
    watched = watch(scene, attack)
    seen = outcomes(watched.records, attack.name, scene.threat.eps)
    return replace(evidence, watched=watched, headline=evidence.headline or seen)


def _attacked(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    sample = scene if step.images is None else scene.cut(step.images)
    return _with(evidence, step, sample, under(sample, _attack(step), step.threat))


def _pgd100(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    watched = watch(scene, _attack(step))
    return replace(_with(evidence, step, scene, watched.records), moving=watched.moving)


def _with(evidence: Evidence, step: Step, scene: Scene, records: Sequence[SampleRecord]) -> Evidence:
    got = outcomes(records, _attack(step).name, (step.threat or scene.threat).eps)
    assert got is not None, "predict gives a record for every image"
    return replace(evidence, runs={**evidence.runs, step.run: replace(got, name=step.run.text)})


def _autoattack(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    return replace(evidence, runs={**evidence.runs, **split(under(scene, _attack(step)))})


def split(records: Sequence[SampleRecord]) -> dict[Run, Outcomes]:
    """Return AutoAttack's outcomes, those of its gradients alone, and what its Square breaks of the rest, if it ran."""
    attacked = [r for r in records if r.condition != "none"]
    squared = {image_key(r): not r.correct and r.stage.startswith(Square().name) for r in attacked}
    whole = {image_key(r): r.correct for r in attacked}
    parts = {Probe.AUTOATTACK: whole, Probe.GRADIENT_PART: {key: whole[key] or squared[key] for key in whole}}
    if any(Square().name in r.ran for r in attacked):
        parts[Probe.SQUARE] = {key: not squared[key] for key in whole}
    runs = {Run(probe=probe): standing for probe, standing in parts.items()}
    return {run: Outcomes(name=run.text, standing=standing) for run, standing in runs.items()}


def recorded(evaluation: Evaluation, eps: float) -> dict[Run, Outcomes]:
    """Return the runs of AutoAttack, ours or the official one, and of the adaptive attack in the evaluation itself.

    They are on all of its images.
    """
    runs: dict[Run, Outcomes] = {}
    for attack in evaluation.attacks:
        records = [
            r for r in evaluation.records if r.condition == attack.name and math.isclose(r.eps, eps, rel_tol=1e-6)
        ]
        if records and isinstance(attack, AutoAttack):
            runs |= split(records)
        elif records and (attack == OfficialAutoAttack() or isinstance(attack, Adaptive)):
            run = Run(probe=Probe.ADAPTIVE if isinstance(attack, Adaptive) else Probe.OFFICIAL)
            runs[run] = Outcomes(name=run.text, standing={image_key(r): r.correct for r in records})
    return runs


def _noise(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    return _on_survivors(evidence, scene, step, evidence.own_pgd(scene.keys))


def _transfer(evidence: Evidence, scene: Scene, step: Step) -> Evidence:
    return _on_survivors(evidence, scene, step, evidence.white_box())


def _on_survivors(evidence: Evidence, scene: Scene, step: Step, before: Outcomes | None) -> Evidence:
    """Attack the images that ``before`` left standing, because only they count. The others are marked as standing."""
    assert before is not None, "PGD-100 runs before"
    standing = dict.fromkeys(before.standing, True)
    left = scene.keep({key for key, stands in before.standing.items() if stands})
    if left.n:
        records = under(left, _attack(step))
        standing |= {image_key(r): r.correct for r in records if r.condition != "none"}
    return replace(evidence, runs={**evidence.runs, step.run: Outcomes(name=step.run.text, standing=standing)})


_LOOKS: Mapping[Probe, Look] = {  # every other probe is an attack on the images of its step
    Probe.ANSWERS: _answers,
    Probe.GRADIENTS: lambda evidence, scene, _: replace(evidence, gradients=gradients(scene)),
    Probe.SLOPES: lambda evidence, scene, _: replace(evidence, slopes=slopes(scene)),
    Probe.WATCHED: _watched,
    Probe.ROUGHNESS: lambda evidence, scene, _: replace(evidence, roughness=roughness(scene)),
    Probe.SURFACE: lambda evidence, scene, _: replace(evidence, surface=surface(scene)),
    Probe.PGD100: _pgd100,
    Probe.AUTOATTACK: _autoattack,
    Probe.NOISE: _noise,
    Probe.TRANSFER: _transfer,
}


def _attack(step: Step) -> Attack:
    assert step.attack is not None, f"{step.run.text} is an attack"
    return step.attack


def _headline(scene: Scene, evaluation: Evaluation) -> Outcomes | None:
    """Return the evaluation's worst case per image on the scene's images; None if records of some are missing."""
    keys = scene.keys
    records = [r for r in evaluation.records if image_key(r) in keys]
    parts = [outcomes(records, attack.name, scene.threat.eps) for attack in evaluation.attacks]
    known = [part for part in parts if part is not None]
    whole = together("the evaluation's attacks", known) if known else None
    return whole if whole is not None and whole.n == len(keys) else None


def _models(records: Sequence[SampleRecord]) -> dict[str, str]:
    """Return which model every attack's records are of; several models of one attack are numbered.

    A model is its weights. If the records are of several trials, it is also the trial, because preprocessing and
    prompts are configured there.
    """
    several = len({r.trial_id for r in records}) > 1
    of_condition: dict[str, set[str]] = {}
    for r in records:
        name = "clean" if r.condition == "none" else r.condition
        model = f"{r.weights_sha} of trial {r.trial_id}" if several else r.weights_sha
        of_condition.setdefault(name, set()).add(model)
    return {
        name if len(models) == 1 else f"{name} ({k + 1})": model
        for name, models in of_condition.items()
        for k, model in enumerate(sorted(models))
    }
