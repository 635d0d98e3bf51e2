"""TeCoA: cross-entropy of adversarial images over the class texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from zsr_core.methods.method import Defaults, Passes, Terms, class_cross_entropy
from zsr_core.methods.views import Views


@dataclass(frozen=True, kw_only=True)
class TeCoA(Defaults):
    """Text-guided contrastive adversarial training (Mao et al., ICLR 2023, arXiv 2212.07016, Eq. 3).

    ``L = (1/B) sum_i CE(s cos(v(x_i + d_i), T), y_i)``, with all C class prompts as the softmax's support.
    Official code: cvlab-columbia/ZSRobust4FoundationModel, ``finetuning.py``; paper and code agree on the loss.
    """

    title: ClassVar[str] = "TeCoA"

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1)

    def loss(self, views: Views) -> Terms:
        return {"ce": class_cross_entropy(views.student_adv, views)}
