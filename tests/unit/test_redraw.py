"""Images drawn with replacement: the short cuts have the law of drawing one image after the other."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats

from sweeps.engine.analysis.bootstrap import FEW, Counts, Kinds, drawn_counts, poisson_counts
from sweeps.engine.analysis.outcomes import score_gaps
from sweeps.engine.analysis.stats import Array, mean_of, resample

UNEVEN = np.array([900, 300, 120, 60, *([30] * 8), *([7] * 12), *([2] * 20), *([1] * 40)])  # 82 kinds
ALIKE = np.full(40, 3)
SINGLE = np.ones(50, dtype=np.int64)  # every image a kind of its own
HUGE = np.array([70_000, *([500] * 40)])
MANY = {"uneven": UNEVEN, "alike": ALIKE, "single": SINGLE, "huge": HUGE}
DRAWS = 20_000


@pytest.mark.parametrize("counts", MANY.values(), ids=MANY)
def test_every_resample_has_as_many_images_as_there_are(counts: Counts) -> None:
    assert len(counts) > FEW
    drawn = drawn_counts(counts, np.random.default_rng(0), 500)
    assert drawn.shape == (len(counts), 500)
    assert (drawn >= 0).all()
    assert (drawn == np.round(drawn)).all()
    assert (drawn.sum(axis=0) == counts.sum()).all()


@pytest.mark.parametrize("counts", MANY.values(), ids=MANY)
def test_any_group_of_kinds_is_drawn_binomially(counts: Counts) -> None:
    """Sums over groups of kinds determine a multinomial law; each is compared with the binomial over its range."""
    drawn = drawn_counts(counts, np.random.default_rng(1), DRAWS)
    n, picks = int(counts.sum()), np.random.default_rng(2)
    singles = [np.array([i]) for i in (0, len(counts) // 2, len(counts) - 1)]
    for group in [*singles, *(np.flatnonzero(picks.random(len(counts)) < 0.4) for _ in range(5))]:
        totals = drawn[group].sum(axis=0).astype(np.int64)
        law = scipy.stats.binom(n, counts[group].sum() / n)
        seen = np.searchsorted(np.sort(totals), np.arange(totals.min(), totals.max() + 1), side="right") / DRAWS
        assert np.abs(seen - law.cdf(np.arange(totals.min(), totals.max() + 1))).max() < 1.95 / DRAWS**0.5  # p 0.001


def test_kinds_hinder_each_other_as_in_a_multinomial() -> None:
    drawn = drawn_counts(UNEVEN, np.random.default_rng(3), DRAWS).astype(np.float64)
    n = int(UNEVEN.sum())
    p = UNEVEN / n
    expected = n * (np.diag(p) - np.outer(p, p))
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / DRAWS)  # of a sample covariance
    assert (np.abs(np.cov(drawn) - expected) < 5 * error).all()


def test_one_resample_says_nothing_of_the_next() -> None:
    drawn = drawn_counts(UNEVEN, np.random.default_rng(4), DRAWS)
    for kind in (0, 3, 10, 50):
        assert abs(np.corrcoef(drawn[kind, :-1], drawn[kind, 1:])[0, 1]) < 4 / DRAWS**0.5
        assert abs(np.corrcoef(drawn[kind], np.arange(DRAWS))[0, 1]) < 4 / DRAWS**0.5


def test_poisson_counts_are_poisson_and_independent() -> None:
    rates = np.array([0.0, 0.02, 1.0, 7.5, 40.0, 900.0, 900.0])
    drawn = poisson_counts(rates, np.random.default_rng(5), DRAWS).astype(np.int64)
    assert (drawn[0] == 0).all()
    for rate, values in zip(rates[1:], drawn[1:], strict=True):
        at = np.arange(values.min(), values.max() + 1)
        seen = np.searchsorted(np.sort(values), at, side="right") / DRAWS
        assert np.abs(seen - scipy.stats.poisson(rate).cdf(at)).max() < 1.95 / DRAWS**0.5
    assert (np.abs(np.corrcoef(drawn[1:]) - np.eye(6)) < 4.5 / DRAWS**0.5).all()


def test_kinds_are_the_different_columns() -> None:
    columns = np.array([[0, 1, 1], [1, 1, 0], [0, 1, 1], [0, 0, 0], [1, 1, 0], [0, 1, 1]]).T  # [3, 6]
    kinds = Kinds.of(columns.reshape(3, 1, 6).astype(float))
    found = {tuple(column): n for column, n in zip(kinds.outcomes[:, 0].T.tolist(), kinds.counts.tolist(), strict=True)}
    assert found == {(0, 1, 1): 3, (1, 1, 0): 2, (0, 0, 0): 1}


def test_kinds_are_told_apart_by_more_outcomes_than_an_integer_has_bits() -> None:
    rng = np.random.default_rng(6)
    base = (rng.random((4, 40, 7)) < 0.5).astype(float)  # 160 outcomes, seven kinds
    for flipped in (0, 31, 32, 63, 64, 159):
        series = np.tile(base, (1, 1, 9))
        series.reshape(160, 63)[flipped, 0] = 1 - series.reshape(160, 63)[flipped, 0]
        assert sorted(Kinds.of(series).counts.tolist()) == [1, 8, 9, 9, 9, 9, 9, 9]


def test_seeds_that_do_not_look_tell_no_kinds_apart() -> None:
    outcomes = np.array(list(itertools.product((0.0, 1.0), repeat=6))).T.reshape(2, 3, 64)
    kinds = Kinds.of(outcomes)
    assert len(kinds.counts) == 64
    assert sorted(kinds.with_seeds(np.array([0, 2])).counts.tolist()) == [4] * 16
    assert sorted(kinds.with_seeds(np.array([1])).counts.tolist()) == [16] * 4


def _tasks(seeds: int) -> dict[str, Array]:
    """Two tasks, images of all degrees of difficulty, seeds that disagree: many kinds."""
    rng = np.random.default_rng(seeds)
    tasks = {}
    for task, n in (("small", 90), ("large", 700)):
        ease = rng.normal(0, 1, n)
        noisy = [ease + 0.1 * arm + rng.normal(0, 0.6, (seeds, n)) + 0.1 * np.arange(seeds)[:, None] for arm in (0, 1)]
        tasks[task] = np.array([noisy[0] > -0.3, noisy[0] > 0.6, noisy[1] > -0.3, noisy[1] > 0.6], dtype=float)
    return tasks


@pytest.mark.parametrize("seeds", [1, 2, 3, 9])
def test_the_bootstrap_is_the_one_that_draws_seeds_and_then_images_by_their_index(seeds: int) -> None:
    """Seeds once for all tasks, each task's images once for all seeds and both arms; moments and quantiles agree."""
    tasks, draws = _tasks(seeds), 2500
    found = mean_of(list(resample(tasks, score_gaps, draws=draws).values())).drawn
    rng = np.random.default_rng(7)
    plain = np.empty((draws, 3))
    for r in range(draws):
        drawn = rng.integers(0, seeds, seeds)
        gaps = []
        for series in tasks.values():
            n = series.shape[2]
            means = series[:, drawn][:, :, rng.integers(0, n, n)].mean(axis=2)  # [4, S]
            gaps.append(score_gaps(means.T).mean(axis=0))
        plain[r] = np.mean(gaps, axis=0)
    for metric in range(3):
        assert scipy.stats.ks_2samp(found[:, metric], plain[:, metric]).pvalue > 0.001
        assert found[:, metric].std() == pytest.approx(plain[:, metric].std(), rel=5 / (2 * draws) ** 0.5)
    assert np.corrcoef(found.T) == pytest.approx(np.corrcoef(plain.T), abs=0.06)


def test_what_is_no_outcome_is_refused() -> None:
    with pytest.raises(ValueError, match="neither 0 nor 1"):
        resample({"a": np.full((4, 1, 5), 0.5)}, score_gaps)
