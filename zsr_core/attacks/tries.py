"""Tries at an image side by side, with the outcome of one after the other, because few images do not fill a batch."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from zsr_core.attacks.attack import Target
from zsr_core.attacks.cascade import part

# The most rows that are asked about at once where there are fewer images, on CPU and on CUDA: enough to keep a core
# busy, and few enough for any memory.
FILL = (64, 256)


def at_once(target: Target, images: int) -> int:
    """Return how many tries at each of so many images fit into one batch.

    A randomised classifier's answers depend on how often it was asked, so there tries are made one after the other.
    """
    if not target.certain:
        return 1
    return max(1, min(target.room, FILL[target.labels.device.type == "cuda"]) // images)


@dataclass(frozen=True, kw_only=True, eq=False)
class Tries:
    """``each`` tries, in their order, at each of the images ``rows``: row ``i * each + k`` is the k-th at image i.

    One after the other, an image's tries end with the first that breaks it. Here the later ones have begun by then:
    they stop, decide nothing, and their questions are taken back.
    """

    rows: Tensor  # [b] in the batch
    each: int
    asked: Tensor  # [b * each] questions so far, written in place

    @classmethod
    def of(cls, rows: Tensor, each: int) -> Tries:
        """Return tries that have asked nothing yet."""
        return cls(rows=rows, each=each, asked=torch.zeros(len(rows) * each, dtype=torch.int64, device=rows.device))

    def spread(self, values: Tensor) -> Tensor:
        """Return [b * each, ...]: what is given per image of the batch [B, ...], for every try."""
        return values[self.rows].repeat_interleave(self.each, dim=0)

    def target(self, target: Target) -> Target:
        """Return the target that these tries face, as if each were an image."""
        faced = part(target, self.spread(torch.arange(len(target.labels), device=self.rows.device)))

        def ask(x: Tensor, tries: Tensor) -> Tensor:
            self.asked.index_add_(0, tries, torch.ones_like(tries))
            return faced.ask(x, tries)

        def unask(tries: Tensor, number: Tensor) -> None:
            self.asked.index_add_(0, tries, -number)
            faced.unask(tries, number)

        return replace(faced, ask=ask, unask=unask)

    def over(self, fallen: Tensor) -> Tensor:
        """Return [b * each] bool: which tries stop, given which have broken their image."""
        return fallen.view(-1, self.each).cummax(dim=1).values.flatten()

    def settle(self, target: Target, fallen: Tensor, score: Tensor) -> Tensor:
        """Return [b]: of each image's tries the first that broke it, else the first of the largest ``score``.

        Questions of tries after one that broke the image are taken back.
        """
        broken, number = fallen.view(-1, self.each), torch.arange(self.each, device=fallen.device)
        first, hit = broken.to(torch.uint8).argmax(dim=1), broken.any(dim=1)
        vain = hit[:, None] & (number > first[:, None])
        target.unask(self.rows, (self.asked.view(-1, self.each) * vain).sum(dim=1))
        kept = torch.where(hit, first, score.view(-1, self.each).argmax(dim=1))
        return torch.arange(len(self.rows), device=fallen.device) * self.each + kept
