"""Attacks on the scene, through ``predict``, as the evaluation's own attacks run, and attacks in other circumstances.

Success is judged in ``predict``. Variants of one attack share its name, and with it their random starts, so that they
differ in one thing and compare image by image.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from zsr_core.attacks import Attack, Draws, Target
from zsr_core.audit.scene import Scene
from zsr_core.evaluation.predict import predict
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel


def under(scene: Scene, attack: Attack, threat: ThreatModel | None = None) -> list[SampleRecord]:
    """Return the records of every image of the scene, clean and under ``attack``."""
    records: list[SampleRecord] = []
    for images, text in scene.tasks:
        records += predict(
            scene.victim, images, text, [attack], [threat or scene.threat], seed=scene.seed,
            batch_size=scene.batch_size, device=scene.device, threat_space=scene.threat.space,
        )  # fmt: skip
    return records


@dataclass(frozen=True, kw_only=True)
class _Changed(ABC):
    """A single-stage attack that is another one in other circumstances. It has that one's name."""

    of: Attack

    @property
    def name(self) -> str:
        return self.of.name

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return self.of.cost(classes)

    @abstractmethod
    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return the images that the attack gives in these circumstances."""


@dataclass(frozen=True, kw_only=True)
class Tempered(_Changed):
    """An attack on the logits divided by ``temperature``: predictions stay the same, gradients may change."""

    temperature: float

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return the images that the attack gives on z / T."""

        def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
            return target.ask(x_adv, rows) / self.temperature

        return self.of.run(replace(target, ask=ask), x, threat, draws)


@dataclass(frozen=True, kw_only=True)
class LowPrecision(_Changed):
    """An attack whose model runs under autocast. The images that it returns are judged in fp32, as all are."""

    dtype: Literal["bfloat16", "float16"] = "bfloat16"

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return the images that the attack gives under autocast."""
        with torch.autocast(x.device.type, dtype=getattr(torch, self.dtype)):
            return self.of.run(target, x, threat, draws).float()


def ball_of(threat: ThreatModel, share: float, numbers: int) -> ThreatModel:
    """Return the ball that holds every image within ``share`` of a pixel's range: for l2 the distance of its corner."""
    eps = share if threat.norm == "linf" else share * numbers**0.5
    return replace(threat, eps=eps)
