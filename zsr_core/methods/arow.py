"""ARoW: TRADES whose divergence weighs more where the attack succeeds; CoW: where the clean prediction is right."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import require
from zsr_core.methods.divergence import kl
from zsr_core.methods.method import (
    Defaults,
    Passes,
    Terms,
    check_options,
    check_weight,
    log_p,
    logits,
    of_label,
)
from zsr_core.methods.trades import divergence_from_clean
from zsr_core.methods.views import Views


@dataclass(frozen=True, kw_only=True)
class Arow(Defaults):
    """Improving Adversarial Robustness by Putting More Regularizations on Less Robust Samples (Yang et al., ICML 2023,
    arXiv 2206.03353). Official code: dyoony/ARoW, ``loss.py``.

    ``L = CE_ls(p(x), y) + lam w KL(p(x) || p(x_a))``, CE smoothed by ``smoothing``: terms ``ce``, ``robust``;
    ``w = 1 - p_y(x_a)`` ("arow"), ``p_y(x)`` ("cow": confidence-weighted regularisation, the paper's companion) or 1
    ("none": TRADES with smoothing). Gradients flow into the weight and into both predictions. The attack maximises
    the divergence, from a uniform start. The code's ``lamb``, hence ours, is twice the paper's lambda: 6 is its
    default, 7 its CIFAR-10 run.
    """

    title: ClassVar[str] = "ARoW"

    lam: float = 6.0
    smoothing: float = 0.2
    weighting: Literal["arow", "cow", "none"] = "arow"

    def __post_init__(self) -> None:
        check_weight(self, "lam", "smoothing")
        require(self.smoothing < 1, "smoothing", self.smoothing, "below 1")
        check_options(self, {"weighting": ("arow", "cow", "none")})

    @property
    def passes(self) -> Passes:
        return Passes(student_clean=1, student_adv=1, attack_clean=1)

    def attack_objective(self, views: Views) -> Tensor:
        return divergence_from_clean(views)

    def loss(self, views: Views) -> Terms:
        clean, adv = log_p(views.student_clean, views), log_p(views.student_adv, views)
        ce = F.cross_entropy(
            logits(views.student_clean, views), views.labels, reduction="none", label_smoothing=self.smoothing
        )
        return {"ce": ce, "robust": self.lam * self._weight(clean, adv, views) * kl(clean, adv)}

    def _weight(self, clean: Tensor, adv: Tensor, views: Views) -> Tensor:
        if self.weighting == "none":
            return torch.ones_like(adv[:, 0])
        return 1 - of_label(adv, views).exp() if self.weighting == "arow" else of_label(clean, views).exp()
