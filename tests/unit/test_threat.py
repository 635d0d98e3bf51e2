"""Balls and boxes: points worked by hand; what holds for every point is in tests/property."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from zsr_core.codec import ConfigError
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel


def test_a_linf_projection_worked_by_hand() -> None:
    x = torch.tensor([0.0, 0.5, 1.0]).view(1, 3, 1, 1)
    moved = torch.tensor([-0.3, 0.9, 0.95]).view(1, 3, 1, 1)
    projected = ThreatModel(eps=0.1).project(moved, x)
    torch.testing.assert_close(projected.flatten(), torch.tensor([0.0, 0.6, 0.95]))


def test_an_l2_projection_worked_by_hand() -> None:
    """delta (3, 4) has length 5 and is cut to length 1: (0.6, 0.8); then the box cuts 0.5 + 0.8 to 1."""
    x = torch.tensor([0.0, 0.5, 0.5]).view(1, 3, 1, 1)
    moved = x + torch.tensor([3.0, 4.0, 0.0]).view(1, 3, 1, 1)
    projected = ThreatModel(norm="l2", eps=1.0).project(moved, x)
    torch.testing.assert_close(projected.flatten(), torch.tensor([0.6, 1.0, 0.5]))


@pytest.mark.parametrize("eps", [0.25, 1.0, 3.0, 10.0])
def test_an_l2_projection_of_many_pixels_lies_inside_in_exact_arithmetic(eps: float) -> None:
    draws = torch.Generator().manual_seed(0)
    x = 0.4 + 0.2 * torch.rand(4, 3, 160, 160, generator=draws)
    threat = ThreatModel(norm="l2", eps=eps)
    moved = threat.project(x + 0.3 * torch.randn(x.shape, generator=draws), x)
    size = (moved.double() - x.double()).flatten(1).norm(dim=1)
    assert (size <= eps + 1e-7).all()
    assert (size >= eps * (1 - 1e-6)).all(), "and no further inside than rounding asks for"
    assert threat.contains(moved, x).all()


def test_a_point_already_inside_is_left_where_it_is() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)
    near = x + 0.001
    for threat in (ThreatModel(eps=0.01), ThreatModel(norm="l2", eps=1.0)):
        torch.testing.assert_close(threat.project(near, x), near)
        assert threat.contains(near, x).all()


def test_what_lies_outside_ball_or_box_or_is_nan_is_not_contained() -> None:
    x = torch.full((1, 3, 2, 2), 0.995)
    threat = ThreatModel(eps=0.01)
    assert not threat.contains(x - 0.02, x)
    assert not threat.contains(x + 0.009, x)  # in the ball, above 1
    assert not threat.contains(x * math.nan, x)
    assert not ThreatModel(norm="l2", eps=0.01).contains(x - 0.009, x)  # sqrt(12) * 0.009 > 0.01


def test_random_starts_use_one_generator_for_the_batch_or_one_for_each_image() -> None:
    x = torch.full((3, 3, 4, 4), 0.5)
    for threat in (ThreatModel(eps=0.1), ThreatModel(norm="l2", eps=0.1)):
        each = [generator(0, "a", i) for i in range(3)]
        batch = threat.random_start(x, each)
        alone = threat.random_start(x[1:2], [generator(0, "a", 1)])
        assert torch.equal(batch[1:2], alone)
        assert not torch.equal(batch[0], batch[1])
        assert not torch.equal(*threat.random_start(x[:2], generator(0, "b")))


def test_a_random_start_fills_the_linf_ball_and_lies_on_the_l2_sphere() -> None:
    x = torch.full((2, 3, 40, 40), 0.5)
    delta = ThreatModel(eps=0.1).random_start(x, generator(0, "c")) - x
    assert delta.abs().max() <= 0.1 + 1e-6
    assert delta.std().item() == pytest.approx(0.1 / math.sqrt(3), rel=0.05)
    assert delta.mean().abs() < 0.005
    sphere = ThreatModel(norm="l2", eps=0.7).random_start(x, generator(0, "d")) - x
    torch.testing.assert_close(sphere.flatten(1).norm(dim=1), torch.full((2,), 0.7))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"eps": 4.0}, "eps: got 4.0, expected a budget in [0, 1] pixel units (write 4/255)"),
        ({"eps": -0.1}, "eps: got -0.1, expected a finite number >= 0"),
        ({"eps": math.nan}, "eps: got nan"),
        ({"norm": "l1"}, "norm: got 'l1', expected 'linf' or 'l2'"),
        ({"norm": "l2", "eps": math.inf}, "eps: got inf"),
        ({"space": "latent"}, "space: got 'latent'"),
    ],
)
def test_a_threat_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        ThreatModel(**wrong)
    assert says in str(error.value)


def test_an_l2_radius_may_exceed_one() -> None:
    assert ThreatModel(norm="l2", eps=3.0).eps == 3.0
