from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.engine.stats import (
    Array,
    Summary,
    harmonic,
    hierarchical_bootstrap,
    paired_difference,
    summarise,
    t_quantile,
)


def first(means: Array) -> Array:
    return means[..., :1]


def gap(means: Array) -> Array:
    return means[..., :1] - means[..., 1:2]


@pytest.mark.parametrize("dof", [1, 2, 3, 4, 5, 9, 10, 29, 100, 1001])
@pytest.mark.parametrize("p", [0.025, 0.3, 0.5, 0.9, 0.975, 0.9995])
def test_t_quantile_is_scipys(p: float, dof: int) -> None:
    assert t_quantile(p, dof) == pytest.approx(scipy.stats.t.ppf(p, dof), rel=1e-7, abs=1e-9)


@pytest.mark.parametrize(("p", "dof"), [(0.0, 3), (1.0, 3), (0.5, 0)])
def test_t_quantile_refuses_what_has_no_quantile(p: float, dof: int) -> None:
    with pytest.raises(ValueError, match="expected 0 < p < 1"):
        t_quantile(p, dof)


def test_a_summary_is_the_one_worked_by_hand() -> None:
    found = summarise([10.0, 12.0, 14.0])
    assert (found.mean, found.sd, found.n) == (12.0, 2.0, 3)
    half = 4.302652729911275 * 2 / 3**0.5  # the 97.5 % quantile of t with 2 degrees of freedom
    assert found.low == pytest.approx(12 - half)
    assert found.high == pytest.approx(12 + half)


def test_one_value_has_no_spread() -> None:
    assert summarise([3.0]) == Summary(mean=3.0, sd=None, n=1, low=None, high=None)


def test_no_values_are_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        summarise([])


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=8))
def test_the_t_interval_is_centred_on_the_mean_and_widens_with_confidence(values: list[float]) -> None:
    narrow, wide = summarise(values, 0.9), summarise(values, 0.99)
    assert narrow.low is not None
    assert wide.low is not None
    assert narrow.high is not None
    assert narrow.mean - narrow.low == pytest.approx(narrow.high - narrow.mean, abs=1e-9)
    assert wide.low <= narrow.low


def test_the_harmonic_mean_of_nothing_is_nothing() -> None:
    found = harmonic(np.array([0.0, 60.0, 50.0]), np.array([0.0, 30.0, 0.0]))
    assert found.tolist() == [0.0, 40.0, 0.0]


def test_differences_are_taken_over_the_seeds_that_both_have() -> None:
    found = paired_difference({0: 5.0, 1: 7.0, 2: 100.0}, {0: 4.0, 1: 4.0, 3: 0.0})
    assert found is not None
    assert (found.mean, found.n) == (2.0, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_a_trial_against_itself_differs_by_nothing() -> None:
    own = (np.random.default_rng(1).random((1, 3, 40)) < 0.6).astype(float)
    (found,) = hierarchical_bootstrap({"a": np.concatenate([own, own])}, gap, np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.seeds, found.images) == (3, 40)


def test_with_one_seed_the_interval_is_the_binomial_one() -> None:
    right = (np.arange(400) < 120).astype(float).reshape(1, 1, 400)
    (found,) = hierarchical_bootstrap({"a": right}, first, np.random.default_rng(0), draws=20000)
    spread = (0.3 * 0.7 / 400) ** 0.5
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - 1.96 * spread, abs=0.004)
    assert found.high == pytest.approx(0.3 + 1.96 * spread, abs=0.004)


def test_seeds_that_disagree_widen_the_interval() -> None:
    agree = np.tile((np.arange(200) < 100).astype(float), (1, 2, 1))
    differ = np.stack([np.zeros(200), np.ones(200)])[None]
    intervals = []
    for series in (agree, differ):
        (found,) = hierarchical_bootstrap({"a": series}, first, np.random.default_rng(0))
        assert found.value == pytest.approx(0.5)
        intervals.append(found.high - found.low)
    assert intervals[0] < 0.2
    assert intervals[1] == pytest.approx(1.0)


def test_pairing_narrows_the_interval_of_a_difference() -> None:
    rng = np.random.default_rng(3)
    hard = rng.random(300)
    a, b = (hard < 0.6).astype(float), (hard < 0.55).astype(float)
    paired = np.stack([a, b])[:, None]
    shuffled = np.stack([a, rng.permutation(b)])[:, None]
    widths = []
    for series in (paired, shuffled):
        (found,) = hierarchical_bootstrap({"a": series}, gap, np.random.default_rng(0))
        widths.append(found.high - found.low)
    assert widths[0] < 0.6 * widths[1]


def test_drawing_patterns_is_drawing_images() -> None:
    rng = np.random.default_rng(5)
    series = (rng.random((2, 1, 50)) < np.array([0.7, 0.4])[:, None, None]).astype(float)
    (found,) = hierarchical_bootstrap({"a": series}, gap, np.random.default_rng(0), draws=20000)
    picks = rng.integers(0, 50, size=(20000, 50))
    one_by_one = (series[0, 0][picks] - series[1, 0][picks]).mean(axis=1)
    low, high = np.quantile(one_by_one, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.021)
    assert found.high == pytest.approx(high, abs=0.021)


def test_tasks_weigh_the_same_however_many_images_they_have() -> None:
    tasks = {"small": np.zeros((1, 1, 10)), "large": np.ones((1, 1, 1000))}
    (found,) = hierarchical_bootstrap(tasks, first, np.random.default_rng(0))
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 30), st.integers(0, 1000))
def test_the_interval_holds_the_estimate(seeds: int, images: int, draw: int) -> None:
    series = (np.random.default_rng(draw).random((1, seeds, images)) < 0.5).astype(float)
    (found,) = hierarchical_bootstrap({"a": series}, first, np.random.default_rng(0), draws=500)
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12


@pytest.mark.parametrize(
    "tasks", [{}, {"a": np.zeros((1, 1, 0))}, {"a": np.zeros((1, 1, 2)), "b": np.zeros((1, 2, 2))}]
)
def test_tasks_that_cannot_be_compared_are_refused(tasks: dict[str, Array]) -> None:
    with pytest.raises(ValueError, match="expected images and equal seeds"):
        hierarchical_bootstrap(tasks, first, np.random.default_rng(0))
