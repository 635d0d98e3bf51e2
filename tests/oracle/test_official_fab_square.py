"""FAB-T and Square beside the official code (pyautoattack holds it unchanged): by distance, and by what they break."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from pyautoattack.fab_projections import projection_l2, projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor

from zsr_core.attacks import Fab, Square, Target
from zsr_core.attacks.fab import distance, to_plane
from zsr_core.attacks.square import pattern
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

N, SIDE, CLASSES = 40, 15, 6  # the official l2 start needs a side that five squares fill
Norm = Literal["linf", "l2"]
THEIRS = {"linf": "Linf", "l2": "L2"}
NORMS = pytest.mark.parametrize("norm", ["linf", pytest.param("l2", marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def untouched_generator() -> Iterator[None]:
    """The official code seeds the global generator."""
    with torch.random.fork_rng(devices=[]):
        yield


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _net() -> Any:
    torch.manual_seed(1)
    layers = [torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.Tanh(), torch.nn.Conv2d(16, 16, 3, 2, 1), torch.nn.Tanh()]
    return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(256, CLASSES)).requires_grad_(False)


def _problem() -> tuple[Any, Tensor, Target]:
    net, x = _net(), torch.rand(N, 3, SIDE, SIDE, generator=generator(0, "images"))
    target = Target(ask=lambda x_adv, rows: net(x_adv)[None], labels=net(x).argmax(dim=1), classes=CLASSES)
    return net, x, target


def _robust(net: Any, x_adv: Tensor, x: Tensor, y: Tensor, threat: ThreatModel) -> Tensor:
    right: Tensor = net(x_adv).argmax(dim=1) == y
    return right | ~threat.contains(x_adv, x)


def _official_fab(net: Any, norm: Norm, eps: float, steps: int) -> Any:
    return FABAttack_PT(
        net, norm=THEIRS[norm], n_restarts=1, n_iter=steps, eps=eps, seed=0, targeted=True, device="cpu",
        n_target_classes=CLASSES - 1,
    )  # fmt: skip


def _official_sizes(net: Any, x: Tensor, y: Tensor, norm: Norm, steps: int) -> Tensor:
    """[N]: the least distance over all targets."""
    attack, sizes = _official_fab(net, norm, 1.0, steps), []
    for rank in range(2, CLASSES + 1):
        attack.target_class = rank
        size = distance(attack.attack_single_run(x, y, is_targeted=True) - x, norm)
        sizes.append(torch.where(size == 0, torch.inf, size))  # where it found nothing it returns the image
    return torch.stack(sizes).amin(dim=0)


@NORMS
def test_fab_ends_as_near_as_the_official_one(norm: Norm) -> None:
    net, x, target = _problem()
    _, ours = Fab(steps=40).nearest(target, x, norm)
    theirs = _official_sizes(net, x, target.labels, norm, steps=40)
    assert (ours < 1.01 * theirs).all()
    assert float((ours / theirs).median()) < 1.001


@NORMS
def test_fab_breaks_every_image_that_the_official_one_breaks(norm: Norm) -> None:
    net, x, target = _problem()
    _, sizes = Fab(steps=40).nearest(target, x, norm)
    half = sizes.sort().values[N // 2 - 1 : N // 2 + 1]
    threat = ThreatModel(norm=norm, eps=float(half.mean()))  # between two images' distances
    ours = _robust(net, Fab(steps=40).run(target, x, threat, _draws), x, target.labels, threat)
    theirs = _robust(net, _official_fab(net, norm, threat.eps, 40).perturb(x, target.labels), x, target.labels, threat)
    assert int(theirs.sum()) == N // 2
    assert not (ours & ~theirs).any()


@NORMS
def test_square_breaks_no_fewer_images_than_the_official_one(norm: Norm) -> None:
    """Two random searches differ in a few borderline images; ours may keep at most two more of 40."""
    net, x, target = _problem()
    threat = ThreatModel(norm=norm, eps=0.015 if norm == "linf" else 0.3)
    ours = _robust(net, Square(queries=400).run(target, x, threat, _draws), x, target.labels, threat)
    official = SquareAttack(
        net, norm=THEIRS[norm], n_queries=400, eps=threat.eps, p_init=0.8, seed=0, resc_schedule=False, device="cpu"
    )
    theirs = _robust(net, official.perturb(x, target.labels), x, target.labels, threat)
    assert 0 < int(theirs.sum()) < N
    assert int(ours.sum()) <= int(theirs.sum()) + 2


@NORMS
def test_the_way_to_a_plane_is_the_official_projection(norm: Norm) -> None:
    draw = generator(0, "planes")
    start, slope = torch.rand(30, 50, generator=draw), torch.randn(30, 50, generator=draw)
    gap = torch.randn(30, generator=draw) * torch.linspace(0.1, 20, 30)  # the far ones are out of the box's reach
    theirs = {"linf": projection_linf, "l2": projection_l2}[norm](start, slope, (slope * start).sum(dim=1) + gap)
    ours = to_plane(start[:, None], slope, gap[:, None], norm)[:, 0]
    torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("side", [2, 3, 5, 9, 12])
def test_the_bumps_of_l2_are_the_official_ones(side: int) -> None:
    official = SquareAttack(torch.nn.Identity(), norm="L2", eps=1.0, device="cpu")
    lying = official.eta(side)
    torch.manual_seed(0)
    ours = pattern(side, torch.device("cpu")).view(2, side, side)
    assert any(torch.allclose(lying, one, atol=1e-6) for one in ours)
    assert {round(float(official.eta(side)[0, -1]), 5) for _ in range(20)} == {
        round(float(one[0, -1]), 5) for one in ours
    }
