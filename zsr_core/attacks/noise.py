"""Uniform noise: a control. No attack may be weaker, and an honest model must withstand it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Target, one_each
from zsr_core.attacks.losses import margin
from zsr_core.attacks.waiting import put
from zsr_core.codec import require
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Noise:
    """``draws`` random points of the ball per image: uniform for linf, on the sphere for l2, where its volume is."""

    draws: int = 100

    def __post_init__(self) -> None:
        require(isinstance(self.draws, int) and self.draws >= 1, "draws", self.draws, "a whole number >= 1")

    @property
    def name(self) -> str:
        return f"noise{self.draws}"

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return self.draws, 0

    @torch.no_grad()
    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W]: per image the first point that fools, else the one of the largest margin."""
        rows = torch.arange(len(x), device=x.device)
        generators = one_each(draws("noise", rows), len(rows))
        result, best = x.clone(), torch.full((len(x),), -torch.inf, device=x.device)
        going = torch.ones_like(rows, dtype=torch.bool)
        for draw in range(1, self.draws + 1):
            if len(rows) == 0:
                break
            tried = threat.random_start(x[rows], generators)
            logits = target.logits(tried, rows)
            target.take_back(rows, ~going)
            gained, fallen = margin(logits, target.labels[rows]), target.fooled(logits, rows)
            better = going & ((gained > best[rows]) | fallen)
            put(result, rows, better, tried)
            put(best, rows, better, gained)
            going = going & ~fallen
            if draw % target.reads_every == 0:
                onward = going.nonzero()[:, 0]
                generators = [generators[i] for i in onward.tolist()]
                rows, going = rows[onward], going[onward]
        return result
