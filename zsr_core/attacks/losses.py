"""What evaluation attacks maximise: per-sample functions of logits [b, C] and labels [b]."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks.attack import Loss

TINY = 1e-12  # what AutoAttack adds to DLR's denominators


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: ``-log p_y``."""
    return F.cross_entropy(logits, labels, reduction="none")


def margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: ``max_{j != y} z_j - z_y``, positive where the image is fooled (Carlini & Wagner 2017, f_6).

    Not clamped, so that it has a gradient while the image still stands; it does not saturate as cross-entropy does.
    """
    return others(logits, labels).amax(dim=1) - own(logits, labels)


def own(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: the logit of the true class."""
    return logits.gather(1, labels[:, None])[:, 0]


def others(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b, C]: the logits with the true class at minus infinity."""
    return logits.scatter(1, labels[:, None], -torch.inf)


def dlr(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: the difference of logits ratio, ``(max_{j != y} z_j - z_y) / (z_(1) - z_(3))``, for >= 3 classes.

    Croce & Hein, ICML 2020 (arXiv 2003.01690), Eq. 6: shifting and scaling the logits changes nothing.
    """
    top = logits.topk(3, dim=1).values
    return margin(logits, labels) / (top[:, 0] - top[:, 2] + TINY)


def targeted_dlr(logits: Tensor, labels: Tensor, goals: Tensor) -> Tensor:
    """Return [b]: ``(z_t - z_y) / (z_(1) - (z_(3) + z_(4)) / 2)`` for goals t [b] and >= 4 classes (ibid., Eq. 7)."""
    top = logits.topk(4, dim=1).values
    return (own(logits, goals) - own(logits, labels)) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + TINY)


def smooth_margin(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Return [b]: ``T log sum_{j != y} exp(z_j / T) - z_y``, the margin with every wrong class pulled up at once.

    The adaptive attacks' loss of Comp-TGA (arXiv 2603.18598, App. B), the temperature in units of the logits.
    """
    return temperature * (others(logits, labels) / temperature).logsumexp(dim=1) - own(logits, labels)


def entropy(logits: Tensor) -> Tensor:
    """Return [b]: the entropy of the softmax, in nats."""
    log_p = logits.log_softmax(dim=1)
    return -(log_p.exp() * log_p).sum(dim=1)


LOSSES: Mapping[str, Loss] = {"ce": cross_entropy, "margin": margin}
