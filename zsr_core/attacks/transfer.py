"""Transferred examples: made by another model's gradient, judged by the victim; gradient masking does not stop them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Scored, Target
from zsr_core.attacks.losses import cross_entropy
from zsr_core.attacks.pgd import Pgd
from zsr_core.codec import ConfigError, require, unknown
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """PGD up the cross-entropy of ``source``, one of the models that the victim's ``others`` name.

    The victim classifies every iterate, and an image is dropped when it falls; of one that stands, the iterate of the
    source's largest loss is returned.
    """

    source: str = "untouched"
    steps: int = 20
    step_ratio: float = 0.25

    def __post_init__(self) -> None:
        require(bool(self.source), "source", self.source, "a model's name")
        self._pgd()

    def _pgd(self) -> Pgd:
        return Pgd(steps=self.steps, step_ratio=self.step_ratio)

    @property
    def name(self) -> str:
        own = "" if self._pgd() == Transfer()._pgd() else f"-{self._pgd().name}"
        return f"transfer-{self.source}{own}"

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        forwards, backwards = self._pgd().cost(classes)
        return 2 * forwards, backwards

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W].

        Raises:
            ConfigError: naming the models there are, if ``source`` is none of them.
        """
        if not target.others:
            raise ConfigError(f"source: got {self.source!r}, but the victim comes with no other model to start from")
        if self.source not in target.others:
            raise unknown("source", self.source, target.others)
        logits_of = target.others[self.source]

        def objective(x_adv: Tensor, rows: Tensor) -> Scored:
            with torch.no_grad():
                fooled = target.fooled(target.logits(x_adv, rows), rows)
            return Scored(loss=cross_entropy(logits_of(x_adv, rows), target.labels[rows]), fooled=fooled)

        return self._pgd().climb(objective, x, threat, draws, target)
