"""FARE: adversarial images keep the embedding that the frozen model gives the clean ones; no labels, no text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from zsr_core.codec import require
from zsr_core.methods.method import Defaults, Passes, Terms, check_options, check_weight
from zsr_core.methods.views import Encoded, Views


@dataclass(frozen=True, kw_only=True)
class Fare(Defaults):
    """Robust CLIP: Unsupervised Adversarial Fine-Tuning of Vision Embeddings (Schlarmann et al., ICML 2024,
    arXiv 2402.12336, Eq. 3). Official code: chs20/RobustVLM, ``train/adversarial_training_clip.py``.

    ``L = (1 - w) |f(x_a) - f_0(x)|^2 + w |f(x) - f_0(x)|^2``, w = ``clean_weight``: terms ``robust``, ``clean``.
    Squared, summed over the embedding, which is not normalised (``normalize``: the code's ``output_normalize``).
    The training attack maximises ``|f(x_a) - f_0(x)|^2`` itself, with momentum 0.9 on sign steps (``Pgd.momentum``).

    ``reference="target"`` (the code's ``trades``) pulls ``f(x_a)`` to the tuned model's own clean embedding, held
    constant; the attack still looks at the frozen one. Paper and code agree on the loss; weights 0 and the frozen
    reference made the published models.
    """

    title: ClassVar[str] = "FARE"

    clean_weight: float = 0.0
    reference: Literal["frozen", "target"] = "frozen"
    normalize: bool = False

    def __post_init__(self) -> None:
        check_weight(self, "clean_weight")
        require(self.clean_weight <= 1, "clean_weight", self.clean_weight, "a share, at most 1")
        check_options(self, {"reference": ("frozen", "target")})

    @property
    def passes(self) -> Passes:
        clean = self.clean_weight > 0 or self.reference == "target"
        return Passes(student_adv=1, student_clean=int(clean), teacher_clean=1)

    def attack_objective(self, views: Views) -> Tensor:
        return self._distance(views.student_adv, self._embedding(views.teacher_clean))

    def loss(self, views: Views) -> Terms:
        frozen = self._embedding(views.teacher_clean)
        target = frozen if self.reference == "frozen" else self._embedding(views.student_clean).detach()
        terms = {"robust": (1 - self.clean_weight) * self._distance(views.student_adv, target)}
        if self.clean_weight > 0:
            terms["clean"] = self.clean_weight * self._distance(views.student_clean, frozen)
        return terms

    def _embedding(self, encoded: Encoded) -> Tensor:
        return encoded.unit if self.normalize else encoded.embedding

    def _distance(self, encoded: Encoded, target: Tensor) -> Tensor:
        return (self._embedding(encoded) - target).square().sum(dim=1)
