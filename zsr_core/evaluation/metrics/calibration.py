"""Calibration: does a model that is 80 % sure turn out right for 80 % of the images?

Confidence is the largest softmax probability. Guo et al., ICML 2017 (equal-width bins, 15 of them); Nixon et al., CVPR
workshops 2019 (adaptive, class-wise); Kumar et al., NeurIPS 2019 (debiased); Geifman and El-Yaniv, ICLR 2019 (AURC).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np
import numpy.typing as npt

from zsr_core.evaluation.metrics.intervals import DRAWS
from zsr_core.evaluation.metrics.metric import Condition, Images, Metric, Reads, Unit, always_defined
from zsr_core.evaluation.metrics.outputs import Floats, Rows
from zsr_core.evaluation.metrics.ranking import is_first
from zsr_core.evaluation.metrics.resampling import Statistic, ends_of, mean_of, value_of

BINS = 15
ENOUGH = 10  # images of a bin, below which its gap says more about chance than about the model
MOST_CLASSES, SHOWN_CLASSES = 200, 20  # with more than the first, class-wise errors are of the most frequent classes
FEWER_DRAWS = 200  # ours: for statistics that sort every draw or have bins of every class, which cost most
ALL: tuple[Condition, ...] = ("clean", "attack", "worst")


def bin_of(confidence: Floats, bins: int) -> Rows:
    """Return [N], the bins ((m - 1) / M, m / M] counted from 0; the first holds 0 too, the last 1."""
    return np.searchsorted(np.arange(1, bins) / bins, confidence, side="left")


def one_hot(at: Rows, bins: int) -> Floats:
    """Return [N, M] with a 1 in the column that ``at`` [N] names."""
    return np.equal(at[:, None], np.arange(bins)).astype(np.float64)


def ece(images: Images, weights: Floats, bins: int = BINS) -> Floats:
    """Return the expected calibration error: the mean of |accuracy - confidence| over bins of equal width."""
    inside = one_hot(bin_of(images.p_max, bins), bins)
    return _absolute(inside * (images.correct - images.p_max)[:, None], weights)


def _absolute(residuals: Floats, weights: Floats) -> Floats:
    """Return [R], of residuals [N, M]: the sum over bins of their absolute sums, an image."""
    sums = weights @ np.column_stack([residuals, np.ones(len(residuals))])  # one pass over the draws
    return np.asarray(np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1], dtype=np.float64)


def ece_adaptive(images: Images, weights: Floats, bins: int = BINS) -> Floats:
    """Return the calibration error over bins that hold the same number of images, sorted by confidence."""
    order = np.argsort(images.p_max, kind="stable")
    held = weights[:, order]
    zero = np.zeros((len(weights), 1))
    counted = np.hstack([zero, held.cumsum(axis=1)])  # images up to each
    summed = np.hstack([zero, (held * (images.correct - images.p_max)[order]).cumsum(axis=1)])
    total = counted[:, -1]
    cut = {n: equal_edges(int(n), bins) for n in set(total.tolist())}
    # Copies of one image may lie on both sides of an edge; they are alike, so the sum is linear in between. All draws
    # are one rising list, in which a draw's counts begin above those of the draws before it.
    before = ((total + 1).cumsum() - total - 1)[:, None]
    edges = np.stack([cut[n] for n in total.tolist()]) + before
    sums = np.interp(edges.ravel(), (counted + before).ravel(), summed.ravel()).reshape(edges.shape)
    return np.asarray(np.abs(np.diff(sums, axis=1)).sum(axis=1) / total, dtype=np.float64)


def equal_edges(n: int, bins: int) -> Floats:
    """Return [M + 1], where N sorted images are cut into M bins; the first ones hold the images that are left over."""
    sizes = np.full(bins, n // bins)
    sizes[: n % bins] += 1
    return np.concatenate([[0.0], sizes.cumsum()])


def ece_classwise(images: Images, weights: Floats, bins: int = BINS) -> Floats:
    """Return the mean over classes of the calibration error of each class's own probability."""
    log_p = log_p_of(images)
    counted = counted_classes(images, log_p.shape[1])
    p = np.exp(log_p[:, counted])  # [N, C']
    residuals = (images.label[:, None] == counted) - p
    at = bin_of(p, bins)
    # Nearly all probabilities are in the first bin, so its sums are one product. An image is in fewer than ``bins``
    # of the others, because probabilities add up to 1.
    first = np.abs(weights @ np.where(at == 0, residuals, 0.0)).sum(axis=1)
    rows, columns = np.nonzero(at)
    cells = columns * bins + at[rows, columns]
    order = np.argsort(cells, kind="stable")
    rows, columns, starts = rows[order], columns[order], np.flatnonzero(is_first(cells[order]))
    added = weights.T[rows] * residuals[rows, columns, None]  # [E, R]
    others = np.abs(np.add.reduceat(added, starts, axis=0)).sum(axis=0) if len(starts) else 0.0
    return np.asarray((first + others) / weights.sum(axis=1) / len(counted), dtype=np.float64)


def class_columns(images: Images) -> Iterator[tuple[Floats, Floats]]:
    """Yield per counted class [N] whether an image is of it, and [N] its probability."""
    log_p = log_p_of(images)
    counted = counted_classes(images, log_p.shape[1])
    for k in counted:
        yield (images.label == k).astype(np.float64), np.exp(log_p[:, k])


def counted_classes(images: Images, classes: int) -> list[int]:
    """Return the classes of a class-wise error: all, or of many the most frequent ones."""
    if classes <= MOST_CLASSES:
        return list(range(classes))
    often = np.bincount(images.label, minlength=classes)
    return [int(k) for k in np.argsort(-often, kind="stable")[:SHOWN_CLASSES]]


def mce(images: Images, weights: Floats, bins: int = BINS) -> Floats:
    """Return the largest |accuracy - confidence| of a bin with at least 10 images."""
    inside = one_hot(bin_of(images.p_max, bins), bins)
    sums = weights @ np.hstack([inside * (images.correct - images.p_max)[:, None], inside])
    return largest_gap(sums[:, :bins], sums[:, bins:])


def largest_gap(residuals: Floats, counts: Floats) -> Floats:
    """Return [R], of sums of residuals and numbers of images [R, M]; NaN where no bin has enough images."""
    gaps = np.divide(np.abs(residuals), counts, out=np.zeros_like(residuals), where=counts >= ENOUGH)
    return np.where((counts >= ENOUGH).any(axis=1), gaps.max(axis=1), np.nan)


def overconfidence(images: Images, weights: Floats) -> Floats:
    """Return the mean confidence minus the accuracy: above 0, the model is surer than it is right."""
    return mean_of(images.p_max - images.correct, weights)


def ece_debiased(images: Images, weights: Floats, bins: int = BINS) -> Floats:
    """Return the squared calibration error without the bias of few images; it may be below 0.

    ``sum_m w_m ((acc - conf)^2 - acc (1 - acc) / (n_m - 1))``, over bins with at least two images.
    """
    inside = one_hot(bin_of(images.p_max, bins), bins)
    columns = [inside, inside * images.correct[:, None], inside * images.p_max[:, None]]
    counts, right, sure = np.split(weights @ np.hstack(columns), 3, axis=1)
    enough = counts >= 2
    safe = np.where(enough, counts, 2.0)
    accuracy, confidence = right / safe, sure / safe
    squares = (accuracy - confidence) ** 2 - accuracy * (1 - accuracy) / (safe - 1)
    return np.asarray(np.where(enough, counts * squares, 0.0).sum(axis=1) / counts.sum(axis=1), dtype=np.float64)


def nll(images: Images, weights: Floats) -> Floats:
    """Return the mean negative log probability of the true class, in nats."""
    return mean_of(-own_log_p(images), weights)


def brier(images: Images, weights: Floats) -> Floats:
    """Return the mean squared distance of the probabilities to the one-hot label, from 0 to 2."""
    return mean_of(brier_terms(images), weights)


def brier_terms(images: Images) -> Floats:
    """Return [N], ``sum_k p_k^2 - 2 p_y + 1``."""
    return np.asarray(np.exp(2 * log_p_of(images)).sum(axis=1) - 2 * np.exp(own_log_p(images)) + 1, dtype=np.float64)


def own_log_p(images: Images) -> Floats:
    """Return [N], the log probability of the true class."""
    return log_p_of(images)[np.arange(len(images)), images.label]


def log_p_of(images: Images) -> Floats:
    """Return [N, C], the log of the softmax."""
    return images.kept.log_p


def aurc(images: Images, weights: Floats) -> Floats:
    """Return the area under the risk-coverage curve: the mean error rate among the k surest images, k = 1 to N.

    Images of one confidence are accepted in random order, so the curve is the expected one.
    """
    return aurc_of(-images.p_max, ~images.correct, weights)


def aurc_of(uncertainty: Floats, wrong: npt.NDArray[np.bool_], weights: Floats) -> Floats:
    """Return [R], the area under the risk-coverage curve of images that are accepted by rising uncertainty [N]."""
    order = np.argsort(uncertainty, kind="stable")
    starts = np.flatnonzero(is_first(uncertainty[order]))
    held = weights.T[order]
    return risk_area(sum_groups(held, starts), sum_groups(held * wrong[order, None], starts))


def sum_groups(rows: Floats, starts: Rows) -> Floats:
    """Return [G, R], the sums of consecutive rows [N, R] that begin at ``starts`` [G]."""
    return rows if len(starts) == len(rows) else np.add.reduceat(rows, starts, axis=0)


def risk_area(counts: Floats, errors: Floats) -> Floats:
    """Return [R], of the images and the errors [G, R] in groups of one confidence, the surest first.

    Within a group the expected number of errors rises linearly, at its error rate r: after k images of which a are
    surer it is e + (k - a) r, so that the mean of errors / k needs harmonic numbers only. ``counts`` may be [G, 1].
    """
    upto, before = counts.cumsum(axis=0), errors.cumsum(axis=0) - errors
    rate = np.divide(errors, counts, out=np.zeros_like(errors), where=counts > 0)
    harmonic = np.concatenate([[0.0], (1 / np.arange(1, int(upto[-1].max()) + 1)).cumsum()])
    steps = np.diff(harmonic[upto.astype(np.intp)], axis=0, prepend=0.0)
    return np.asarray((errors + (before - (upto - counts) * rate) * steps).sum(axis=0) / upto[-1], dtype=np.float64)


def without_full_bin(images: Images) -> str:
    """Return why there is no largest gap, or ""."""
    most = np.bincount(bin_of(images.p_max, BINS)).max()
    return f"no bin has {ENOUGH} images" if most < ENOUGH else ""


def _row(
    name: str, title: str, statistic: Statistic, unit: Unit = "%", *, reads: Reads = "records", always: bool = False,
    draws: int = DRAWS,
) -> Metric:  # fmt: skip
    return Metric(
        name=name, title=title, unit=unit, higher_is_better=False, conditions=ALL, attacked=False,
        value=value_of(statistic), interval=ends_of(statistic, draws), reads=reads, always=always,
        undefined=without_full_bin if statistic is mce else always_defined,
    )  # fmt: skip


CALIBRATION: tuple[Metric, ...] = (
    _row("ece", "calibration error", ece, always=True),
    _row("ece10", "calibration error, 10 bins", partial(ece, bins=10)),
    _row("ece30", "calibration error, 30 bins", partial(ece, bins=30)),
    _row("ece_adaptive", "adaptive calibration error", ece_adaptive, draws=FEWER_DRAWS),
    _row("ece_classwise", "class-wise calibration error", ece_classwise, reads="embeddings", draws=FEWER_DRAWS),
    _row("mce", "largest calibration gap", mce),
    _row("overconfidence", "confidence minus accuracy", overconfidence, "points", always=True),
    _row("ece_debiased", "debiased squared calibration error", ece_debiased, ""),
    _row("nll", "negative log-likelihood", nll, "nats", reads="embeddings", always=True),
    _row("brier", "Brier score", brier, "", reads="embeddings", always=True),
    _row("aurc", "area under the risk-coverage curve", aurc, always=True, draws=FEWER_DRAWS),
)
