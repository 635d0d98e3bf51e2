"""Probes of the loss around an image: how much it changes in the ball, and how far from linear it is."""

from __future__ import annotations

import torch
from torch import Tensor

from zsr_core.attacks.losses import cross_entropy, margin
from zsr_core.audit.facts import Surface, SurfacePoint
from zsr_core.audit.probes.gradients import directions, input_gradient
from zsr_core.audit.scene import Scene
from zsr_core.rng import generator
from zsr_core.text import TextBank

NEAR = 100  # random points of the ball around an image (IndicatorsOfAttackFailure)
SURFACE_SIDE, SURFACE_IMAGES = 21, 8


@torch.no_grad()
def roughness(scene: Scene) -> float:
    """Return the mean over images and random points of the ball of min(1, |l(x + d) - l(x)| / l(x)), l cross-entropy.

    IndicatorsOfAttackFailure (Pintor et al. 2022), "unstable predictions", at the radius of the threat model.
    """
    total = 0.0
    for x, y, ids, text in scene.batches():
        draws = [generator(scene.seed, "audit-near", i) for i in ids]
        still = cross_entropy(scene.victim.logits(x, text).double(), y)
        for _ in range(NEAR):
            moved = cross_entropy(scene.victim.logits(scene.threat.random_start(x, draws), text).double(), y)
            total += float(((moved - still).abs() / still.clamp(min=1e-30)).clamp(max=1).sum())
    return total / (NEAR * scene.n)


def surface(scene: Scene) -> Surface:
    """Return the loss on 21 x 21 points of the plane (gradient's sign, random signs), +-2 eps, of up to 8 images.

    The loss is the margin, because cross-entropy saturates. Pixels may leave [0, 1] there, because clamping would bend
    the plane.
    """
    scene = scene.cut(SURFACE_IMAGES)
    points: list[SurfacePoint] = []
    errors: list[float] = []
    names = iter([(images.name, i) for images, _ in scene.tasks for i in images.ids])
    for x, y, ids, text in scene.batches():
        grad = input_gradient(scene, x, y, text, margin)
        signs = directions(x, [generator(scene.seed, "audit-plane", i) for i in ids], smooth=False)
        for j in range(len(x)):
            steps, loss, error = _plane(scene, x[j], y[j], text, grad[j], signs[j])
            errors.append(error)
            task, sample = next(names)
            points += [
                SurfacePoint(task=task, sample_id=sample, a=float(a), b=float(b), loss=float(value))
                for (a, b), value in zip(steps.tolist(), loss.tolist(), strict=True)
            ]
    return Surface(points=tuple(points), error=float(torch.tensor(errors).median()), n=len(errors))


def _plane(
    scene: Scene, x: Tensor, label: Tensor, text: TextBank, grad: Tensor, signs: Tensor
) -> tuple[Tensor, Tensor, float]:
    """Return the points of one image's plane [441, 2] in eps, the loss there [441], and its gap to the tangent plane.

    The gap is the largest within the ball, over the range of the loss there.
    """
    ticks = torch.linspace(-2, 2, SURFACE_SIDE)
    plane = scene.threat.eps * torch.stack([grad.sign(), signs])  # [2, 3, H, W]
    if scene.threat.norm == "l2":
        plane = plane / signs.numel() ** 0.5
    steps = torch.cartesian_prod(ticks, ticks).to(x)  # [441, 2]
    moves = torch.einsum("sk,kchw->schw", steps, plane)
    loss = _margins(scene, x + moves, label, text)
    centre = loss[len(loss) // 2]
    straight = centre + (moves.double() * grad.double()).flatten(1).sum(dim=1)
    ball = steps.abs().amax(dim=1) <= 1
    span = float(loss[ball].max() - loss[ball].min())
    return steps, loss, float((loss - straight).abs()[ball].max()) / span if span > 0 else 0.0


@torch.no_grad()
def _margins(scene: Scene, x: Tensor, label: Tensor, text: TextBank) -> Tensor:
    logits = torch.cat([scene.victim.logits(part, text).double() for part in x.split(scene.batch_size)])
    return margin(logits, label.expand(len(logits)))
