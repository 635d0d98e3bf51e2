"""An attack on a detector of out-of-distribution (OOD) images, in place of one on the classifier.

A detector takes an image for in-distribution where its score is high. On OOD images the attack raises the score, so
that they are accepted; on in-distribution images it lowers it, so that they are rejected. The classes of the answers
do not matter to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from zsr_core.attacks.apgd import Apgd, Kept
from zsr_core.attacks.attack import Attack, Draws, Scored, Target
from zsr_core.attacks.losses import entropy
from zsr_core.codec import require, unknown
from zsr_core.names import DETECTORS, ScoreName, rows_of
from zsr_core.threat import ThreatModel

Goal = Literal["accept", "reject"]
PREFIX = "detect-"  # of the attacks' names
STEPS = 50


def _log_largest(logits: Tensor) -> Tensor:
    return logits.log_softmax(dim=1).amax(dim=1)


# (logits [b, C], what the cosines were multiplied by) -> [b], larger where an image looks more in-distribution. They
# rank images as the metrics' scores of the same names do.
_ROWS: Mapping[str, Callable[[Tensor, float], Tensor]] = {
    "msp": lambda logits, scale: _log_largest(logits),
    "max_logit": lambda logits, scale: logits.amax(dim=1),
    "energy": lambda logits, scale: logits.logsumexp(dim=1),
    "mcm": lambda logits, scale: _log_largest(logits / scale),
    "entropy": lambda logits, scale: -entropy(logits),
}
SCORES = rows_of(DETECTORS, _ROWS)


@dataclass(frozen=True, kw_only=True)
class Detector:
    """Climbs a detector's score (``goal="accept"``) or its negative ("reject") by APGD, and keeps the best point.

    The best point is the image itself where no step was better. The adversary knows the detector (OpenOOD and others
    attack the classifier alone). An evaluation sets the goal: "accept" for OOD images, "reject" for the others.
    """

    score: ScoreName = "msp"
    goal: Goal = "accept"
    steps: int = STEPS
    restarts: int = 1

    def __post_init__(self) -> None:
        if self.score not in SCORES:
            raise unknown("score", self.score, SCORES)
        if self.goal not in get_args(Goal):
            raise unknown("goal", self.goal, get_args(Goal))
        Apgd(steps=self.steps, restarts=self.restarts)

    @property
    def name(self) -> str:
        effort = "" if self.steps == STEPS else f"-steps{self.steps}"
        return f"{PREFIX}{self.score}{effort}" + (f"-restarts{self.restarts}" if self.restarts > 1 else "")

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        forwards, backwards = Apgd(steps=self.steps, restarts=self.restarts).cost(classes)
        return forwards + 1, backwards

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        sign, score = (1.0 if self.goal == "accept" else -1.0), SCORES[self.score]

        def objective(x_adv: Tensor, rows: Tensor) -> Scored:
            def loss(logits: Tensor, _: Tensor) -> Tensor:
                return sign * score(logits, target.scale)

            return target.scored(target.ask(x_adv, rows), rows, loss)._replace(fooled=None)

        kept = Kept.of(x, target)
        Apgd(steps=self.steps, restarts=self.restarts).climb(objective, x, threat, draws, kept)
        with torch.no_grad():
            before = objective(x, torch.arange(len(x), device=x.device)).loss
        worse = (kept.loss < before).view(-1, *[1] * (x.dim() - 1))
        return torch.where(worse, x, kept.x).detach()


def detector(name: str) -> Detector:
    """Return the attack on the score of this name: "msp", or "msp20" for 20 steps.

    Raises:
        ConfigError: for a name that is no score, with the nearest.
    """
    score = name.removeprefix(PREFIX).rstrip("0123456789")
    steps = name.removeprefix(PREFIX).removeprefix(score)
    if score not in SCORES:
        raise unknown("score", name, [*SCORES, "msp20"])
    require(steps == "" or int(steps) >= 1, "score", name, "a number of steps of at least 1")
    return Detector(score=next(known for known in DETECTORS if known == score), steps=int(steps) if steps else STEPS)
