"""What an audit is asked for, what each tier probes, and what it costs: the plan, without running any of it.

Two tiers. "cheap" costs a fraction of the evaluation and runs on every promoted trial: it looks at the records, the
classifier's outputs and gradients, and the evaluation's own attack, run again and watched on some images. "full" varies
every setting of an attack and runs other attacks; it runs on request. The limits of the rules are meant for 512 images
or more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from zsr_core.attacks import Adaptive, AnyAttack, Attack, AutoAttack, Noise, OfficialAutoAttack, Pgd, Transfer
from zsr_core.audit.evidence import Autocast, Probe, Run
from zsr_core.audit.probes.attacks import LowPrecision, Tempered, ball_of
from zsr_core.audit.probes.gradients import DIRECTIONS, NEARBY
from zsr_core.audit.probes.loss import NEAR, SURFACE_IMAGES, SURFACE_SIDE
from zsr_core.audit.probes.outputs import PASSES
from zsr_core.audit.rules import RULES
from zsr_core.audit.scene import Scene
from zsr_core.codec import require, unknown
from zsr_core.names import TIERS as TIERS
from zsr_core.names import Tier as Tier
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

IMAGES: Mapping[Tier, int] = {"none": 0, "cheap": 64, "full": 512}  # at most so many, spread over the tasks
OFFICIAL_IMAGES = 32  # that the official AutoAttack is run on; ours, because it takes about 10,000 passes an image
CHEAP_SHARE = 0.2  # of the evaluation's passes, at most; in small batches each pass takes half as long again
PROBE = Pgd(steps=50, step_ratio=0.1, label="audit")  # one name for all variants, so that they share random starts
SHORT = Pgd(steps=10, step_ratio=0.25, label="audit")
STEP_PARTS: Mapping[Probe, int] = {Probe.STEP_1: 1, Probe.STEP_4: 4, Probe.STEP_10: 10}  # the step size is eps / parts


@dataclass(frozen=True, kw_only=True)
class Request:
    """What an audit is asked for."""

    tier: Tier
    rules: tuple[str, ...] = tuple(RULES)  # the others are skipped, and what they alone need is not probed
    images: int | None = None  # at most so many; by default IMAGES. The cheap tier takes fewer if they cost too much
    autocast: Autocast = "none"  # for numbers of attacks that others ran under autocast; ours run in fp32
    eps: float | None = None  # the budget whose numbers are audited; by default the trial's own headline budget

    def __post_init__(self) -> None:
        if self.tier not in TIERS:
            raise unknown("tier", self.tier, TIERS)
        for rule in self.rules:
            if rule not in RULES:
                raise unknown("rule", rule, RULES)
        require(self.images is None or self.images >= 1, "images", self.images, "at least 1 image")
        require(self.eps is None or self.eps > 0, "eps", self.eps, "a budget above 0")


@dataclass(frozen=True, kw_only=True)
class Step:
    """One probe, and the encoder passes that it takes for one image, at most."""

    run: Run
    forwards: int
    input_backwards: int = 0
    attack: Attack | None = None
    threat: ThreatModel | None = None
    images: int | None = None  # the probe looks at no more than so many

    @property
    def rules(self) -> tuple[str, ...]:
        """The rules that need it."""
        return tuple(rule.id for rule in RULES.values() if self.run.probe in rule.needs)

    def passes(self, n: int) -> int:
        """Return the encoder passes over one image that ``n`` images take; a backward to the input counts as one."""
        return (self.forwards + self.input_backwards) * (n if self.images is None else min(n, self.images))


def steps(scene: Scene, attacks: Sequence[AnyAttack], request: Request) -> tuple[Step, ...]:
    """Return what the request's tier probes for its rules, in order. ``attacks`` are the evaluation's."""
    every: tuple[Step, ...] = ()
    if request.tier != "none":
        every += _cheap(scene, attacks)
    if request.tier == "full":
        every += _full(scene, attacks, request.autocast)
    return tuple(step for step in every if any(rule in request.rules for rule in step.rules))


def _cheap(scene: Scene, attacks: Sequence[AnyAttack]) -> tuple[Step, ...]:
    slope = 2 * (DIRECTIONS + NEARBY) + 2
    own = watchable(attacks, scene)
    watched = () if own is None else (_attack_step(Run(probe=Probe.WATCHED), own, scene.threat, scene, checks=3),)
    return (
        Step(run=Run(probe=Probe.ANSWERS), forwards=PASSES + 1),
        Step(run=Run(probe=Probe.GRADIENTS), forwards=1, input_backwards=1),
        Step(run=Run(probe=Probe.SLOPES), forwards=slope, input_backwards=2),
        *watched,
    )


def _full(scene: Scene, attacks: Sequence[AnyAttack], autocast: Autocast) -> tuple[Step, ...]:
    plane = SURFACE_SIDE**2 + 1
    return (
        Step(run=Run(probe=Probe.ROUGHNESS), forwards=NEAR + 1),
        Step(run=Run(probe=Probe.SURFACE), forwards=plane, input_backwards=1, images=SURFACE_IMAGES),
        *attack_steps(scene, attacks, autocast),
    )


def watchable(attacks: Sequence[AnyAttack], scene: Scene) -> Attack | None:
    """Return the first of the evaluation's attacks that is one stage on every task."""
    classes = {len(text.classes) for _, text in scene.tasks}
    return next((a for a in attacks if all(len(a.stages(c)) == 1 for c in classes)), None)


def attack_steps(scene: Scene, attacks: Sequence[AnyAttack], autocast: Autocast = "none") -> tuple[Step, ...]:
    """Return the attacks of the full tier: PGD with one thing changed, other budgets, other attacks."""
    here = scene.threat
    table: list[tuple[Run, Attack, ThreatModel]] = [
        (Run(probe=Probe.FGSM), Pgd(steps=1, step_ratio=1.0, random_start=False, label="audit"), here),
        (Run(probe=Probe.PGD10), SHORT, here),
        (Run(probe=Probe.PGD50), PROBE, here),
        (Run(probe=Probe.PGD100), replace(PROBE, steps=100), here),
        (Run(probe=Probe.RESTARTS), replace(PROBE, restarts=5), here),
        (Run(probe=Probe.SCALE_10), Tempered(of=PROBE, temperature=10.0), here),
        (Run(probe=Probe.SCALE_100), Tempered(of=PROBE, temperature=100.0), here),
    ]
    if autocast != "none":
        table.append((Run(probe=Probe.PRECISION, setting=autocast), LowPrecision(of=PROBE, dtype=autocast), here))
    own = next((a for a in attacks if isinstance(a, Pgd)), None)
    if own is not None:
        table += [(Run(probe=probe), _stepping(own, 1 / parts), here) for probe, parts in STEP_PARTS.items()]
    table += [(Run(probe=Probe.BUDGET, setting=eps), SHORT, replace(here, eps=eps)) for eps in ladder(here)]
    table += [
        (Run(probe=probe), SHORT, ball_of(here, share, scene.numbers))
        for probe, share in ((Probe.BALL_HALF, 0.5), (Probe.BALL_WHOLE, 1.0))
    ]
    whole = AutoAttack(version="standard" if scene.victim.defended is None else "rand")
    if not any(isinstance(a, AutoAttack) and a.version == whole.version for a in attacks):  # else it is in the records
        table.append((Run(probe=Probe.AUTOATTACK), whole, here))
    if not any(isinstance(a, Adaptive) for a in attacks):
        table.append((Run(probe=Probe.ADAPTIVE), Adaptive(), here))
    table.append((Run(probe=Probe.NOISE), Noise(draws=100), here))
    for name, other in scene.victim.others.items():
        if other.sha != scene.victim.sha:  # examples made on the model itself are not transferred
            table.append((Run(probe=Probe.TRANSFER, setting=name), Transfer(source=name), here))
    every = tuple(_attack_step(run, attack, threat, scene) for run, attack, threat in table)
    return (*every, *_official(scene, attacks))


def _official(scene: Scene, attacks: Sequence[AnyAttack]) -> tuple[Step, ...]:
    """Return the step of the official AutoAttack, which is meant for classifiers without randomness."""
    official = OfficialAutoAttack()
    if scene.victim.defended is not None or official in attacks:  # in the second case it is in the records
        return ()
    return (replace(_attack_step(Run(probe=Probe.OFFICIAL), official, scene.threat, scene), images=OFFICIAL_IMAGES),)


def _stepping(own: Pgd, ratio: float) -> Pgd:
    """Return the evaluation's PGD with another step size, and with enough steps to cross the ball."""
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


def _attack_step(run: Run, attack: Attack, threat: ThreatModel, scene: Scene, checks: int = 1) -> Step:
    """Return the step of an attack: the cost on its most expensive task, the clean pass, and the passes that judge."""
    draws = max(1, scene.victim.attack_samples if scene.victim.defended is not None else 0)
    costs = [attack.cost(len(text.classes)) for _, text in scene.tasks]
    forwards, backwards = (draws * max(part) for part in zip(*costs, strict=True))
    return Step(run=run, forwards=forwards + 1 + checks, input_backwards=backwards, attack=attack, threat=threat)


def spent(records: Sequence[SampleRecord]) -> int:
    """Return about how many passes an evaluation took, from its records: every query, forward and backward."""
    return sum(1 if r.condition == "none" else 2 * r.queries for r in records)


def affordable(scene: Scene, attacks: Sequence[AnyAttack], records: Sequence[SampleRecord]) -> int:
    """Return how many images the cheap tier may look at, so that it costs at most a share of the evaluation."""
    each = sum(step.passes(1) for step in steps(scene, attacks, Request(tier="cheap")))
    return min(scene.n, int(CHEAP_SHARE * spent(records)) // each)


def plan_lines(scene: Scene, attacks: Sequence[AnyAttack], request: Request) -> list[str]:
    """Return what a request would run: every probe, its rules, and its encoder passes at most, then their sum."""
    if scene.n == 0:
        return ["  the records alone: every probe would cost too much for so small an evaluation"]
    todo = steps(scene, attacks, request)
    lines = [f"  {s.run.text:<18} {s.passes(scene.n):>12,} passes  {' '.join(s.rules)}" for s in todo]
    total = sum(s.passes(scene.n) for s in todo)
    return [*lines, f"{total:,} encoder passes at most, on {scene.n} images; images that fall cost less."]
