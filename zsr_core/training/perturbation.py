"""Where the training attack moves an image: its pixels as ever, the tokens between two blocks, or the embedding.

The last two are not within an adversary's reach. They are for the question of what a feature perturbation in training
buys under shifts that it never saw. The method's own objective is climbed, whatever the site.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from zsr_core.codec import is_finite, require, unknown
from zsr_core.model.layout import Features
from zsr_core.model.tower import ImageTower

Site = Literal["none", "token", "embedding"]


@dataclass(frozen=True, kw_only=True)
class Perturbation:
    """A training perturbation elsewhere than in pixels, in place of the trial's threat model.

    ``site`` "none" trains on the images as they are. "token" adds to each token that goes into block ``block``
    (0-based) a vector of at most ``radius`` times the median length of its image's tokens there. "embedding" adds to
    the image embedding a vector of at most ``radius`` times its length. Both take ``steps`` steps of ``step_ratio``
    times the radius along the gradient, from a random start, and keep the last; the pixels' attack is not read.
    """

    site: Site
    radius: float = 0.0
    block: int = 0
    steps: int = 2
    step_ratio: float = 0.5

    def __post_init__(self) -> None:
        if self.site not in get_args(Site):
            raise unknown("site", self.site, get_args(Site))
        good = is_finite(self.radius) and (self.radius == 0 if self.site == "none" else self.radius > 0)
        require(good, "radius", self.radius, "0" if self.site == "none" else "a finite number above 0")
        require(isinstance(self.block, int) and self.block >= 0, "block", self.block, "a block's number, from 0")
        require(isinstance(self.steps, int) and self.steps >= 1, "steps", self.steps, "a whole number >= 1")
        require(is_finite(self.step_ratio) and self.step_ratio > 0, "step_ratio", self.step_ratio, "above 0")
        require(self.site == "token" or self.block == 0, "block", self.block, "0: only tokens go into a block")

    def features(self, tower: ImageTower, x: Tensor, moves: Moves) -> Features:
        """Return the features of ``x`` [B, 3, H, W] with tokens or embedding moved by ``moves``."""
        if self.site == "token":
            return tower.edited(x, self.block, lambda tokens: tokens + _lengths(tokens) * moves.of(tokens))
        if self.site == "embedding":
            return _shifted(tower.features(x), moves)
        return tower.features(x)


def _lengths(tokens: Tensor) -> Tensor:
    """Return the median length of each image's tokens, [B, 1, 1]: a unit, so that no gradient goes through it."""
    middle: Tensor = tokens.detach().norm(dim=-1).median(dim=1).values
    return middle[:, None, None]


def _shifted(features: Features, moves: Moves) -> Features:
    raw = features.embedding
    return replace(features, embedding=raw + raw.detach().norm(dim=-1, keepdim=True) * moves.of(raw))


class Moves:
    """The relative moves of a batch, of which each vector of the last axis lies in the ball of ``radius``."""

    def __init__(self, radius: float, noise: torch.Generator) -> None:
        self.radius, self._noise = radius, noise
        self.vectors: Tensor | None = None

    def of(self, like: Tensor) -> Tensor:
        """Return the moves of a tensor of this shape, drawn at the first call: uniform lengths, random directions."""
        if self.vectors is None:
            draw = torch.randn(like.shape, generator=self._noise, device=self._noise.device).to(like.device)
            size = torch.rand(like.shape[:-1], generator=self._noise, device=self._noise.device).to(like.device)
            unit = draw / draw.norm(dim=-1, keepdim=True).clamp(min=1e-30)
            self.vectors = (self.radius * size[..., None] * unit).requires_grad_()
        return self.vectors

    def step(self, grad: Tensor, size: float) -> None:
        """Move each vector by ``size`` along its gradient, and back into its ball."""
        assert self.vectors is not None, "moves exist once something was moved"
        ahead = self.vectors.detach() + size * grad / grad.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        length = ahead.norm(dim=-1, keepdim=True).clamp(min=1e-30)
        self.vectors = (ahead * (self.radius / length).clamp(max=1)).requires_grad_()


def climbed(
    perturbation: Perturbation,
    tower: ImageTower,
    x: Tensor,
    objective: Callable[[Callable[[Tensor], Features]], Tensor],
    noise: torch.Generator,
) -> Moves:
    """Return the moves after the perturbation's steps, which raise ``objective``.

    Args:
        objective: (images -> moved features) -> [B], what is maximised: the method's objective on what the student
            sees of moved images.
    """
    moves = Moves(perturbation.radius, noise)
    known: list[Features] = []

    def seen(images: Tensor) -> Features:
        if perturbation.site != "embedding":
            return perturbation.features(tower, images, moves)
        if not known:  # what comes before the embedding does not depend on the moves
            with torch.no_grad():
                known.append(tower.features(images))
        return _shifted(known[0], moves)

    for _ in range(perturbation.steps):
        value = objective(seen).sum()
        assert moves.vectors is not None, "an objective that is climbed looks at the moved images"
        (grad,) = torch.autograd.grad(value, moves.vectors)
        moves.step(grad, perturbation.step_ratio * perturbation.radius)
    if moves.vectors is not None:
        moves.vectors = moves.vectors.detach()
    return moves
