"""Accuracy without attack, under attack, and the harmonic mean of both."""

from __future__ import annotations

import numpy as np

from zsr_core.evaluation.metrics.metric import Images, Metric


def accuracy(images: Images) -> float:
    """Return the share of images that are right."""
    return int(np.count_nonzero(images.correct)) / len(images)


def harmonic(clean: float, robust: float) -> float:
    """Return ``2 C R / (C + R)``, 0 where both are 0."""
    return 2 * clean * robust / (clean + robust) if clean + robust > 0 else 0.0


def clean_with_robust(images: Images) -> float | None:
    """Return the harmonic mean of the accuracies without and under attack; None for images without attack."""
    return None if images.clean is None else harmonic(accuracy(images.clean), accuracy(images))


CLEAN = Metric(
    name="clean", title="clean accuracy", unit="%", higher_is_better=True, conditions=("clean",), value=accuracy,
    interval="wilson", attacked=False,
)  # fmt: skip
ROBUST = Metric(
    name="robust", title="robust accuracy", unit="%", higher_is_better=True, conditions=("attack", "worst"),
    value=accuracy, interval="wilson", attacked=True,
)  # fmt: skip
# Without an interval, because a harmonic mean is not a share of images; a bootstrap on the records gives one.
HARMONIC = Metric(
    name="harmonic", title="harmonic mean", unit="%", higher_is_better=True,
    conditions=("worst",), value=clean_with_robust, interval="none", attacked=True,
)  # fmt: skip
