"""All that the rules may look at: what an evaluation left behind, and what the probes measured around it.

The key of an attack's outcomes is a :class:`Run`; its text is only displayed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal, TypeVar

from zsr_core.attacks import Adaptive, AnyAttack, Apgd, Fab, Pgd
from zsr_core.audit.facts import Gradients, Outputs, Repeats, Row, Slopes, Surface, Watched
from zsr_core.audit.outcomes import ImageKey, Outcomes, outcomes, together
from zsr_core.evaluation.measure import Measurement
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

T = TypeVar("T")
Autocast = Literal["none", "bfloat16", "float16"]
FULL = "Run the full tier: zsr audit --tier full."


class Probe(Enum):
    """What the audit measures. A rule names the probes that it needs. The value is the text of a :class:`Run`."""

    ANSWERS = "answers"
    GRADIENTS = "gradients"
    SLOPES = "slopes"
    WATCHED = "watched"  # one of the evaluation's attacks, run again
    ROUGHNESS = "roughness"
    SURFACE = "surface"
    FGSM = "fgsm"
    PGD10 = "pgd10"
    PGD50 = "pgd50"
    PGD100 = "pgd100"
    RESTARTS = "pgd50 x 5"
    SCALE_10 = "pgd50, z/10"  # on the logits divided by 10
    SCALE_100 = "pgd50, z/100"
    PRECISION = "pgd50, {}"  # per dtype
    STEP_1 = "step eps"  # the evaluation's PGD with another step size
    STEP_4 = "step eps/4"
    STEP_10 = "step eps/10"
    BUDGET = "eps {:.6g}"  # per budget, PGD-10
    BALL_HALF = "all within 0.5"
    BALL_WHOLE = "all within 1"
    AUTOATTACK = "autoattack"
    GRADIENT_PART = "autoattack by gradient"  # the stages of AutoAttack before Square
    SQUARE = "square"  # the last stage of AutoAttack alone
    OFFICIAL = "official autoattack"  # the authors' own code, on a sample
    ADAPTIVE = "adaptive"
    NOISE = "noise"
    TRANSFER = "transfer {}"  # per model on which the examples are made


@dataclass(frozen=True, kw_only=True)
class Run:
    """One measurement: a probe, with its setting if it is made at several. The key of the outcomes that it gave."""

    probe: Probe
    setting: float | str | None = None

    @property
    def text(self) -> str:
        """How plans and verdicts call it."""
        return self.probe.value.format(self.setting)


WHITE_BOX = (
    Probe.PGD100, Probe.GRADIENT_PART, Probe.ADAPTIVE, Probe.FGSM, Probe.PGD10, Probe.PGD50, Probe.RESTARTS,
)  # fmt: skip


class Missing(Exception):
    """A rule has no evidence: its verdict is a SKIP that says what is missing."""

    def __init__(self, what: str, advice: str = FULL) -> None:
        super().__init__(what)
        self.what = what
        self.advice = advice


def need(value: T | None, what: str, advice: str = FULL) -> T:
    """Return ``value``.

    Raises:
        Missing: naming ``what`` was not probed, if it is None.
    """
    if value is None:
        raise Missing(f"not probed: {what}", advice)
    return value


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What an evaluation left behind. ``records`` may be of any images; without them the rules on them are skipped."""

    attacks: tuple[AnyAttack, ...]
    records: tuple[SampleRecord, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    own: Row | None = None  # the trial's numbers
    baseline: Row | None = None  # the numbers of a TeCoA of the same budget


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What was measured on ``n`` images at one budget; what is None or absent from ``runs`` was not probed."""

    threat: ThreatModel
    n: int
    evaluation: Evaluation = field(default_factory=lambda: Evaluation(attacks=()))
    models: Mapping[str, str] = field(default_factory=dict)  # part of the row -> the model that it was measured on
    certain: bool = True  # the same image always gets the same answer
    autocast: Autocast = "none"  # the precision of the number's attacks; ``predict`` runs them in fp32
    headline: Outcomes | None = None  # the evaluation's worst case per image, on the audited images
    largest_class: float | None = None  # in percent of the images: what one answer per task gets right
    outputs: Outputs | None = None
    repeats: Repeats | None = None
    slopes: Slopes | None = None
    gradients: Gradients | None = None
    watched: Watched | None = None
    moving: float | None = None  # the share of robust images whose loss still rises at the end of PGD-100
    roughness: float | None = None
    surface: Surface | None = None
    runs: Mapping[Run, Outcomes] = field(default_factory=dict)

    def get(self, probe: Probe, setting: float | str | None = None) -> Outcomes | None:
        """Return the outcomes of a run, or None if it was not made."""
        return self.runs.get(Run(probe=probe, setting=setting))

    def run(self, probe: Probe, setting: float | str | None = None) -> Outcomes:
        """Return the outcomes of a run.

        Raises:
            Missing: if it was not made.
        """
        return need(self.get(probe, setting), Run(probe=probe, setting=setting).text)

    def white_box(self) -> Outcomes | None:
        """Return the worst case over every attack by the model's own gradient, the evaluation's and the probes'.

        None unless PGD-100 or AutoAttack is among them.
        """
        if self.get(Probe.PGD100) is None and self.get(Probe.GRADIENT_PART) is None:
            return None
        probing = [run for probe in WHITE_BOX if (run := self.get(probe)) is not None]
        by_gradient = [a.name for a in self.evaluation.attacks if isinstance(a, Pgd | Apgd | Fab | Adaptive)]
        own = [outcomes(self.evaluation.records, name, self.threat.eps) for name in by_gradient]
        return together("every white-box attack", [*probing, *(part for part in own if part is not None)])

    def own_pgd(self, keys: Collection[ImageKey]) -> Outcomes | None:
        """Return the outcomes on these images of the evaluation's own PGD, or else of the probing PGD-100."""
        name = next((a.name for a in self.evaluation.attacks if isinstance(a, Pgd)), "")
        watched = self.watched.records if self.watched else ()
        recorded = [outcomes(records, name, self.threat.eps) for records in (self.evaluation.records, watched)]
        for pgd in (*recorded, self.get(Probe.PGD100)):
            if pgd is not None and set(keys) <= pgd.standing.keys():
                return pgd.on(keys)
        return None
