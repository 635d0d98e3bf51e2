"""What a method is: a frozen dataclass whose fields are its hyper-parameters, with a per-sample loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import is_finite, require
from zsr_core.views import Encoded, Views

Terms = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Which encodings a method's loss reads: 1 or 0 each. From these follow a step's cost and whether to cache."""

    student_clean: int = 0
    student_adv: int = 0
    teacher_clean: int = 0
    teacher_adv: int = 0


class Method(Protocol):
    """A published way to fine-tune. Its file says the equation, the source and where paper and code disagree."""

    title: ClassVar[str]  # the paper's name, as tables print it

    @property
    def passes(self) -> Passes:
        """What ``loss`` reads."""

    @property
    def teacher_cacheable(self) -> bool:
        """Whether embeddings and patch tokens of the clean images are all the loss needs of the teacher."""

    def loss(self, views: Views) -> Terms:
        """Return named terms, each [B], weighted and unreduced; the trainer takes the mean of their sum once."""

    def attack_objective(self, views: Views) -> Tensor:
        """Return [B], what the training attack maximises."""


def logits(encoded: Encoded, views: Views) -> Tensor:
    """Return [B, C]: ``scale * cos``, the zero-shot logits of CLIP."""
    return views.scale * encoded.cosines


def class_cross_entropy(encoded: Encoded, views: Views) -> Tensor:
    """Return [B]: cross-entropy of each image over all class texts (TeCoA, arXiv 2212.07016, Eq. 3)."""
    return F.cross_entropy(logits(encoded, views), views.labels, reduction="none")


class CrossEntropyAttack:
    """Methods that train against plain class cross-entropy and read the teacher from cache."""

    @property
    def teacher_cacheable(self) -> bool:
        return True

    def attack_objective(self, views: Views) -> Tensor:
        return class_cross_entropy(views.student_adv, views)


def check_weight(owner: Any, *names: str) -> None:
    """Raise ``ConfigError`` unless each named field is a finite number >= 0."""
    for name in names:
        value = getattr(owner, name)
        require(is_finite(value) and value >= 0, name, value, "a finite number >= 0")
