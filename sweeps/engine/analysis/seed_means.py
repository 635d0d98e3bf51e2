"""The mean over seeds of numbers that a trial has measured with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from zsr_core.evaluation.measure import Measurement


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
