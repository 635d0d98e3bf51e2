"""Linear models of two and of five classes, whose robust accuracy has a closed form: every attack has to reach it."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Adaptive, Apgd, AutoAttack, Confidence, Target
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

N, SIDE = 100, 6
EPS = {"linf": 0.006, "l2": 0.05}
Norms = Literal["linf", "l2"]


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _problem(classes: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Weights [C, D], biases [C], images away from the box, labels: the model's answers but for every tenth."""
    draw = generator(classes, "linear")
    w = torch.randn(classes, 3 * SIDE * SIDE, generator=draw)
    x = 0.3 + 0.4 * torch.rand(N, 3, SIDE, SIDE, generator=draw)
    z = x.flatten(1) @ w.T
    b = -z.median(dim=0).values
    y = (z + b).argmax(dim=1)
    y[::10] = (y[::10] + 1) % classes
    return w, b, x, y


def _exact(classes: int, norm: Norms) -> Tensor:
    """[N] bool: no other class j can be reached, ``z_y - z_j > eps |w_y - w_j|_dual``; each is a linear model."""
    w, b, x, y = _problem(classes)
    z = x.flatten(1) @ w.T + b
    size = (w[y][:, None] - w).norm(p=1 if norm == "linf" else 2, dim=2)  # [N, C]
    lead = z.gather(1, y[:, None]) - z - EPS[norm] * size
    return (lead.scatter(1, y[:, None], torch.inf) > 0).all(dim=1)


def _robust(attack: Any, classes: int, norm: Norms) -> Tensor:
    w, b, x, y = _problem(classes)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        return (x_adv.flatten(1) @ w.T + b)[None]

    threat = ThreatModel(norm=norm, eps=EPS[norm])
    x_adv = attack.run(Target(ask=ask, labels=y, classes=classes), x, threat, _draws)
    assert threat.contains(x_adv, x).all()
    rows = torch.arange(N)
    return (ask(x, rows)[0].argmax(dim=1) == y) & (ask(x_adv, rows)[0].argmax(dim=1) == y)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [
        Apgd(steps=40), Apgd(loss="margin", steps=40), AutoAttack(version="agft"),
        Adaptive(weights=(0.0,), steps=40), Confidence(mu=0.1, steps=40),
    ],
    ids=lambda attack: attack.name,
)  # fmt: skip
def test_with_two_classes_every_attack_reaches_the_exact_robust_accuracy(attack: Any, norm: Norms) -> None:
    exact = _exact(2, norm)
    assert 0.2 < exact.float().mean() < 0.8
    assert torch.equal(_robust(attack, 2, norm), exact)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [
        Apgd(loss="dlr-targeted"),
        AutoAttack(version="fare"),
        pytest.param(AutoAttack(), marks=pytest.mark.slow),
        pytest.param(AutoAttack(version="plus"), marks=pytest.mark.slow),
    ],
    ids=lambda a: a.name,
)
def test_with_five_classes_targets_reach_the_exact_robust_accuracy(attack: Any, norm: Norms) -> None:
    exact = _exact(5, norm)
    assert 0.2 < exact.float().mean() < 0.8
    assert torch.equal(_robust(attack, 5, norm), exact)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [Apgd(steps=40), Apgd(loss="dlr", steps=40), Apgd(loss="margin", steps=40), Adaptive(weights=(0.0,), steps=40),
     Confidence(goal="flip", mu=0.1, steps=40)],
    ids=lambda attack: attack.name,
)  # fmt: skip
def test_with_five_classes_no_attack_breaks_what_cannot_be_broken(attack: Any, norm: Norms) -> None:
    robust, exact = _robust(attack, 5, norm), _exact(5, norm)
    assert not (exact & ~robust).any()
    assert (robust & ~exact).sum() <= 4  # untargeted, an attack may follow the wrong class
