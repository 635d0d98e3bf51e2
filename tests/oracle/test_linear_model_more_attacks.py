"""FAB, Square, noise and transferred examples on a linear two-class model, where every answer has a closed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Fab, Noise, Square, Target, Transfer
from zsr_core.attacks.attack import Logits
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

N, SIDE = 200, 6
EPS = {"linf": 0.006, "l2": 0.05}
Norm = Literal["linf", "l2"]
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def _weights() -> Tensor:
    return torch.randn(3 * SIDE * SIDE, generator=generator(0, "linear"))


def _problem() -> tuple[Tensor, Tensor, Tensor]:
    """Images away from the box, their labels, and signed margins: every tenth image is wrong when clean."""
    w = _weights()
    x = 0.3 + 0.4 * torch.rand(N, 3, SIDE, SIDE, generator=generator(0, "linear-images"))
    f = x.flatten(1) @ w
    f = f - f.median() - 1e-3
    y = (f > 0).long()
    y[::10] = 1 - y[::10]
    return x, y, (2 * y - 1) * f


def _target(classes: int = 2, others: Mapping[str, Logits] | None = None) -> Target:
    x, y, _ = _problem()
    w = _weights()
    shift = (x.flatten(1) @ w).median() + 1e-3

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        f = x_adv.flatten(1) @ w - shift
        return torch.stack([torch.zeros_like(f), f, *[f - 1e3] * (classes - 2)], dim=1)[None]

    return Target(ask=ask, labels=y, classes=classes, others=others or {})


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _dual(norm: Norm) -> float:
    return float(_weights().norm(p=1 if norm == "linf" else 2))


def _robust(x_adv: Tensor, threat: ThreatModel) -> Tensor:
    x, y, _ = _problem()
    assert threat.contains(x_adv, x).all()
    target = _target()
    return target.logits(x_adv, torch.arange(N)).argmax(dim=1) == y


@NORMS
@pytest.mark.parametrize("classes", [2, 4])
def test_fab_reaches_the_exact_robust_accuracy(norm: Norm, classes: int) -> None:
    x, _, signed = _problem()
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    exact = signed > EPS[norm] * _dual(norm)
    assert 0.2 < exact.float().mean() < 0.8
    found = Fab(steps=20).run(_target(classes), x, threat, _draws)
    assert torch.equal(_robust(found, threat), exact)


@NORMS
def test_fab_finds_the_least_distance_to_a_wrong_point_within_one_percent(norm: Norm) -> None:
    x, y, signed = _problem()
    found, size = Fab(steps=30).nearest(_target(), x, norm)
    exact = signed.clamp(min=0) / _dual(norm)
    assert torch.equal(size == 0, signed <= 0)
    assert (size >= exact * (1 - 1e-4)).all()
    assert (size <= exact * 1.01 + 1e-7).all()
    assert (_target().logits(found, torch.arange(N)).argmax(dim=1) != y).all()


@pytest.mark.slow
def test_square_reaches_the_exact_robust_accuracy() -> None:
    x, _, signed = _problem()
    threat = ThreatModel(eps=EPS["linf"])
    found = Square(queries=4000).run(_target(), x, threat, _draws)
    assert torch.equal(_robust(found, threat), signed > threat.eps * _dual("linf"))


def test_square_in_l2_breaks_what_half_the_budget_breaks_and_nothing_that_the_whole_does_not() -> None:
    """Its smallest square is 3 x 3 of these 6 x 6 pixels, too coarse for noise-like weights."""
    x, _, signed = _problem()
    threat = ThreatModel(norm="l2", eps=EPS["l2"])
    robust = _robust(Square(queries=1000).run(_target(), x, threat, _draws), threat)
    reach = signed / (threat.eps * _dual("l2"))  # the share of the budget that the best attack needs
    assert robust[reach > 1].all()
    assert not robust[reach < 0.5].any()


@NORMS
def test_noise_breaks_as_many_images_as_the_law_of_its_projection_says(norm: Norm) -> None:
    """w . noise is a sum of many small parts: normal, of deviation eps |w| / sqrt(3) in the cube, eps |w| / sqrt(n) on
    the sphere."""
    x, _, signed = _problem()
    threat = ThreatModel(norm=norm, eps=EPS[norm] * 3)
    robust = _robust(Noise(draws=50).run(_target(), x, threat, _draws), threat)
    n = x[0].numel()
    deviation = threat.eps * float(_weights().norm()) / (3**0.5 if norm == "linf" else n**0.5)
    stands = torch.special.ndtr(signed.double() / deviation) ** 50
    stands[signed <= 0] = 0
    spread = float((stands * (1 - stands)).sum().sqrt())
    assert spread > 1
    assert abs(float(robust.sum()) - float(stands.sum())) < 4 * spread


@NORMS
def test_examples_transferred_from_an_equal_model_reach_the_exact_robust_accuracy(norm: Norm) -> None:
    x, _, signed = _problem()
    same: Logits = lambda x_adv, rows: _target().logits(x_adv, rows)  # noqa: E731
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    attack = Transfer(source="twin", steps=60, step_ratio=0.5)
    found = attack.run(_target(others={"twin": same}), x, threat, _draws)
    assert torch.equal(_robust(found, threat), signed > threat.eps * _dual(norm))


def test_a_model_whose_gradient_is_gone_falls_to_square_and_to_transfer_but_not_to_fab() -> None:
    """The victim rounds its input, as quantised defences do: no gradient, the same decision."""
    x, y, signed = _problem()
    honest = _target()

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        return honest.ask((x_adv * 4096).round() / 4096 + 0 * x_adv, rows)

    masked = Target(ask=ask, labels=y, classes=2, others={"honest": lambda x_adv, rows: honest.logits(x_adv, rows)})
    threat = ThreatModel(eps=EPS["linf"])
    right = signed > 0
    broken = {
        attack.name: right & ~_robust(attack.run(masked, x, threat, _draws), threat)
        for attack in (Fab(steps=5), Square(queries=2000), Transfer(source="honest", steps=12))
    }
    assert not broken["fab-t-steps5"].any()
    assert broken["square2000"].float().mean() > 0.2
    assert broken["transfer-honest-pgd12"].float().mean() > 0.2
