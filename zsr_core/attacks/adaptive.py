"""Attacks made for one defence: they climb its own loss terms too, or its confidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from zsr_core.attacks.apgd import Apgd, Kept
from zsr_core.attacks.attack import Attack, Draws, Scored, Target
from zsr_core.attacks.cascade import cascade, passes
from zsr_core.attacks.losses import cross_entropy, entropy, others, smooth_margin
from zsr_core.codec import is_finite, require, unknown
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Adaptive:
    """Climbs ``T log sum_{j != y} exp(z_j / T) - z_y + w R(x_adv)``, R what the defence's own loss adds to
    cross-entropy: an attention distance, a divergence, ... (Comp-TGA, arXiv 2603.18598, App. B).

    The paper prints neither T nor w, and its numbers are at times weaker than plain PGD. Ours: every weight w with
    every temperature T (in units of the logits), in turn on the images that still stand; APGD climbs. Where the
    defence adds nothing (TeCoA, an untouched model), weights above 0 have nothing to climb and are not run.
    """

    weights: tuple[float, ...] = (0.0, 0.1, 1.0, 10.0)
    temperatures: tuple[float, ...] = (1.0, 10.0)
    steps: int = 100
    restarts: int = 1
    label: str = ""

    def __post_init__(self) -> None:
        _check_list("weights", self.weights, zero=True)
        _check_list("temperatures", self.temperatures, zero=False)
        _apgd(self.steps, self.restarts)

    @property
    def name(self) -> str:
        if self.label:
            return self.label
        plain = Adaptive()
        said = ["" if self.weights == plain.weights else "-weights" + _listed(self.weights)]
        said.append("" if self.temperatures == plain.temperatures else "-temperatures" + _listed(self.temperatures))
        return "adaptive" + "".join(said) + _effort(self.steps, self.restarts)

    def stages(self, classes: int) -> tuple[Attack, ...]:
        """Return one attack per weight and temperature; with one wrong class alone, T makes no difference."""
        temperatures = self.temperatures if classes > 2 else self.temperatures[:1]
        pairs = [(weight, temperature) for weight in self.weights for temperature in temperatures]
        if len(pairs) == 1 and temperatures == self.temperatures:
            return (self,)
        return tuple(replace(self, weights=(w,), temperatures=(t,), label="") for w, t in pairs)

    def cost(self, classes: int) -> tuple[int, int]:
        """The defence's terms are a second encoding; where it has none, those stages cost nothing."""
        stages = self.stages(classes)
        if len(stages) > 1:
            return passes(stages, classes)
        forwards, backwards = _apgd(self.steps, self.restarts).cost(classes)
        encodings = 2 if self.weights[0] > 0 else 1
        return encodings * forwards, encodings * backwards

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        stages = self.stages(target.classes)
        if len(stages) > 1:
            return cascade(stages, target, x, threat, draws)
        kept = Kept.of(x, target)
        weight, temperature, extra = self.weights[0], self.temperatures[0], target.regulariser
        if weight > 0 and extra is None:
            return kept.x

        def objective(x_adv: Tensor, rows: Tensor) -> Scored:
            asked = target.ask(x_adv, rows)
            scored = target.scored(asked, rows, lambda logits, labels: smooth_margin(logits, labels, temperature))
            if weight == 0 or extra is None:
                return scored
            return scored._replace(loss=scored.loss + weight * extra(x_adv, rows))

        _apgd(self.steps, self.restarts).climb(objective, x, threat, draws, kept)
        return kept.x


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """Climbs towards wrong answers of high confidence, to test claims that uncertainty detects attacks (Tramer et
    al., NeurIPS 2020: a detector is tested against attacks that know it).

    ``goal="away"``: ``CE(z, y) - mu H(softmax z)``; ``goal="flip"``: ``-CE(z, t) - mu H(softmax z)``, t the likeliest
    wrong class of the clean image. It does not stop where the answer flips, because a model is least confident
    there, and returns the point of its largest objective; its robust accuracy is therefore no worst case.
    """

    goal: Literal["away", "flip"] = "away"
    mu: float = 1.0
    steps: int = 100
    restarts: int = 1
    label: str = ""

    def __post_init__(self) -> None:
        if self.goal not in ("away", "flip"):
            raise unknown("goal", self.goal, ("away", "flip"))
        require(is_finite(self.mu) and self.mu >= 0, "mu", self.mu, "a finite number >= 0")
        _apgd(self.steps, self.restarts)

    @property
    def name(self) -> str:
        return self.label or f"confidence-{self.goal}-mu{self.mu:.4g}" + _effort(self.steps, self.restarts)

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        forwards, backwards = _apgd(self.steps, self.restarts).cost(classes)
        return forwards + (1 if self.goal == "flip" else 0), backwards

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        sign, goals = 1.0, target.labels
        if self.goal == "flip":
            with torch.no_grad():
                logits = target.logits(x, torch.arange(len(x), device=x.device))
            sign, goals = -1.0, others(logits, target.labels).argmax(dim=1)

        def objective(x_adv: Tensor, rows: Tensor) -> Scored:
            def loss(logits: Tensor, _: Tensor) -> Tensor:
                return sign * cross_entropy(logits, goals[rows]) - self.mu * entropy(logits)

            return target.scored(target.ask(x_adv, rows), rows, loss)._replace(fooled=None)

        kept = Kept.of(x, target)
        _apgd(self.steps, self.restarts).climb(objective, x, threat, draws, kept)
        return kept.x


def _apgd(steps: int, restarts: int) -> Apgd:
    return Apgd(steps=steps, restarts=restarts)


def _effort(steps: int, restarts: int) -> str:
    return ("" if steps == 100 else f"-steps{steps}") + (f"-restarts{restarts}" if restarts > 1 else "")


def _listed(values: tuple[float, ...]) -> str:
    return "+".join(f"{value:.4g}" for value in values)


def _check_list(name: str, values: tuple[float, ...], *, zero: bool) -> None:
    fine = all(is_finite(value) and (value > 0 or (zero and value == 0)) for value in values)
    expected = f"different finite numbers {'>= 0' if zero else '> 0'}, at least one"
    require(len(values) > 0 and fine and len(set(values)) == len(values), name, values, expected)


# What a claim about uncertainty under attack is tested with; the weights of zsr's evaluation protocol.
CONFIDENCE: tuple[Confidence, ...] = tuple(
    Confidence(goal=goal, mu=mu) for goal in ("away", "flip") for mu in (0.1, 1.0, 10.0)
)
