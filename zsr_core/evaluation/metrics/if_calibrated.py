"""What a perfectly calibrated model with the same probabilities would show on as many images.

A calibration error is a mean of absolute gaps, so few images give an error above 0 even to a perfect model. Here each
image is right with the probability that the model itself states: value and interval are the mean and the middle 95 %
over draws of that. A difference counts only where the model's own number lies outside.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import Literal

import numpy as np
import numpy.typing as npt

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
    sum_groups,
    without_full_bin,
)
from zsr_core.evaluation.metrics.intervals import DRAWS
from zsr_core.evaluation.metrics.metric import Ends, Images, Metric, Reads, Unit, always_defined
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.ranking import is_first
from zsr_core.evaluation.metrics.resampling import CELLS
from zsr_core.rng import seed_for

Binning = int | Literal["adaptive"]  # so many bins of equal width, or bins of equally many images
BAND = (BINS, 10, 30)
Draw = Callable[[Images], Floats]  # -> [R], the metric of a perfectly calibrated model in each draw


def _uniforms(n: int) -> Iterator[Floats]:
    """Yield blocks [R, N]: in a draw an image is right where its number is below its confidence."""
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
    return _error(images, bins)


def ece_adaptive_draws(images: Images) -> Floats:
    """Return [R], the calibration error over bins of equally many images."""
    return _error(images, "adaptive")


def _error(images: Images, binning: Binning) -> Floats:
    inside, right = binnings(images)[binning], right_in_bins(images)[binning]
    return np.asarray(np.abs(right - images.p_max @ inside).sum(axis=1) / len(images), dtype=np.float64)


def mce_draws(images: Images) -> Floats:
    """Return [R], the largest gap of a bin with enough images."""
    inside, right = binnings(images)[BINS], right_in_bins(images)[BINS]
    return largest_gap(right - images.p_max @ inside, np.broadcast_to(inside.sum(axis=0), right.shape))


@lru_cache(maxsize=2)
def binnings(images: Images) -> dict[Binning, Floats]:
    """Return by binning [N, M], which bin each image is in."""
    n = len(images)
    place = np.empty(n, np.intp)
    place[np.argsort(images.p_max, kind="stable")] = np.arange(n)
    equal = one_hot(np.searchsorted(equal_edges(n, BINS)[1:-1], place, side="right"), BINS)
    equal_width: dict[Binning, Floats] = {bins: one_hot(bin_of(images.p_max, bins), bins) for bins in BAND}
    return {"adaptive": equal, **equal_width}


@lru_cache(maxsize=2)
def right_in_bins(images: Images) -> dict[Binning, Floats]:
    """Return by binning [R, M], the right images in each bin in each draw; one product gives those of all binnings."""
    inside = binnings(images)
    beside = np.hstack(list(inside.values())).astype(np.float32)  # counts below 2 ** 24 are exact in single precision
    right = np.concatenate([(u < images.p_max).astype(np.float32) @ beside for u in _uniforms(len(images))])
    ends = np.cumsum([each.shape[1] for each in inside.values()])
    return dict(zip(inside, np.split(right.astype(np.float64), ends[:-1], axis=1), strict=True))


def aurc_draws(images: Images) -> Floats:
    """Return [R], the area under the risk-coverage curve."""
    order = np.argsort(-images.p_max, kind="stable")
    starts = np.flatnonzero(is_first(images.p_max[order]))
    sizes = np.diff(np.append(starts, len(images))).astype(np.float64)[:, None]
    wrong = next(_uniforms(len(images)))[:FEWER_DRAWS] >= images.p_max
    return risk_area(sizes, sum_groups(wrong.T[order].astype(np.float64), starts))


def ece_classwise_draws(images: Images, bins: int = BINS) -> Floats:
    """Return [R], the class-wise error; the labels are drawn from the probabilities, of the classes that count."""
    log_p = log_p_of(images)
    n, classes = log_p.shape
    p, counted = np.exp(log_p), counted_classes(images, classes)
    p /= p.sum(axis=1, keepdims=True)
    upto: Floats = p.cumsum(axis=1) + np.arange(n)[:, None]  # one rising list, so that one search draws all labels
    upto[:, -1] = np.arange(n) + 1.0
    cells = bins * len(counted)
    counted_cell = bin_of(p[:, counted].ravel(), bins).reshape(n, -1) + bins * np.arange(len(counted))  # [N, C']
    cell = np.full((n, classes), cells)  # one more cell, of the classes that do not count
    cell[:, counted] = counted_cell
    sure = np.bincount(counted_cell.ravel(), p[:, counted].ravel(), cells)
    random = np.random.default_rng(seed_for(0, "calibrated labels", n))
    most = max(1, CELLS // max(n, cells))
    blocks = [random.random((min(most, FEWER_DRAWS - begun), n)) for begun in range(0, FEWER_DRAWS, most)]
    right = np.concatenate([_labels_in_cells(uniform, upto, cell, cells) for uniform in blocks])
    return np.asarray(np.abs(right - sure).sum(axis=1) / n / len(counted), dtype=np.float64)


def _labels_in_cells(uniform: Floats, upto: Floats, cell: npt.NDArray[np.int_], cells: int) -> npt.NDArray[np.int_]:
    """Return [R, cells], how many labels drawn by ``uniform`` [R, N] are in each cell; ``cell`` [N, C] is a label's."""
    draws, n = uniform.shape
    # Searched image by image, because neighbours in the list are then in the processor's cache.
    asked = (uniform + np.arange(n)).T.ravel()
    at = np.searchsorted(upto.ravel(), asked, side="right").clip(max=upto.size - 1)
    held = cell.ravel()[at].reshape(n, draws) + (cells + 1) * np.arange(draws)
    return np.bincount(held.ravel(), minlength=draws * (cells + 1)).reshape(draws, cells + 1)[:, :cells]


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
