"""APGD beside the official code (pyautoattack holds it unchanged): iterate by iterate, and by what it breaks."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any, Literal

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor

from zsr_core.attacks import Apgd, Target
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

N, SIDE, CLASSES = 16, 12, 6
EPS = {"linf": 0.01, "l2": 0.15}
Norms = Literal["linf", "l2"]


@pytest.fixture
def double() -> Iterator[None]:
    """In double precision no last bit decides an oscillation: both codes then walk the same way for l2 too."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def untouched_generator() -> Iterator[None]:
    """The official code seeds the global generator."""
    with torch.random.fork_rng(devices=[]):
        yield


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _net() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = [torch.nn.Conv2d(3, 16, 3, 2, 1), torch.nn.Tanh(), torch.nn.Conv2d(16, 16, 3, 2, 1), torch.nn.Tanh()]
        return torch.nn.Sequential(*layers, torch.nn.Flatten(), torch.nn.Linear(144, CLASSES)).requires_grad_(False)


def _images() -> Tensor:
    return torch.rand(N, 3, SIDE, SIDE, generator=generator(0, "images"), dtype=torch.get_default_dtype())


def _official(net: Any, loss: str, norm: Norms, steps: int) -> Any:
    kind = APGDAttack_targeted if loss == "dlr-targeted" else APGDAttack
    own = {} if loss == "dlr-targeted" else {"loss": loss}
    return kind(
        net, n_iter=steps, norm={"linf": "Linf", "l2": "L2"}[norm], eps=EPS[norm], seed=0, device="cpu",
        logger=logging.getLogger("official"), **own,
    )  # fmt: skip


@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_from_the_same_start_every_iterate_is_the_official_ones(
    norm: Norms, loss: Any, double: None, untouched_generator: None
) -> None:
    net, x, threat = _net(), _images(), ThreatModel(norm=norm, eps=EPS[norm])
    y = net(x).argmax(dim=1)
    ours: list[tuple[Tensor, Tensor]] = []
    theirs: list[Tensor] = []

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        ours.append((rows.clone(), x_adv.detach().clone()))
        return net(x_adv)[None]

    attack = Apgd(loss=loss, targets=1)
    x_adv = attack.run(Target(ask=ask, labels=y, classes=CLASSES), x, threat, _draws)
    targeted = loss == "dlr-targeted"
    walked = ours[1:] if targeted else ours  # the first ranks the targets
    assert len(walked) == 101

    def watched(x_adv: Tensor) -> Tensor:
        theirs.append(x_adv.detach().clone())
        return net(x_adv)

    official = _official(watched, loss, norm, steps=100)
    official.init_hyperparam(x)
    if targeted:
        official.y_target = net(x).sort(dim=1).indices[:, -2]
    _, stands, _, _ = official.attack_single_run(x.clone(), y, x_init=walked[0][1].clone())
    for (rows, mine), other in zip(walked, theirs, strict=True):
        torch.testing.assert_close(mine, other[rows], rtol=0, atol=1e-6)
    assert torch.equal(net(x_adv).argmax(dim=1) == y, stands.bool())
    assert 0 < stands.sum() < N


@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_breaks_what_the_official_one_breaks(norm: Norms, loss: Any, untouched_generator: None) -> None:
    """Each draws its own start, so a borderline image may go either way; one of 16 at most."""
    net, x, threat = _net(), _images(), ThreatModel(norm=norm, eps=EPS[norm])
    y = net(x).argmax(dim=1)
    attack = Apgd(loss=loss, targets=2)
    target = Target(ask=lambda x_adv, rows: net(x_adv)[None], labels=y, classes=CLASSES)
    ours = net(attack.run(target, x, threat, _draws)).argmax(dim=1) == y
    official = _official(net, loss, norm, steps=100)
    official.n_target_classes = 2
    theirs = net(official.perturb(x, y)).argmax(dim=1) == y
    assert int(ours.sum()) <= int(theirs.sum()) + 1
    assert int((ours != theirs).sum()) <= 1
