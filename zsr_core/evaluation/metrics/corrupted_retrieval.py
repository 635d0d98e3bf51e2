"""Image-text retrieval under common corruptions: all images are corrupted, the captions stay, nothing is attacked.

A number over all corruptions is the mean over kinds of the mean over severities, as of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zsr_core.evaluation.metrics.metric import Condition, Images, Metric
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.ranks import Gallery
from zsr_core.evaluation.metrics.resampling import Statistic, ends_of, value_of
from zsr_core.evaluation.metrics.retrieval import AT, WAYS, Way, gallery_of, ranks_of, summed_over_images, too_small

NONE = "no corruption was evaluated"


def recall(gallery: Gallery, way: Way, k: int, weights: Floats) -> Floats:
    """Return [R], R@k of weighted images [R, N], whose captions follow them."""
    right = (ranks_of(gallery, way, "clean") <= k).astype(np.float64)
    part, whole = (summed_over_images(x, gallery) for x in (right, np.ones(len(right))))
    return np.asarray((weights @ part) / (weights @ whole), dtype=np.float64)


def corrupted_recall(images: Images, way: Way, k: int, weights: Floats) -> Floats:
    """Return [R], the mean over kinds of the mean over severities of R@k."""
    by_kind: dict[str, list[Floats]] = {}
    for cell, seen in gallery_of(images).corrupted:
        by_kind.setdefault(cell.kind, []).append(recall(seen, way, k, weights))
    means = [np.mean(own, axis=0) for own in by_kind.values()]
    return np.asarray(np.mean(means, axis=0), dtype=np.float64)


def _recall(way: Way, k: int) -> Metric:
    def statistic(images: Images, weights: Floats) -> Floats:
        return corrupted_recall(images, way, k, weights)

    def undefined(images: Images) -> str:
        gallery = gallery_of(images)
        return too_small(gallery, way, k) or ("" if gallery.corrupted else NONE)

    return _row(
        f"{way}_r{k}_corrupted", f"{WAYS[way]} R@{k} under corruptions", statistic, ("clean", "corruption", "kind"),
        undefined,
    )  # fmt: skip


def _kept(way: Way) -> Metric:
    def statistic(images: Images, weights: Floats) -> Floats:
        clean, own = recall(gallery_of(images), way, 1, weights), corrupted_recall(images, way, 1, weights)
        return np.asarray(np.divide(own, clean, out=np.full_like(own, np.nan), where=clean > 0), dtype=np.float64)

    def undefined(images: Images) -> str:
        gallery = gallery_of(images)
        reason = too_small(gallery, way, 1) or ("" if gallery.corrupted else NONE)
        some = bool((ranks_of(gallery, way, "clean") == 1).any())
        return reason or ("" if some else "no query is right without corruption")

    return _row(
        f"{way}_relative_corrupted", f"share of the clean {WAYS[way]} R@1 kept under corruptions", statistic,
        ("clean",), undefined,
    )  # fmt: skip


def _row(
    name: str, title: str, statistic: Statistic, conditions: tuple[Condition, ...], undefined: Callable[[Images], str]
) -> Metric:
    return Metric(
        name=name, title=title, unit="%", higher_is_better=True, conditions=conditions, attacked=False,
        value=value_of(statistic), interval=ends_of(statistic), reads="retrieval", always=False, undefined=undefined,
    )  # fmt: skip


CORRUPTED_RETRIEVAL: tuple[Metric, ...] = (
    *(_recall(way, k) for way in WAYS for k in AT),
    *(_kept(way) for way in WAYS),
)
