"""LAAT: class anchors of the text tower, spread apart by a fixed rotation, and a clean image held to its attack."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import is_finite, require
from zsr_core.methods.method import (
    Defaults,
    Passes,
    Seen,
    Terms,
    check_scale,
    check_weight,
    class_cross_entropy,
)
from zsr_core.methods.views import Views
from zsr_core.text import TextBank


@dataclass(frozen=True, kw_only=True)
class Laat(Defaults):
    """Language-Driven Anchors for Zero-Shot Adversarial Robustness (Li et al., CVPR 2024, arXiv 2301.13096).
    Official code: LixiaoTHU/LAAT, ``train.py`` (``TRADES-cos``), ``anchors/convert_anchor_ds.py``.

    ``L = CE(cos(f(x_a), a') / tau, y) - beta cos(f(x), f(x_a))``: terms ``ce``, ``consistency``.
    ``a'`` are the training classes' unit texts, each moved along the great circle through their mean direction m so
    that its angle to m grows by ``expansion / theta_max``: the farthest training class then stands ``expansion``
    degrees from m (drawn in, where they stand wider already). Other tasks' texts are moved by the same m and factor,
    and may come to stand farther.

    The paper trains small networks from scratch, with anchors of ViT-B/16, at eps 8/255. On CLIP (a baseline of
    Comp-TGA) only the expansion is known to be carried over; that recipe is not published. ``tau`` is 1 in the code,
    whose comments allow 0.07. ``expansion=None`` leaves the texts where they are.
    """

    title: ClassVar[str] = "LAAT"

    beta: float = 1.0  # on consistency; code
    tau: float = 1.0  # temperature of the cosines; code
    expansion: float | None = 90.0  # degrees; code: (pi / 2) / theta_max

    def __post_init__(self) -> None:
        check_weight(self, "beta")
        check_scale(self, "tau")
        right = self.expansion is None or (is_finite(self.expansion) and 0 < self.expansion <= 180)
        require(right, "expansion", self.expansion, "degrees in (0, 180], or None")

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1, student_clean=int(self.beta > 0))

    def training_text(self, text: TextBank, seen: Seen) -> TextBank:
        return self.evaluation_text(text, lambda: text)

    def evaluation_text(self, text: TextBank, train: Callable[[], TextBank]) -> TextBank:
        if self.expansion is None:
            return text
        return replace(text, unit=expanded(text.unit, train().unit, math.radians(self.expansion)))

    def attack_objective(self, views: Views) -> Tensor:
        return class_cross_entropy(views.student_adv, views, 1 / self.tau)

    def loss(self, views: Views) -> Terms:
        terms = {"ce": class_cross_entropy(views.student_adv, views, 1 / self.tau)}
        if self.beta > 0:
            terms["consistency"] = -self.beta * (views.student_clean.unit * views.student_adv.unit).sum(dim=1)
        return terms


def expanded(texts: Tensor, train: Tensor, widest: float) -> Tensor:
    """Return unit ``texts`` [C, D] turned away from the mean direction of ``train``, both with rows of norm 1.

    The official code turns the mean onto an axis, scales the angle there and turns back; in the plane of a text and
    the mean that is ``cos(theta') m + sin(theta') u``, u the text's unit direction away from m.
    """
    mean = F.normalize(train.double().mean(dim=0), dim=0)
    factor = widest / torch.arccos((train.double() @ mean).clamp(-1, 1)).amax().clamp(min=1e-6)
    along = texts.double() @ mean
    away = F.normalize(texts.double() - along[:, None] * mean, dim=1)
    theta = factor * torch.arccos(along.clamp(-1, 1))[:, None]
    turned = F.normalize(theta.cos() * mean + theta.sin() * away, dim=1)
    return turned.to(texts.dtype)
