"""An attack on the tokens between two blocks: what a model's inner layers make of a change that no pixel can cause."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.evaluation.retrieval.losses import RetrievalLoss
from zsr_core.evaluation.retrieval.suite import TokenAttack
from zsr_core.model.tower import ImageTower


def attacked_tokens(
    tower: ImageTower, attack: TokenAttack, budget: float, loss: RetrievalLoss, x: Tensor, rows: Tensor
) -> Tensor:
    """Return unit embeddings [B, D] of ``x`` [B, 3, H, W] with tokens moved to raise ``loss``, the best move kept.

    Each token moves by at most ``budget`` times the median length of its image's tokens, along its own gradient.
    """
    radius = budget * token_lengths(tower, x, attack.block)  # [B, 1, 1]
    moves: Tensor | None = None
    best = torch.full((len(x),), -torch.inf, device=x.device)
    kept = torch.empty(0)  # replaced by the first look
    for step in range(attack.steps + 1):
        climbing = step < attack.steps
        with torch.set_grad_enabled(climbing):
            changed, unit = moved_tokens(tower, x, attack.block, moves, climbing)
            value = loss(unit, rows)
        kept = unit.detach() if step == 0 else torch.where((value > best)[:, None], unit.detach(), kept)
        best = torch.maximum(best, value.detach())
        if climbing:
            (grad,) = torch.autograd.grad(value.sum(), changed)
            moves = stepped(moves, grad, radius, attack.step_ratio)
    return kept


@torch.no_grad()
def token_lengths(tower: ImageTower, x: Tensor, block: int) -> Tensor:
    """Return the median length of each image's tokens before ``block``: [B, 1, 1]."""
    seen: list[Tensor] = []

    def look(tokens: Tensor) -> Tensor:
        seen.append(tokens.norm(dim=-1).median(dim=1).values[:, None, None])
        return tokens

    tower.edited(x, block, look)
    return seen[0]


def moved_tokens(
    tower: ImageTower, x: Tensor, block: int, moves: Tensor | None, climbing: bool
) -> tuple[Tensor, Tensor]:
    """Return the moved tokens [B, T, W], as a leaf where a gradient is climbed, and the unit embeddings [B, D]."""
    seen: list[Tensor] = []

    def move(tokens: Tensor) -> Tensor:
        changed = (tokens if moves is None else tokens + moves).detach().requires_grad_(climbing)
        seen.append(changed)
        return changed

    unit = F.normalize(tower.edited(x, block, move).embedding.float(), dim=-1)
    return seen[0], unit


def stepped(moves: Tensor | None, grad: Tensor, radius: Tensor, step_ratio: float) -> Tensor:
    """Return the next moves [B, T, W]: each token a step along its gradient, then back into its ball."""
    ahead = step_ratio * radius * grad / grad.norm(dim=-1, keepdim=True).clamp(min=1e-30)
    there: Tensor = ahead if moves is None else moves + ahead
    inside: Tensor = there * (radius / there.norm(dim=-1, keepdim=True).clamp(min=1e-30)).clamp(max=1)
    return inside
