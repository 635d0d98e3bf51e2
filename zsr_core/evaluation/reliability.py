"""Reliability diagrams as rows: per bin of confidence, how sure the model is and how often it is right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from zsr_core.evaluation.measure import Place
from zsr_core.evaluation.metrics.calibration import BINS, bin_of, one_hot
from zsr_core.evaluation.metrics.intervals import wilson
from zsr_core.evaluation.metrics.metric import Images


@dataclass(frozen=True, kw_only=True)
class ReliabilityBin:
    """The images of one task under one condition whose confidence lies in (``low``, ``high``]; empty bins are left out.

    All numbers are fractions. ``accuracy_low`` to ``accuracy_high`` is the 95 % Wilson interval.
    """

    task: str
    attack: str
    eps: float
    bin: int  # from 0
    low: float
    high: float
    n: int
    confidence: float  # mean over the images
    accuracy: float
    accuracy_low: float
    accuracy_high: float


def reliability(places: Mapping[Place, Images], bins: int = BINS) -> list[ReliabilityBin]:
    """Return the bins of every task under every condition; their weighted gaps add up to the calibration error."""
    return [row for place, images in places.items() for row in _bins(place, [images], bins)]


def pooled(places: Mapping[Place, Sequence[Images]], bins: int = BINS) -> list[ReliabilityBin]:
    """Return the same where several groups of images, such as tasks or seeds, are counted as one."""
    return [row for place, groups in places.items() for row in _bins(place, groups, bins)]


def _bins(place: Place, groups: Sequence[Images], bins: int) -> list[ReliabilityBin]:
    task, attack, eps = place
    sure = np.concatenate([images.p_max for images in groups])
    right = np.concatenate([images.correct for images in groups]).astype(np.float64)
    inside = one_hot(bin_of(sure, bins), bins)
    counts, confidence, accuracy = inside.sum(axis=0), sure @ inside, right @ inside
    rows = []
    for m in np.flatnonzero(counts):
        n, share = int(counts[m]), float(accuracy[m] / counts[m])
        low, high = wilson(share, n)
        rows.append(ReliabilityBin(
            task=task, attack=attack, eps=eps, bin=int(m), low=m / bins, high=(m + 1) / bins, n=n,
            confidence=float(confidence[m] / n), accuracy=share, accuracy_low=low, accuracy_high=high,
        ))  # fmt: skip
    return rows
