"""The attacks, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.attacks.attack import Attack, Draws, Logits, Loss, Objective, PerImage, Scored, Target
from zsr_core.attacks.losses import LOSSES
from zsr_core.attacks.pgd import Pgd

AnyAttack = Pgd

__all__ = [
    "LOSSES",
    "AnyAttack",
    "Attack",
    "Draws",
    "Logits",
    "Loss",
    "Objective",
    "PerImage",
    "Pgd",
    "Scored",
    "Target",
]
