"""Image-text retrieval: which caption belongs to an image, and which image to a caption.

Hits are counted as CLIP's evaluations count them: an image is right at k if one of its captions is among the k first
(i2t), a caption if its image is (t2i). Intervals are bootstraps over images, and captions follow their image. What is
attacked is said in a metric's name, because no two of these threat models are the same task:

query: the image that asks is attacked; hiding: of each caption only its own image; gallery: all images;
distractor: a wrong image is pushed to a caption; embedding: the embedding that asks is moved (an exact certificate, or
a lower bound where an image has several captions); noise: it is moved at random, as a control;
token_query, token_hiding: tokens between two blocks are moved, with the losses of query and hiding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from zsr_core.evaluation.metrics.metric import Condition, Images, Metric, Unit
from zsr_core.evaluation.metrics.outputs import Floats, Rows
from zsr_core.evaluation.metrics.ranks import Gallery
from zsr_core.evaluation.metrics.resampling import Statistic, ends_of, value_of
from zsr_core.threat import Norm, budget_text

AT: tuple[int, ...] = (1, 5, 10)
PIXEL: tuple[Condition, ...] = ("query", "hiding", "gallery", "distractor")  # under these the pixels are attacked
MOVED: tuple[Condition, ...] = ("embedding", "noise")  # under these the embedding that asks is moved
FEATURES: tuple[Condition, ...] = (*MOVED, "token_query", "token_hiding")  # their budgets are no pixels
Way = Literal["i2t", "t2i"]
WAYS: Mapping[Way, str] = {"i2t": "image-to-text", "t2i": "text-to-image"}
# condition -> what titles say of it, and which ways are measured under it
UNDER: Mapping[Condition, tuple[str, tuple[Way, ...]]] = {
    "query": (", query attacked", ("i2t",)),
    "hiding": (", its own image attacked", ("t2i",)),
    "gallery": (", whole gallery attacked", ("t2i",)),
    "embedding": (", embedding moved (certificate)", ("i2t", "t2i")),
    "noise": (", embedding moved at random", ("i2t", "t2i")),
    "token_query": (", tokens attacked", ("i2t",)),
    "token_hiding": (", tokens of its own image attacked", ("t2i",)),
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Share:
    """A ratio of two sums over images: a share of images, or of captions, which follow their image."""

    part: Floats  # [N]
    whole: Floats  # [N]


def budget_under(condition: str, eps: float, norm: Norm) -> str:
    """Return a condition's budget as one reads it: of pixels ``2/255``, of embeddings and tokens ``0.1``."""
    return f"{eps:g}" if condition in FEATURES else budget_text(eps, norm)


def gallery_of(images: Images) -> Gallery:
    """Return the image-text set that a metric of retrieval reads; it is called on nothing else."""
    assert images.gallery is not None, "measured of image-text sets alone"
    return images.gallery


def ranks_of(gallery: Gallery, way: Way, condition: Condition) -> Rows:
    """Return the ranks [N] or [N_t] of a way under a condition."""
    if way == "i2t":
        return gallery.i2t
    if condition == "noise":
        return gallery.t2i_said
    return gallery.t2i_hidden if condition in ("hiding", "token_hiding") else gallery.t2i


def _right(gallery: Gallery, way: Way, condition: Condition, k: int) -> Rows:
    """Return 1 where the query is right at ``k``: [N] or [N_t]."""
    if condition == "embedding":
        clean = gallery.before  # computed once for all radii
        radii = clean.i2t_radius if way == "i2t" else clean.t2i_radius
        return (radii > gallery.radius).astype(np.intp)
    if condition == "distractor":
        return 1 - gallery.distracted
    return (ranks_of(gallery, way, condition) <= k).astype(np.intp)


def _right_before(gallery: Gallery, way: Way, condition: Condition) -> Rows:
    """Return 1 where the same queries are right at 1 without attack."""
    right = _right(gallery.before, way, "clean", 1)
    return right[gallery.first] if condition == "distractor" else right


def summed_over_images(values: Floats | Rows, gallery: Gallery) -> Floats:
    """Return the sums [N] over each image's queries: the image itself, or its captions."""
    each = np.asarray(values, np.float64)
    if len(each) == len(gallery):
        return each
    return np.asarray(np.bincount(gallery.owner, each, minlength=len(gallery)), np.float64)


def _share(part: Rows | Floats, whole: Rows | Floats, gallery: Gallery) -> Share:
    return Share(part=summed_over_images(part, gallery), whole=summed_over_images(whole, gallery))


def _metric(
    name: str, title: str, condition: Condition, statistic: Statistic, undefined: Callable[[Gallery], str], *,
    unit: Unit = "%", higher: bool = True,
) -> Metric:  # fmt: skip
    return Metric(
        name=name, title=title, unit=unit, higher_is_better=higher, conditions=(condition,),
        value=value_of(statistic), attacked=condition in PIXEL, reads="retrieval", interval=ends_of(statistic),
        undefined=lambda images: undefined(gallery_of(images)),
    )  # fmt: skip


def _sum_of(shares: Callable[[Gallery], list[Share]]) -> Statistic:
    """Return the statistic that is the sum of these shares."""

    def statistic(images: Images, weights: Floats) -> Floats:
        total = np.zeros(len(weights))
        with np.errstate(invalid="ignore", divide="ignore"):  # a draw may hold no image that the share is of
            for share in shares(gallery_of(images)):
                total += (weights @ share.part) / (weights @ share.whole)
        return total

    return statistic


def too_small(gallery: Gallery, way: Way, k: int) -> str:
    """Return why R@k says nothing of a gallery, or "": the k first hold every candidate."""
    if len(gallery) < 2:
        return f"{len(gallery)} image: there is nothing to confuse it with"
    others = len(gallery.texts) - np.bincount(gallery.owner).min() if way == "i2t" else len(gallery) - 1
    what = "captions" if way == "i2t" else "images"
    return f"{others} {what} of others: the first {k} hold the match whatever the model does" if others < k else ""


def _recall(way: Way, k: int, condition: Condition) -> Metric:
    end, under = ("", "") if condition == "clean" else (f"_{condition}", UNDER[condition][0])

    def shares(gallery: Gallery) -> list[Share]:
        right = _right(gallery, way, condition, k)
        return [_share(right, np.ones(len(right)), gallery)]

    return _metric(
        f"{way}_r{k}{end}", f"{WAYS[way]} R@{k}{under}", condition, _sum_of(shares), lambda g: too_small(g, way, k)
    )  # fmt: skip


def _drop(way: Way, condition: Condition) -> Metric:
    def shares(gallery: Gallery) -> list[Share]:
        before, now = _right_before(gallery, way, condition), _right(gallery, way, condition, 1)
        return [_share(before - now, np.ones(len(now)), gallery)]

    return _metric(
        f"{way}_drop_{condition}", f"{WAYS[way]} R@1 lost{UNDER[condition][0]}", condition, _sum_of(shares),
        lambda g: too_small(g, way, 1), unit="points", higher=False,
    )  # fmt: skip


def _success(way: Way, condition: Condition, under: str) -> Metric:
    def shares(gallery: Gallery) -> list[Share]:
        before, now = _right_before(gallery, way, condition), _right(gallery, way, condition, 1)
        return [_share(before * (1 - now), before, gallery)]

    def undefined(gallery: Gallery) -> str:
        right = too_small(gallery, way, 1) or bool(_right_before(gallery, way, condition).any())
        return right if isinstance(right, str) else "" if right else "no query is right without attack"

    return _metric(
        f"{way}_asr_{condition}", f"{WAYS[way]} attack success on right queries{under}", condition, _sum_of(shares),
        undefined, higher=False,
    )  # fmt: skip


def _radius(way: Way) -> Metric:
    def shares(gallery: Gallery) -> list[Share]:
        radii = np.maximum(gallery.i2t_radius if way == "i2t" else gallery.t2i_radius, 0.0)
        return [_share(radii, np.ones(len(radii)), gallery)]

    return _metric(
        f"{way}_radius", f"{WAYS[way]} mean certified radius", "clean", _sum_of(shares), lambda g: too_small(g, way, 1),
        unit="",
    )  # fmt: skip


def _median(way: Way) -> Metric:
    """Return the row of the median rank; of an even number of queries the mean of the two in the middle."""

    def statistic(images: Images, weights: Floats) -> Floats:
        gallery = gallery_of(images)
        ranks = ranks_of(gallery, way, "clean")
        order = np.argsort(ranks, kind="stable")
        owner = np.arange(len(gallery)) if way == "i2t" else gallery.owner
        values = []
        for row in weights:  # one draw at a time: a COCO split has 25,010 captions
            upto = np.cumsum(row[owner[order]])
            middle = np.searchsorted(upto, [(upto[-1] - 1) // 2, upto[-1] // 2], side="right")
            values.append(ranks[order[middle]].mean())
        return np.array(values)

    return _metric(
        f"{way}_median_rank", f"{WAYS[way]} median rank", "clean", statistic, lambda g: too_small(g, way, 1), unit="",
        higher=False,
    )  # fmt: skip


def _rsum() -> Metric:
    def shares(gallery: Gallery) -> list[Share]:
        rights = [_right(gallery, way, "clean", k) for way in WAYS for k in AT]
        return [_share(right, np.ones(len(right)), gallery) for right in rights]

    def undefined(gallery: Gallery) -> str:
        return next((reason for way in WAYS for k in AT if (reason := too_small(gallery, way, k))), "")

    return _metric("rsum", "RSUM, sum of the six recalls", "clean", _sum_of(shares), undefined, unit="points")


def _distracted() -> Metric:
    def shares(gallery: Gallery) -> list[Share]:
        return [_share(gallery.distracted, np.ones(len(gallery)), gallery)]

    return _metric(
        "t2i_distracted", "share of captions whose first image is a distractor", "distractor", _sum_of(shares),
        lambda g: too_small(g, "t2i", 1), higher=False,
    )  # fmt: skip


_CLEAN: Sequence[Metric] = [_recall(way, k, "clean") for way in WAYS for k in AT]
_UNDER: Sequence[Metric] = [
    row
    for condition, (under, ways) in UNDER.items()
    for way in ways
    for row in (
        *(_recall(way, k, condition) for k in ((1,) if condition in MOVED else AT)),
        *((_drop(way, condition), _success(way, condition, under)) if condition not in MOVED else ()),
    )
]
RETRIEVAL: tuple[Metric, ...] = (
    *_CLEAN, _rsum(), _median("i2t"), _median("t2i"), _radius("i2t"), _radius("t2i"), *_UNDER, _distracted(),
    _success("t2i", "distractor", ", distractor pushed to them"),
)  # fmt: skip
