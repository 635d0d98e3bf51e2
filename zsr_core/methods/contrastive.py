"""FT-Clean and FT-Adv: CLIP's own contrastive loss within the batch, on clean or on adversarial images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.methods.method import Defaults, Passes, Terms, logits
from zsr_core.methods.views import Encoded, Views


def batch_contrastive(encoded: Encoded, views: Views) -> Tensor:
    """Return [B]: ``0.5 (CE_rows(O)_i + CE_rows(O^T)_i)`` with ``O = s cos(v_i, T[y_j])``, [B, B], target i.

    Two samples of one class are each other's negatives, as in the official code (zhyblue424/TGA-ZSR, ``FT.py``).
    """
    o = logits(encoded, views)[:, views.labels]
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
