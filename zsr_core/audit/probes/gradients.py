"""Probes of the input gradient: where it is missing, and whether it agrees with finite differences."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Loss
from zsr_core.attacks.losses import cross_entropy
from zsr_core.audit.facts import Gradients, Slopes
from zsr_core.audit.scene import Scene
from zsr_core.rng import generator
from zsr_core.text import TextBank

DIRECTIONS = 8  # half of them rough (a sign per pixel), half smooth, because rough ones do not show a detached mean
NEARBY = 4  # directions at a random point of the ball: a classifier may mask only images that were changed
SLOPE_STEP = 1e-3  # in [0, 1] pixel units: a quarter of a grey level; the errors of fp32 and of curvature balance here


def gradients(scene: Scene) -> Gradients:
    """Return how many images have no usable gradient of the summed cross-entropy, at the clean image, in fp32."""
    zero = broken = 0
    for x, y, _, text in scene.batches():
        flat = input_gradient(scene, x, y, text, cross_entropy).flatten(1)
        finite = flat.isfinite().all(dim=1)
        broken += int((~finite).sum())
        zero += int((finite & (flat == 0).all(dim=1)).sum())
    return Gradients(zero=zero, non_finite=broken, n=scene.n)


def input_gradient(scene: Scene, x: Tensor, labels: Tensor, text: TextBank, loss: Loss) -> Tensor:
    """Return the input gradient [b, 3, H, W] of the network's summed loss; 0 where it does not depend on x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        total = loss(scene.victim.logits(x, text), labels).sum()
        if not total.requires_grad:
            return torch.zeros_like(x)
        (grad,) = torch.autograd.grad(total, x, allow_unused=True)
    return torch.zeros_like(x) if grad is None else grad


def slopes(scene: Scene) -> Slopes:
    """Return autograd's slopes against central differences along random directions, of the true logit above the mean.

    They are taken at the image, and at a random point of the ball around it, because attacks climb there. They are not
    of cross-entropy, because fp32 has no digits left to compare where it is nearly 0. An image without any gradient
    counts as an error of 100 %. Pixels are kept a step away from 0 and 1, because clamping would bend the line.
    """
    errors: list[float] = []
    nearby: list[float] = []
    without = 0
    for x, y, ids, text in scene.batches():
        near = scene.threat.random_start(x, [generator(scene.seed, "audit-slope-near", i) for i in ids])
        at_images, zero = _slope_errors(scene, x, y, ids, text, DIRECTIONS)
        without += zero
        errors += at_images
        nearby += _slope_errors(scene, near, y, ids, text, NEARBY)[0]
    return Slopes(errors=() if without == scene.n else tuple(errors), nearby=tuple(nearby), n=scene.n)


def _slope_errors(
    scene: Scene, x: Tensor, y: Tensor, ids: Sequence[str], text: TextBank, count: int
) -> tuple[list[float], int]:
    """Return the relative errors along ``count`` directions, and how many images have no gradient at all."""
    x = x.clamp(2 * SLOPE_STEP, 1 - 2 * SLOPE_STEP)
    grad = input_gradient(scene, x, y, text, _height).double()
    zero = (grad == 0).flatten(1).all(dim=1)
    errors: list[float] = []
    for k in range(count):
        d = directions(x, [generator(scene.seed, "audit-slope", k, i) for i in ids], smooth=k % 2 == 1)
        with torch.no_grad():
            ends = [_height(scene.victim.logits(x + sign * SLOPE_STEP * d, text), y) for sign in (1, -1)]
        by_autograd = (grad * d).flatten(1).sum(dim=1)
        by_difference = (ends[0] - ends[1]) / (2 * SLOPE_STEP)
        scale = torch.maximum(by_autograd.abs(), by_difference.abs()).clamp(min=1e-30)
        error = (by_autograd - by_difference).abs() / scale
        errors += torch.where(zero, torch.ones_like(error), error).tolist()
    return errors, int(zero.sum())


def _height(logits: Tensor, labels: Tensor) -> Tensor:
    """Return [b]: the true logit above the mean of all, in double."""
    wide = logits.double()
    return wide.gather(1, labels[:, None])[:, 0] - wide.mean(dim=1)


def directions(x: Tensor, draws: Sequence[torch.Generator], *, smooth: bool) -> Tensor:
    """Return one direction per image, [b, 3, H, W] in [-1, 1]: random signs, or random blobs of a quarter's size."""
    size = (x.shape[1], 4, 4) if smooth else tuple(x.shape[1:])
    noise = torch.stack([torch.rand(size, generator=g, device=g.device) for g in draws]).to(x) * 2 - 1
    return F.interpolate(noise, x.shape[-2:], mode="bilinear") if smooth else noise.sign()
