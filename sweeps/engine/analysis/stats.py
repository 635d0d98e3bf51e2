"""Statistics: intervals over seeds and images, paired tests, multiple comparisons, and the winner's curse."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from sweeps.engine.analysis.bootstrap import Kinds
from zsr_core.evaluation.measure import Measurement
from zsr_core.rng import seed_for

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
Statistic = Callable[[Array], Array]
LEVEL = 0.05  # significance level for Holm-adjusted p values
DRAWS = 10_000  # resamples of a tested difference: of each the same number, so that it has one interval and one p
KEPT = 512  # resamples of one task; 10,000 of three numbers take 240 kB
SPLIT_SEEDS = 8  # up to this number of seeds, draws are grouped by their set of seeds; there are 2^S - 1 sets


@dataclass(frozen=True, kw_only=True)
class Summary:
    """The mean of ``n`` values, their sample sd and the t-interval of the mean (None for one value)."""

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate with its bootstrap interval, its standard error, and the numbers of seeds and images."""

    value: float
    low: float
    high: float
    se: float
    seeds: int
    images: int


def harmonic(a: Array, b: Array) -> Array:
    """Return the harmonic mean of two scores, element by element; 0 where both are 0."""
    total = np.asarray(a + b, dtype=np.float64)
    return np.asarray(np.divide(2 * a * b, total, out=np.zeros_like(total), where=total > 0))


def summarise(values: Sequence[float], confidence: float = 0.95) -> Summary:
    """Return mean, sample sd (n - 1) and t-interval of ``values``; one value has neither sd nor interval.

    Raises:
        ValueError: without values.
    """
    if not len(values):
        raise ValueError("summarise: no values")
    x = np.asarray(values, dtype=np.float64)  # [n]
    mean, n = float(x.mean()), x.size
    if n < 2:
        return Summary(mean=mean, sd=None, n=n, low=None, high=None)
    sd = float(x.std(ddof=1))
    half = t_quantile(0.5 + confidence / 2, n - 1) * sd / math.sqrt(n)
    return Summary(mean=mean, sd=sd, n=n, low=mean - half, high=mean + half)


def paired_difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Summary | None:
    """Return the summary of ``values - reference`` over the seeds both have; None if they share none."""
    common = sorted(values.keys() & reference.keys())
    return summarise([values[s] - reference[s] for s in common]) if common else None


@dataclass(frozen=True, kw_only=True, eq=False)
class Resampled:
    """M numbers of one task, or their means over tasks, and their values in R resamples."""

    value: Array  # [M]
    drawn: Array  # [R, M]

    def interval(self, confidence: float = 0.95) -> tuple[Array, Array]:
        """Return the percentile interval's ends, [M] each."""
        tail = (1 - confidence) / 2
        low, high = np.quantile(self.drawn, [tail, 1 - tail], axis=0)
        return low, high

    def p_values(self) -> Array:
        """Return [M]: two-sided p of no difference, by inversion of the percentile interval.

        p is below 1 - confidence where the interval of that confidence excludes 0. R resamples resolve no p below
        2 / (R + 1), which Holm's correction makes 1 in a large family. Where no resample reaches 0, p is therefore that
        of a normal distribution with the standard error of the resamples, if this is smaller.
        """
        beyond = np.minimum((self.drawn <= 0).sum(axis=0), (self.drawn >= 0).sum(axis=0))
        p = np.minimum(1.0, 2 * (beyond + 1) / (len(self.drawn) + 1))
        errors = self.drawn.std(axis=0, ddof=1)
        for i in np.flatnonzero((beyond == 0) & (errors > 0)):
            p[i] = min(p[i], math.erfc(abs(self.value[i]) / errors[i] / math.sqrt(2)))
        return np.asarray(p, dtype=np.float64)


def mean_of(parts: Sequence[Resampled]) -> Resampled:
    """Return the unweighted mean over tasks of resamples that share their seeds."""
    return Resampled(
        value=np.mean([part.value for part in parts], axis=0), drawn=np.mean([part.drawn for part in parts], axis=0)
    )


def resample(
    tasks: Mapping[str, Array],
    statistic: Statistic,
    *,
    draws: int = 2000,
    fixed_seeds: bool = False,
) -> dict[str, Resampled]:
    """Return each task's numbers in ``draws`` hierarchical resamples: seeds first, then images within each task.

    ``tasks``: K series of outcomes, 0 or 1, per task, [K, S, N]; all tasks have the same S seeds, each its own images.
    The series of a task share seeds and images, so a difference of series is paired. ``statistic`` maps the K means of
    one task and seed to M numbers, [..., K] -> [..., M]. Each draw resamples the seeds once for all tasks, unless they
    are ``fixed_seeds``, and each task's images; the tasks themselves are fixed. With one seed the draws vary only by
    images. The draws of a task depend on its name and its outcomes alone, so what else is resampled changes no number.

    Raises:
        ValueError: without tasks, for a task without images, for unequal seeds, or for an outcome that is not 0 or 1.
    """
    if any(((series != 0) & (series != 1)).any() for series in tasks.values()):
        raise ValueError("resample: an outcome is neither 0 nor 1")
    seeds = {series.shape[1] for series in tasks.values()}
    if len(seeds) != 1 or any(series.shape[2] == 0 for series in tasks.values()):
        raise ValueError(f"resample: expected images and equal seeds, got seeds {sorted(seeds)}")
    packed = {task: np.packbits(series.astype(bool)).tobytes() for task, series in tasks.items()}
    return {
        task: _resampled(task, packed[task], series.shape, statistic, draws, fixed_seeds)
        for task, series in tasks.items()
    }


@lru_cache(maxsize=KEPT)
def _resampled(
    task: str, packed: bytes, shape: tuple[int, ...], statistic: Statistic, draws: int, fixed_seeds: bool
) -> Resampled:
    """Return one task's resamples; kept, because a study's table, matrix, figures and report ask for the same ones."""
    bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8), count=math.prod(shape))
    series = bits.reshape(shape).astype(np.float64)
    seed_weights, supports = _drawn_seeds(shape[1], draws, fixed_seeds)
    value = statistic(series.mean(axis=2).T).mean(axis=0)  # [M]
    kinds, drawn, rng = Kinds.of(series), np.empty((draws, len(value))), _generator("images", task)
    for rows, some in supports:
        means = kinds.with_seeds(some).resampled_means(rng, len(rows))  # [R', S', K]
        drawn[rows] = np.einsum("rsm,rs->rm", statistic(means), seed_weights[np.ix_(rows, some)])
    value.flags.writeable = drawn.flags.writeable = False
    return Resampled(value=value, drawn=drawn)


@lru_cache(maxsize=16)
def _drawn_seeds(seeds: int, draws: int, fixed: bool) -> tuple[Array, list[tuple[Indices, Indices]]]:
    """Return the weights of the seeds in each resample, [R, S], and the resamples by their set of seeds."""
    weights = np.full((draws, seeds), 1 / seeds)
    if not fixed:
        weights = _generator("seeds").multinomial(seeds, weights[0], size=draws) / seeds
    return weights, _by_support(weights)


def _generator(*purpose: str) -> np.random.Generator:
    return np.random.default_rng(seed_for(0, "bootstrap", *purpose))


def hierarchical_bootstrap(
    tasks: Mapping[str, Array],
    statistic: Statistic,
    *,
    draws: int = 2000,
) -> tuple[Interval, ...]:
    """Return ``statistic`` averaged over seeds and tasks, with intervals by :func:`resample` (its arguments)."""
    mean = mean_of(list(resample(tasks, statistic, draws=draws).values()))
    low, high = mean.interval()
    n_seeds = next(iter(tasks.values())).shape[1]
    images = sum(series.shape[2] for series in tasks.values())
    return tuple(
        Interval(value=float(v), low=float(lo), high=float(hi), se=float(se), seeds=n_seeds, images=images)
        for v, lo, hi, se in zip(mean.value, low, high, mean.drawn.std(axis=0, ddof=1), strict=True)
    )


def _by_support(seed_weights: Array) -> list[tuple[Indices, Indices]]:
    """Return (draws, seeds) for each distinct set of seeds; images of the other seeds need not be drawn."""
    drawn = seed_weights > 0  # [R, S]
    if drawn.shape[1] > SPLIT_SEEDS:
        return [(np.arange(len(drawn)), np.arange(drawn.shape[1]))]
    which = drawn @ (1 << np.arange(drawn.shape[1]))  # [R]
    return [(rows, np.flatnonzero(drawn[rows[0]])) for rows in (np.flatnonzero(which == w) for w in np.unique(which))]


def exact_mcnemar(net: Sequence[int] | NDArray[np.int64]) -> float:
    """Return the exact two-sided p of McNemar's test on paired outcomes of the same images.

    ``net`` [N]: per image, the number of seeds where only the first is right minus that where only the second is,
    -S .. S. Images are the units: under the null hypothesis both signs of an image's ``net`` are equally likely. p is
    the share of all sign patterns whose sum is at least as far from 0. With one seed this is the binomial test of the
    discordant counts.
    """
    net = np.asarray(net, dtype=np.int64)
    sizes = np.abs(net)
    ups = np.ones(1)  # probability that the images with positive sign sum to 0, 1, 2 ...
    for size in range(1, int(sizes.max(initial=0)) + 1):
        fair = _fair_binomial(int((sizes == size).sum()))
        spaced = np.zeros(size * (len(fair) - 1) + 1)
        spaced[::size] = fair
        ups = np.convolve(ups, spaced)
    sums = 2 * np.arange(len(ups)) - int(sizes.sum())
    return min(1.0, float(ups[np.abs(sums) >= abs(int(net.sum()))].sum()))


def _fair_binomial(n: int) -> Array:
    """Return [n + 1]: the probability of k heads among n tosses of a fair coin."""
    k = np.arange(1, n + 1)
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - k + 1) / k))]) - n * math.log(2)
    return np.asarray(np.exp(logs), dtype=np.float64)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted as one family (Holm, 1979): reject where the adjusted p is below alpha."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, stepped)
    return [float(value) for value in adjusted]


def inflation(n: int, se: float) -> float:
    """Return the expected excess of the best of ``n`` equally good scores, each with standard error ``se``.

    It is the expected maximum of n independent normal errors, ``se * Phi^-1((n - 0.375) / (n + 0.25))`` (Blom, 1958).
    Scores on the same images share part of their errors, so for them it is an upper bound.

    Raises:
        ValueError: if n is below 1.
    """
    if n < 1:
        raise ValueError(f"inflation: got n={n}, expected at least 1 score")
    return se * NormalDist().inv_cdf((n - 0.375) / (n + 0.25))


@cache  # studies have thousands of rows over the same few numbers of seeds
def t_quantile(p: float, dof: int) -> float:
    """Return the ``p`` quantile of Student's t with ``dof`` degrees of freedom, by bisection."""
    if not 0 < p < 1 or dof < 1:
        raise ValueError(f"t_quantile: got p={p}, dof={dof}; expected 0 < p < 1 and dof >= 1")
    if p < 0.5:
        return -t_quantile(1 - p, dof)
    low, high = 0.0, 2.0
    while t_cdf(high, dof) < p:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_cdf(middle, dof) < p else (low, middle)
    return (low + high) / 2


def t_cdf(t: float, dof: int) -> float:
    """Return P(T <= t) for whole ``dof``: the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    angle = math.atan2(t, math.sqrt(dof))
    cos, total = math.cos(angle), 0.0
    term = cos if dof % 2 else 1.0
    for k in range(1 + dof % 2, dof, 2):
        total += term
        term *= cos * cos * k / (k + 1)
    inside = 2 / math.pi * (angle + math.sin(angle) * total) if dof % 2 else math.sin(angle) * total
    return 0.5 + inside / 2


@dataclass(frozen=True, kw_only=True)
class Number:
    """A mean over seeds; its ends are the means of the seeds' ends, because they judge the same images."""

    value: float
    low: float | None
    high: float | None


def mean_of_seeds(seeds: Sequence[Measurement]) -> Number | None:
    """Return the mean of one measurement of each seed; None without any, or where one has no value."""
    values = [m.value for m in seeds if m.value is not None]
    if not values or len(values) < len(seeds):
        return None
    lows, highs = ([end for m in seeds if (end := getattr(m, name)) is not None] for name in ("low", "high"))
    whole = len(lows) == len(highs) == len(seeds)
    return Number(
        value=sum(values) / len(values), low=sum(lows) / len(lows) if whole else None,
        high=sum(highs) / len(highs) if whole else None,
    )  # fmt: skip
