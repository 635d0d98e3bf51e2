"""What each tier of the audit probes, and what it costs: the plan, without running any of it.

Two tiers. "cheap" costs a fraction of the evaluation and runs on every promoted trial: the records themselves, the
classifier's outputs and gradients, the evaluation's own attack run again and watched on some images. "full" varies
everything that an attack can get wrong, and brings other attacks; it is run on request. Limits are meant for 512 images
or more.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from zsr_core.attacks import Adaptive, AnyAttack, Attack, AutoAttack, Noise, Pgd, Transfer
from zsr_core.audit import probes
from zsr_core.audit.probes import Scene
from zsr_core.audit.verdict import RULES
from zsr_core.names import TIERS as TIERS
from zsr_core.names import Tier as Tier
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

IMAGES: Mapping[Tier, int] = {"none": 0, "cheap": 64, "full": 512}  # at most so many, spread over the tasks
CHEAP_SHARE = 0.2  # of the evaluation's passes, at most: in small batches they take half as long again
PROBE = Pgd(steps=50, step_ratio=0.1, label="audit")  # one name for all variants: they share their random starts
SHORT = Pgd(steps=10, step_ratio=0.25, label="audit")
STEPS: Mapping[str, int] = {"eps": 1, "eps/4": 4, "eps/10": 10}
OTHERS = ("G16", "G17", "G18", "G19", "G20")  # rules on other attacks, beside this model's own gradient


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
    slope = 2 * (probes.DIRECTIONS + probes.NEARBY) + 2
    found = [
        Step(name="answers", rules=("G01", "G02", "G25"), forwards=probes.PASSES + 1),
        Step(name="gradients", rules=("G04",), forwards=1, input_backwards=1),
        Step(name="slopes", rules=("G03",), forwards=slope, input_backwards=2),
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
    if not any(isinstance(a, AutoAttack) and a.version == whole.version for a in attacks):  # else it is in the records
        table.append(("autoattack", ("G17", "G19", "G20", "G21"), whole, here))
    if not any(isinstance(a, Adaptive) for a in attacks):
        table.append(("adaptive", ("G21",), Adaptive(), here))
    table.append(("noise", ("G16",), Noise(draws=100), here))
    for name, other in scene.victim.others.items():
        if other.sha != scene.victim.sha:  # examples made on itself are no transferred ones
            table.append((f"transfer {name}", ("G18",), Transfer(source=name), here))
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
