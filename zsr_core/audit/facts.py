"""What the probes measure of a classifier: plain values, which the rules judge. Nothing here runs a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

SAME_ANSWER = 1e-4  # of the logits' norm: a smaller gap between two passes is fp32 rounding (AutoAttack's limit)


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """The range of a classifier's outputs over ``n`` images, and how far their sum over the classes is from 1."""

    low: float
    high: float
    sum_gap: float  # max over images of |sum over classes - 1|
    n: int


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How much the answers of several forward passes over the same ``n`` images differ."""

    passes: int
    changed: int  # images whose prediction is not the same in all passes
    gap: float  # largest difference of the logits over their l2 norm
    n: int
    eot: int = 0  # draws of a randomised defence over which attacks average


@dataclass(frozen=True, kw_only=True)
class Slopes:
    """Autograd against central differences: one relative error per image and direction; none without a gradient."""

    errors: tuple[float, ...]  # at the images
    n: int
    nearby: tuple[float, ...] = ()  # at random points of the ball around them


@dataclass(frozen=True, kw_only=True)
class Gradients:
    """How many of ``n`` images have an input gradient that is zero everywhere, or not finite somewhere."""

    zero: int
    non_finite: int
    n: int


@dataclass(frozen=True, kw_only=True)
class Feasibility:
    """The images that an attack returned, checked a second time."""

    n: int
    excess: float  # the largest perturbation minus eps, in [0, 1] pixel units of the norm; negative inside the ball
    outside: int  # images with a pixel outside [0, 1], or not finite
    changed: int  # images for which a second pass disagrees with the record
    rounded: float  # robust accuracy of the images in 8 bits, minus that of the images as they are, in points


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What was seen of one image while it was attacked."""

    broken: bool = False  # misclassified at some point inside the ball that the attack queried
    losses: tuple[float, ...] = ()  # cross-entropy, one per query
    outside: bool = False  # the returned image, projected, has a pixel outside the box or is not finite
    lead: float = 0.0  # largest wrong logit minus true logit over the logits' norm, of the returned image, asked again
    lead_rounded: float = 0.0  # the same for the returned image in 8 bits


@dataclass(frozen=True, kw_only=True, eq=False)
class Watched:
    """An attack that was watched: its records, and what was seen of each image that was attacked, in their order."""

    records: tuple[SampleRecord, ...]
    attacked: tuple[tuple[SampleRecord, Seen], ...]

    @property
    def silent(self) -> int:
        """Images that were broken during the attack but count as robust at its end."""
        return sum(record.correct and seen.broken for record, seen in self.attacked)

    @property
    def moving(self) -> float:
        """The share of robust images whose best loss, rescaled to its range, rose by over 0.05 in the last 10 steps."""
        robust = [seen.losses for record, seen in self.attacked if record.correct]
        return sum(still_moving(losses) for losses in robust) / len(robust) if robust else 0.0

    def feasibility(self, threat: ThreatModel, n: int) -> Feasibility:
        """Return what a second check of the returned images shows; ``n`` images in all."""
        sizes = [r.linf if threat.norm == "linf" else r.l2 for r, _ in self.attacked]
        # Two passes over other batches may differ this close to the decision boundary, because fp32 rounds.
        changed = [abs(s.lead) > SAME_ANSWER and (s.lead > 0) == r.correct for r, s in self.attacked]
        before = sum(seen.lead <= 0 for _, seen in self.attacked)
        after = sum(seen.lead_rounded <= 0 for _, seen in self.attacked)
        return Feasibility(
            n=n, excess=max(sizes, default=0.0) - threat.eps, outside=sum(s.outside for _, s in self.attacked),
            changed=sum(changed), rounded=100 * (after - before) / n,
        )  # fmt: skip


def still_moving(losses: Sequence[float], last: int = 10) -> bool:
    """Return whether the best loss so far, rescaled to its own range, rose by over 0.05 in the ``last`` steps."""
    best = torch.tensor(losses).cummax(dim=0).values
    span = float(best[-1] - min(losses))
    return len(losses) > last and span > 0 and float(best[-1] - best[-1 - last]) > 0.05 * span


@dataclass(frozen=True, kw_only=True)
class SurfacePoint:
    """The margin loss of one image at ``x + a g + b r``: a, b in eps, g the gradient's sign, r random signs."""

    task: str
    sample_id: str
    a: float
    b: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The losses on the planes, and how much they differ from the tangent plane."""

    points: tuple[SurfacePoint, ...]
    error: float  # median over images of the largest gap within the ball, over the range of the loss there
    n: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model's numbers in a table, in percent: clean, under PGD, and under the strongest attacks per image."""

    clean: float
    pgd: float
    worst: float
