"""FAB-T: the nearest wrong point towards each of the likeliest classes, found along linearised boundaries."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import count

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Target
from zsr_core.attacks.losses import margin, others
from zsr_core.attacks.tries import Tries, at_once
from zsr_core.attacks.waiting import put
from zsr_core.codec import is_finite, require
from zsr_core.threat import Norm, ThreatModel

TINY = 1e-30  # in place of a divisor of 0
# Newton steps to a plane on CUDA, where asking whether more are needed makes the host wait. On CPU at most 3 were seen
# in attacks, and 8 on made-up planes; with too few, a point falls short of its plane by a little.
NEWTON = 16


@dataclass(frozen=True, kw_only=True)
class Fab:
    """Targeted FAB (Croce & Hein, ICML 2020), AutoAttack's third: minimum-norm, so it needs no step size and no start.

    Towards each of the ``targets`` classes next in line at the clean image (C - 1 of them if there are fewer) it steps
    ``steps`` times to where the linearised boundary is met within the box, ``eta`` beyond it, drawn by at most
    ``alpha_max`` towards the point of that plane nearest to the image (section 2, equations 4 to 10; defaults of
    fra31/auto-attack, ``fab_base.py``). From a wrong point it steps back to ``beta`` of its distance.

    The official code asks twice a step: whether the new point is wrong, then for the gradient where the step back
    ended. Ours asks once: it linearises the boundary at the new point, which is as near to it as the other.
    """

    steps: int = 100
    targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        for name in ("steps", "targets"):
            value = getattr(self, name)
            require(isinstance(value, int) and value >= 1, name, value, "a whole number >= 1")
        require(is_finite(self.alpha_max) and 0 <= self.alpha_max <= 1, "alpha_max", self.alpha_max, "in [0, 1]")
        require(is_finite(self.eta) and self.eta >= 1, "eta", self.eta, "at least 1: the plane itself is the boundary")
        require(is_finite(self.beta) and 0 < self.beta < 1, "beta", self.beta, "in (0, 1)")

    @property
    def name(self) -> str:
        own = [f"-{f.name}{getattr(self, f.name):.4g}" for f in fields(self) if getattr(self, f.name) != f.default]
        return "fab-t" + "".join(own)

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        targets = min(self.targets, classes - 1)
        return 1 + targets * (self.steps + 1), targets * self.steps

    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W]: a wrong point within the budget, else the nearest wrong one, projected into it."""
        nearest, _ = self.nearest(target, x, threat.norm, enough=threat.eps)
        return threat.project(nearest, x)

    def nearest(self, target: Target, x: Tensor, norm: Norm, enough: float = 0.0) -> tuple[Tensor, Tensor]:
        """Return the nearest wrong points [B, 3, H, W] in the box and their distances [B]; ``x`` and inf without one.

        Against a certain classifier an image's search ends with the first wrong point within ``enough``.
        """
        rows = torch.arange(len(x), device=x.device)
        with torch.no_grad():
            logits = target.logits(x, rows)
        best = _WrongPoints.of(x, norm, enough)
        best.note(x, x, logits, target.labels, rows, torch.zeros_like(rows, dtype=torch.bool))
        towards = others(logits, target.labels).topk(min(self.targets, target.classes - 1), dim=1).indices  # [B, T]
        while towards.shape[1] and len(rows := best.standing(rows, target)):
            now, towards = towards[:, : (n := at_once(target, len(rows)))], towards[:, n:]
            tries = Tries.of(rows, now.shape[1])
            own = self._approach(
                tries.target(target), tries, now[rows].flatten(), _WrongPoints.of(tries.spread(x), norm, enough)
            )
            best.take(rows, own, tries.settle(target, own.rank <= enough, -own.rank))
        missed = best.rank.isposinf()
        return best.x, distance(best.x - x, norm).masked_fill(missed, torch.inf)

    def _approach(self, target: Target, tries: Tries, towards: Tensor, best: _WrongPoints) -> _WrongPoints:
        """Walk from the images along the boundary to one class [b] in each try; return ``best``, written in place."""
        rows = torch.arange(len(best.x), device=best.x.device)
        clean = at = best.x.clone()
        idle = self._idle(target, tries, best)
        for step in range(1, self.steps + 1):
            gap, slope, logits = linearised(target, at, rows, towards[rows])
            target.take_back(rows, idle[rows])
            wrong = best.note(at, clean, logits, target.labels[rows], rows, idle[rows])
            back = torch.where(_per_image(wrong, at), clean + self.beta * (at - clean), at)
            idle = self._idle(target, tries, best)
            if target.certain and step % target.reads_every == 0:
                onward = (~idle[rows]).nonzero()[:, 0]
                if len(onward) == 0:
                    return best
                if len(onward) < len(rows):
                    rows, clean, at, back, gap, slope = (part[onward] for part in (rows, clean, at, back, gap, slope))
            at = self._step(clean, at, back, gap, slope, norm=best.norm)
        with torch.no_grad():
            logits = target.logits(at, rows)
        target.take_back(rows, idle[rows])
        best.note(at, clean, logits, target.labels[rows], rows, idle[rows])
        return best

    def _idle(self, target: Target, tries: Tries, best: _WrongPoints) -> Tensor:
        """Return which of all tries need no further step; of a randomised classifier's all go on."""
        broken = best.rank <= best.enough
        return tries.over(broken) if target.certain else torch.zeros_like(broken)

    def _step(self, clean: Tensor, at: Tensor, back: Tensor, gap: Tensor, slope: Tensor, *, norm: Norm) -> Tensor:
        """Return the next point: from ``back`` and from ``clean`` onto the plane ``slope . (z - at) = gap``, mixed."""
        starts = torch.stack([back, clean], dim=1)  # [b, 2, 3, H, W]
        gaps = gap[:, None] - _along(slope, (starts - at[:, None]).flatten(2))
        own, origin = (onto := to_plane(starts, slope, gaps, norm)).unbind(dim=1)
        far, near = distance(onto.flatten(0, 1), norm).clamp(min=1e-8).view(-1, 2).unbind(dim=1)
        alpha = _per_image((far / (far + near)).clamp(max=self.alpha_max), at)
        return torch.lerp(back + self.eta * own, clean + self.eta * origin, alpha).clamp(0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class _WrongPoints:
    """The best wrong point of each image, or of each try at it, so far; written in place."""

    x: Tensor  # [B, 3, H, W]
    rank: Tensor  # [B], lower is better; inf where there is none
    norm: Norm
    enough: float

    @classmethod
    def of(cls, x: Tensor, norm: Norm, enough: float) -> _WrongPoints:
        """Return what is known before the first step: no wrong point."""
        return cls(x=x.clone(), rank=x.new_full((len(x),), torch.inf), norm=norm, enough=enough)

    def standing(self, rows: Tensor, target: Target) -> Tensor:
        """Return those of ``rows`` whose search goes on; a certain classifier's ends with a point within ``enough``."""
        return rows[self.rank[rows] > self.enough] if target.certain else rows

    def take(self, rows: Tensor, own: _WrongPoints, best: Tensor) -> None:
        """Keep the ``best`` [b] points of the tries at ``rows``, where they are better than what is known."""
        better = own.rank[best] < self.rank[rows]
        put(self.x, rows, better, own.x[best])
        put(self.rank, rows, better, own.rank[best])

    def note(self, at: Tensor, clean: Tensor, logits: Tensor, labels: Tensor, rows: Tensor, idle: Tensor) -> Tensor:
        """Keep the points that are wrong and better than what is known; return [b] bool: which are wrong.

        Rows that are ``idle`` [b] need no further step, and of them nothing is kept.

        Within ``enough``, where only the search on a randomised classifier goes on, better means a larger margin.
        """
        size = distance(at - clean, self.norm)
        rank = torch.where(size <= self.enough, -margin(logits, labels), size)
        wrong = logits.argmax(dim=1) != labels
        better = wrong & (rank < self.rank[rows]) & ~idle
        put(self.x, rows, better, at)
        put(self.rank, rows, better, rank)
        return wrong


def linearised(target: Target, at: Tensor, rows: Tensor, towards: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return gap [b] and slope [b, ...] of the plane ``slope . (z - at) = gap``, and the logits [b, C].

    On the plane the label and ``towards`` tie to first order. Where the gradient is not finite, the slope is 0 and
    nothing moves.
    """
    at = at.detach().requires_grad_()
    logits = target.logits(at, rows)
    lead = (logits.gather(1, towards[:, None]) - logits.gather(1, target.labels[rows, None]))[:, 0]
    (slope,) = torch.autograd.grad(lead.sum(), at)
    return (-lead.detach()).nan_to_num(0, 0, 0), slope.nan_to_num(0, 0, 0), logits.detach()


def to_plane(starts: Tensor, slope: Tensor, gaps: Tensor, norm: Norm) -> Tensor:
    """Return the smallest d [b, K, ...], K for each image: ``slope . d = gap`` and ``start + d`` in the box, exactly.

    Where the box does not reach the plane, d ends in its corner nearest to it.

    With r_i the room that pixel i has in its useful direction, d_i is ``min(lam v_i, r_i)`` that way, v_i being 1 for
    linf and ``|slope_i|`` for l2, and lam solves ``sum |slope_i| min(lam v_i, r_i) = |gap|``. The left side is concave
    and piecewise linear: Newton's method from below reaches lam in as many steps as it crosses bunches of kinks.

    Args:
        starts: [b, K, ...] in the box.
        slope: [b, ...], the planes' normal.
        gaps: [b, K], how far along it each plane lies.
    """
    w = slope.flatten(1)
    t, size, wanted = starts.flatten(2), w.abs(), gaps.abs()
    uphill = w.sign()[:, None] * gaps.sign()[..., None]  # [b, K, n]
    # Choices between pixels are written as arithmetic: under a mask torch takes ten times as long.
    room = (0.5 - t).mul_(uphill).add_(0.5)  # 1 - t uphill, t downhill
    speed = torch.ones_like(size) if norm == "linf" else size
    gain, held = (size * speed)[:, None], size[:, None] * room
    stuck_from = room if norm == "linf" else room / size.clamp(min=TINY)[:, None]  # the lam that takes all of the room
    lam = wanted / gain.sum(dim=2).clamp(min=TINY)
    on_cuda = starts.device.type == "cuda"
    for _ in range(NEWTON) if on_cuda else count():
        free = (stuck_from - lam[..., None]).clamp_(min=0).sign_()
        rest, short = (gain * free).sum(dim=2), wanted - torch.addcmul(held, held, free, value=-1).sum(dim=2)
        onward = torch.where(rest > 0, short / rest.clamp(min=TINY), torch.inf)
        # A pixel at the box's edge stays there as lam grows; if no further one gets there, lam is final and stays.
        if not on_cuda and bool((onward <= lam).all()):
            break
        lam = torch.maximum(lam, onward)
    lam = lam.clamp(max=torch.finfo(t.dtype).max)  # a pixel that does not matter moves 0 times that, and not NaN
    return (uphill * torch.minimum(lam[..., None] * speed[:, None], room)).view_as(starts)


def distance(delta: Tensor, norm: Norm) -> Tensor:
    """Return [b]: the size of ``delta`` [b, ...] in pixel units."""
    flat = delta.flatten(1)
    return flat.abs().amax(dim=1) if norm == "linf" else flat.norm(dim=1)


def _along(normal: Tensor, points: Tensor) -> Tensor:
    """Return [b, K]: the products of ``normal`` [b, ...] with each of an image's ``points`` [b, K, n]."""
    return (points * normal.flatten(1)[:, None]).sum(dim=2)


def _per_image(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *[1] * (like.dim() - 1))
