"""95 % intervals over images: of one task's value, and of a mean over tasks."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from zsr_core.codec import is_finite
from zsr_core.evaluation.metrics.metric import Ends, Images, Metric
from zsr_core.rng import seed_for

DRAWS = 1000  # ours: the ends of a 95 % percentile interval are then the 25th smallest and largest of the draws
MOST_UNDEFINED = 0.05  # ours: with more draws undefined, fewer than about three images decide whether there is a value


def interval_of(metric: Metric, images: Images, value: float) -> Ends | None:
    """Return the interval of ``value``, which ``metric`` has for ``images``, or None where it has none.

    An interval that leaves out its own value is widened to it: resampled images repeat, and that biases a statistic
    such as a calibration error upwards.
    """
    if metric.interval == "none":
        return None
    if metric.interval == "wilson":
        return wilson(value, len(images))
    ends = bootstrap(metric.value, images) if metric.interval == "bootstrap" else metric.interval(images, value)
    return None if ends is None else (min(ends[0], value), max(ends[1], value))


def wilson(share: float, n: int, z: float = 1.959964) -> Ends:
    """Return the 95 % Wilson interval of a proportion of ``n`` draws, both in [0, 1]."""
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)


def bootstrap(value: Callable[[Images], float | None], images: Images, draws: int = DRAWS) -> Ends | None:
    """Return the percentile interval of ``value`` over resampled images; the same images always give the same one.

    None where more than :data:`MOST_UNDEFINED` of the draws have no value, and where all draws agree: an interval of
    zero width suggests a precision that so few different images do not give.
    """
    random = np.random.default_rng(seed_for(0, "bootstrap", len(images)))
    drawn = (value(images.take(random.integers(len(images), size=len(images)))) for _ in range(draws))
    return percentiles(np.array([v for v in drawn if is_finite(v)]), draws)


def percentiles(values: npt.NDArray[np.float64], draws: int) -> Ends | None:
    """Return the 2.5th and the 97.5th percentile of the defined ``values`` of so many draws.

    None where more than :data:`MOST_UNDEFINED` of the draws have no value, and where all draws agree.
    """
    if len(values) < (1 - MOST_UNDEFINED) * draws:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return (float(low), float(high)) if low < high else None


def mean_interval(values: Sequence[float], intervals: Sequence[Ends | None]) -> Ends | None:
    """Return the interval of the mean of independent ``values``, or None if one of them has none.

    The distances of the parts' ends add up as independent errors do (Newcombe 1998; Zou and Donner 2008), so that a
    mean of shares that are all 0 or 1 keeps a width.
    """
    parts = [(value, *ends) for value, ends in zip(values, intervals, strict=True) if ends is not None]
    if len(parts) < len(values):
        return None
    mean = sum(values) / len(values)
    below = math.sqrt(sum((value - low) ** 2 for value, low, _ in parts)) / len(parts)
    above = math.sqrt(sum((high - value) ** 2 for value, _, high in parts)) / len(parts)
    return mean - below, mean + above
