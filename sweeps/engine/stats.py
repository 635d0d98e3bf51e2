"""How sure a number is: means and intervals over seeds, and a paired bootstrap over seeds and images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


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
    """An estimate with its bootstrap interval, and over how many seeds and images it was drawn."""

    value: float
    low: float
    high: float
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


def paired_difference(
    values: Mapping[int, float], reference: Mapping[int, float], confidence: float = 0.95
) -> Summary | None:
    """Return the summary of ``values - reference`` over the seeds both have; None if they share none."""
    common = sorted(values.keys() & reference.keys())
    return summarise([values[s] - reference[s] for s in common], confidence) if common else None


def hierarchical_bootstrap(
    tasks: Mapping[str, Array],
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    *,
    draws: int = 2000,
    confidence: float = 0.95,
) -> tuple[Interval, ...]:
    """Return M statistics of the images' means, averaged over seeds and tasks, with their percentile intervals.

    ``tasks`` maps a task to [K, S, N]: K series measured on the same N images under the same S seeds, so that a
    difference of series is paired. ``statistic`` maps the K means of one task and seed to M numbers, [..., K] ->
    [..., M]. Each draw resamples the seeds once for all tasks, and each task's images. With one seed the interval
    holds the images' share alone.

    Raises:
        ValueError: if there is no task, a task without images, or tasks differ in their seeds.
    """
    seeds = {series.shape[1] for series in tasks.values()}
    if len(seeds) != 1 or any(series.shape[2] == 0 for series in tasks.values()):
        raise ValueError(f"hierarchical_bootstrap: expected images and equal seeds, got seeds {sorted(seeds)}")
    (n_seeds,) = seeds
    seed_weights = rng.multinomial(n_seeds, np.full(n_seeds, 1 / n_seeds), size=draws) / n_seeds  # [R, S]
    per_task = []
    points = []
    for series in tasks.values():
        means = _resampled_means(series, rng, draws)  # [R, S, K]
        per_task.append(np.einsum("rsm,rs->rm", statistic(means), seed_weights))
        points.append(statistic(series.mean(axis=2).T).mean(axis=0))  # [M]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.mean(per_task, axis=0), [tail, 1 - tail], axis=0)
    images = sum(series.shape[2] for series in tasks.values())
    return tuple(
        Interval(value=float(v), low=float(lo), high=float(hi), seeds=n_seeds, images=images)
        for v, lo, hi in zip(np.mean(points, axis=0), low, high, strict=True)
    )


def _resampled_means(series: Array, rng: np.random.Generator, draws: int) -> Array:
    """Return [R, S, K]: the means of ``series`` [K, S, N] over resampled images.

    Images with equal outcomes are drawn as one pattern, weighted by how many they are: the same distribution as
    drawing image by image, at a cost that does not grow with N.
    """
    k, s, n = series.shape
    patterns, counts = np.unique(series.reshape(k * s, n), axis=1, return_counts=True)  # [K S, P], [P]
    weights = rng.multinomial(n, counts / n, size=draws) / n  # [R, P]
    return np.asarray((weights @ patterns.T).reshape(draws, k, s).swapaxes(1, 2), dtype=np.float64)


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
