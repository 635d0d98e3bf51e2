"""TRADES: cross-entropy on clean images, and a divergence that the attack widens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from zsr_core.methods.divergence import kl
from zsr_core.methods.method import Defaults, Passes, Terms, check_weight, class_cross_entropy, log_p
from zsr_core.methods.views import Views


def divergence_from_clean(views: Views) -> Tensor:
    """Return [B]: ``KL(p(x) || p(x_a))``, the clean side held constant: what TRADES' and ARoW's attacks maximise."""
    return kl(log_p(views.student_clean, views).detach(), log_p(views.student_adv, views))


@dataclass(frozen=True, kw_only=True)
class Trades(Defaults):
    """Theoretically Principled Trade-off between Robustness and Accuracy (Zhang et al., ICML 2019, arXiv 1901.08573,
    Eq. 5). Official code: yaodongyu/TRADES, ``trades.py``.

    ``L = CE(p(x), y) + beta KL(p(x) || p(x_a))``: terms ``ce``, ``robust``. Gradients flow into both predictions. The
    attack maximises the divergence from ``x + 0.001 N(0, 1)`` (``Pgd.start_std``). The paper writes 1 / lambda for
    beta; its CIFAR-10 tables use 6, the function's default is 1. For CLIP, p is its zero-shot prediction.
    """

    title: ClassVar[str] = "TRADES"

    beta: float = 6.0

    def __post_init__(self) -> None:
        check_weight(self, "beta")

    @property
    def passes(self) -> Passes:
        return Passes(student_clean=1, student_adv=1, attack_clean=1)

    def attack_objective(self, views: Views) -> Tensor:
        return divergence_from_clean(views)

    def loss(self, views: Views) -> Terms:
        clean, adv = log_p(views.student_clean, views), log_p(views.student_adv, views)
        return {"ce": class_cross_entropy(views.student_clean, views), "robust": self.beta * kl(clean, adv)}
