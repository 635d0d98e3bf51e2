"""May this robustness number be believed? Evidence is gathered around it, and the rules G01 to G25 judge.

Two tiers. "cheap" costs a fraction of the evaluation and runs on every promoted trial: the records themselves, the
classifier's outputs and gradients, the evaluation's own attack run again and watched on some images. "full" varies
everything that an attack can get wrong, and brings other attacks; it is run on request. A rule without its evidence
is a SKIP that says so, never a PASS. Limits are meant for 512 images or more.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from zsr_core import audit_probes as probes
from zsr_core import audit_rules as rules
from zsr_core.attacks import Adaptive, AnyAttack, Attack, AutoAttack, Noise, Pgd, Square, Transfer
from zsr_core.audit_probes import Autocast, Scene, Surface, Watching
from zsr_core.audit_rules import Outcomes, Row, Share, outcomes, together
from zsr_core.codec import ConfigError, from_plain, require, to_plain, unknown
from zsr_core.data import ImageSet, open_data
from zsr_core.evaluate import WORST, ZERO_SHOT_MEAN, EvalSuite, Measurement
from zsr_core.files import write_text, write_whole
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel
from zsr_core.verdict import RULES, Verdict
from zsr_core.victim import Victim

SCHEMA = 1
Tier = Literal["none", "cheap", "full"]
TIERS: tuple[Tier, ...] = ("none", "cheap", "full")
IMAGES: Mapping[Tier, int] = {"none": 0, "cheap": 64, "full": 512}  # at most so many, spread over the tasks
CHEAP_SHARE = 0.3  # of the evaluation's passes, at most, that the cheap tier may cost
PROBE = Pgd(steps=50, step_ratio=0.1, label="audit")  # one name for all variants: they share their random starts
SHORT = Pgd(steps=10, step_ratio=0.25, label="audit")
STEPS: Mapping[str, int] = {"eps": 1, "eps/4": 4, "eps/10": 10}
WHITE_BOX = ("fgsm", "pgd10", "pgd50", "pgd100", "pgd50 x 5", "autoattack by gradient", "adaptive")
OTHERS = ("G16", "G17", "G18", "G19", "G20")  # rules on other attacks, beside this model's own gradient
FULL = "Run the full tier: zsr audit --tier full."


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


# --- what is probed, and what it costs ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Step:
    """One probe: what it is called, the rules that need it, and its passes, at most, for one image."""

    name: str
    rules: tuple[str, ...]
    forwards: int
    input_backwards: int = 0
    attack: Attack | None = None
    threat: ThreatModel | None = None
    images: int | None = None  # where it looks at no more than so many

    def passes(self, n: int) -> int:
        """Return the encoder passes over one image that ``n`` images take; a backward to the input counts as one."""
        return (self.forwards + self.input_backwards) * (n if self.images is None else min(n, self.images))


def steps(
    scene: Scene, attacks: Sequence[AnyAttack], tier: Tier, only: Collection[str] = tuple(RULES)
) -> tuple[Step, ...]:
    """Return what a tier probes, in order. ``attacks`` are the evaluation's; ``only`` the rules that are asked."""
    every = _every(scene, attacks) if tier == "full" else _cheap(scene, attacks) if tier == "cheap" else ()
    return tuple(step for step in every if any(rule in only for rule in step.rules))


def _cheap(scene: Scene, attacks: Sequence[AnyAttack]) -> tuple[Step, ...]:
    slope = 2 * probes.DIRECTIONS + 1
    found = [
        Step(name="answers", rules=("G01", "G02", "G25"), forwards=probes.PASSES + 1),
        Step(name="gradients", rules=("G04",), forwards=1, input_backwards=1),
        Step(name="slopes", rules=("G03",), forwards=slope, input_backwards=1),
    ]
    own = watchable(attacks, scene)
    if own is not None:
        found.append(_attack_step("watched", ("G07", "G11"), own, scene, scene.threat, more=3))
    return tuple(found)


def _every(scene: Scene, attacks: Sequence[AnyAttack]) -> tuple[Step, ...]:
    plane = probes.SURFACE_SIDE**2
    return (
        *_cheap(scene, attacks),
        Step(name="roughness", rules=("G23",), forwards=probes.NEAR + 1),
        Step(name="surface", rules=("G24",), forwards=plane + 1, input_backwards=1, images=probes.SURFACE_IMAGES),
        *attack_runs(scene, attacks),
    )


def watchable(attacks: Sequence[AnyAttack], scene: Scene) -> Attack | None:
    """Return the first of the evaluation's attacks that is one stage on every task."""
    classes = {len(text.classes) for _, text in scene.tasks}
    return next((a for a in attacks if all(len(a.stages(c)) == 1 for c in classes)), None)


def attack_runs(scene: Scene, attacks: Sequence[AnyAttack]) -> tuple[Step, ...]:
    """Return the attacks of the full tier: PGD with one thing changed, other budgets, other attacks."""
    here = scene.threat
    table: list[tuple[str, tuple[str, ...], Attack, ThreatModel]] = [
        ("fgsm", ("G08",), Pgd(steps=1, step_ratio=1.0, random_start=False, label="audit"), here),
        ("pgd10", ("G08", "G13", "G15"), SHORT, here),
        ("pgd50", ("G05", "G06", "G09", "G12"), PROBE, here),
        ("pgd100", ("G08", "G09", *OTHERS), replace(PROBE, steps=100), here),
        ("pgd50 x 5", ("G12", *OTHERS), replace(PROBE, restarts=5), here),
        ("pgd50, z/10", ("G06",), probes.Tempered(of=PROBE, temperature=10.0), here),
        ("pgd50, z/100", ("G06",), probes.Tempered(of=PROBE, temperature=100.0), here),
    ]
    if scene.autocast != "none":
        low = probes.LowPrecision(of=PROBE, dtype=scene.autocast)
        table.append((f"pgd50, {scene.autocast}", ("G05",), low, here))
    own = next((a for a in attacks if isinstance(a, Pgd)), None)
    if own is not None:
        table += [(f"step {name}", ("G10",), _stepping(own, 1 / parts), here) for name, parts in STEPS.items()]
    table += [(f"eps {eps:.6g}", ("G13", "G15"), SHORT, replace(here, eps=eps)) for eps in ladder(here)]
    table += [(f"all within {s:g}", ("G14",), SHORT, probes.ball_of(here, s, scene.numbers)) for s in (0.5, 1.0)]
    whole = AutoAttack(version="standard" if scene.victim.defended is None else "rand")
    table += [
        ("autoattack", ("G17", "G19", "G20", "G21"), whole, here),
        ("adaptive", ("G21",), Adaptive(), here),
        ("noise", ("G16",), Noise(draws=100), here),
    ]
    table += [(f"transfer {name}", ("G18",), Transfer(source=name), here) for name in scene.victim.others]
    return tuple(_attack_step(name, wanted, attack, scene, threat) for name, wanted, attack, threat in table)


def _stepping(own: Pgd, ratio: float) -> Pgd:
    """Return the evaluation's PGD with another step, and steps enough to cross the ball."""
    enough = max(own.steps, math.ceil(2.5 / ratio))
    return replace(own, steps=enough, step_size=None, step_ratio=ratio, label="audit")


def ladder(threat: ThreatModel) -> tuple[float, ...]:
    """Return the other budgets of the curve: half, twice and four times this one, and 8/255 for linf."""
    others = [0.5 * threat.eps, 2 * threat.eps, 4 * threat.eps]
    if threat.norm == "linf":
        others = [eps for eps in [*others, 8 / 255] if eps <= 0.5]
    distinct: list[float] = []
    for eps in others:
        if not any(math.isclose(eps, known, rel_tol=1e-6) for known in (threat.eps, *distinct)):
            distinct.append(eps)
    return tuple(sorted(distinct))


def _attack_step(
    name: str, wanted: tuple[str, ...], attack: Attack, scene: Scene, threat: ThreatModel, more: int = 1
) -> Step:
    """Return the step of an attack: its dearest task's cost, the clean pass and the judging one."""
    draws = max(1, scene.victim.attack_samples if scene.victim.defended is not None else 0)
    costs = [attack.cost(len(text.classes)) for _, text in scene.tasks]
    forwards, backwards = (draws * max(part) for part in zip(*costs, strict=True))
    return Step(
        name=name, rules=wanted, forwards=forwards + 1 + more, input_backwards=backwards, attack=attack, threat=threat
    )


def spent(records: Sequence[SampleRecord]) -> int:
    """Return about how many passes an evaluation took, from its records: every question, forward and back."""
    return sum(1 if r.condition == "none" else 2 * r.queries for r in records)


def affordable(scene: Scene, attacks: Sequence[AnyAttack], records: Sequence[SampleRecord]) -> int:
    """Return how many images the cheap tier may look at: it costs a share of what the evaluation took, at most."""
    each = sum(step.passes(1) for step in steps(scene, attacks, "cheap"))
    return min(scene.n, int(CHEAP_SHARE * spent(records)) // each)


def plan_lines(
    scene: Scene, attacks: Sequence[AnyAttack], tier: Tier, only: Collection[str] = tuple(RULES)
) -> list[str]:
    """Return what a tier would do: every probe, its rules, and its encoder passes at most, then their sum."""
    if scene.n == 0:
        return ["  the records alone: every probe would cost too much of so small an evaluation"]
    todo = steps(scene, attacks, tier, only)
    lines = [f"  {s.name:<18} {s.passes(scene.n):>12,} passes  {' '.join(s.rules)}" for s in todo]
    total = sum(s.passes(scene.n) for s in todo)
    return [*lines, f"{total:,} encoder passes at most, on {scene.n} images; images that fall cost less."]


# --- gathering ------------------------------------------------------------------------------------------------------


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
        autocast=scene.autocast, own=own,
        baseline=baseline, headline=_headline(scene, attacks, records),
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
    """Run AutoAttack, and tell what its gradients break from what its Square breaks of the rest."""
    assert step.attack is not None
    records = [r for r in probes.under(scene, step.attack) if r.condition != "none"]
    squared = {(r.task, r.sample_id): not r.correct and r.stage.startswith(Square().name) for r in records}
    whole = {(r.task, r.sample_id): r.correct for r in records}
    runs = {"autoattack": whole, "autoattack by gradient": {key: whole[key] or squared[key] for key in whole}}
    if any(Square().name in r.ran for r in records):
        runs["square"] = {key: not squared[key] for key in whole}
    named = {name: Outcomes(name=name, standing=standing) for name, standing in runs.items()}
    return replace(found, runs={**found.runs, **named})


def _survivors(found: Evidence, scene: Scene, step: Step) -> Evidence:
    """Attack what every white-box attack has left: only there can this one break more."""
    assert step.attack is not None
    white = _white_box(found)
    assert white is not None
    standing = {key for key, stands in white.standing.items() if stands}
    got: dict[tuple[str, str], bool] = dict.fromkeys(white.standing, False)
    if standing:
        records = probes.under(scene.keep(standing), step.attack)
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
    "noise": _survivors,
    "transfer": _survivors,
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
    """Return which weights every attack's records are of; several under one name are told apart."""
    found: dict[str, set[str]] = {}
    for r in records:
        name = "clean" if r.condition == "none" else r.condition
        found.setdefault(name, set()).add(r.weights_sha)
    return {
        name if len(shas) == 1 else f"{name} ({k + 1})": sha
        for name, shas in found.items()
        for k, sha in enumerate(sorted(shas))
    }


# --- judging --------------------------------------------------------------------------------------------------------


def judge(evidence: Evidence) -> tuple[Verdict, ...]:
    """Return the verdict of every rule, G01 to G25, from evidence alone."""
    return tuple(_JUDGES[rule](evidence) for rule in RULES)


def _lacking(rule: str, what: str) -> Verdict:
    return rules.skip(rule, f"not probed: {what}", FULL)


def _needs(e: Evidence, rule: str, *names: str) -> list[Outcomes] | Verdict:
    """Return the runs of these names, or the SKIP that names the first one missing."""
    absent = [name for name in names if name not in e.runs]
    return _lacking(rule, absent[0]) if absent else [e.runs[name] for name in names]


def _g01(e: Evidence) -> Verdict:
    return rules.g01_logits(e.outputs) if e.outputs else _lacking("G01", "the range of the outputs")


def _g02(e: Evidence) -> Verdict:
    return rules.g02_deterministic(e.repeats) if e.repeats else _lacking("G02", "repeated passes")


def _g03(e: Evidence) -> Verdict:
    return rules.g03_graph(e.slopes) if e.slopes else _lacking("G03", "slopes by finite differences")


def _g04(e: Evidence) -> Verdict:
    return rules.g04_zero_gradients(e.gradients) if e.gradients else _lacking("G04", "gradients")


def _g05(e: Evidence) -> Verdict:
    if e.autocast == "none":
        return rules.g05_in_fp32()
    needed = _needs(e, "G05", f"pgd50, {e.autocast}", "pgd50")
    if isinstance(needed, Verdict):
        return needed
    amp, fp32 = needed
    return rules.g05_precision(amp, fp32, e.autocast)


def _g06(e: Evidence) -> Verdict:
    needed = _needs(e, "G06", "pgd50", "pgd50, z/10", "pgd50, z/100")
    if isinstance(needed, Verdict):
        return needed
    return rules.g06_scale(dict(zip((1.0, 10.0, 100.0), needed, strict=True)))


def _random(rule: str) -> Verdict:
    return rules.skip(rule, "a randomised defence: what is judged is one draw of it", "Judge it over many draws.")


def _g07(e: Evidence) -> Verdict:
    if not e.certain:
        return _random("G07")
    if e.watched is None:
        return _lacking("G07", "an attack of the evaluation, of one stage, run again and watched")
    found = e.watched.feasibility(e.threat, e.n)
    attacked = [r for r in e.records if r.condition != "none"]
    beyond = [(r.linf if r.norm == "linf" else r.l2) - r.eps for r in attacked]
    return rules.g07_feasible(replace(found, excess=max([found.excess, *beyond])))


def _g08(e: Evidence) -> Verdict:
    needed = _needs(e, "G08", "fgsm", "pgd10", "pgd100")
    return needed if isinstance(needed, Verdict) else rules.g08_steps(dict(zip((1, 10, 100), needed, strict=True)))


def _g09(e: Evidence) -> Verdict:
    needed = _needs(e, "G09", "pgd50", "pgd100")
    if isinstance(needed, Verdict):
        return needed
    short, long = needed
    return rules.g09_converged(short, long, e.moving)


def _g10(e: Evidence) -> Verdict:
    by_step = {name.removeprefix("step "): share for name, share in e.runs.items() if name.startswith("step ")}
    if not by_step or e.headline is None:
        return _lacking("G10", "the evaluation's PGD with other steps")
    return rules.g10_step_size(by_step, e.headline)


def _g11(e: Evidence) -> Verdict:
    if not e.certain:
        return _random("G11")
    if e.watched is None:
        return _lacking("G11", "an attack of the evaluation, of one stage, run again and watched")
    return rules.g11_silent_success(e.watched.silent, e.n)


def _g12(e: Evidence) -> Verdict:
    needed = _needs(e, "G12", "pgd50", "pgd50 x 5")
    return needed if isinstance(needed, Verdict) else rules.g12_restarts(*needed)


def _curve(e: Evidence) -> Mapping[float, Share]:
    """Return the probed curve, else the evaluation's own, where it attacked at several budgets."""
    if e.curve:
        return e.curve
    named = [a.name for a in e.attacks]
    budgets = sorted({r.eps for r in e.records if r.condition in named})
    found: dict[float, Share] = {}
    for eps in budgets:
        parts = [got for name in named if (got := outcomes(e.records, name, eps)) is not None]
        found[eps] = together("the evaluation's attacks", parts)
    return found


def _g13(e: Evidence) -> Verdict:
    return rules.g13_monotone(_curve(e))


def _g14(e: Evidence) -> Verdict:
    needed = _needs(e, "G14", "all within 0.5", "all within 1")
    if isinstance(needed, Verdict) or e.largest_class is None:
        return _lacking("G14", "attacks at eps 0.5 and 1")
    return rules.g14_big_eps(needed[0], e.largest_class, needed[1])


def _g15(e: Evidence) -> Verdict:
    if e.threat.norm != "linf":
        return rules.skip("G15", "its limits are for linf", "Read the curve of G13.")
    shrinks = not e.curve and any(isinstance(a, Pgd) and a.step_size is not None for a in e.attacks)
    return rules.g15_curve(_curve(e), step_shrinks=shrinks)


def _pgd(e: Evidence) -> Outcomes | None:
    """Return the evaluation's own PGD on the audited images, else the probing one of 100 steps."""
    own = next((a for a in e.attacks if isinstance(a, Pgd)), None)
    audited = e.runs.get("pgd100")
    if own is None or audited is None:
        return audited
    found = outcomes(e.records, own.name, e.threat.eps) or outcomes(_seen(e), own.name, e.threat.eps)
    on = {key: found.standing[key] for key in audited.standing if key in found.standing} if found else {}
    return Outcomes(name=own.name, standing=on) if len(on) == audited.n else audited


def _seen(e: Evidence) -> tuple[SampleRecord, ...]:
    return e.watched.records if e.watched else ()


def _white_box(e: Evidence) -> Outcomes | None:
    """Return what every attack by the model's own gradient leaves standing; None unless PGD-100 is among them."""
    if "pgd100" not in e.runs:
        return None
    parts = [e.runs[name] for name in WHITE_BOX if name in e.runs]
    return together("every white-box attack", [*parts, *([e.headline] if e.headline else [])])


def _g16(e: Evidence) -> Verdict:
    noise, pgd = e.runs.get("noise"), _pgd(e)
    return _lacking("G16", "random noise") if noise is None or pgd is None else rules.g16_noise(noise, pgd)


def _g17(e: Evidence) -> Verdict:
    square, white = e.runs.get("square"), _white_box(e)
    return _lacking("G17", "Square") if square is None or white is None else rules.g17_black_box(square, white)


def _g18(e: Evidence) -> Verdict:
    parts = [run for name, run in e.runs.items() if name.startswith("transfer")]
    white = _white_box(e)
    if not parts or white is None:
        return _lacking("G18", "transferred examples")
    return rules.g18_transfer(together("transfer", parts), white)


def _g19(e: Evidence) -> Verdict:
    aa, pgd = e.runs.get("autoattack"), _pgd(e)
    return _lacking("G19", "AutoAttack") if aa is None or pgd is None else rules.g19_gap(pgd, aa)


def _g21(e: Evidence) -> Verdict:
    aa, adaptive = e.runs.get("autoattack"), e.runs.get("adaptive")
    if aa is None or adaptive is None:
        return _lacking("G21", "AutoAttack and the adaptive attack")
    return rules.g21_adaptive(adaptive, aa)


def _g20(e: Evidence) -> Verdict:
    mean = [
        m for m in e.measurements
        if m.task == ZERO_SHOT_MEAN and m.metric == "robust" and math.isclose(m.eps, e.threat.eps, rel_tol=1e-6)
    ]  # fmt: skip
    attacks: dict[str, Share] = {m.attack: m.value for m in mean if m.attack != WORST}
    whole = next((m.value for m in mean if m.attack == WORST), None)
    return rules.g20_ensemble(attacks, worst=whole, pgd=_pgd(e), aa=e.runs.get("autoattack"))


def _g22(e: Evidence) -> Verdict:
    if e.own is None or e.baseline is None:
        reason = "no TeCoA of the same budget beside it, both under PGD and stronger attacks"
        return rules.skip("G22", reason, "Add TeCoA to the study.")
    return rules.g22_too_good(e.own, e.baseline)


def _g23(e: Evidence) -> Verdict:
    return _lacking("G23", "the loss nearby") if e.roughness is None else rules.g23_smooth(e.roughness, e.n)


def _g24(e: Evidence) -> Verdict:
    return rules.g24_surface(e.surface.error, e.surface.n) if e.surface else _lacking("G24", "the loss on a plane")


def _g25(e: Evidence) -> Verdict:
    return rules.g25_identity(e.models)


_JUDGES: Mapping[str, Callable[[Evidence], Verdict]] = {
    "G01": _g01, "G02": _g02, "G03": _g03, "G04": _g04, "G05": _g05, "G06": _g06, "G07": _g07, "G08": _g08,
    "G09": _g09, "G10": _g10, "G11": _g11, "G12": _g12, "G13": _g13, "G14": _g14, "G15": _g15,
    "G16": _g16, "G17": _g17, "G18": _g18, "G19": _g19, "G20": _g20, "G21": _g21, "G22": _g22, "G23": _g23,
    "G24": _g24, "G25": _g25,
}  # fmt: skip


# --- keeping --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Report:
    """What ``audit.json`` holds: the verdicts on one checkpoint at one budget, and what they rest on."""

    trial_id: str
    weights_sha: str
    norm: str
    eps: float  # in [0, 1] pixel units
    tier: Tier
    images: int
    passes: int  # encoder passes that the probes could take at most
    verdicts: tuple[Verdict, ...]
    schema: int = SCHEMA

    @property
    def statuses(self) -> dict[str, str]:
        """What a trial's result keeps: rule -> status."""
        return {v.rule: v.status for v in self.verdicts}


def scene_of(
    victim: Victim,
    suite: EvalSuite,
    banks: Callable[[ImageSet], TextBank],
    image_size: int,
    *,
    tier: Tier,
    eps: float,
    images: int | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    autocast: Autocast = "none",
    records: Sequence[SampleRecord] = (),
) -> Scene:
    """Return what a tier looks at: the first images of every task of an evaluation, at one budget.

    Args:
        eps: the budget whose numbers are audited, in [0, 1] pixel units.
        images: at most so many, by default :data:`IMAGES`; the cheap tier takes fewer where it would cost too much.
        autocast: for numbers that others' attacks made under autocast; ours run in fp32.
        records: what the evaluation left, which says what it cost.

    Raises:
        ConfigError: for an unknown tier, or no image.
    """
    if tier not in TIERS:
        raise unknown("tier", tier, TIERS)
    require(images is None or images >= 1, "images", images, "at least 1 image")
    sets = [open_data(ref, suite.split, image_size, suite.n, space=suite.space) for ref in suite.tasks]
    scene = Scene(
        victim=victim, tasks=tuple((one, banks(one)) for one in sets), seed=seed, batch_size=suite.batch_size,
        threat=ThreatModel(norm=suite.norm, eps=eps, space=suite.space), device=device, autocast=autocast,
    )  # fmt: skip
    scene = scene.cut(images or IMAGES[tier])
    return scene.cut(affordable(scene, suite.attacks, records)) if tier == "cheap" else scene


def audit(
    scene: Scene,
    attacks: Sequence[AnyAttack],
    *,
    tier: Tier,
    only: Collection[str] = tuple(RULES),
    trial_id: str = "",
    records: Sequence[SampleRecord] = (),
    measurements: Sequence[Measurement] = (),
    own: Row | None = None,
    baseline: Row | None = None,
    say: Callable[[str, int, int], None] | None = None,
) -> tuple[Report, Surface | None]:
    """Return the verdicts on what an evaluation with ``attacks`` says of a classifier, and the loss surface if probed.

    Args:
        only: the rules that are asked; what no other needs is not probed.
        records, measurements: what the evaluation left; without them the rules on them are skipped.
        own, baseline: the trial's numbers, and those of a TeCoA of the same budget.
        say: told (probe, number of it from 1, how many) before each probe.

    Raises:
        ConfigError: for an unknown rule.
    """
    for rule in only:
        if rule not in RULES:
            raise unknown("rule", rule, RULES)
    evidence = gather(
        scene, attacks, tier=tier, only=only, records=records, measurements=measurements, own=own, baseline=baseline,
        say=say,
    )  # fmt: skip
    passes = sum(step.passes(scene.n) for step in steps(scene, attacks, tier, only)) if scene.n else 0
    report = Report(
        trial_id=trial_id, weights_sha=scene.victim.sha, norm=scene.threat.norm, eps=scene.threat.eps, tier=tier,
        images=scene.n, passes=passes, verdicts=judge(evidence),
    )  # fmt: skip
    return report, evidence.surface


def joined(earlier: Report | None, later: Report) -> Report:
    """Return ``later`` with what only ``earlier`` tested, where both are of one checkpoint and budget."""
    same = earlier is not None and all(
        getattr(earlier, name) == getattr(later, name) for name in ("trial_id", "weights_sha", "norm", "eps", "schema")
    )
    if earlier is None or not same:
        return later
    tested = {v.rule: v for v in earlier.verdicts if v.status != "SKIP"}
    verdicts = tuple(tested.get(v.rule, v) if v.status == "SKIP" else v for v in later.verdicts)
    deeper = max((earlier, later), key=lambda report: TIERS.index(report.tier))
    return replace(deeper, verdicts=verdicts)


def read_report(folder: Path) -> Report | None:
    """Return the audit in a trial's folder, or None if there is none.

    Raises:
        ConfigError: naming the file, if it is there and cannot be read.
    """
    path = folder / "audit.json"
    if not path.is_file():
        return None
    try:
        return from_plain(Report, json.loads(path.read_text(encoding="utf-8")), str(path))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"audit: {path} is not JSON ({error})") from None


def write_report(folder: Path, report: Report, surface: Surface | None = None) -> Report:
    """Write ``audit.json``, joined with what an earlier audit tested, and ``surface.parquet``; return what was kept."""
    kept = joined(read_report(folder), report)
    if surface is not None:
        table = pa.Table.from_pylist([to_plain(point) for point in surface.points]).drop_columns(["type"])
        write_whole(folder / "surface.parquet", lambda part: pq.write_table(table, part, compression="zstd"))
    write_text(folder / "audit.json", json.dumps(to_plain(kept), indent=1) + "\n")
    return kept


def report_lines(report: Report) -> list[str]:
    """Return a report as lines of text: every rule's status and figure, and what to do about it."""
    head = f"audit ({report.tier}) of weights {report.weights_sha} at {report.norm} eps {255 * report.eps:.3g}/255, "
    lines = [f"{head}{report.images} images"]
    for v in report.verdicts:
        lines.append(f"  {v.rule}  {v.status:<4}  {v.figure}")
        if v.status in ("WARN", "FAIL"):
            lines.append(f"{'':13}{v.text} {v.advice}")
    return lines
