"""The optimiser and its schedule, per step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from zsr_core.codec import is_finite, require


@dataclass(frozen=True, kw_only=True)
class Optim:
    """Optimiser and schedule, per step: linear warm-up, then cosine to zero (or constant).

    The warm-up lasts ``warmup_steps``, or ``warmup_share`` of all steps where no number is given. ``weight_decay``
    applies to matrices only. Defaults: TGA-ZSR's recipe (zhyblue424/TGA-ZSR, ``TGA-ZSR.py`` and ``main.sh``).
    """

    name: Literal["sgd", "adamw"] = "sgd"
    lr: float = 1e-4
    momentum: float = 0.9
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    warmup_steps: int | None = 1000
    warmup_share: float = 0.1
    schedule: Literal["cosine", "constant"] = "cosine"
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        require(self.name in ("sgd", "adamw"), "name", self.name, "'sgd' or 'adamw'")
        require(self.schedule in ("cosine", "constant"), "schedule", self.schedule, "'cosine' or 'constant'")
        require(is_finite(self.lr) and self.lr > 0, "lr", self.lr, "a finite number above 0")
        require(is_finite(self.weight_decay) and self.weight_decay >= 0, "weight_decay", self.weight_decay, ">= 0")
        require(0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        require(all(0 <= beta < 1 for beta in self.betas), "betas", self.betas, "two numbers in [0, 1)")
        require(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", self.warmup_steps, ">= 0")
        require(0 <= self.warmup_share < 1, "warmup_share", self.warmup_share, "in [0, 1)")
        require(self.clip_norm is None or self.clip_norm > 0, "clip_norm", self.clip_norm, "above 0")

    def lr_at(self, step: int, steps: int) -> float:
        """Return the learning rate of ``step`` (0-based) of ``steps``."""
        warm = self.warmup_steps if self.warmup_steps is not None else math.ceil(self.warmup_share * steps)
        if step < warm:
            return self.lr * (step + 1) / warm
        if self.schedule == "constant":
            return self.lr
        return self.lr * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def build_optimiser(tower: nn.Module, optim: Optim) -> torch.optim.Optimizer:
    """Return the optimiser over every weight of ``tower`` that takes a gradient; decay is for matrices."""
    weights = [p for p in tower.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in weights if p.dim() >= 2], "weight_decay": optim.weight_decay},
        {"params": [p for p in weights if p.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    if optim.name == "sgd":
        return torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=optim.lr, betas=optim.betas, fused=True)
