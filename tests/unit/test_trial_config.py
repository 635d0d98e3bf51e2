"""The budget that a trial is judged at."""

from __future__ import annotations

import pytest

from zsr_core.evaluation.suite import EvalSuite
from zsr_core.threat import Norm, ThreatModel
from zsr_core.trial.config import TrialConfig


def headline(trained: float, suite: tuple[float, ...], norm: Norm = "linf") -> float:
    return TrialConfig(threat=ThreatModel(eps=trained), eval_suite=EvalSuite(eps=suite, norm=norm)).headline_eps


@pytest.mark.parametrize("trained", [1 / 255, 2 / 255, 1 / 255 * (1 + 1e-9)])
def test_it_is_the_suites_own_value_of_the_training_radius_where_the_suite_holds_it(trained: float) -> None:
    suite = (4 / 255, 2 / 255, 1 / 255)
    assert headline(trained, suite) == min(suite, key=lambda eps: abs(eps - trained))


def test_it_is_the_suites_first_budget_where_the_training_radius_is_not_among_them() -> None:
    assert headline(8 / 255, (4 / 255, 2 / 255)) == 4 / 255


def test_a_radius_in_another_norm_is_another_radius() -> None:
    assert headline(1 / 255, (0.5, 1 / 255), norm="l2") == 0.5


def test_it_is_the_training_radius_where_nothing_is_attacked() -> None:
    assert headline(2 / 255, ()) == 2 / 255
