"""WiSE-FT: the weights used lie between the original model's and the tuned one's."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, TypeVar

import torch
from torch import nn

from zsr_core.codec import is_finite, require
from zsr_core.defences.defence import Defended
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower

Tower = TypeVar("Tower", bound=nn.Module)


@dataclass(frozen=True, kw_only=True)
class WiseFt:
    """Robust fine-tuning of zero-shot models (Wortsman et al., CVPR 2022, arXiv 2109.01903).

    ``theta = (1 - alpha) theta_0 + alpha theta_1`` over every weight that was tuned: alpha 0 is the original, 1 the
    tuned model. The paper recommends 0.5 where nothing is known of the target; its heads are interpolated too, here
    the text tower is where it was tuned, and otherwise the texts are the same on both sides.
    """

    title: ClassVar[str] = "WiSE-FT"

    alpha: float = 0.5

    def __post_init__(self) -> None:
        require(is_finite(self.alpha) and 0 <= self.alpha <= 1, "alpha", self.alpha, "a share in [0, 1]")

    def tower(self, tuned: ImageTower, original: ImageTower) -> ImageTower:
        return self._between(copy.deepcopy(tuned), original)

    def texts(self, tuned: TextTower, original: TextTower) -> TextTower:
        return self._between(tuned.copied(), original)

    @torch.no_grad()
    def _between(self, tuned: Tower, original: Tower) -> Tower:
        """Move the weights of ``tuned`` to where this defence has them, and return it."""
        start = original.state_dict()
        for name, tensor in tuned.state_dict().items():
            if tensor.is_floating_point():  # lerp_ gives the ends exactly
                tensor.copy_(torch.lerp(start[name], tensor, self.alpha))
        return tuned

    def defended(self, tower: ImageTower, original: ImageTower) -> Defended | None:
        return None

    @property
    def attack_samples(self) -> int:
        return 0
