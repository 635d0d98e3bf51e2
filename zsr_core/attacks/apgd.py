"""APGD: projected gradient descent that finds its own step size, with the losses that AutoAttack gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Loss, Objective, Scored, Target
from zsr_core.attacks.losses import LOSSES, dlr, others, targeted_dlr
from zsr_core.attacks.pgd import ascend
from zsr_core.attacks.tries import Tries, at_once
from zsr_core.attacks.waiting import put
from zsr_core.codec import is_finite, require, unknown
from zsr_core.threat import ThreatModel

LossName = Literal["ce", "dlr", "dlr-targeted", "margin"]
# loss -> (what records call it, the fewest classes it is defined for, what replaces it below that)
VARIANTS: Mapping[LossName, tuple[str, int, LossName]] = {
    "ce": ("ce", 2, "ce"),
    "dlr": ("dlr", 3, "margin"),
    "dlr-targeted": ("t", 4, "dlr"),
    "margin": ("margin", 2, "margin"),
}
UNTARGETED: Mapping[str, Loss] = {**LOSSES, "dlr": dlr}
MOMENTUM = 0.25  # share of the step before in the next one (Croce & Hein: alpha = 0.75 for the new)


@dataclass(frozen=True, kw_only=True)
class Apgd:
    """Auto-PGD (Croce & Hein, ICML 2020, arXiv 2003.01690, Algorithm 1), for linf and l2, as AutoAttack runs it
    (fra31/auto-attack, ``autopgd_base.py``): from the sphere, step 2 eps with momentum; at checkpoints, the first
    after 22 % of the ``steps`` and then every 3 % sooner down to 6 %, an image's step is halved and the image taken
    back to its best point, if at most ``rho`` of its steps since the last one gained, or if its best loss
    has not grown since then and its step was not halved then.

    ``loss``: cross-entropy; DLR; DLR towards each of the ``targets`` likeliest wrong classes in turn (as many as there
    are); or the margin. Ours: an image is dropped the moment it falls; the last iterate needs no gradient; the
    targets are ranked once, which takes one forward. It returns the point at which the image fell, else its point of
    largest loss.
    """

    loss: LossName = "ce"
    steps: int = 100
    restarts: int = 1
    rho: float = 0.75
    targets: int = 9
    label: str = ""

    def __post_init__(self) -> None:
        if self.loss not in VARIANTS:
            raise unknown("loss", self.loss, VARIANTS)
        for name in ("steps", "restarts", "targets"):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            require(whole and value >= 1, name, value, "a whole number >= 1")
        require(is_finite(self.rho) and 0 < self.rho <= 1, "rho", self.rho, "in (0, 1]")

    @property
    def name(self) -> str:
        if self.label:
            return self.label
        own = [f.name for f in fields(self) if f.name != "loss" and getattr(self, f.name) != f.default]
        return f"apgd-{VARIANTS[self.loss][0]}" + "".join(f"-{name}{getattr(self, name):.4g}" for name in own)

    def stages(self, classes: int) -> tuple[Attack, ...]:
        """Return itself; where DLR is not defined for so few classes, itself with the loss that replaces it."""
        _, fewest, instead = VARIANTS[self.loss]
        return (self,) if classes >= fewest else replace(self, loss=instead, label="").stages(classes)

    def cost(self, classes: int) -> tuple[int, int]:
        runs, ranking = self.restarts, 0
        if self.loss == "dlr-targeted":
            runs, ranking = self.restarts * min(self.targets, classes - 1), 1
        return runs * (self.steps + 1) + ranking, runs * self.steps

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W] inside ``threat`` around ``x``."""
        kept = Kept.of(x, target)
        if self.loss == "dlr-targeted":
            self._towards_each(target, x, threat, draws, kept)
        else:
            self.climb(target.objective(UNTARGETED[self.loss]), x, threat, draws, kept)
        return kept.x

    def _towards_each(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws, kept: Kept) -> None:
        """Climb towards each target class in turn, as many classes at once as fit into a batch."""
        ranked = self._ranked(target, x)  # [B, targets]
        left = [(rank, restart) for rank in range(ranked.shape[1]) for restart in range(self.restarts)]
        while left and len(rows := kept.standing()):
            now, left = left[: (n := at_once(target, len(rows)))], left[n:]
            tries = Tries.of(rows, len(now))
            starts = [threat.sphere_start(x[rows], draws(f"target-{k}-start-{r}", rows)) for k, r in now]
            clean, goals = tries.spread(x), ranked[rows][:, [rank for rank, _ in now]].flatten()
            faced = tries.target(target)
            own, objective = Kept.of(clean, faced, tries), towards(faced, goals)
            start = torch.stack(starts, dim=1).flatten(0, 1)
            self._walk(objective, _begin(clean, start, threat, own.standing()), threat, own)
            best = tries.settle(target, own.fallen, own.loss)
            kept.fell(rows, own.x[best], own.fallen[best])
            kept.offer(rows, own.x[best], own.loss[best])

    def _ranked(self, target: Target, x: Tensor) -> Tensor:
        with torch.no_grad():
            logits = others(target.logits(x, torch.arange(len(x), device=x.device)), target.labels)
        return logits.topk(min(self.targets, target.classes - 1), dim=1).indices

    def climb(self, objective: Objective, x: Tensor, threat: ThreatModel, draws: Draws, kept: Kept) -> None:
        """Climb any objective from ``restarts`` random points around every image that stands, into ``kept``."""
        for restart in range(self.restarts):
            rows = kept.standing()
            if len(rows):
                start = threat.sphere_start(x[rows], draws(f"start-{restart}", rows))
                self._walk(objective, _begin(x[rows], start, threat, rows), threat, kept)

    def _walk(self, objective: Objective, at: _Walk, threat: ThreatModel, kept: Kept) -> None:
        """Take all steps from ``at``; the best points go into ``kept``."""
        at = _look(at, objective, kept, last=False)
        if kept.target.reads_every == 1:
            at = _standing(at, kept)
        at = at._replace(best=at.x_adv, best_grad=at.grad, best_loss=at.loss, checked_loss=at.loss)
        due = checkpoints(self.steps)
        for step in range(1, self.steps + 1):
            if len(at.rows) == 0:
                return
            before = at.loss if step > 1 else torch.zeros_like(at.loss)  # the official code compares step 1 with 0
            at = _look(_step(at, threat, first=step == 1), objective, kept, last=step == self.steps, before=before)
            if step % kept.target.reads_every == 0:
                at = _standing(at, kept)
            if step in due:
                at = _check(at, due[step] * self.rho)
        kept.offer(at.rows, at.best, at.best_loss)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """The best point of each image so far, or of each try at it; written in place."""

    x: Tensor  # [B, 3, H, W]
    loss: Tensor  # [B]
    fallen: Tensor  # [B] bool
    target: Target  # whom the objective asks
    tries: Tries | None

    @classmethod
    def of(cls, x: Tensor, target: Target, tries: Tries | None = None) -> Kept:
        """Return what is known before the first step: the images themselves."""
        lowest, fallen = x.new_full((len(x),), -torch.inf), torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return cls(x=x.clone(), loss=lowest, fallen=fallen, target=target, tries=tries)

    def standing(self) -> Tensor:
        """Return the rows [b] that have not fallen."""
        return (~self.fallen).nonzero()[:, 0]

    def over(self, rows: Tensor) -> Tensor:
        """Return [b] bool: which of these rows need no further step."""
        return (self.fallen if self.tries is None else self.tries.over(self.fallen))[rows]

    def fell(self, rows: Tensor, x_adv: Tensor, fallen: Tensor) -> None:
        """Keep the points at which those of these rows fell that are ``fallen`` [b]: they are final."""
        put(self.x, rows, fallen, x_adv)
        put(self.fallen, rows, fallen, fallen)

    def offer(self, rows: Tensor, x_adv: Tensor, loss: Tensor) -> None:
        """Keep these points of rows that need further steps, where their loss is the largest so far."""
        better = (loss > self.loss[rows]) & ~self.over(rows)
        put(self.x, rows, better, x_adv)
        put(self.loss, rows, better, loss)


class _Walk(NamedTuple):
    """Where each image stands that has not fallen: one row each."""

    rows: Tensor  # [b] in the batch
    x: Tensor  # [b, 3, H, W] clean
    x_adv: Tensor
    x_before: Tensor
    grad: Tensor
    loss: Tensor  # [b]
    best: Tensor
    best_grad: Tensor
    best_loss: Tensor
    size: Tensor  # [b, 1, 1, 1] of the next step
    gains: Tensor  # [b] steps since the last checkpoint that raised the loss
    checked_loss: Tensor  # [b] the best loss at the last checkpoint
    halved: Tensor  # [b] bool: at the last checkpoint


def checkpoints(steps: int) -> dict[int, int]:
    """Return {step: number of steps since the checkpoint before} (Croce & Hein, section 3.2, as rounded officially)."""
    window, shortest = max(int(0.22 * steps), 1), max(int(0.06 * steps), 1)
    shrinks = max(int(0.03 * steps), 1)
    due: dict[int, int] = {}
    step = window
    while step < steps:  # one at the very end would change nothing
        due[step] = window
        window = max(window - shrinks, shortest)
        step += window
    return due


def towards(target: Target, goals: Tensor) -> Objective:
    """Return the objective that raises targeted DLR towards ``goals`` [B]."""

    def objective(x_adv: Tensor, rows: Tensor) -> Scored:
        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            return targeted_dlr(logits, labels, goals[rows])

        return target.scored(target.ask(x_adv, rows), rows, loss)

    return objective


def _begin(x: Tensor, start: Tensor, threat: ThreatModel, rows: Tensor) -> _Walk:
    zeros = torch.zeros(len(x), device=x.device)
    size = torch.full((len(x), *[1] * (x.dim() - 1)), 2 * threat.eps, device=x.device, dtype=x.dtype)
    return _Walk(
        rows=rows, x=x, x_adv=start, x_before=start, grad=start, loss=zeros, best=start, best_grad=start,
        best_loss=zeros, size=size, gains=zeros, checked_loss=zeros,
        halved=torch.ones(len(x), dtype=torch.bool, device=x.device),
    )  # fmt: skip


def _step(at: _Walk, threat: ThreatModel, *, first: bool) -> _Walk:
    """Return the walk one step further: along the steepest direction, carried on by the step before."""
    ahead = ascend(at.x_adv, at.grad, at.x, threat, at.size)
    if not first:
        carried = at.x_adv + (ahead - at.x_adv) * (1 - MOMENTUM) + (at.x_adv - at.x_before) * MOMENTUM
        ahead = threat.project(carried, at.x)
    return at._replace(x_adv=ahead, x_before=at.x_adv)


def _look(at: _Walk, objective: Objective, kept: Kept, *, last: bool, before: Tensor | None = None) -> _Walk:
    """Return the walk with loss and gradient at its new points; what fell there is kept."""
    x_adv, idle = at.x_adv.detach(), kept.over(at.rows)
    with torch.set_grad_enabled(not last):
        x_adv.requires_grad_(not last)
        loss, fooled = objective(x_adv, at.rows)
        fallen = torch.zeros_like(idle) if fooled is None else fooled & ~idle
        over = last or (kept.target.reads_every == 1 and bool(fallen.all()))
        grad = at.grad if over else torch.autograd.grad(loss.sum(), x_adv)[0]
    kept.target.take_back(at.rows, idle)
    kept.fell(at.rows, x_adv, fallen)
    # A loss that is NaN is never the best, and a gradient that is NaN moves nothing.
    x_adv, loss = x_adv.detach(), loss.detach().to(x_adv.dtype).nan_to_num(-torch.inf, torch.inf, -torch.inf)
    at = at._replace(x_adv=x_adv, loss=loss, grad=grad.nan_to_num(0.0, 0.0, 0.0))
    if before is not None:
        better = loss > at.best_loss
        seen = better.view(at.size.shape)
        at = at._replace(
            gains=at.gains + (loss > before), best=torch.where(seen, x_adv, at.best),
            best_grad=torch.where(seen, at.grad, at.best_grad), best_loss=torch.where(better, loss, at.best_loss),
        )  # fmt: skip
    return at


def _standing(at: _Walk, kept: Kept) -> _Walk:
    """Return the walk without the images that need no further step."""
    onward = (~kept.over(at.rows)).nonzero()[:, 0]
    return at if len(onward) == len(at.rows) else _Walk(*(part[onward] for part in at))


def _check(at: _Walk, enough: float) -> _Walk:
    """Return the walk after a checkpoint: where too few steps gained, half the step, back at the best point."""
    stuck = ~at.halved & (at.checked_loss >= at.best_loss)
    halve = (at.gains <= enough) | stuck
    wide = halve.view(at.size.shape)
    return at._replace(
        size=torch.where(wide, at.size / 2, at.size), x_adv=torch.where(wide, at.best, at.x_adv),
        grad=torch.where(wide, at.best_grad, at.grad), gains=torch.zeros_like(at.gains), halved=halve,
        checked_loss=at.best_loss,
    )  # fmt: skip
