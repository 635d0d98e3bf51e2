"""What the untouched miniature of 96 pixels promises: how right it is, how it falls, and that smoothing does not help.

The attack is a PGD of this file's own, so that weights can be measured before the rest of the core knows them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.data.miniature.pretrain import class_texts, standardize
from zsr_core.data.miniature.scenes import FINE_SIZE, render
from zsr_core.data.miniature.sets import ZERO_SHOT, set_named

EPS = 2 / 255  # in [0, 1] pixel units
Logits = Callable[[Tensor], Tensor]  # [B, 3, H, W] in [0, 1] -> [B, C]


def averaged(images: Tensor) -> Tensor:
    """Every 2 x 2 pixels by their mean, at the old size."""
    return F.avg_pool2d(images, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)


def blurred(images: Tensor) -> Tensor:
    """A Gaussian blur of one pixel's standard deviation."""
    taps = torch.exp(-(torch.arange(-3, 4).float() ** 2) / 2)
    kernel = (taps[:, None] * taps[None] / taps.sum() ** 2).expand(3, 1, 7, 7)
    return F.conv2d(F.pad(images, (3, 3, 3, 3), mode="reflect"), kernel, groups=3)


SMOOTHINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "": lambda images: images,
    ", 2 x 2 averaged": averaged,
    ", blurred": blurred,
}


def withstood(logits: Logits, images: Tensor, labels: Tensor, eps: float, steps: int = 10) -> Tensor:
    """Which images keep their label at every iterate of PGD: bool [B]."""
    generator = torch.Generator().manual_seed(0)
    adversarial = (images + (torch.rand(images.shape, generator=generator) * 2 - 1) * eps).clamp(0, 1)
    stands = torch.ones(len(images), dtype=torch.bool)
    for _ in range(steps):
        at = adversarial.detach().requires_grad_(True)
        scores = logits(at)
        stands &= scores.argmax(1) == labels
        (gradient,) = torch.autograd.grad(F.cross_entropy(scores, labels, reduction="sum"), at)
        moved = at.detach() + eps / 4 * gradient.sign()
        adversarial = torch.max(torch.min(moved, images + eps), images - eps).clamp(0, 1)
    with torch.no_grad():
        return stands & (logits(adversarial).argmax(1) == labels)


def measured(model: Any, split: str, n: int, eps: float, smoothing: str = "") -> tuple[float, float]:
    """Mean clean and robust accuracy over the zero-shot sets, in percent."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.visual.patch_dropout.kept = None
    scale, clean, robust = model.logit_scale.exp(), [], []
    for name in ZERO_SHOT:
        rendered = render(name, split, n, FINE_SIZE)
        text, pixels, labels = (
            class_texts(model, set_named(name).classes),
            rendered.images.float() / 255,
            rendered.labels,
        )

        def logits(at: Tensor, text: Tensor = text) -> Tensor:
            seen = SMOOTHINGS[smoothing](at)
            scores: Tensor = scale * F.normalize(model.visual(standardize(seen)), dim=-1) @ text.T
            return scores

        with torch.no_grad():
            right = logits(pixels).argmax(1) == labels
        clean.append(float(right.float().mean()))
        stands = withstood(logits, pixels[right], labels[right], eps) if right.any() else right[:0]
        robust.append(float(stands.sum()) / n)
    return 100 * float(np.mean(clean)), 100 * float(np.mean(robust))


def promises(model: Any, n: int = 64) -> dict[str, float]:
    """Return percent over ``n`` report renders of each zero-shot set, attacked at :data:`EPS`."""
    clean, robust = measured(model, "report", n, EPS)
    _, through = measured(model, "report", n, EPS, ", 2 x 2 averaged")
    return {"images_a_set": n, "clean": round(clean, 1), "robust": round(robust, 1),
            "robust, input 2 x 2 averaged": round(through, 1)}  # fmt: skip
