from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from sweeps.engine.analysis.stats import (
    DRAWS,
    LEVEL,
    Array,
    Resampled,
    Summary,
    exact_mcnemar,
    harmonic,
    hierarchical_bootstrap,
    holm,
    inflation,
    mean_of,
    paired_difference,
    resample,
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
    (found,) = hierarchical_bootstrap({"a": np.concatenate([own, own])}, gap)
    assert (found.value, found.low, found.high) == (0.0, 0.0, 0.0)
    assert (found.seeds, found.images) == (3, 40)


def test_with_one_seed_the_interval_is_the_binomial_one() -> None:
    right = (np.arange(400) < 120).astype(float).reshape(1, 1, 400)
    (found,) = hierarchical_bootstrap({"a": right}, first, draws=20000)
    spread = (0.3 * 0.7 / 400) ** 0.5
    assert found.value == pytest.approx(0.3)
    assert found.low == pytest.approx(0.3 - 1.96 * spread, abs=0.004)
    assert found.high == pytest.approx(0.3 + 1.96 * spread, abs=0.004)


def test_seeds_that_disagree_widen_the_interval() -> None:
    agree = np.tile((np.arange(200) < 100).astype(float), (1, 2, 1))
    differ = np.stack([np.zeros(200), np.ones(200)])[None]
    intervals = []
    for series in (agree, differ):
        (found,) = hierarchical_bootstrap({"a": series}, first)
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
        (found,) = hierarchical_bootstrap({"a": series}, gap)
        widths.append(found.high - found.low)
    assert widths[0] < 0.6 * widths[1]


def test_drawing_patterns_is_drawing_images() -> None:
    rng = np.random.default_rng(5)
    series = (rng.random((2, 1, 50)) < np.array([0.7, 0.4])[:, None, None]).astype(float)
    (found,) = hierarchical_bootstrap({"a": series}, gap, draws=20000)
    picks = rng.integers(0, 50, size=(20000, 50))
    one_by_one = (series[0, 0][picks] - series[1, 0][picks]).mean(axis=1)
    low, high = np.quantile(one_by_one, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.021)
    assert found.high == pytest.approx(high, abs=0.021)


def test_tasks_weigh_the_same_however_many_images_they_have() -> None:
    tasks = {"small": np.zeros((1, 1, 10)), "large": np.ones((1, 1, 1000))}
    (found,) = hierarchical_bootstrap(tasks, first)
    assert (found.value, found.low, found.high) == (0.5, 0.5, 0.5)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 3), st.integers(2, 30), st.integers(0, 1000))
def test_the_interval_holds_the_estimate(seeds: int, images: int, draw: int) -> None:
    series = (np.random.default_rng(draw).random((1, seeds, images)) < 0.5).astype(float)
    (found,) = hierarchical_bootstrap({"a": series}, first, draws=500)
    assert found.low - 1e-12 <= found.value <= found.high + 1e-12


@pytest.mark.parametrize(
    "tasks", [{}, {"a": np.zeros((1, 1, 0))}, {"a": np.zeros((1, 1, 2)), "b": np.zeros((1, 2, 2))}]
)
def test_tasks_that_cannot_be_compared_are_refused(tasks: dict[str, Array]) -> None:
    with pytest.raises(ValueError, match="expected images and equal seeds"):
        hierarchical_bootstrap(tasks, first)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (3, 9), (12, 2), (0, 20), (151, 103), (2000, 1800)])
def test_with_one_seed_mcnemar_is_the_binomial_test(b: int, c: int) -> None:
    net = [1] * b + [-1] * c + [0] * 30
    expected = scipy.stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert exact_mcnemar(net) == pytest.approx(expected, rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=9))
def test_with_several_seeds_mcnemar_counts_every_sign_pattern(net: list[int]) -> None:
    signs = itertools.product((-1, 1), repeat=len(net))
    sums = [abs(sum(s * d for s, d in zip(pattern, net, strict=True))) for pattern in signs]
    assert exact_mcnemar(net) == pytest.approx(sum(total >= abs(sum(net)) for total in sums) / len(sums))


def test_mcnemar_over_seeds_is_scipys_permutation_test() -> None:
    net = np.array([3, 1, -1, 2, 2, 0, 1, -2, 3, 1, 1])
    exact = scipy.stats.permutation_test(
        (net, np.zeros_like(net)), lambda a, b: (a - b).sum(), permutation_type="samples", n_resamples=np.inf
    )
    assert exact_mcnemar(net) == pytest.approx(exact.pvalue)


def test_images_that_every_seed_agrees_on_count_once_not_once_a_seed() -> None:
    once = exact_mcnemar([1, 1, 1, 1])
    assert exact_mcnemar([3, 3, 3, 3]) == pytest.approx(once) == pytest.approx(0.125)


def test_holm_is_the_table_worked_by_hand() -> None:
    # Sorted: .005 x 4, .01 x 3, .03 x 2, .04 x 1; no step falls below the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_the_stepwise_rule_rejects(p: list[float], alpha: float) -> None:
    order = sorted(range(len(p)), key=p.__getitem__)
    rejected = set()
    for step, i in enumerate(order):
        if (len(p) - step) * p[i] > alpha:
            break
        rejected.add(i)
    assert {i for i, value in enumerate(holm(p)) if value <= alpha} == rejected


def test_the_paired_bootstrap_is_scipys() -> None:
    rng = np.random.default_rng(11)
    hard = rng.random(150)
    a, b = (hard < 0.62).astype(float), ((hard + 0.1 * rng.standard_normal(150)) < 0.5).astype(float)
    (own,) = resample({"t": np.stack([a, b])[:, None]}, gap, draws=20000).values()
    low, high = own.interval()
    theirs = scipy.stats.bootstrap(
        (a, b), lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True, vectorized=True, n_resamples=20000,
        method="percentile", rng=np.random.default_rng(1),
    )  # fmt: skip
    assert (low[0], high[0]) == pytest.approx(tuple(theirs.confidence_interval), abs=0.008)
    assert own.drawn.std(ddof=1) == pytest.approx(theirs.standard_error, rel=0.03)


def test_the_hierarchical_bootstrap_is_the_one_drawn_by_two_loops() -> None:
    """Seeds are drawn once for all tasks, images within each task, one image for all the seeds that saw it."""
    rng = np.random.default_rng(2)
    shape = {"small": 30, "large": 80}
    shift = np.array([-0.15, 0.0, 0.2])[None, :, None]
    tasks = {t: ((rng.random((2, 1, n)) + shift) < np.array([0.7, 0.5])[:, None, None]) * 1.0 for t, n in shape.items()}
    found = mean_of(list(resample(tasks, gap, draws=20000).values()))
    by_hand = []
    for _ in range(6000):
        seeds = rng.integers(0, 3, 3)
        per_task = []
        for series in tasks.values():
            picked = series[:, seeds][:, :, rng.integers(0, series.shape[2], series.shape[2])]
            per_task.append(picked[0].mean() - picked[1].mean())
        by_hand.append(np.mean(per_task))
    assert found.drawn.std() == pytest.approx(np.std(by_hand), rel=0.05)
    assert [end[0] for end in found.interval()] == pytest.approx(np.quantile(by_hand, [0.025, 0.975]), abs=0.012)


def test_with_fixed_seeds_what_they_disagree_on_does_not_widen_the_interval() -> None:
    series = np.stack([np.zeros(200), np.ones(200)])[None]  # no image is uncertain, one seed is right and one wrong
    (fixed,) = resample({"t": series}, first, fixed_seeds=True).values()
    assert fixed.interval() == (0.5, 0.5)


def test_p_falls_below_five_percent_where_the_interval_leaves_zero() -> None:
    rng = np.random.default_rng(4)
    found = Resampled(value=np.zeros(60), drawn=rng.normal(rng.uniform(-4, 4, 60), 1.0, (1999, 60)))
    low, high = found.interval()
    apart = np.minimum(np.abs(low), np.abs(high)) > 0.02  # not on the edge
    assert ((found.p_values() < 0.05) == ((low > 0) | (high < 0)))[apart].all()


def test_p_is_never_zero_and_one_where_nothing_differs() -> None:
    drawn = np.stack([np.full(99, 2.0), np.zeros(99)], axis=1)
    assert Resampled(value=drawn[0], drawn=drawn).p_values().tolist() == [0.02, 1.0]


@pytest.mark.parametrize(("n", "in_se"), [(20, 1.87), (50, 2.25), (200, 2.75)])
def test_the_best_of_equal_scores_is_inflated_as_drawing_them_says(n: int, in_se: float) -> None:
    best = np.random.default_rng(n).normal(50.0, 2.0, (20000, n)).max(axis=1).mean() - 50.0
    assert inflation(n, 2.0) == pytest.approx(best, rel=0.02)
    assert inflation(n, 1.0) == pytest.approx(in_se, abs=0.02)


def test_the_best_of_equal_classifiers_is_inflated_by_its_finite_test_set() -> None:
    """N models of true accuracy 0.4, each scored on 500 images of its own; the winner's own se predicts its luck."""
    shares = np.random.default_rng(8).binomial(500, 0.4, (8000, 30)).max(axis=1) / 500
    se = float(np.sqrt(shares * (1 - shares) / 500).mean())
    assert inflation(30, se) == pytest.approx(float(shares.mean()) - 0.4, rel=0.04)


def test_scores_on_the_same_images_are_inflated_by_less() -> None:
    rng = np.random.default_rng(9)
    shared, own = rng.standard_normal((20000, 1)), rng.standard_normal((20000, 30))
    best = (0.8 * shared + 0.6 * own).max(axis=1).mean()  # each with standard error 1
    assert best < 0.65 * inflation(30, 1.0)


def test_one_score_is_not_inflated_and_none_is_refused() -> None:
    assert inflation(1, 3.0) == 0.0
    with pytest.raises(ValueError, match="expected at least 1 score"):
        inflation(0, 3.0)


def test_a_sure_difference_stays_significant_in_a_large_family() -> None:
    """Of 300 images 60 are better and none is worse: McNemar's exact p is 2 / 2^60."""
    series = np.zeros((2, 1, 300))
    series[0, 0, :60] = 1
    (own,) = resample({"t": series}, gap, draws=DRAWS).values()
    surest = float(own.p_values()[0])
    assert 1e-18 < surest < 1e-10
    assert holm([surest, *[1.0] * 4999])[0] < LEVEL


def test_p_beyond_the_resolution_of_the_resamples_is_that_of_far_more_resamples() -> None:
    """3,000 resamples resolve no p below 0.00067; 400,000 of the same images resolve the p of about 0.0002."""
    rng = np.random.default_rng(3)
    ease = rng.random(400)
    series = np.stack([ease < 0.5, ease + 0.2 * rng.random(400) < 0.56]).astype(float)[:, None]
    (few,) = resample({"t": series}, gap, draws=3000).values()
    (many,) = resample({"t": series}, gap, draws=400_000).values()
    p, known = float(few.p_values()[0]), float(many.p_values()[0])
    assert not (few.drawn <= 0).any() or not (few.drawn >= 0).any()
    assert known / 3 < p < 3 * known
    assert p < 2 / 3001


def test_p_without_spread_is_the_least_that_the_resamples_resolve() -> None:
    assert Resampled(value=np.ones(1), drawn=np.ones((99, 1))).p_values() == pytest.approx([0.02])


def test_the_draws_of_a_task_do_not_depend_on_the_other_tasks() -> None:
    rng = np.random.default_rng(4)
    tasks = {name: (rng.random((2, 3, 50)) < 0.5).astype(float) for name in ("a", "b", "c")}
    whole = resample(tasks, gap, draws=300)
    alone = resample({"c": tasks["c"]}, gap, draws=300)
    turned = resample(dict(reversed(tasks.items())), gap, draws=300)
    assert np.array_equal(whole["c"].drawn, alone["c"].drawn)
    assert all(np.array_equal(whole[name].drawn, turned[name].drawn) for name in tasks)
    assert not np.array_equal(whole["a"].drawn, whole["b"].drawn)
