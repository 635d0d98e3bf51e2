"""WiSE-FT: the weights used lie between the original model's and the tuned one's."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch

from zsr_core.codec import is_finite, require
from zsr_core.defences.defence import Defended
from zsr_core.model.tower import ImageTower


@dataclass(frozen=True, kw_only=True)
class WiseFt:
    """Robust fine-tuning of zero-shot models (Wortsman et al., CVPR 2022, arXiv 2109.01903).

    ``theta = (1 - alpha) theta_0 + alpha theta_1`` over every weight of the image tower: alpha 0 is the original, 1
    the tuned model. The paper recommends 0.5 where nothing is known of the target; its heads are interpolated too,
    here the texts are the same on both sides.
    """

    title: ClassVar[str] = "WiSE-FT"

    alpha: float = 0.5

    def __post_init__(self) -> None:
        require(is_finite(self.alpha) and 0 <= self.alpha <= 1, "alpha", self.alpha, "a share in [0, 1]")

    @torch.no_grad()
    def tower(self, tuned: ImageTower, original: ImageTower) -> ImageTower:
        between, start = copy.deepcopy(tuned), original.state_dict()
        for name, tensor in between.state_dict().items():
            if tensor.is_floating_point():  # lerp_ gives the ends exactly
                tensor.copy_(torch.lerp(start[name], tensor, self.alpha))
        return between

    def defended(self, tower: ImageTower, original: ImageTower) -> Defended | None:
        return None

    @property
    def attack_samples(self) -> int:
        return 0
