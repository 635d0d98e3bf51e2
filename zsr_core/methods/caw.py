"""CAW: adversarial predictions are held to the frozen model's clean ones, the more so the less sure they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from zsr_core.methods.attention import l2_norm
from zsr_core.methods.divergence import kl
from zsr_core.methods.method import (
    Defaults,
    Passes,
    Terms,
    check_options,
    check_scale,
    check_weight,
    class_cross_entropy,
    log_p,
    of_label,
)
from zsr_core.methods.views import Encoded, Views

OPTIONS = {"kl_direction": ("adv_first", "clean_first"), "reg_norm": ("l2", "l2_squared")}


@dataclass(frozen=True, kw_only=True)
class Caw(Defaults):
    """Confidence-Aware Weighting (Naghavian and Tavassolipour, NeurIPS 2025 workshop, arXiv 2510.02913). No code.

    ``L = CE(P_adv, y) + alpha (1 - P_adv,y) KL(P_adv || P_clean) + beta |f(x_a) - f_0(x_a)|``: terms ``ce``,
    ``confidence``, ``regularisation``. ``P_adv`` is the tuned model on the attack, ``P_clean`` the frozen one on the
    clean image; f_0 sees the *adversarial* image too.

    The paper leaves open what these options settle: whether a gradient flows through the weight (``weight_detach``;
    as written it does), whether features are normalised (``normalize_features``; as written not), the logit scale
    (the model's own). ``kl_direction="clean_first"`` is the paper's ablation; ``reg_norm="l2_squared"`` is ours.
    Neither alpha nor beta is published: the defaults are ours, one for each.
    """

    title: ClassVar[str] = "CAW"

    alpha: float = 1.0
    beta: float = 1.0
    kl_direction: Literal["adv_first", "clean_first"] = "adv_first"
    weight_detach: bool = False
    normalize_features: bool = False
    reg_norm: Literal["l2", "l2_squared"] = "l2"
    logit_scale: float | None = None

    def __post_init__(self) -> None:
        check_weight(self, "alpha", "beta")
        if self.logit_scale is not None:
            check_scale(self, "logit_scale")
        check_options(self, OPTIONS)

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1, teacher_clean=int(self.alpha > 0), teacher_adv=int(self.beta > 0))

    def attack_objective(self, views: Views) -> Tensor:
        return class_cross_entropy(views.student_adv, views, self.logit_scale)

    def loss(self, views: Views) -> Terms:
        adv = log_p(views.student_adv, views, self.logit_scale)
        terms = {"ce": F.nll_loss(adv, views.labels, reduction="none")}
        if self.alpha > 0:
            clean = log_p(views.teacher_clean, views, self.logit_scale)
            unsure = 1 - of_label(adv, views).exp()
            unsure = unsure.detach() if self.weight_detach else unsure
            apart = kl(adv, clean) if self.kl_direction == "adv_first" else kl(clean, adv)
            terms["confidence"] = self.alpha * unsure * apart
        if self.beta > 0:
            moved = self._features(views.student_adv) - self._features(views.teacher_adv).detach()
            size = l2_norm(moved) if self.reg_norm == "l2" else moved.square().sum(dim=1)
            terms["regularisation"] = self.beta * size
        return terms

    def _features(self, encoded: Encoded) -> Tensor:
        return encoded.unit if self.normalize_features else encoded.embedding
