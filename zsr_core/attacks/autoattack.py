"""AutoAttack: the field's standard ensemble, and the shorter lists that papers have run under its name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from zsr_core.attacks.apgd import Apgd
from zsr_core.attacks.attack import Attack, Draws, Target
from zsr_core.attacks.cascade import cascade, passes
from zsr_core.attacks.fab import Fab
from zsr_core.attacks.square import Square
from zsr_core.codec import unknown
from zsr_core.threat import ThreatModel

VERSIONS: Mapping[str, tuple[Attack, ...]] = {
    "standard": (Apgd(), Apgd(loss="dlr-targeted"), Fab(), Square()),
    "plus": (Apgd(restarts=5), Apgd(loss="dlr", restarts=5), Apgd(loss="dlr-targeted"), Fab(), Square()),
    "rand": (Apgd(), Apgd(loss="dlr")),
    "tecoa": (Apgd(), Apgd(loss="dlr")),
    "fare": (Apgd(), Apgd(loss="dlr-targeted")),
    "agft": (Apgd(steps=10), Apgd(loss="dlr", steps=10)),
}


@dataclass(frozen=True, kw_only=True)
class AutoAttack:
    """AutoAttack (Croce & Hein, ICML 2020, arXiv 2003.01690; fra31/auto-attack), each part on what still stands.

    ``standard``, ``plus`` and ``rand`` are the authors' versions; ``tecoa``, ``fare`` and ``agft`` the lists that CLIP
    papers ran under the name (``attacks/profiles.py`` has their sources). ``plus`` lacks the untargeted FAB, because it
    takes a backward per class and step, and FAB-T tries the same boundaries one by one. A randomised defence is
    attacked through the mean over its draws (``attack_samples``), 20 in the authors' ``rand``.

    With three classes targeted DLR is replaced by DLR; with two the parts on DLR, which needs three, are left out:
    the official code stops with an IndexError there, and papers ran the rest. The records list what ran.
    """

    version: Literal["standard", "plus", "rand", "tecoa", "fare", "agft"] = "standard"
    label: str = ""

    def __post_init__(self) -> None:
        if self.version not in VERSIONS:
            raise unknown("version", self.version, VERSIONS)

    @property
    def name(self) -> str:
        return self.label or f"aa-{self.version}"

    def stages(self, classes: int) -> tuple[Attack, ...]:
        """Return what is run with so many classes, in order, none of it twice."""
        parts = [p for p in VERSIONS[self.version] if classes > 2 or not (isinstance(p, Apgd) and p.loss != "ce")]
        return tuple(dict.fromkeys(stage for p in parts for stage in p.stages(classes)))

    def cost(self, classes: int) -> tuple[int, int]:
        return passes(self.stages(classes), classes)

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        return cascade(self.stages(target.classes), target, x, threat, draws)
