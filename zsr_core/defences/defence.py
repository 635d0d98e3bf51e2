"""What a defence is: something done to a tuned model's weights, or around it, when it is used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import torch
from torch import Tensor

from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower

# (images [B, 3, H, W], one generator per image) -> raw embeddings [B, D]
Defended = Callable[[Tensor, Sequence[torch.Generator]], Tensor]


class Defence(Protocol):
    """A frozen dataclass; it does not change training, so trials that differ in it alone share their tuned weights."""

    title: ClassVar[str]

    def tower(self, tuned: ImageTower, original: ImageTower) -> ImageTower:
        """Return the tower that is used."""

    def texts(self, tuned: TextTower, original: TextTower) -> TextTower:
        """Return the text tower that is used, where training tuned it too."""

    def defended(self, tower: ImageTower, original: ImageTower) -> Defended | None:
        """Return what is deployed around it; None where the tower is used as it is."""

    @property
    def attack_samples(self) -> int:
        """How many draws of the defence an attack averages in its gradient; 0: attacks do not know of it."""
