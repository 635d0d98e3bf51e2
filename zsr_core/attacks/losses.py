"""What evaluation attacks maximise: per-sample functions of logits [b, C] and labels [b]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks.attack import Loss


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: ``-log p_y``."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: ``max_{j != y} z_j - z_y``, positive where the image is fooled (Carlini & Wagner 2017, f_6).

    Not clamped, so that a gradient is there while the image still stands; it does not saturate as cross-entropy does.
    """
    return others(logits, labels).amax(dim=1) - own(logits, labels)


def own(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: the logit of the true class."""
    return logits.gather(1, labels[:, None])[:, 0]


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b, C]: the logits with the true class at minus infinity."""
    return logits.scatter(1, labels[:, None], -torch.inf)


LOSSES: Mapping[str, Loss] = {"ce": cross_entropy, "margin": margin}
