"""Square: random search with square-shaped changes; it needs no gradient, so gradient masking does not stop it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, Target, one_each
from zsr_core.attacks.losses import margin
from zsr_core.attacks.tries import at_once
from zsr_core.attacks.waiting import put
from zsr_core.codec import is_finite, require
from zsr_core.threat import Norm, ThreatModel

# Queries from which the share of changed pixels is halved once more (Andriushchenko et al. 2020, section 3.1, for a
# budget of 10 000; AutoAttack keeps it unscaled at 5000).
HALVED_AFTER = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
CALL = (6, 128)  # the fixed cost of a question, in rows: measured with the miniature on CPU, a guess on CUDA
SMOOTH = 0.1  # weight of the last batch in the share of changes that are kept


@dataclass(frozen=True, kw_only=True)
class Square:
    """Square Attack (Andriushchenko et al., ECCV 2020), AutoAttack's fourth, on the margin (fra31/auto-attack,
    ``square.py``).

    ``p_init`` is the share of the pixels that the first changes cover. Every random choice comes from the image's own
    generator; theirs shares places, colours and orientation within a batch. Squares reach the last row and column,
    which theirs leave out. Where few images stand, the next changes of each are asked about together, as if none of
    them were kept; the search ends as it would if it asked one by one.
    """

    queries: int = 5000
    p_init: float = 0.8

    def __post_init__(self) -> None:
        whole = isinstance(self.queries, int) and self.queries >= 1
        require(whole, "queries", self.queries, "a whole number >= 1")
        require(is_finite(self.p_init) and 0 < self.p_init <= 1, "p_init", self.p_init, "a share in (0, 1]")

    @property
    def name(self) -> str:
        said = "" if self.queries == 5000 else str(self.queries)
        return f"square{said}" + ("" if self.p_init == 0.8 else f"-p{self.p_init:.4g}")

    def stages(self, classes: int) -> tuple[Attack, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return 1 + self.queries, 0

    @torch.no_grad()
    def run(self, target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
        """Return x_adv [B, 3, H, W]: per image the first point that fools, else the one of the largest margin."""
        search = SEARCHES[threat.norm]
        rows = torch.arange(len(x), device=x.device)
        generators = one_each(draws("square", rows), len(rows))
        at = search.start(x, threat.eps, generators)
        choices = uniform(generators, (self.queries, search.choices + x.shape[1])).to(x)
        sides = [search.side(self.share(n), *x.shape[-2:]) for n in range(self.queries)]
        side_of = torch.tensor(sides, device=x.device)
        logits = target.logits(at, rows)
        of = _Searched(
            rows=rows, clean=x, at=at, best=margin(logits, target.labels), changes=torch.zeros_like(rows),
            over=target.fooled(logits, rows), rate=torch.ones((), dtype=torch.float64, device=x.device),
        )  # fmt: skip
        result = at.clone()
        while len(of):
            going, least, most, rate = of.read(self.queries)
            of = of.standing(going)
            ahead = min(_ahead(target, of, rate), self.queries - least) if going else 0
            # Every image that goes on makes at least one change in a turn.
            for turn in range(min(target.reads_every, self.queries - least) if going else 0):
                step = of.changes[:, None] + torch.arange(ahead, device=x.device)  # [b, ahead]
                image = torch.arange(len(of), device=x.device).repeat_interleave(ahead)
                change, asked = step.flatten().clamp(max=self.queries - 1), of.rows[image]
                possible = sorted(set(sides[least + turn : most + (turn + 1) * ahead]))
                tried = _changed(search, of, image, side_of[change], possible, choices[asked, change], eps=threat.eps)
                logits = target.logits(tried, asked)
                gained = margin(logits, target.labels[asked]).view_as(step)
                fallen = target.fooled(logits, asked).view_as(step)
                counted = (step < self.queries) & ~of.over[:, None]
                better = ((gained > of.best[:, None]) | fallen) & counted
                # Changes after the first that is kept started from a point that is no longer the best: not counted.
                hit, first = better.any(dim=1), better.to(torch.uint8).argmax(dim=1)
                used = torch.where(hit, first + 1, counted.sum(dim=1))
                target.unask(of.rows, ahead - used)
                own = torch.arange(len(of), device=x.device)
                put(of.at, own, hit, tried[own * ahead + first])
                put(of.best, own, hit, gained[own, first])
                put(result, of.rows, hit, of.at)
                of.changes.add_(used)
                of.over.logical_or_((hit & fallen[own, first]) | (of.changes >= self.queries))
                of.rate.add_(SMOOTH * (hit.sum().double() / used.sum().clamp(min=1) - of.rate))
        return result

    def share(self, change: int) -> float:
        """Return the share of the pixels that the n-th change covers, from 0."""
        halvings = sum(change > n for n in HALVED_AFTER)
        return self.p_init / float(2**halvings)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Searched:
    """Where the search of each image stands, written in place; each image is at its own change."""

    rows: Tensor  # [b] in the batch
    clean: Tensor  # [b, 3, H, W]
    at: Tensor  # the best point
    best: Tensor  # [b] its margin
    changes: Tensor  # [b] tried so far
    over: Tensor  # [b] bool: fallen, or at its last change
    rate: Tensor  # [] double: the share of recent changes that were kept, of all images

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, queries: int) -> tuple[int, int, int, float]:
        """Return how many images go on, the least and most changes that they have tried, and the rate, in one read."""
        least, most = self.changes.masked_fill(self.over, queries).min(), self.changes.max()
        going, low, high, rate = torch.stack([(~self.over).sum(), least, most, self.rate]).tolist()
        return int(going), int(low), int(high), rate

    def standing(self, going: int) -> _Searched:
        """Return it without the images whose search is over; ``going`` are not."""
        if going == len(self):
            return self
        onward = self.over.to(torch.uint8).argsort(stable=True)[:going]
        kept = {f.name: getattr(self, f.name)[onward] for f in fields(self) if f.name != "rate"}
        return _Searched(**kept, rate=self.rate)


def _ahead(target: Target, of: _Searched, rate: float) -> int:
    """Return how many changes of an image are tried at once, as if none of them were kept.

    With ``rate`` the share of changes that are kept, n at once are worth ``(1 - (1 - rate)^n) / rate`` and cost
    ``n b`` rows and a call.
    """
    call, kept = CALL[of.at.device.type == "cuda"], min(max(rate, 1e-3), 1.0)
    return min(range(1, at_once(target, len(of)) + 1), key=lambda n: (call + n * len(of)) / (1 - (1 - kept) ** n))


def _changed(
    search: Search, of: _Searched, image: Tensor, sides: Tensor, possible: Sequence[int], choices: Tensor, *, eps: float
) -> Tensor:
    """Return these images [n] of ``of`` after a change each, by its ``choices`` [n, k] in a square of ``sides`` [n].

    All sides are among the ``possible`` ones. On CUDA each of those is tried on all images, because choosing the images
    of one side makes the host wait; they are few.
    """
    at, clean = of.at[image], of.clean[image]
    if len(possible) == 1:
        return search.change(at, clean, eps, possible[0], choices)
    changed = at.clone()
    for side in possible:
        picked = sides == side
        if at.device.type == "cuda":
            other = search.change(at, clean, eps, side, choices)
            changed = torch.where(picked.view(-1, 1, 1, 1), other, changed)
        else:
            changed[picked] = search.change(at[picked], clean[picked], eps, side, choices[picked])
    return changed


def uniform(generators: Sequence[torch.Generator], shape: tuple[int, ...]) -> Tensor:
    """Return numbers in [0, 1), [b, *shape]: each image's own."""
    return torch.stack([torch.rand(shape, generator=g, device=g.device) for g in generators])


def _signs(choices: Tensor) -> Tensor:
    return (choices >= 0.5).to(choices) * 2 - 1


def _places(choices: Tensor, side: int, height: int, width: int) -> Tensor:
    """Return where squares lie, [b, side^2] into the flat image; ``choices`` [b, 2] say their upper left corners."""
    top = (choices[:, 0] * (height - side + 1)).long().clamp(max=height - side)
    left = (choices[:, 1] * (width - side + 1)).long().clamp(max=width - side)
    within = torch.arange(side, device=choices.device)
    rows, columns = top[:, None] + within, left[:, None] + within
    return (rows[:, :, None] * width + columns[:, None, :]).flatten(1)


def linf_side(share: float, height: int, width: int) -> int:
    """Return the pixels a side of a square that covers ``share`` of the image."""
    return min(max(round(math.sqrt(share * height * width)), 1), height, width)


def l2_side(share: float, height: int, width: int) -> int:
    """Return the same for l2: odd and at least 3, so that a pattern has a middle."""
    side = max(round(math.sqrt(share * height * width)), 3)
    return min(side + 1 - side % 2, height, width)


def stripes(x: Tensor, eps: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Return linf's first point [b, 3, H, W]: every column of every channel at one end of the budget."""
    signs = _signs(uniform(generators, (x.shape[1], 1, x.shape[-1])).to(x))
    return (x + eps * signs).clamp(0, 1)


def recolour(at: Tensor, clean: Tensor, eps: float, side: int, choices: Tensor) -> Tensor:
    """Return ``at`` with a square of each image at one end of the budget, per channel: +-2 eps and the ball again."""
    b, channels, height, width = at.shape
    square = _places(choices[:, :2], side, height, width)[:, None].expand(b, channels, -1)
    colours = clean.flatten(2).gather(2, square) + eps * _signs(choices[:, 2:, None])
    changed: Tensor = at.flatten(2).scatter(2, square, colours.clamp_(0, 1)).view_as(at)
    return changed


@lru_cache(maxsize=256)
def pattern(side: int, device: torch.device) -> Tensor:
    """Return the l2 attack's bumps [2, side^2], of norm 1: one half up and one down, lying and standing."""
    upper = [_half(side // 2, side)] if side > 1 else []
    whole = torch.cat([*upper, -_half(side - side // 2, side)])
    whole = whole / whole.norm()
    both: Tensor = torch.stack([whole.flatten(), whole.T.flatten()])
    return both.to(device, torch.float32)


def _half(height: int, width: int) -> Tensor:
    """Return a bump [height, width] of norm 1: squares around the middle, each a pixel larger, the k-th 1 / k^2."""
    steps = torch.arange(1, max(height // 2, width // 2) + 2, dtype=torch.float64)
    heights = steps.pow(-2).flip(0).cumsum(0).flip(0)  # by distance from the middle, in the maximum norm
    down, across = ((torch.arange(n) - n // 2).abs() for n in (height, width))
    bump: Tensor = heights[torch.maximum(down[:, None], across[None])]
    unit: Tensor = bump / bump.norm()
    return unit


def tiles(x: Tensor, eps: float, generators: Sequence[torch.Generator]) -> Tensor:
    """Return l2's first point [b, 3, H, W]: about 5 x 5 bumps side by side, on the sphere, clipped to the box."""
    b, channels, height, width = x.shape
    side = max(min(height, width) // 5, 1)
    down, across = height // side, width // side
    choices = uniform(generators, (down, across, 1 + channels)).to(x)
    bumps = pattern(side, x.device).to(x)[(choices[..., 0] >= 0.5).long()]  # [b, down, across, side^2]
    delta = (_signs(choices[..., 1:, None]) * bumps[..., None, :]).unflatten(-1, (side, side))
    delta = delta.permute(0, 3, 1, 4, 2, 5).reshape(b, channels, down * side, across * side)
    above, left = (height - down * side) // 2, (width - across * side) // 2
    delta = F.pad(delta, (left, width - across * side - left, above, height - down * side - above))
    return _onto_sphere(x, delta, eps)


def move_mass(at: Tensor, clean: Tensor, eps: float, side: int, choices: Tensor) -> Tensor:
    """Return ``at`` with a bump added in one square, of the size that another square held and the budget leaves."""
    b, channels, height, width = at.shape
    delta = (at - clean).flatten(2)  # [b, c, H W]
    to, source = (_places(choices[:, i : i + 2], side, height, width)[:, None].expand(b, channels, -1) for i in (0, 2))
    there = delta.gather(2, to)
    moved = delta.scatter(2, source, 0.0)
    mass = delta.gather(2, source).square().sum(dim=2) + moved.gather(2, to).square().sum(dim=2)  # [b, c], both squares
    left = (eps**2 - delta.square().sum(dim=(1, 2))).clamp(min=0)
    bump = pattern(side, at.device).to(at)[(choices[:, 4] >= 0.5).long()][:, None] * _signs(choices[:, 5:, None])
    bump = bump + there / there.norm(dim=2, keepdim=True).clamp(min=1e-12)
    size = (left[:, None] / channels + mass).sqrt()[..., None]
    bump = bump / bump.norm(dim=2, keepdim=True).clamp(min=1e-12) * size
    return _onto_sphere(clean, moved.scatter_(2, to, bump).view_as(at), eps)


def _onto_sphere(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    size: Tensor = delta.flatten(1).norm(dim=1).clamp(min=1e-12).view(-1, 1, 1, 1)
    return (x + eps * delta / size).clamp(0, 1)


@dataclass(frozen=True, kw_only=True)
class Search:
    """Random search within one kind of ball."""

    start: Callable[[Tensor, float, Sequence[torch.Generator]], Tensor]
    change: Callable[[Tensor, Tensor, float, int, Tensor], Tensor]
    side: Callable[[float, int, int], int]
    choices: int  # random numbers that a change needs, beside one per channel


SEARCHES: Mapping[Norm, Search] = {
    "linf": Search(start=stripes, change=recolour, side=linf_side, choices=2),
    "l2": Search(start=tiles, change=move_mass, side=l2_side, choices=5),
}
