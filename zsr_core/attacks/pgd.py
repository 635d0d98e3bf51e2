"""Projected gradient descent: the training attack of every method here, and the first attack of every evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsr_core.attacks.attack import Draws, Objective
from zsr_core.codec import is_finite, require
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """PGD (Madry et al., ICLR 2018), in fp32, on the per-sample summed objective, by the input's gradient alone.

    The step is ``step_size`` in [0, 1] pixel units, or ``step_ratio * eps`` where no size is given. ``keep="best"``
    returns, per image, the first iterate that fools the model, else the one with the largest objective over all
    steps and restarts, and stops working on an image that has fallen. ``keep="last"`` returns the last iterate, which
    is what the papers train on; it makes exactly ``steps`` forwards and backwards.
    """

    steps: int = 2
    step_size: float | None = None
    step_ratio: float = 0.25
    restarts: int = 1
    random_start: bool = True
    keep: Literal["best", "last"] = "best"

    def __post_init__(self) -> None:
        for name in ("steps", "restarts"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, name, value, "a whole number >= 1")
        if self.step_size is not None:
            require(
                is_finite(self.step_size) and 0 < self.step_size <= 1,
                "step_size",
                self.step_size,
                "a step in (0, 1] pixel units (write 1/255)",
            )
        require(is_finite(self.step_ratio) and self.step_ratio > 0, "step_ratio", self.step_ratio, "above 0")
        require(self.keep in ("best", "last"), "keep", self.keep, "'best' or 'last'")
        require(
            self.keep == "best" or self.restarts == 1, "restarts", self.restarts, "1 where the last iterate is kept"
        )

    @property
    def name(self) -> str:
        return f"pgd{self.steps}" + (f"x{self.restarts}" if self.restarts > 1 else "")

    def cost(self) -> tuple[int, int]:
        last = 1 if self.keep == "best" else 0
        return self.restarts * (self.steps + last), self.restarts * self.steps

    def run(self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        step = self.step_size if self.step_size is not None else self.step_ratio * threat.eps
        if self.keep == "last":
            return self._last(objective, x, threat, draws, step)
        best = x.clone()
        best_loss = torch.full((len(x),), -torch.inf, device=x.device)
        standing = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            if len(standing) == 0:
                break
            standing = self._climb(objective, x, threat, draws, step, restart, standing, best, best_loss)
        return best

    def _start(self, x: Tensor, threat: ThreatModel, draws: Draws, restart: int, rows: Tensor) -> Tensor:
        if not self.random_start:
            return x.clone()
        return threat.random_start(x, draws(f"start-{restart}", rows))

    def _last(self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws, step: float) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        x_adv = self._start(x, threat, draws, 0, rows)
        for _ in range(self.steps):
            x_adv.requires_grad_()
            (grad,) = torch.autograd.grad(objective(x_adv, rows).loss.sum(), x_adv)
            x_adv = ascend(x_adv.detach(), grad, x, threat, step)
        return x_adv

    def _climb(
        self,
        objective: Objective,
        x: Tensor,
        threat: ThreatModel,
        draws: Draws,
        step: float,
        restart: int,
        rows: Tensor,
        best: Tensor,
        best_loss: Tensor,
    ) -> Tensor:
        """One restart on ``rows``; writes improvements into ``best`` and returns the rows that still stand."""
        x_adv = self._start(x[rows], threat, draws, restart, rows)
        for k in range(self.steps + 1):
            if len(rows) == 0:
                break
            moving = k < self.steps
            with torch.set_grad_enabled(moving):
                x_adv.requires_grad_(moving)
                loss, fooled = objective(x_adv, rows)
                grad = torch.autograd.grad(loss.sum(), x_adv)[0] if moving else None
            x_adv, loss = x_adv.detach(), loss.detach()
            fallen = torch.zeros_like(loss, dtype=torch.bool) if fooled is None else fooled
            better = fallen | (loss > best_loss[rows])
            best[rows[better]] = x_adv[better]
            best_loss[rows[better]] = loss[better]
            up = ~fallen
            rows = rows[up]
            if grad is not None:
                x_adv = ascend(x_adv[up], grad[up], x[rows], threat, step)
        return rows


def ascend(x_adv: Tensor, grad: Tensor, x: Tensor, threat: ThreatModel, step: float) -> Tensor:
    """Return the projected next iterate: the sign of the gradient for linf, its unit direction for l2."""
    if threat.norm == "linf":
        return threat.project(x_adv + step * grad.sign(), x)
    size = grad.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, *[1] * (x.dim() - 1))
    return threat.project(x_adv + step * grad / size, x)
