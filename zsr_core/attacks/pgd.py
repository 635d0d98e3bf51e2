"""Projected gradient descent: the training attack of every method here, and the first attack of every evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Objective, Target
from zsr_core.attacks.losses import LOSSES
from zsr_core.attacks.waiting import put, reads_every
from zsr_core.codec import is_finite, require, unknown
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Pgd:
    """PGD (Madry et al., ICLR 2018), in fp32, on the per-sample summed objective, by the input's gradient alone.

    The step is ``step_size`` in [0, 1] pixel units, or ``step_ratio * eps`` where no size is given. ``keep="best"``
    returns, per image, the first iterate that fools the model, else the one with the largest objective over all
    steps and restarts, and stops working on an image that has fallen or goes round in circles. ``keep="last"``
    returns the last iterate, which is what the papers train on; it makes exactly ``steps`` forwards and backwards.

    ``momentum`` mu moves along ``v <- steepest(mu v + steepest(g))``, steepest being the sign for linf and the unit
    direction for l2 (FARE trains so with 0.9; chs20/RobustVLM, ``train/pgd_train.py``); for linf and mu < 1 the new
    sign always outweighs the old one, so that momentum matters only where the gradient is 0. ``start_std`` starts from
    normal noise of that size, in [0, 1] pixel units, in place of a uniform point of the ball (TRADES and MART: 0.001).

    ``loss`` is what an evaluation climbs: cross-entropy, or the margin of Carlini & Wagner, ``cw`` in its name; in
    training the method defines the objective. ``label`` is a published profile's name (`attacks/profiles.py`).
    """

    steps: int = 2
    step_size: float | None = None
    step_ratio: float = 0.25
    restarts: int = 1
    random_start: bool = True
    keep: Literal["best", "last"] = "best"
    momentum: float = 0.0
    start_std: float | None = None
    loss: Literal["ce", "margin"] = "ce"
    label: str = ""

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
        require(is_finite(self.momentum) and 0 <= self.momentum < 1, "momentum", self.momentum, "in [0, 1)")
        gaussian = self.start_std is None or (is_finite(self.start_std) and self.start_std > 0)
        require(gaussian, "start_std", self.start_std, "above 0, in [0, 1] pixel units")
        require(self.keep in ("best", "last"), "keep", self.keep, "'best' or 'last'")
        if self.loss not in LOSSES:
            raise unknown("loss", self.loss, LOSSES)
        require(
            self.keep == "best" or self.restarts == 1, "restarts", self.restarts, "1 where the last iterate is kept"
        )

    @property
    def name(self) -> str:
        if self.label:
            return self.label
        said = [f"x{self.restarts}" if self.restarts > 1 else ""]
        said.append("" if self.step_size is None else f"-step{self.step_size * 255:.4g}")
        said.append("" if self.step_size is not None or self.step_ratio == 0.25 else f"-step{self.step_ratio:.4g}eps")
        said.append("" if self.keep == "best" else "-last")
        said.append("" if self.random_start else "-still")
        said.append("" if self.start_std is None else f"-std{self.start_std:.4g}")
        said.append(f"-momentum{self.momentum:.4g}" if self.momentum else "")
        return {"ce": "pgd", "margin": "cw"}[self.loss] + str(self.steps) + "".join(said)

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int = 2) -> tuple[int, int]:
        last = 1 if self.keep == "best" else 0
        return self.restarts * (self.steps + last), self.restarts * self.steps

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``, climbing ``loss``."""
        return self.climb(target.objective(LOSSES[self.loss]), x, threat, draws, target)

    def climb(
        self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws, target: Target | None = None
    ) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``, climbing any objective: a method's, in training.

        Args:
            target: whom the objective asks, where questions are counted.
        """
        step = self.step_size if self.step_size is not None else self.step_ratio * threat.eps
        if self.keep == "last":
            return self._last(objective, x, threat, draws, step)
        hill = _Hill(objective=objective, x=x, threat=threat, draws=draws, step=step, target=target)
        best = _Best(x=x.clone(), loss=torch.full((len(x),), -torch.inf, device=x.device))
        standing = torch.arange(len(x), device=x.device)
        for restart in range(self.restarts):
            if len(standing) == 0:
                break
            stands = self._climb(hill, best, standing, restart)
            if restart + 1 < self.restarts:  # otherwise nobody asks, and the host would wait for the answer
                standing = standing[stands]
        return best.x

    def _start(self, x: Tensor, threat: ThreatModel, draws: Draws, restart: int, rows: Tensor) -> Tensor:
        if not self.random_start:
            return x.clone()
        noise = draws(f"start-{restart}", rows)
        return threat.random_start(x, noise) if self.start_std is None else threat.near(x, self.start_std, noise)

    def _last(self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws, step: float) -> Tensor:
        rows = torch.arange(len(x), device=x.device)
        x_adv = self._start(x, threat, draws, 0, rows)
        before: Tensor | None = None
        for _ in range(self.steps):
            x_adv.requires_grad_()
            (grad,) = torch.autograd.grad(objective(x_adv, rows).loss.sum(), x_adv)
            before = self._heading(grad, before, threat)
            x_adv = ascend(x_adv.detach(), before, x, threat, step)
        return x_adv

    def _heading(self, grad: Tensor, before: Tensor | None, threat: ThreatModel) -> Tensor:
        """Return where to step: along the gradient, carried on in the direction of the step before."""
        if self.momentum == 0 or before is None:
            return grad
        return self.momentum * steepest(before, threat) + steepest(grad, threat)

    def _climb(self, hill: _Hill, best: _Best, rows: Tensor, restart: int) -> Tensor:
        """One restart on ``rows``; writes improvements into ``best`` and returns which of the rows still stand, [b].

        An image whose next iterate is the one before its last is left alone, and still stands, because a certain
        classifier's sign gradient would move it back and forth between the two for ever.
        """
        begun, clean, threat, step = rows, hill.x[rows], hill.threat, hill.step
        stands = torch.ones(len(hill.x), dtype=torch.bool, device=clean.device)
        going = torch.ones_like(stands)[: len(rows)]
        x_adv = self._start(clean, threat, hill.draws, restart, rows)
        heading: Tensor | None = None
        behind: Tensor | None = None
        for k in range(self.steps + 1):
            loss, fooled, grad = hill.look(x_adv, rows, going, moving=k < self.steps)
            x_adv = x_adv.detach()
            fallen = torch.zeros_like(going) if fooled is None else fooled & going
            best.offer(rows, x_adv, loss, fallen, going)
            put(stands, rows, fallen, ~fallen)
            if grad is None:
                break
            heading = self._heading(grad, heading, threat)
            ahead = ascend(x_adv, heading, clean, threat, step)
            going = going & ~fallen
            if behind is not None and fooled is not None and self.momentum == 0:
                going &= (ahead != behind).flatten(1).any(dim=1)
            behind, x_adv = x_adv, ahead
            if fooled is not None and hill.reads(k + 1, self.steps):
                onward = going.nonzero()[:, 0]
                if len(onward) == 0:
                    break
                if len(onward) < len(rows):
                    parts = (rows, clean, heading, behind, x_adv, going)
                    rows, clean, heading, behind, x_adv, going = (part[onward] for part in parts)
        return stands[begun]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Hill:
    """What is climbed, from where, and within which bounds."""

    objective: Objective
    x: Tensor  # [B, 3, H, W] clean
    threat: ThreatModel
    draws: Draws
    step: float
    target: Target | None  # whom the objective asks

    def reads(self, done: int, steps: int) -> bool:
        """Return whether images that need no further step are left out after ``done`` of so many iterations.

        On CUDA after 10, 20, 40, ..., because most images that fall do so early.
        """
        every = reads_every(self.x.device) if self.target is None else self.target.reads_every
        rounds, part = divmod(done, every)
        return every == 1 or (part == 0 and rounds.bit_count() == 1 and done < steps)

    def look(
        self, x_adv: Tensor, rows: Tensor, going: Tensor, *, moving: bool
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """Return loss [b], what is fooled [b], and the gradient, which only an image that moves on needs."""
        with torch.set_grad_enabled(moving):
            x_adv.requires_grad_(moving)
            loss, fooled = self.objective(x_adv, rows)
            grad = torch.autograd.grad(loss.sum(), x_adv)[0] if moving else None
        if self.target is not None:
            self.target.take_back(rows, ~going)
        return loss.detach(), fooled, grad


@dataclass(frozen=True, kw_only=True, eq=False)
class _Best:
    """The best point of each image so far; written in place."""

    x: Tensor  # [B, 3, H, W]
    loss: Tensor  # [B]

    def offer(self, rows: Tensor, x_adv: Tensor, loss: Tensor, fallen: Tensor, going: Tensor) -> None:
        """Keep the points that have fallen, and of images that are ``going`` those of the largest loss so far."""
        better = fallen | (going & (loss > self.loss[rows]))
        put(self.x, rows, better, x_adv)
        put(self.loss, rows, better, loss)


def steepest(grad: Tensor, threat: ThreatModel) -> Tensor:
    """Return the direction in which a unit step gains most: the gradient's sign for linf, its unit vector for l2."""
    if threat.norm == "linf":
        return grad.sign()
    size: Tensor = grad.flatten(1).norm(dim=1).clamp(min=1e-30).view(-1, *[1] * (grad.dim() - 1))
    return grad / size


def ascend(x_adv: Tensor, grad: Tensor, x: Tensor, threat: ThreatModel, step: float | Tensor) -> Tensor:
    """Return the projected next iterate: a step along the steepest direction, of one size or of [B, 1, ...] sizes."""
    return threat.project(steepest(grad, threat).mul_(step).add_(x_adv), x)
