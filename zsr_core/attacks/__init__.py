"""The attacks, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.attacks.attack import Attack, Draws, Objective, Scored
from zsr_core.attacks.pgd import Pgd

AnyAttack = Pgd

__all__ = ["AnyAttack", "Attack", "Draws", "Objective", "Pgd", "Scored"]
