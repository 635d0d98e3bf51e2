"""The audit's evidence: what an evaluation left, and what the probes of a tier find around it."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from zsr_core.attacks import Adaptive, AnyAttack, Apgd, AutoAttack, Fab, Pgd, Square
from zsr_core.audit import probes, rules
from zsr_core.audit.plan import Step, Tier, steps
from zsr_core.audit.probes import Autocast, Scene, Surface, Watching
from zsr_core.audit.rules import Outcomes, Row, outcomes, together
from zsr_core.audit.verdict import RULES
from zsr_core.evaluation.measure import Measurement
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

WHITE_BOX = ("pgd100", "autoattack by gradient", "adaptive", "fgsm", "pgd10", "pgd50", "pgd50 x 5")


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """All that the rules may look at; None and what is absent from ``runs`` was not probed.

    ``records`` are of the evaluation, ``headline`` its worst case per image on the audited images. ``runs`` holds the
    outcomes of the probing attacks by name (:func:`attack_runs`), ``models`` which model each part of the row is of.
    """

    threat: ThreatModel
    n: int
    records: tuple[SampleRecord, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    attacks: tuple[AnyAttack, ...] = ()
    models: Mapping[str, str] = field(default_factory=dict)
    outputs: rules.Outputs | None = None
    repeats: rules.Repeats | None = None
    slopes: rules.Slopes | None = None
    gradients: rules.Gradients | None = None
    watched: Watching | None = None
    certain: bool = True  # the same image always gets the same answer
    autocast: Autocast = "none"  # what the number's attacks ran under; ``predict`` knows fp32 alone
    headline: Outcomes | None = None
    runs: Mapping[str, Outcomes] = field(default_factory=dict)
    curve: Mapping[float, Outcomes] = field(default_factory=dict)
    moving: float | None = None
    largest_class: float | None = None
    roughness: float | None = None
    surface: Surface | None = None
    own: Row | None = None
    baseline: Row | None = None


def gather(
    scene: Scene,
    attacks: Sequence[AnyAttack],
    *,
    tier: Tier,
    only: Collection[str] = tuple(RULES),
    records: Sequence[SampleRecord] = (),
    measurements: Sequence[Measurement] = (),
    own: Row | None = None,
    baseline: Row | None = None,
    say: Callable[[str, int, int], None] | None = None,
) -> Evidence:
    """Return the evidence of a tier on the images of ``scene``.

    Args:
        attacks: the evaluation's.
        only: the rules that are asked; what no other needs is not probed.
        records: the evaluation's, of any images; those of other images than the scene's are looked at too.
        say: told (probe, number of it from 1, how many) before each probe.
    """
    found = Evidence(
        threat=scene.threat, n=scene.n, records=tuple(records), measurements=tuple(measurements),
        attacks=tuple(attacks), models=_models(records), certain=scene.victim.defended is None,
        autocast=scene.autocast, own=own, baseline=baseline, headline=_headline(scene, attacks, records),
        runs=recorded(attacks, records, scene.threat.eps),
    )  # fmt: skip
    todo = steps(scene, attacks, tier, only) if scene.n else ()
    for k, step in enumerate(todo):
        if say is not None:
            say(step.name, k + 1, len(todo))
        found = _LOOKS.get(step.name.partition(" ")[0], _run)(found, scene, step)
    return found


Look = Callable[[Evidence, Scene, Step], Evidence]


def _answers(found: Evidence, scene: Scene, step: Step) -> Evidence:
    outputs, repeats = probes.answers(scene)
    clean = {(r.task, r.sample_id): r for r in found.records if r.condition == "none"}
    differ, of = probes.disagreeing(scene, clean)
    sha = scene.victim.sha
    again = sha if differ == 0 else f"another ({differ} of {of} answers differ)"
    models = {**found.models, "weights at hand": sha, **({"clean answers": again} if of else {})}
    return replace(found, outputs=outputs, repeats=repeats, models=models)


def _gradients(found: Evidence, scene: Scene, step: Step) -> Evidence:
    return replace(found, gradients=probes.gradients(scene))


def _slopes(found: Evidence, scene: Scene, step: Step) -> Evidence:
    return replace(found, slopes=probes.slopes(scene))


def _watched(found: Evidence, scene: Scene, step: Step) -> Evidence:
    assert step.attack is not None
    watched = probes.watch(scene, step.attack)
    seen = outcomes(watched.records, step.attack.name, scene.threat.eps)
    return replace(found, watched=watched, headline=found.headline or seen)


def _roughness(found: Evidence, scene: Scene, step: Step) -> Evidence:
    return replace(found, roughness=probes.roughness(scene))


def _surface(found: Evidence, scene: Scene, step: Step) -> Evidence:
    return replace(found, surface=probes.surface(scene))


def _pgd100(found: Evidence, scene: Scene, step: Step) -> Evidence:
    assert step.attack is not None
    watched = probes.watch(scene, step.attack)
    return replace(_with(found, step, scene, watched.records), moving=watched.moving)


def _run(found: Evidence, scene: Scene, step: Step) -> Evidence:
    assert step.attack is not None
    return _with(found, step, scene, probes.under(scene, step.attack, step.threat))


def _autoattack(found: Evidence, scene: Scene, step: Step) -> Evidence:
    assert step.attack is not None
    return replace(found, runs={**found.runs, **split(probes.under(scene, step.attack))})


def split(records: Sequence[SampleRecord]) -> dict[str, Outcomes]:
    """Return AutoAttack's outcomes, those of its gradients alone, and what its Square breaks of the rest, if it ran."""
    attacked = [r for r in records if r.condition != "none"]
    squared = {(r.task, r.sample_id): not r.correct and r.stage.startswith(Square().name) for r in attacked}
    whole = {(r.task, r.sample_id): r.correct for r in attacked}
    runs = {"autoattack": whole, "autoattack by gradient": {key: whole[key] or squared[key] for key in whole}}
    if any(Square().name in r.ran for r in attacked):
        runs["square"] = {key: not squared[key] for key in whole}
    return {name: Outcomes(name=name, standing=standing) for name, standing in runs.items()}


def recorded(attacks: Sequence[AnyAttack], records: Sequence[SampleRecord], eps: float) -> dict[str, Outcomes]:
    """Return what the evaluation itself has run of AutoAttack and the adaptive attack, on all of its images."""
    found: dict[str, Outcomes] = {}
    for attack in attacks:
        mine = [r for r in records if r.condition == attack.name and math.isclose(r.eps, eps, rel_tol=1e-6)]
        if mine and isinstance(attack, AutoAttack):
            found |= split(mine)
        elif mine and isinstance(attack, Adaptive):
            found["adaptive"] = Outcomes(name="adaptive", standing={(r.task, r.sample_id): r.correct for r in mine})
    return found


def _noise(found: Evidence, scene: Scene, step: Step) -> Evidence:
    every = {(images.name, i) for images, _ in scene.tasks for i in images.ids}
    return _on_survivors(found, scene, step, own_pgd(found, every))


def _transfer(found: Evidence, scene: Scene, step: Step) -> Evidence:
    return _on_survivors(found, scene, step, white_box(found))


def _on_survivors(found: Evidence, scene: Scene, step: Step, before: Outcomes | None) -> Evidence:
    """Attack what ``before`` has left: only there can this one break more. What it was not asked about stands."""
    assert step.attack is not None
    assert before is not None
    got = dict.fromkeys(before.standing, True)
    left = scene.keep({key for key, stands in before.standing.items() if stands})
    if left.n:
        records = probes.under(left, step.attack)
        got |= {(r.task, r.sample_id): r.correct for r in records if r.condition != "none"}
    return replace(found, runs={**found.runs, step.name: Outcomes(name=step.name, standing=got)})


_LOOKS: Mapping[str, Look] = {
    "answers": _answers,
    "gradients": _gradients,
    "slopes": _slopes,
    "watched": _watched,
    "roughness": _roughness,
    "surface": _surface,
    "pgd100": _pgd100,
    "autoattack": _autoattack,
    "noise": _noise,
    "transfer": _transfer,
}


def _with(found: Evidence, step: Step, scene: Scene, records: Sequence[SampleRecord]) -> Evidence:
    assert step.attack is not None
    eps = (step.threat or scene.threat).eps
    got = outcomes(records, step.attack.name, eps)
    assert got is not None
    got = replace(got, name=step.name)
    curve = {**found.curve, eps: got} if "G13" in step.rules else found.curve
    largest = probes.largest_class(scene) if "G14" in step.rules else found.largest_class
    return replace(found, runs={**found.runs, step.name: got}, curve=curve, largest_class=largest)


def _headline(scene: Scene, attacks: Sequence[AnyAttack], records: Sequence[SampleRecord]) -> Outcomes | None:
    """Return the evaluation's worst case per image on the scene's images; None without records of them."""
    ids = {(images.name, i) for images, _ in scene.tasks for i in images.ids}
    mine = [r for r in records if (r.task, r.sample_id) in ids]
    parts = [found for a in attacks if (found := outcomes(mine, a.name, scene.threat.eps)) is not None]
    whole = together("the evaluation's attacks", parts) if parts else None
    return whole if whole is not None and whole.n == len(ids) else None


def _models(records: Sequence[SampleRecord]) -> dict[str, str]:
    """Return which model every attack's records are of; several under one name are told apart.

    A model is its weights; where the records are of several trials, which is where preprocessing and prompts are
    configured, it is the trial too.
    """
    several = len({r.trial_id for r in records}) > 1
    found: dict[str, set[str]] = {}
    for r in records:
        name = "clean" if r.condition == "none" else r.condition
        found.setdefault(name, set()).add(f"{r.weights_sha} of trial {r.trial_id}" if several else r.weights_sha)
    return {
        name if len(models) == 1 else f"{name} ({k + 1})": model
        for name, models in found.items()
        for k, model in enumerate(sorted(models))
    }


def white_box(e: Evidence) -> Outcomes | None:
    """Return what every attack by the model's own gradient leaves standing, the evaluation's and the probing ones.

    None unless PGD-100 or AutoAttack is among them.
    """
    if not any(name in e.runs for name in WHITE_BOX[:2]):
        return None
    probing = [e.runs[name] for name in WHITE_BOX if name in e.runs]
    climbing = [a.name for a in e.attacks if isinstance(a, Pgd | Apgd | Fab | Adaptive)]
    own = [got for name in climbing if (got := outcomes(e.records, name, e.threat.eps)) is not None]
    return together("every white-box attack", [*probing, *own])


def own_pgd(e: Evidence, keys: Collection[tuple[str, str]]) -> Outcomes | None:
    """Return the outcomes of the evaluation's own PGD on these images, else of the probing one of 100 steps."""
    own = next((a.name for a in e.attacks if isinstance(a, Pgd)), "")
    seen = e.watched.records if e.watched else ()
    for found in (outcomes(e.records, own, e.threat.eps), outcomes(seen, own, e.threat.eps), e.runs.get("pgd100")):
        if found is not None and set(keys) <= found.standing.keys():
            return found.on(keys)
    return None
