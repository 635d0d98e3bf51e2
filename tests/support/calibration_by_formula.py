"""Calibration by loops over images and bins, as the papers write it down."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax


def bins_of(sure: Any, bins: int) -> list[Any]:
    """Return the images in each of the bins ((m - 1) / M, m / M], 0 in the first."""
    return [np.flatnonzero((sure > m / bins) & (sure <= (m + 1) / bins) | ((m == 0) & (sure == 0)))
            for m in range(bins)]  # fmt: skip


def error_of(sure: Any, right: Any, bins: int = 15) -> float:
    return sum(abs(right[at].sum() - sure[at].sum()) for at in bins_of(sure, bins)) / len(sure)


def adaptive_error(sure: Any, right: Any, bins: int = 15) -> float:
    """Return the error over sorted images in parts of equal size, the first ones larger by one."""
    parts = np.array_split(np.argsort(sure, kind="stable"), bins)
    return sum(abs(right[at].sum() - sure[at].sum()) for at in parts) / len(sure)


def classwise_error(p: Any, label: Any) -> float:
    return float(np.mean([error_of(p[:, k], label == k) for k in range(p.shape[1])]))


def largest_gap(sure: Any, right: Any) -> float:
    gaps = [abs(right[at].mean() - sure[at].mean()) for at in bins_of(sure, 15) if len(at) >= 10]
    return float(max(gaps)) if gaps else float("nan")


def debiased_error(sure: Any, right: Any) -> float:
    total = 0.0
    for at in bins_of(sure, 15):
        if len(at) > 1:
            accuracy = right[at].mean()
            total += len(at) * ((accuracy - sure[at].mean()) ** 2 - accuracy * (1 - accuracy) / (len(at) - 1))
    return float(total / len(sure))


def area(sure: Any, wrong: Any) -> float:
    """Return the mean error rate of the k surest, k = 1 to N; images of one confidence count by their mean error."""
    expected = np.array(wrong, float)
    for value in np.unique(sure):
        same = sure == value
        expected[same] = expected[same].mean()
    order = np.argsort(-sure, kind="stable")
    return float(np.mean(np.cumsum(expected[order]) / np.arange(1, len(sure) + 1)))


def summed_likelihood_root(logits: Any, label: Any) -> float:
    """Return 1 / T where the slope of the likelihood is 0."""
    own = logits[np.arange(len(label)), label].mean()

    def slope(beta: float) -> float:
        return float((softmax(beta * logits, axis=1) * logits).sum(axis=1).mean() - own)

    return float(brentq(slope, 1e-3, 1e3, xtol=1e-15, rtol=1e-15))


def simulated(sure: Any, p: Any, draws: int = 400) -> dict[str, list[float]]:
    """Return draws of the errors of a model that is right as often as it says."""
    random = np.random.default_rng(99)
    found: dict[str, list[float]] = {}
    for _ in range(draws):
        right = random.random(len(sure)) < sure
        label = (random.random((len(p), 1)) < p.cumsum(axis=1) / p.sum(axis=1, keepdims=True)).argmax(axis=1)
        numbers = {
            "ece": error_of(sure, right), "ece10": error_of(sure, right, 10), "ece30": error_of(sure, right, 30),
            "ece_adaptive": adaptive_error(sure, right), "mce": largest_gap(sure, right), "aurc": area(sure, ~right),
            "ece_classwise": classwise_error(p, label),
        }  # fmt: skip
        for name, value in numbers.items():
            found.setdefault(f"{name}_if_calibrated", []).append(value)
    return found
