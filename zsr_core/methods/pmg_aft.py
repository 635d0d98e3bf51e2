"""PMG-AFT: the tuned model's adversarial prediction is held to the frozen model's, and to its own clean one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

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
)
from zsr_core.methods.views import Views

OPTIONS = {"kl_reduction": ("sum", "mean"), "kl_direction": ("target_first", "adv_first")}


@dataclass(frozen=True, kw_only=True)
class PmgAft(Defaults):
    """Pre-trained Model Guided Fine-Tuning for Zero-Shot Adversarial Robustness (Wang et al., CVPR 2024,
    arXiv 2401.04350). Official code: serendipity1122/Pre-trained-Model-Guided-Fine-Tuning-for-Zero-Shot-
    Adversarial-Robustness, ``finetuning``.

    ``L = CE(p_adv, y) + alpha KL(p_ori || p_adv) + beta KL(p_clean || p_adv)``: terms ``ce``, ``general``, ``clean``.
    ``p_ori`` is the frozen model on the *adversarial* image; gradients flow into ``p_clean`` too.

    Where paper and code differ, the default is the code: logits are plain cosines, without CLIP's factor 100
    (``logit_scale=None`` takes the model's own); the divergences are summed over the batch while CE is averaged
    (``kl_reduction``), which couples the batch through its size; the target comes first in the divergence since the
    repository's last commit (``kl_direction``). The code also feeds CLIP images normalised with ImageNet's
    statistics: that is the model's, ``ModelRef(pixels="imagenet")``, which the paper's recipe sets.
    """

    title: ClassVar[str] = "PMG-AFT"

    alpha: float = 1.0  # on the frozen model's prediction; paper and code
    beta: float = 1.0  # on the tuned model's clean prediction; paper and code
    logit_scale: float | None = 1.0
    kl_reduction: Literal["sum", "mean"] = "sum"
    kl_direction: Literal["target_first", "adv_first"] = "target_first"

    def __post_init__(self) -> None:
        check_weight(self, "alpha", "beta")
        if self.logit_scale is not None:
            check_scale(self, "logit_scale")
        check_options(self, OPTIONS)

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1, student_clean=int(self.beta > 0), teacher_adv=int(self.alpha > 0))

    def attack_objective(self, views: Views) -> Tensor:
        return class_cross_entropy(views.student_adv, views, self.logit_scale)

    @property
    def couples_batch(self) -> bool:
        return self.kl_reduction == "sum" and self.alpha + self.beta > 0

    def loss(self, views: Views) -> Terms:
        terms = {"ce": class_cross_entropy(views.student_adv, views, self.logit_scale)}
        size = len(views.labels) if self.kl_reduction == "sum" else 1
        adv = log_p(views.student_adv, views, self.logit_scale)
        if self.alpha > 0:
            frozen = log_p(views.teacher_adv, views, self.logit_scale).detach()
            terms["general"] = self.alpha * size * self._kl(frozen, adv)
        if self.beta > 0:
            terms["clean"] = self.beta * size * self._kl(log_p(views.student_clean, views, self.logit_scale), adv)
        return terms

    def _kl(self, target: Tensor, adv: Tensor) -> Tensor:
        return kl(target, adv) if self.kl_direction == "target_first" else kl(adv, target)
