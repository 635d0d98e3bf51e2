"""Measure the miniature of 96 pixels: clean and robust, through smoothing of its input, and after a short FARE.

    python benchmarks/fine_miniature.py --eps 2 --n 64 --tune 2

Means over the twelve zero-shot sets, `--n` renders of each; PGD-10, step eps / 4, random start, best iterate. Smoothing
is attacked through. `--weights` measures a file of the second stage of pre-training in place of the shipped weights,
`--enlarged` the model that the stage starts from. FARE's trainer is this script's own, so that weights can be tried in
a minute: batch 16, one attack step of 1.25 eps from a random start. Seconds are CPU seconds.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from zsr_core.data.miniature import FINE, load_model, render
from zsr_core.data.miniature.contract import SMOOTHINGS, measured
from zsr_core.data.miniature.pretrain import KeptPatches, standardize
from zsr_core.data.miniature.scenes import FINE_SIZE
from zsr_core.data.miniature.second_stage import enlarged


def fare(model: Any, eps: float, epochs: int, lr: float, clean_weight: float) -> tuple[Any, float]:
    """The model after FARE on the source, and the seconds that it took. Batch 16, cosine, 10 % warm-up."""
    student, teacher = copy.deepcopy(model).eval(), copy.deepcopy(model).eval().requires_grad_(False)
    student.visual.patch_dropout.kept = teacher.visual.patch_dropout.kept = None
    pixels, encode, began = (
        render("source", "train", None, FINE_SIZE).images.float() / 255,
        student.visual,
        time.process_time(),
    )
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
    parser = argparse.ArgumentParser(description="Measure the miniature of 96 pixels.")
    add = parser.add_argument
    add("--weights", type=Path, help="a file of the second stage, in place of the shipped weights")
    add("--enlarged", action="store_true", help="the miniature of 48 pixels, enlarged: where the second stage starts")
    add("--eps", type=float, nargs="+", default=[2.0], help="budgets, in 1/255")
    add("--split", choices=("selection", "report"), default="selection")
    add("--n", type=int, default=24, help="images of a set")
    add("--tune", type=int, nargs="*", default=[], help="numbers of epochs of FARE")
    add("--lr", type=float, default=1e-3, help="FARE's learning rate")
    add("--clean-weight", type=float, default=0.2, help="FARE's weight of the clean term")
    given = parser.parse_args()
    torch.set_num_threads(1)
    model: Any = enlarged() if given.enlarged or given.weights is not None else load_model(FINE)
    model.visual.patch_dropout = KeptPatches()
    if given.weights is not None:
        model.load_state_dict({name: weight.float() for name, weight in load_file(given.weights).items()})
    for eps in given.eps:
        for smoothing in SMOOTHINGS:
            clean, robust = measured(model, given.split, given.n, eps / 255, smoothing)
            print(f"untouched{smoothing}: clean {clean:.1f}, at {eps:g}/255 {robust:.1f}", flush=True)
        for epochs in given.tune:
            tuned, seconds = fare(model, eps / 255, epochs, given.lr, given.clean_weight)
            clean, robust = measured(tuned, given.split, given.n, eps / 255)
            print(f"FARE {epochs} ep, {seconds:.0f} s: clean {clean:.1f}, at {eps:g}/255 {robust:.1f}", flush=True)


if __name__ == "__main__":
    main()
