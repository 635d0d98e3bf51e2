"""AGFT: adversarial images are aligned to the frozen model's softened prediction for the clean ones; no labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from zsr_core.methods.method import (
    Defaults,
    Passes,
    Terms,
    check_options,
    check_scale,
    class_cross_entropy,
    log_p,
)
from zsr_core.methods.views import Views


@dataclass(frozen=True, kw_only=True)
class Agft(Defaults):
    """Alignment-Guided Fine-Tuning (CVPR 2026, arXiv 2603.29410). Official code: YuboCui/AGFT, ``train.py``.

    ``L = -sum_c p_c log q_c``, ``p = softmax(gamma s cos_0(x))`` of the frozen model on the clean image and
    ``q = softmax(s cos(x_a))`` of the tuned one on the attack, s = ``scale`` = 1 / tau: term ``alignment``.
    The training attack maximises the same loss (``attack="hard"``: cross-entropy with the labels, which the method
    does not otherwise use).

    The paper's mean over samples and classes would divide by the number of classes; the code, hence the default,
    sums over classes. At evaluation the code goes back to CLIP's own scale (``evaluation_scale=None``), which moves
    no prediction but shapes the attack's gradient.
    """

    title: ClassVar[str] = "AGFT"

    gamma: float = 0.4  # paper, its table of (gamma, 1 / tau)
    scale: float = 180.0  # 1 / tau; same table
    evaluation_scale: float | None = None
    attack: Literal["soft", "hard"] = "soft"

    def __post_init__(self) -> None:
        check_scale(self, "gamma", "scale")
        if self.evaluation_scale is not None:
            check_scale(self, "evaluation_scale")
        check_options(self, {"attack": ("soft", "hard")})

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1, teacher_clean=1)

    def attack_objective(self, views: Views) -> Tensor:
        if self.attack == "hard":
            return class_cross_entropy(views.student_adv, views, self.scale)
        return self._alignment(views)

    def loss(self, views: Views) -> Terms:
        return {"alignment": self._alignment(views)}

    def _alignment(self, views: Views) -> Tensor:
        target = log_p(views.teacher_clean, views, self.gamma * self.scale).exp()
        return -(target * log_p(views.student_adv, views, self.scale)).sum(dim=1)
