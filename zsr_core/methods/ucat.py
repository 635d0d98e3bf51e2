"""UCAT: as Dirichlet distributions over predictions, the attacked image is held to the frozen model's clean one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import require
from zsr_core.methods.divergence import (
    dirichlet_bhattacharyya,
    dirichlet_kl,
    dirichlet_kl_asymptotic,
    dirichlet_to_uniform,
    kl,
)
from zsr_core.methods.method import (
    Defaults,
    Passes,
    Terms,
    check_options,
    check_scale,
    check_weight,
    class_cross_entropy,
    of_label,
)
from zsr_core.methods.views import Encoded, Views

OPTIONS = {
    "divergence": ("dirichlet", "categorical", "bhattacharyya", "log_l2"),
    "form": ("exact", "asymptotic"),
    "direction": ("adv_first", "clean_first", "symmetric"),
    "reference": ("frozen", "target_detached", "target"),
    "ce": ("softmax", "dirichlet"),
    "ce_input": ("adv", "clean"),
    "evidence": ("exp", "softplus", "relu"),
}
EVIDENT = ("dirichlet", "bhattacharyya")  # these grow with the evidence, so the weight is shared over its batch mean


@dataclass(frozen=True, kw_only=True)
class Ucat(Defaults):
    """Uncertainty-calibrated adversarial fine-tuning (arXiv 2512.12997). Official code: VivienLu/UCAT, ``main.py``.

    ``L = CE(s cos(x_a), y) + lambda KL(Dir(alpha_adv) || Dir(alpha_ori))``, ``alpha = exp((cos + 1) / tau)``, alpha_ori
    of the frozen model on the clean image: terms ``ce``, ``dirichlet``. Couples the batch through its mean evidence:
    the weight is given as ``weight = lambda E[alpha_0]``, alpha_0 the frozen model's total concentration, the mean
    taken over the batch. The code's lambda = 1e5 / (1 + exp(2 / tau)) means a weight of 240 at 200 classes and tau
    0.07, of 1e-25 at tau 0.01 and of 4e5 at 0.2, so tau cannot be searched with it.

    In closed form the divergence is next to ``alpha_0 KL(softmax(cos_ori / tau) || softmax(cos_adv / tau))`` (``form=
    "asymptotic"``; 1e-7 off at tau 0.07). ``exact`` is in float64: in half precision, as in the code, it is off by
    percents. ``direction="clean_first"`` is the weaker variant of the paper's ablation; ``divergence="categorical"`` is
    the same comparison without evidence, at the same temperature and weight (the paper's own used others).

    Figures of the paper show a trained clean branch: its code reads the frozen model (``reference``) and puts the
    cross-entropy on the attack (``ce_input``). Generic evidential learning, ours: ``evidence`` (softplus or relu of
    cos / tau) plus ``offset``; ``ce="dirichlet"``, digamma(alpha_0) - digamma(alpha_y); ``prior_weight`` on
    KL(Dir(alpha without the true class) || Dir(1)) (Sensoy et al., NeurIPS 2018): term ``prior``; ``divergence=
    "bhattacharyya"``, the distance of that name of the two Dirichlet distributions, or ``"log_l2"``, the squared
    distance of their log-concentrations, at ``weight`` itself. Neither of the two has a direction.
    """

    title: ClassVar[str] = "UCAT"

    weight: float = 240.0  # lambda E[alpha_0] of the code's lambda at Tiny-ImageNet's 200 classes
    tau: float = 0.07  # code
    divergence: Literal["dirichlet", "categorical", "bhattacharyya", "log_l2"] = "dirichlet"
    form: Literal["exact", "asymptotic"] = "exact"
    direction: Literal["adv_first", "clean_first", "symmetric"] = "adv_first"
    reference: Literal["frozen", "target_detached", "target"] = "frozen"
    ce: Literal["softmax", "dirichlet"] = "softmax"
    ce_input: Literal["adv", "clean"] = "adv"
    evidence: Literal["exp", "softplus", "relu"] = "exp"
    offset: float = 0.0  # added to the evidence; 1 in generic evidential learning
    prior_weight: float = 0.0

    def __post_init__(self) -> None:
        check_weight(self, "weight", "offset", "prior_weight")
        check_scale(self, "tau")
        check_options(self, OPTIONS)
        require(self.evidence != "exp" or self.tau >= 0.003, "tau", self.tau, "at least 0.003: exp(2 / tau) overflows")
        require(self.evidence != "relu" or self.offset > 0, "offset", self.offset, "above 0 where evidence may be 0")
        large = self.form == "exact" or (self.evidence == "exp" and self.offset == 0)
        require(large, "form", self.form, "'exact' unless the evidence is exp without offset")

    @property
    def passes(self) -> Passes:
        guided = self.weight > 0
        student_clean = self.ce_input == "clean" or (guided and self.reference != "frozen")
        student_adv = guided or self.ce_input == "adv" or self.prior_weight > 0
        frozen = guided and self.reference == "frozen"
        return Passes(student_clean=int(student_clean), student_adv=int(student_adv), teacher_clean=int(frozen))

    @property
    def couples_batch(self) -> bool:
        return self.weight > 0 and self.divergence in EVIDENT

    def loss(self, views: Views) -> Terms:
        seen = views.student_adv if self.ce_input == "adv" else views.student_clean
        terms = {"ce": self._cross_entropy(seen, views)}
        if self.weight > 0:
            terms[self.divergence] = self._apart(views)
        if self.prior_weight > 0:
            wrong = self.log_alpha(views.student_adv).scatter(1, views.labels[:, None], 0.0)  # alpha_y := 1
            terms["prior"] = (self.prior_weight * dirichlet_to_uniform(wrong)).float()
        return terms

    def log_alpha(self, encoded: Encoded) -> Tensor:
        """Return [B, C] float64: the log of the concentrations."""
        cosines = encoded.cosines.double()
        if self.evidence == "exp":
            return torch.logaddexp((cosines + 1) / self.tau, cosines.new_full((), self.offset).log())
        logits = cosines / self.tau
        return ((F.softplus(logits) if self.evidence == "softplus" else logits.relu()) + self.offset).log()

    def _cross_entropy(self, encoded: Encoded, views: Views) -> Tensor:
        if self.ce == "softmax":
            return class_cross_entropy(encoded, views)
        alpha = self.log_alpha(encoded).exp()
        return (torch.digamma(alpha.sum(dim=1)) - torch.digamma(of_label(alpha, views))).float()

    def _apart(self, views: Views) -> Tensor:
        adv = self.log_alpha(views.student_adv)
        clean = self.log_alpha(views.teacher_clean if self.reference == "frozen" else views.student_clean)
        clean = clean.detach() if self.reference == "target_detached" else clean
        ways = {"adv_first": [(adv, clean)], "clean_first": [(clean, adv)], "symmetric": [(adv, clean), (clean, adv)]}
        apart = torch.stack([self._kl(*way) for way in ways[self.direction]]).mean(dim=0)
        if self.divergence in EVIDENT:
            total = clean.detach().logsumexp(dim=1)
            apart = apart / (total.logsumexp(dim=0) - math.log(len(total))).exp()
        return (self.weight * apart).float()

    def _kl(self, log_a: Tensor, log_b: Tensor) -> Tensor:
        if self.divergence == "categorical":
            return kl(log_a.log_softmax(dim=1), log_b.log_softmax(dim=1))
        if self.divergence == "log_l2":
            return (log_a - log_b).square().sum(dim=1)
        if self.divergence == "bhattacharyya":
            return dirichlet_bhattacharyya(log_a, log_b)
        return dirichlet_kl(log_a, log_b) if self.form == "exact" else dirichlet_kl_asymptotic(log_a, log_b)
