"""What a method is: a frozen dataclass whose fields are its hyper-parameters, with a per-sample loss."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import is_finite, require, unknown
from zsr_core.methods.views import Encoded, Views
from zsr_core.text import TextBank

Terms = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Passes:
    """Which encodings a method's loss reads: 1 or 0 each. From these follow a step's cost and whether to cache."""

    student_clean: int = 0
    student_adv: int = 0
    teacher_clean: int = 0
    teacher_adv: int = 0
    student_text: int = 0  # a caption for each image by the student's text tower, which is then tuned too
    attack_clean: int = 0  # the attack's objective reads the student's clean output: one more forward, no backward


class Method(Protocol):
    """A published way to fine-tune. Its file states the equation, the source, and where paper and code disagree."""

    title: ClassVar[str]  # the paper's name, as tables print it

    @property
    def passes(self) -> Passes:
        """What ``loss`` reads."""

    @property
    def teacher_cacheable(self) -> bool:
        """Whether embeddings and patch tokens of the clean images are all the loss needs of the teacher."""

    @property
    def couples_batch(self) -> bool:
        """Whether an image's terms depend on its neighbours in the batch; attacks then take each image by itself."""

    def loss(self, views: Views) -> Terms:
        """Return named terms, each [B], weighted and unreduced; the trainer takes the mean of their sum once."""

    def attack_objective(self, views: Views) -> Tensor:
        """Return [B], what the training attack maximises."""

    def training_text(self, text: TextBank, seen: Seen) -> TextBank:
        """Return the class texts to train against, made once before the first step."""

    def evaluation_text(self, text: TextBank, train: Callable[[], TextBank]) -> TextBank:
        """Return the class texts that the tuned model is used with; ``train()`` gives the training classes'."""

    @property
    def evaluation_scale(self) -> float | None:
        """The logit scale that the tuned model is used with; None for the model's own."""


# () -> (the frozen model's raw embeddings [N, D] of the training images, their labels [N])
Seen = Callable[[], tuple[Tensor, Tensor]]


class Defaults:
    """What most methods do not change: inherit this, and write ``title``, ``passes`` and ``loss``."""

    @property
    def teacher_cacheable(self) -> bool:
        return True

    @property
    def couples_batch(self) -> bool:
        return False

    def attack_objective(self, views: Views) -> Tensor:
        return class_cross_entropy(views.student_adv, views)

    def training_text(self, text: TextBank, seen: Seen) -> TextBank:
        return text

    def evaluation_text(self, text: TextBank, train: Callable[[], TextBank]) -> TextBank:
        return text

    @property
    def evaluation_scale(self) -> float | None:
        return None


def logits(encoded: Encoded, views: Views, scale: float | None = None) -> Tensor:
    """Return [B, C]: ``scale * cos``, the zero-shot logits of CLIP; ``scale`` in place of the model's own."""
    return (views.scale if scale is None else scale) * encoded.cosines


def log_p(encoded: Encoded, views: Views, scale: float | None = None) -> Tensor:
    """Return [B, C]: the log of ``p(x) = softmax(scale * cos)``."""
    return logits(encoded, views, scale).log_softmax(dim=1)


def of_label(values: Tensor, views: Views) -> Tensor:
    """Return [B]: each row's entry at its own label."""
    return values.gather(1, views.labels[:, None])[:, 0]


def class_cross_entropy(encoded: Encoded, views: Views, scale: float | None = None) -> Tensor:
    """Return [B]: cross-entropy of each image over all class texts (TeCoA, arXiv 2212.07016, Eq. 3)."""
    return F.cross_entropy(logits(encoded, views, scale), views.labels, reduction="none")


def check_weight(owner: Any, *names: str) -> None:
    """Raise ``ConfigError`` unless each named field is a finite number >= 0."""
    for name in names:
        value = getattr(owner, name)
        require(is_finite(value) and value >= 0, name, value, "a finite number >= 0")


def check_scale(owner: Any, *names: str) -> None:
    """Raise ``ConfigError`` unless each named field is a finite number > 0."""
    for name in names:
        value = getattr(owner, name)
        require(is_finite(value) and value > 0, name, value, "a finite number > 0")


def check_options(owner: Any, options: Mapping[str, tuple[str, ...]]) -> None:
    """Raise ``ConfigError`` unless each named field holds one of its values."""
    for name, known in options.items():
        if getattr(owner, name) not in known:
            raise unknown(name, getattr(owner, name), known)
