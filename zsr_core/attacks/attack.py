"""What an attack is: it moves images up an objective within a threat model; its caller projects and judges again."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from zsr_core.threat import ThreatModel


class Scored(NamedTuple):
    """An objective's answer for a batch of images."""

    loss: Tensor  # [b], per sample; the attack sums it, so that no sample's gradient depends on the batch
    fooled: Tensor | None  # [b] bool: the attack may stop here; None where success has no meaning (training)


# (images [b, 3, H, W], their rows in the batch [b]) -> what is to be maximised.
Objective = Callable[[Tensor, Tensor], Scored]
# (purpose, rows [b]) -> one generator for the batch, or one per row.
Draws = Callable[[str, Tensor], "torch.Generator | list[torch.Generator]"]


class Attack(Protocol):
    """A frozen dataclass of steps, step size, restarts, ...; eps comes with the threat model at call time."""

    @property
    def name(self) -> str:
        """How records and tables call it, e.g. "pgd10"."""

    def run(self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W], the best found for each image."""

    def cost(self) -> tuple[int, int]:
        """Return (forwards, input-only backwards) for an image that never falls."""
