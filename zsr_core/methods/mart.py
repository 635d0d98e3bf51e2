"""MART: cross-entropy that also pushes the runner-up down, and a divergence weighted by how wrong the clean side is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from zsr_core.methods.divergence import kl
from zsr_core.methods.method import Defaults, Passes, Terms, check_weight, log_p, of_label
from zsr_core.methods.views import Views


@dataclass(frozen=True, kw_only=True)
class Mart(Defaults):
    """Improving Adversarial Robustness Requires Revisiting Misclassified Examples (Wang et al., ICLR 2020, Eq. 11).
    Official code: YisenWang/MART, ``mart.py``.

    ``L = BCE(p(x_a), y) + lam (1 - p_y(x)) KL(p(x) || p(x_a))``: terms ``bce``, ``robust``, with
    ``BCE = -log p_y - log(1.0001 - max_{c != y} p_c + 1e-12)``: the constants are the code's. Gradients flow into the
    weight and into both predictions. lam is 5 in the published scripts, 6 in the function's signature. The attack is
    PGD on cross-entropy from ``x + 0.001 N(0, 1)``.
    """

    title: ClassVar[str] = "MART"

    lam: float = 5.0

    def __post_init__(self) -> None:
        check_weight(self, "lam")

    @property
    def passes(self) -> Passes:
        return Passes(student_clean=int(self.lam > 0), student_adv=1)

    def loss(self, views: Views) -> Terms:
        adv = log_p(views.student_adv, views)
        terms = {"bce": boosted_cross_entropy(adv, views)}
        if self.lam > 0:
            clean = log_p(views.student_clean, views)
            terms["robust"] = self.lam * (1 - of_label(clean, views).exp()) * kl(clean, adv)
        return terms


def boosted_cross_entropy(adv: Tensor, views: Views) -> Tensor:
    """Return [B], from log-probabilities [B, C]; with one class there is no runner-up, whose share is 0."""
    runner_up = adv.exp().scatter(1, views.labels[:, None], 0.0).amax(dim=1)
    return -of_label(adv, views) - torch.log(1.0001 - runner_up + 1e-12)
