"""Measure a model that fine.py wrote: clean and robust, through 2 x 2 averaging, and after a short FARE.

    python benchmarks/miniature_96/measure.py --art DIR --weights q.safetensors --eps 2 --n 32 --tune 1 2

Means over the twelve zero-shot sets, `--n` selection renders each; PGD-10, step eps / 4, random start, best iterate.
Without `--weights` it measures the shipped model taken to 96/16. `--mix 0.6` stands for 0.6 of the weights and 0.4 of
the shipped ones. Training attacks take one step of 1.25 eps from a random start; seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fine
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.data.miniature import model as shipped
from zsr_core.data.miniature.pretrain import standardize
from zsr_core.data.miniature.sets import ZERO_SHOT

Logits = Callable[[Tensor], Tensor]  # [B, 3, H, W] in [0, 1] -> [B, C]


def averaged(images: Tensor) -> Tensor:
    """Every 2 x 2 pixels by their mean, at the old size."""
    return F.avg_pool2d(images, 2).repeat_interleave(2, -1).repeat_interleave(2, -2)


@torch.no_grad()
def class_texts(model: Any, classes: tuple[str, ...]) -> Tensor:
    """Unit text embeddings, averaged over the templates: [C, D]."""
    banks = [
        model.encode_text(shipped.tokenize([template.format(c) for c in classes]), normalize=True)
        for template in shipped.TEMPLATES
    ]
    return F.normalize(torch.stack(banks).mean(0), dim=-1)


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


def measured(model: Any, art: Path, n: int, eps: float, smooth: bool) -> tuple[float, float]:
    """Mean clean and robust accuracy over the zero-shot sets, in percent."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.visual.patch_dropout.kept = None
    scale, clean, robust = model.logit_scale.exp(), [], []
    for name in ZERO_SHOT:
        images, labels, classes = fine.rendered(art, name, "selection", n)
        text, pixels = class_texts(model, classes), images.float() / 255

        def logits(at: Tensor, text: Tensor = text) -> Tensor:
            seen = averaged(at) if smooth else at
            return scale * F.normalize(model.visual(standardize(seen)), dim=-1) @ text.T

        with torch.no_grad():
            right = logits(pixels).argmax(1) == labels
        clean.append(float(right.float().mean()))
        stands = withstood(logits, pixels[right], labels[right], eps) if right.any() else right[:0]
        robust.append(float(stands.sum()) / n)
    return 100 * float(np.mean(clean)), 100 * float(np.mean(robust))


def fare(model: Any, art: Path, eps: float, epochs: int, lr: float, clean_weight: float) -> tuple[Any, float]:
    """The model after FARE on the source, and the seconds that it took. Batch 16, cosine, 10 % warm-up."""
    student, teacher = copy.deepcopy(model).eval(), copy.deepcopy(model).eval().requires_grad_(False)
    student.visual.patch_dropout.kept = teacher.visual.patch_dropout.kept = None
    images, _, _ = fine.rendered(art, "source", "train", 1170)
    pixels, encode, began = images.float() / 255, student.visual, time.process_time()
    with torch.no_grad():
        targets = torch.cat([teacher.visual(standardize(part)) for part in pixels.split(64)])
    params = list(encode.parameters())
    groups = [
        {"params": [p for p in params if p.ndim >= 2], "weight_decay": 1e-4},
        {"params": [p for p in params if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer, generator = torch.optim.AdamW(groups, lr=lr), torch.Generator().manual_seed(0)
    total, step = epochs * (len(pixels) // 16), 0
    for _ in range(epochs):
        order = torch.randperm(len(pixels), generator=generator)
        for index in order[: len(pixels) // 16 * 16].view(-1, 16):
            warm = 0.1 * total
            decayed = (1 + math.cos(math.pi * (step - warm) / (total - warm))) / 2
            for group in optimizer.param_groups:
                group["lr"] = lr * ((step + 1) / warm if step < warm else decayed)
            x, target = pixels[index], targets[index]
            start = (x + (torch.rand(x.shape, generator=generator) * 2 - 1) * eps).clamp(0, 1).requires_grad_(True)
            encode.requires_grad_(False)
            (gradient,) = torch.autograd.grad(((encode(standardize(start)) - target) ** 2).sum(), start)
            encode.requires_grad_(True)
            moved = start.detach() + 1.25 * eps * gradient.sign()
            adversarial = torch.max(torch.min(moved, x + eps), x - eps).clamp(0, 1)
            loss = ((encode(standardize(adversarial)) - target) ** 2).sum(1).mean()
            if clean_weight:
                loss = loss + clean_weight * ((encode(standardize(x)) - target) ** 2).sum(1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return student.eval(), time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a miniature of 96 px.")
    add = parser.add_argument
    add("--art", type=Path, required=True, help="folder that pack.py wrote")
    add("--weights", type=Path, help="weights that fine.py wrote; without them the shipped model at 96/16")
    add("--mix", type=float, default=1.0, help="share of these weights; the rest is the shipped model at 96/16")
    add("--eps", type=float, nargs="+", default=[1.0, 2.0], help="budgets, in 1/255")
    add("--n", type=int, default=24, help="images of a set")
    add("--tune", type=int, nargs="*", default=[], help="numbers of epochs of FARE")
    add("--lr", type=float, default=1e-3, help="FARE's learning rate")
    add("--clean-weight", type=float, default=0.4, help="FARE's weight of the clean term")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = fine.enlarged()
    if given.weights is not None:
        base, learned = model.state_dict(), fine.load(given.weights).state_dict()
        model.load_state_dict({k: (1 - given.mix) * base[k] + given.mix * learned[k] for k in base})
    for eps in given.eps:
        for smooth in (False, True):
            clean, robust = measured(model, given.art, given.n, eps / 255, smooth)
            print(f"untouched{', 2 x 2 averaged' * smooth}: clean {clean:.1f}, at {eps:g}/255 {robust:.1f}", flush=True)
        for epochs in given.tune:
            tuned, seconds = fare(model, given.art, eps / 255, epochs, given.lr, given.clean_weight)
            clean, robust = measured(tuned, given.art, given.n, eps / 255, smooth=False)
            print(f"FARE {epochs} ep, {seconds:.0f} s: clean {clean:.1f}, at {eps:g}/255 {robust:.1f}", flush=True)


if __name__ == "__main__":
    main()
