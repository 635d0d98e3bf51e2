"""Several attacks in turn on the same images, each on those that still stand; the worst of every image is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from zsr_core.attacks.attack import Attack, Draws, PerImage, Target
from zsr_core.attacks.losses import margin
from zsr_core.threat import ThreatModel


def cascade(stages: Sequence[Attack], target: Target, x: Tensor, threat: ThreatModel, draws: Draws) -> Tensor:
    """Return x_adv [B, 3, H, W]: of each image the first fall, else the point of the smallest margin.

    ``predict`` does the same over a whole set, in full batches; this is for one batch at hand. It asks the classifier
    once more after every stage.
    """
    worst = x.clone()
    highest = x.new_full((len(x),), -torch.inf)
    standing = torch.arange(len(x), device=x.device)
    for stage in stages:
        rows = standing
        if len(rows) == 0:
            break
        own = _own_draws(stage.name, draws, rows)
        x_adv = threat.project(stage.run(part(target, rows), x[rows], threat, own).detach(), x[rows])
        with torch.no_grad():
            logits = target.logits(x_adv, rows)
            lead = margin(logits, target.labels[rows])
        better = lead > highest[rows]
        worst[rows[better]], highest[rows[better]] = x_adv[better], lead[better]
        standing = rows[~target.fooled(logits, rows)]
    return worst


def passes(stages: Sequence[Attack], classes: int) -> tuple[int, int]:
    """Return (forwards, input-only backwards) of :func:`cascade` for an image that never falls."""
    costs = [stage.cost(classes) for stage in stages]
    return sum(forwards + 1 for forwards, _ in costs), sum(backwards for _, backwards in costs)


def part(target: Target, rows: Tensor) -> Target:
    """Return the target as an attack on these ``rows`` alone sees it."""

    def of_part(asked: PerImage) -> PerImage:
        return lambda x, picked: asked(x, rows[picked])

    return replace(
        target, ask=of_part(target.ask), labels=target.labels[rows],
        unask=lambda picked, number: target.unask(rows[picked], number),
        regulariser=None if target.regulariser is None else of_part(target.regulariser),
        others={name: of_part(logits) for name, logits in target.others.items()},
    )  # fmt: skip


def _own_draws(stage: str, draws: Draws, rows: Tensor) -> Draws:
    return lambda purpose, picked: draws(f"{stage}/{purpose}", rows[picked])
