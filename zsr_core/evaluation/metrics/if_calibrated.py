"""What a perfectly calibrated model with the same probabilities would show on as many images.

A calibration error is a mean of absolute gaps, so few images give an error above 0 even to a perfect model. Here each
image is right with the probability that the model itself states: value and interval are the mean and the middle 95 %
over draws of that. A difference counts only where the model's own number lies outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial

import numpy as np

from zsr_core.evaluation.metrics.calibration import (
    ALL,
    BINS,
    FEWER_DRAWS,
    bin_of,
    counted_classes,
    equal_edges,
    largest_gap,
    log_p_of,
    one_hot,
    risk_area,
    without_full_bin,
)
from zsr_core.evaluation.metrics.intervals import DRAWS
from zsr_core.evaluation.metrics.metric import Ends, Images, Metric, Reads, Unit, always_defined
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import CELLS
from zsr_core.rng import seed_for

Draw = Callable[[Images], Floats]  # -> [R], the metric of a perfectly calibrated model in each draw


def right_draws(images: Images) -> Iterator[Floats]:
    """Yield blocks [R, N] of whether each image is right: 1 with the probability of its confidence, else 0."""
    for uniform in _uniforms(len(images)):
        yield (uniform < images.p_max).astype(np.float64)


def _uniforms(n: int) -> Iterator[Floats]:
    if n * DRAWS <= CELLS:
        yield _all_uniforms(n)
        return
    random = np.random.default_rng(seed_for(0, "calibrated", n))
    most = max(1, CELLS // n)
    for begun in range(0, DRAWS, most):
        yield random.random((min(most, DRAWS - begun), n))


@lru_cache(maxsize=4)
def _all_uniforms(n: int) -> Floats:
    return np.random.default_rng(seed_for(0, "calibrated", n)).random((DRAWS, n))


def ece_draws(images: Images, bins: int = BINS) -> Floats:
    """Return [R], the calibration error over bins of equal width."""
    inside = one_hot(bin_of(images.p_max, bins), bins)
    return _over(images, lambda right: _gaps(right, images.p_max, inside))


def ece_adaptive_draws(images: Images, bins: int = BINS) -> Floats:
    """Return [R], the calibration error over bins of equally many images."""
    place = np.empty(len(images), np.intp)
    place[np.argsort(images.p_max, kind="stable")] = np.arange(len(images))
    inside = one_hot(np.searchsorted(equal_edges(len(images), bins)[1:-1], place, side="right"), bins)
    return _over(images, lambda right: _gaps(right, images.p_max, inside))


def _gaps(right: Floats, confidence: Floats, inside: Floats) -> Floats:
    return np.asarray(np.abs(right @ inside - confidence @ inside).sum(axis=1) / len(confidence), dtype=np.float64)


def mce_draws(images: Images) -> Floats:
    """Return [R], the largest gap of a bin with enough images."""
    inside = one_hot(bin_of(images.p_max, BINS), BINS)
    sure, counts = images.p_max @ inside, inside.sum(axis=0)
    return _over(images, lambda right: largest_gap(right @ inside - sure, np.broadcast_to(counts, (len(right), BINS))))


def aurc_draws(images: Images) -> Floats:
    """Return [R], the area under the risk-coverage curve."""
    order = np.argsort(-images.p_max, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(images.p_max[order]) != 0]))
    sizes = np.diff(np.append(starts, len(images))).astype(np.float64)[None]

    def area(right: Floats) -> Floats:
        errors = np.add.reduceat(1 - right[:, order], starts, axis=1)
        return risk_area(np.broadcast_to(sizes, errors.shape), errors)

    return area(next(right_draws(images))[:FEWER_DRAWS])


def _over(images: Images, statistic: Callable[[Floats], Floats]) -> Floats:
    return np.concatenate([statistic(right) for right in right_draws(images)])


def ece_classwise_draws(images: Images, bins: int = BINS) -> Floats:
    """Return [R], the class-wise error; the labels are drawn from the probabilities, of the classes that count."""
    log_p = log_p_of(images)
    n, classes = log_p.shape
    p, counted = np.exp(log_p), counted_classes(images, classes)
    p /= p.sum(axis=1, keepdims=True)
    upto = p.cumsum(axis=1) + np.arange(n)[:, None]  # one rising list, so that one search draws all labels
    upto[:, -1] = np.arange(n) + 1.0
    place = np.full(classes, -1)
    place[counted] = np.arange(len(counted))
    cell = bin_of(p[:, counted].ravel(), bins).reshape(n, -1) + bins * np.arange(len(counted))  # [N, C'] of C' M cells
    sure = np.bincount(cell.ravel(), p[:, counted].ravel(), bins * len(counted))
    random = np.random.default_rng(seed_for(0, "calibrated labels", n))
    errors = []
    for _ in range(FEWER_DRAWS):
        at = np.searchsorted(upto.ravel(), random.random(n) + np.arange(n), side="right").clip(max=n * classes - 1)
        column = place[at % classes]
        rows = np.flatnonzero(column >= 0)
        right = np.bincount(cell[rows, column[rows]], minlength=bins * len(counted))
        errors.append(np.abs(right - sure).sum() / n / len(counted))
    return np.array(errors)


def nll_moments(images: Images) -> tuple[Floats, Floats]:
    """Return [N] and [N], mean and variance of an image's negative log-likelihood if its label is drawn from p."""
    log_p = log_p_of(images)
    return _moments(np.exp(log_p), -log_p)


def brier_moments(images: Images) -> tuple[Floats, Floats]:
    """Return [N] and [N], mean and variance of an image's Brier score if its label is drawn from p."""
    p = np.exp(log_p_of(images))
    return _moments(p, (p**2).sum(axis=1, keepdims=True) - 2 * p + 1)


def _moments(p: Floats, scores: Floats) -> tuple[Floats, Floats]:
    mean = (p * scores).sum(axis=1)
    return mean, (p * (scores - mean[:, None]) ** 2).sum(axis=1)


def _by_draws(name: str, title: str, draw: Draw, unit: Unit = "%", reads: Reads = "records") -> Metric:
    kept = _last_of(draw)

    def value(images: Images) -> float | None:
        values = kept(images)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else None

    def ends(images: Images, value: float) -> Ends | None:
        low, high = np.nanpercentile(kept(images), (2.5, 97.5))
        return (float(low), float(high)) if low < high else None

    return Metric(
        name=f"{name}_if_calibrated", title=f"{title} of a calibrated model", unit=unit, higher_is_better=False,
        conditions=ALL, attacked=False, value=value, interval=ends, reads=reads, always=False,
        undefined=without_full_bin if draw is mce_draws else always_defined,
    )  # fmt: skip


def _last_of(draw: Draw) -> Draw:
    """Return ``draw``, which remembers its last draws: a value and its interval are of the same ones."""
    return lru_cache(maxsize=1)(draw)


def _by_moments(name: str, title: str, moments: Callable[[Images], tuple[Floats, Floats]], unit: Unit) -> Metric:
    def value(images: Images) -> float:
        return float(moments(images)[0].mean())

    def ends(images: Images, value: float) -> Ends | None:
        half = 1.959964 * float(np.sqrt(moments(images)[1].sum())) / len(images)
        return (value - half, value + half) if half > 0 else None

    return Metric(
        name=f"{name}_if_calibrated", title=f"{title} of a calibrated model", unit=unit, higher_is_better=False,
        conditions=ALL, attacked=False, value=value, interval=ends, reads="embeddings", always=False,
    )  # fmt: skip


IF_CALIBRATED: tuple[Metric, ...] = (
    _by_draws("ece", "calibration error", ece_draws),
    _by_draws("ece10", "calibration error, 10 bins,", partial(ece_draws, bins=10)),
    _by_draws("ece30", "calibration error, 30 bins,", partial(ece_draws, bins=30)),
    _by_draws("ece_adaptive", "adaptive calibration error", ece_adaptive_draws),
    _by_draws("ece_classwise", "class-wise calibration error", ece_classwise_draws, reads="embeddings"),
    _by_draws("mce", "largest calibration gap", mce_draws),
    _by_moments("nll", "negative log-likelihood", nll_moments, "nats"),
    _by_moments("brier", "Brier score", brier_moments, ""),
    _by_draws("aurc", "area under the risk-coverage curve", aurc_draws),
)
