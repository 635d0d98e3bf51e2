"""The attacks, one file each; this union is the table."""

from __future__ import annotations

from zsr_core.attacks.adaptive import CONFIDENCE, Adaptive, Confidence
from zsr_core.attacks.apgd import Apgd
from zsr_core.attacks.attack import Attack, Draws, Logits, Loss, Objective, PerImage, Scored, Target
from zsr_core.attacks.autoattack import AutoAttack
from zsr_core.attacks.detector import Detector
from zsr_core.attacks.fab import Fab
from zsr_core.attacks.losses import LOSSES
from zsr_core.attacks.noise import Noise
from zsr_core.attacks.official import OfficialAutoAttack
from zsr_core.attacks.pgd import Pgd
from zsr_core.attacks.square import Square
from zsr_core.attacks.transfer import Transfer

AnyAttack = Pgd | Apgd | Fab | Square | AutoAttack | OfficialAutoAttack | Adaptive | Confidence | Transfer | Noise

__all__ = [
    "CONFIDENCE", "LOSSES", "Adaptive", "AnyAttack", "Apgd", "Attack", "AutoAttack", "Confidence", "Detector", "Draws",
    "Fab", "Logits", "Loss", "Noise", "Objective", "OfficialAutoAttack", "PerImage", "Pgd", "Scored", "Square",
    "Target", "Transfer",
]  # fmt: skip
