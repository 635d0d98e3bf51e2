"""The bootstrap over images for statistics of weighted images: all draws at once, instead of one after the other.

A draw of N images with repetition is how often it holds each image. A statistic that takes these numbers as weights
needs a matrix product where a loop would compute the metric a thousand times. The draws are those of
:func:`zsr_core.evaluation.metrics.intervals.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache

import numpy as np

from zsr_core.evaluation.metrics.intervals import DRAWS, percentiles
from zsr_core.evaluation.metrics.metric import Ends, Images
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.rng import seed_for

# (images, weights [R, N]) -> [R], NaN where a draw has no value
Statistic = Callable[[Images, Floats], Floats]
CELLS = 4_000_000  # numbers of a matrix of draws that is worked on at a time: 32 MB


def draws_of(n: int, draws: int = DRAWS) -> Iterator[Floats]:
    """Yield how often each of ``draws`` draws holds each of ``n`` images, in blocks [R, n]."""
    if n * draws <= CELLS:
        yield _whole(n, draws)
    else:
        yield from _blocks(n, draws)


@lru_cache(maxsize=4)
def _whole(n: int, draws: int) -> Floats:
    """Return all draws; the conditions of a set have the same number of images, so they are drawn once."""
    return np.concatenate(list(_blocks(n, draws)))


def _blocks(n: int, draws: int) -> Iterator[Floats]:
    random = np.random.default_rng(seed_for(0, "bootstrap", n))
    most = max(1, CELLS // n)
    for begun in range(0, draws, most):
        rows = min(most, draws - begun)
        held = random.integers(n, size=(rows, n)) + n * np.arange(rows)[:, None]
        yield np.bincount(held.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)


def value_of(statistic: Statistic) -> Callable[[Images], float | None]:
    """Return the metric's value: the statistic of the images, each once; None where it is NaN."""

    def value(images: Images) -> float | None:
        got = float(statistic(images, np.ones((1, len(images))))[0])
        return None if np.isnan(got) else got

    return value


def ends_of(statistic: Statistic, draws: int = DRAWS) -> Callable[[Images, float], Ends | None]:
    """Return the metric's interval: percentiles of the statistic over resampled images."""

    return lambda images, value: ends_over(len(images), lambda weights: statistic(images, weights), draws)


def ends_over(n: int, statistic: Callable[[Floats], Floats], draws: int = DRAWS) -> Ends | None:
    """Return the interval of a statistic of weights [R, n]: percentiles over the draws; None if most have no value."""
    values = np.concatenate([statistic(weights) for weights in draws_of(n, draws)])
    return percentiles(values[np.isfinite(values)], draws)


def mean_of(column: Floats, weights: Floats) -> Floats:
    """Return [R], the weighted means of a column [N]; NaN where a draw has no weight."""
    summed, total = (weights @ np.column_stack([column, np.ones(len(column))])).T  # one pass over the draws
    return np.asarray(np.divide(summed, total, out=np.full(len(total), np.nan), where=total > 0), dtype=np.float64)
