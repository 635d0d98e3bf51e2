"""Accuracy, calibration and mean corruption error under common corruptions (Hendrycks and Dietterich, ICLR 2019).

A number over all corruptions is the mean over kinds of the mean over severities. The corruption error of a kind is the
model's errors over those of the untouched model on the same images, in percent: above 100, tuning made it worse.
ImageNet-C divides by AlexNet's errors instead, so that the two must not be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zsr_core.evaluation.metrics.calibration import BINS, bin_of, one_hot
from zsr_core.evaluation.metrics.intervals import wilson
from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Metric, always_defined
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import Statistic, ends_of, value_of


def corrupted_accuracy(images: Images, weights: Floats) -> Floats:
    """Return [R], the mean over kinds of the mean accuracy over severities."""
    return over_kinds(images, weights @ images.corrupted.correct.astype(np.float64), weights)


def over_kinds(images: Images, sums: Floats, weights: Floats) -> Floats:
    """Return [R], of sums over images [R, C]: per kind the mean over images and severities, then over kinds."""
    of_kind = images.corrupted.of_kind()
    shares = of_kind / of_kind.sum(axis=0) / of_kind.shape[1]  # [C, K]
    return np.asarray((sums @ shares).sum(axis=1) / weights.sum(axis=1), dtype=np.float64)


def corrupted_ece(images: Images, weights: Floats) -> Floats:
    """Return [R], the mean over kinds and severities of the calibration error."""
    seen = images.corrupted
    sums = [
        np.abs(weights @ (one_hot(bin_of(p_max, BINS), BINS) * (correct - p_max)[:, None])).sum(axis=1)
        for p_max, correct in zip(seen.p_max.T, seen.correct.T.astype(np.float64), strict=True)
    ]
    return over_kinds(images, np.stack(sums, axis=1), weights)


def corruption_error(images: Images, weights: Floats) -> Floats:
    """Return [R], the mean over kinds of the model's errors over the untouched model's, summed over severities."""
    seen = images.corrupted
    of_kind = seen.of_kind()
    own, theirs = (weights @ (~correct).astype(np.float64) @ of_kind for correct in (seen.correct, seen.untouched))
    ratios = np.divide(own, theirs, out=np.full_like(own, np.nan), where=theirs > 0)
    return np.asarray(ratios.mean(axis=1), dtype=np.float64)


def relative_accuracy(images: Images, weights: Floats) -> Floats:
    """Return [R], the accuracy under corruptions over the accuracy without; NaN where that is 0."""
    clean = (weights @ images.correct.astype(np.float64)) / weights.sum(axis=1)
    own = corrupted_accuracy(images, weights)
    return np.asarray(np.divide(own, clean, out=np.full_like(own, np.nan), where=clean > 0), dtype=np.float64)


def accuracy_ends(images: Images, value: float) -> Ends | None:
    """Return the Wilson interval under one corruption, whose accuracy is a share of images, else a bootstrap's."""
    if len(images.corrupted.cells) == 1:
        return wilson(value, len(images))
    return ends_of(corrupted_accuracy)(images, value)


def without_untouched_error(images: Images) -> str:
    """Return why there is no ratio of errors, or ""."""
    seen = images.corrupted
    wrong = (~seen.untouched).sum(axis=0) @ seen.of_kind()
    perfect = [kind for kind, n in zip(seen.kinds, wrong, strict=True) if n == 0]
    return f"the untouched model makes no error under {', '.join(perfect)}" if perfect else ""


def without_right(images: Images) -> str:
    """Return why there is no share of the clean accuracy, or ""."""
    return "" if images.correct.any() else "no clean image is right"


def _row(
    name: str, title: str, statistic: Statistic, conditions: tuple[Condition, ...], *, higher: bool,
    undefined: Callable[[Images], str] = always_defined,
) -> Metric:  # fmt: skip
    interval = accuracy_ends if statistic is corrupted_accuracy else ends_of(statistic)
    return Metric(
        name=name, title=title, unit="%", higher_is_better=higher, conditions=conditions, attacked=False,
        value=value_of(statistic), interval=interval, reads="corruptions", always=False, undefined=undefined,
    )  # fmt: skip


CORRUPTED: tuple[Metric, ...] = (
    _row("corrupted_accuracy", "accuracy under corruptions", corrupted_accuracy, ("clean", "corruption"), higher=True),
    _row("corrupted_ece", "calibration error under corruptions", corrupted_ece, ("clean", "corruption"), higher=False),
    _row("corruption_error", "mean corruption error", corruption_error, ("clean", "kind"), higher=False,
         undefined=without_untouched_error),
    _row("relative_corrupted_accuracy", "share of the clean accuracy kept under corruptions", relative_accuracy,
         ("clean",), higher=True, undefined=without_right),
)  # fmt: skip
