"""CLIP's own contrastive loss within the batch: FT-Clean and FT-Adv on the image tower, FLYP on both towers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.methods.method import Defaults, Passes, Terms, check_options, logits
from zsr_core.methods.views import Encoded, Views


def batch_contrastive(encoded: Encoded, views: Views) -> Tensor:
    """Return [B]: ``0.5 (CE_rows(O)_i + CE_rows(O^T)_i)`` with ``O = s cos(v_i, T[y_j])``, [B, B], target i.

    Two samples of one class are each other's negatives, as in the official code (zhyblue424/TGA-ZSR, ``FT.py``).
    """
    return both_ways(logits(encoded, views)[:, views.labels])


def both_ways(o: Tensor) -> Tensor:
    """Return [B]: the mean of each image's cross-entropy over the texts, and of its text's over the images.

    Args:
        o: [B, B], logits of image i and text j, which belong together where i = j.
    """
    target = torch.arange(len(o), device=o.device)
    return 0.5 * (F.cross_entropy(o, target, reduction="none") + F.cross_entropy(o.T, target, reduction="none"))


@dataclass(frozen=True, kw_only=True)
class FtClean(Defaults):
    """Fine-tuning on clean images with the contrastive loss (baseline of TGA-ZSR, ``FT.py --VPbaseline True``).

    Couples the batch: a sample's term depends on its neighbours.
    """

    title: ClassVar[str] = "FT-Clean"

    @property
    def passes(self) -> Passes:
        return Passes(student_clean=1)

    @property
    def couples_batch(self) -> bool:
        return True

    def loss(self, views: Views) -> Terms:
        return {"contrastive": batch_contrastive(views.student_clean, views)}


@dataclass(frozen=True, kw_only=True)
class FtAdv(Defaults):
    """Fine-tuning on adversarial images with the contrastive loss (baseline of TGA-ZSR, ``FT.py --VPbaseline False``).

    The attack still maximises the C-way class cross-entropy, not the contrastive loss. Couples the batch.
    """

    title: ClassVar[str] = "FT-Adv"

    @property
    def passes(self) -> Passes:
        return Passes(student_adv=1)

    @property
    def couples_batch(self) -> bool:
        return True

    def loss(self, views: Views) -> Terms:
        return {"contrastive": batch_contrastive(views.student_adv, views)}


@dataclass(frozen=True, kw_only=True)
class Flyp(Defaults):
    """Finetune Like You Pretrain (Goyal et al., CVPR 2023, arXiv 2212.00638). Official code: locuslab/FLYP.

    ``L = 0.5 (CE_rows(O)_i + CE_rows(O^T)_i)`` with ``O = s cos(f(x_i), g(t_j))``, [B, B], target i: term
    ``contrastive``. Each image's text t is its class in one of the task's templates, drawn anew in each step; both
    towers f and g are tuned. Two images of one class are each other's negatives, as in the code. Couples the batch.
    ``images="adv"`` tunes on attacks (ours): the attack maximises class cross-entropy with the texts as they are then.

    Known difference: the code tunes the temperature s too; here it stays the model's own.
    """

    title: ClassVar[str] = "FLYP"

    images: Literal["clean", "adv"] = "clean"

    def __post_init__(self) -> None:
        check_options(self, {"images": ("clean", "adv")})

    @property
    def passes(self) -> Passes:
        clean = int(self.images == "clean")
        return Passes(student_clean=clean, student_adv=1 - clean, student_text=1)

    @property
    def couples_batch(self) -> bool:
        return True

    def loss(self, views: Views) -> Terms:
        encoded = views.student_clean if self.images == "clean" else views.student_adv
        return {"contrastive": both_ways(views.scale * encoded.unit @ views.caption_text.T)}
