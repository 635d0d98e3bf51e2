"""PGD with momentum and with normal starts, worked by hand on linear objectives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd, Scored
from zsr_core.codec import ConfigError
from zsr_core.threat import ThreatModel

X = torch.full((1, 1, 1, 2), 0.5)


def _run(attack: Pgd, slopes: list[tuple[float, float]], norm: Any, eps: float) -> Tensor:
    """Climb sum(slope * x), whose slope is another one in each step."""
    calls = iter([*slopes, slopes[-1]])

    def objective(x: Tensor, rows: Tensor) -> Scored:
        return Scored(loss=(x * torch.tensor(next(calls))).sum(dim=(1, 2, 3)), fooled=None)

    return attack.climb(objective, X, ThreatModel(norm=norm, eps=eps), lambda *_: torch.Generator().manual_seed(0))


@pytest.mark.parametrize("keep", ["last", "best"])
def test_momentum_carries_a_step_on_where_the_gradient_is_zero(keep: Any) -> None:
    """Signs (1, -1), then (0, 1): 0.9 (1, -1) + (0, 1) has signs (1, 1), so the first pixel goes on."""
    attack = Pgd(steps=2, step_size=0.1, random_start=False, keep=keep, momentum=0.9)
    moved = _run(attack, [(2.0, -3.0), (0.0, 1.0)], "linf", 0.5) - X
    plain = _run(Pgd(steps=2, step_size=0.1, random_start=False, keep=keep), [(2.0, -3.0), (0.0, 1.0)], "linf", 0.5) - X
    torch.testing.assert_close(plain.flatten(), torch.tensor([0.1, 0.0]))
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.2, 0.0]))


def test_in_l2_the_direction_turns_halfway() -> None:
    """Unit gradients (1, 0), then (0, 1): 0.75 (1, 0) + (0, 1) over its norm 1.25 is (0.6, 0.8)."""
    attack = Pgd(steps=2, step_size=0.1, random_start=False, keep="last", momentum=0.75)
    moved = _run(attack, [(4.0, 0.0), (0.0, 2.0)], "l2", 0.45) - X
    torch.testing.assert_close(moved.flatten(), torch.tensor([0.16, 0.08]))


def test_a_normal_start_has_the_size_that_is_asked_for() -> None:
    x = torch.full((4, 3, 64, 64), 0.5)
    threat = ThreatModel(eps=8 / 255)
    start = threat.near(x, 0.001, torch.Generator().manual_seed(0)) - x
    assert float(start.std()) == pytest.approx(0.001, rel=0.02)
    wide = threat.near(x, 1.0, torch.Generator().manual_seed(0))
    assert threat.contains(wide, x).all()


def test_the_start_is_taken_from_there() -> None:
    seen: list[Tensor] = []

    def objective(x: Tensor, rows: Tensor) -> Scored:
        seen.append(x.detach().clone())
        return Scored(loss=x.sum(dim=(1, 2, 3)), fooled=None)

    x, threat = torch.full((2, 3, 4, 4), 0.5), ThreatModel(eps=8 / 255)
    Pgd(steps=1, keep="last", start_std=0.001).climb(objective, x, threat, lambda *_: torch.Generator().manual_seed(5))
    assert torch.equal(seen[0], threat.near(x, 0.001, torch.Generator().manual_seed(5)))


@pytest.mark.parametrize("wrong", [{"momentum": 1.0}, {"momentum": -0.1}, {"start_std": 0.0}])
def test_settings_out_of_range_are_refused_by_name(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Pgd(**wrong)  # type: ignore[arg-type]
