"""The profile of visual factors: accuracy where a factor shows, its gap to all images, and the ratio of errors.

Idrissi et al., ICLR 2023 (ImageNet-X). A number over all factors is the mean over factors. Intervals resample the
images, and with each image its changed versions, so that a gap is paired.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zsr_core.evaluation.metrics.metric import Ends, Images, Metric, Unit, always_defined
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import ends_over
from zsr_core.evaluation.metrics.shifts import Profile

OfGroup = Callable[[Floats, Floats], Floats]  # (accuracy where the factor shows [R], accuracy of all images [R]) -> [R]


def profile_value(profile: Profile, weights: Floats, number: OfGroup) -> Floats:
    """Return [R], the mean over groups of ``number``; ``weights`` [R, N] are of the profile's images."""
    every = (weights @ profile.correct.astype(np.float64)) / weights.sum(axis=1)
    return np.asarray(
        np.mean(
            [number(_accuracy(g.correct.astype(np.float64), weights[:, g.rows]), every) for g in profile.groups], axis=0
        )
    )


def _accuracy(correct: Floats, weights: Floats) -> Floats:
    """Return [R]; NaN where a draw holds none of the images."""
    total = weights.sum(axis=1)
    shares = np.divide(weights @ correct, total, out=np.full(len(weights), np.nan), where=total > 0)
    return np.asarray(shares, dtype=np.float64)


def shown(images: Images) -> int:
    """Return how many images show a factor; all images where no factor was evaluated."""
    return len(images) if images.factors is None else images.factors.shown


def accuracy(own: Floats, every: Floats) -> Floats:
    """Return the accuracy where the factor shows."""
    return own


def gap(own: Floats, every: Floats) -> Floats:
    """Return that accuracy minus the accuracy of all images."""
    return own - every


def error_ratio(own: Floats, every: Floats) -> Floats:
    """Return the error rate where the factor shows over that of all images; NaN where all are right."""
    ratio = np.divide(1 - own, 1 - every, out=np.full_like(own, np.nan), where=every < 1)
    return np.asarray(ratio, dtype=np.float64)


def all_right(images: Images) -> str:
    """Return why there is no ratio of errors, or ""."""
    return "no image is wrong" if images.profile.correct.all() else ""


def _row(
    name: str, title: str, number: OfGroup, unit: Unit, *, higher: bool,
    undefined: Callable[[Images], str] = always_defined,
) -> Metric:  # fmt: skip
    def value(images: Images) -> float | None:
        profile = images.profile
        got = float(profile_value(profile, np.ones((1, len(profile.correct))), number)[0])
        return None if np.isnan(got) else got

    def ends(images: Images, value: float) -> Ends | None:
        profile = images.profile
        return ends_over(len(profile.correct), lambda weights: profile_value(profile, weights, number))

    return Metric(
        name=name, title=title, unit=unit, higher_is_better=higher, conditions=("clean", "factor"), attacked=False,
        value=value, interval=ends, reads="factors", always=False, undefined=undefined, counted=shown,
    )  # fmt: skip


FACTORED: tuple[Metric, ...] = (
    _row("factor_accuracy", "accuracy where a factor shows", accuracy, "%", higher=True),
    _row("factor_gap", "factor gap", gap, "points", higher=True),
    _row("factor_error_ratio", "factor error ratio", error_ratio, "", higher=False, undefined=all_right),
)
