"""Out-of-distribution detection by class split: would the model notice classes that it has no text for?

Half of a set's classes are in distribution (ID): their texts are all that the model has. The images of the other half
are out of distribution (OOD), near ones, because they are of the same set. Numbers are means over five random halves,
the same for every model. Scores are larger where an image looks more in-distribution.

Two false-positive rates are called FPR95 in the literature: the share of OOD images accepted where 95 % of ID images
are (Hendrycks and Gimpel, ICLR 2017; MCM, NeurIPS 2022), and the share of ID images rejected where 95 % of OOD images
are (OpenOOD 1.5). Both are here, under names that say which.

Under attack one side is attacked at a time. The attacks are the suite's: they look for a wrong class, not for a wrong
decision of the detector.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Interval, Metric
from zsr_core.evaluation.metrics.outputs import Floats, Outputs, Rows, log_softmax, logsumexp
from zsr_core.evaluation.metrics.ranking import (
    Ranked,
    auroc,
    average_precision,
    ends_of_moves,
    fpr_at_tpr,
    moves,
    ranked,
)
from zsr_core.rng import seed_for

SPLITS = 5
LEAST_CLASSES = 4  # two in distribution and two out of it
Side = Literal["", "_adv_id", "_adv_ood"]  # which side an attack has changed


class Split(NamedTuple):
    """One random half of the classes: the classes in distribution, and the images on both sides."""

    classes: Rows
    inside: Rows
    outside: Rows


@lru_cache(maxsize=8)
def splits(images: Images) -> list[Split]:
    """Return five random halves of the classes, the same for every model; the larger half is in distribution."""
    classes = len(images.kept.texts.classes)
    found = []
    for i in range(SPLITS):
        order = np.random.default_rng(seed_for(0, "ood split", classes, i)).permutation(classes)
        held = np.sort(order[: (classes + 1) // 2])
        inside = np.isin(np.arange(classes), held)[images.label]
        found.append(Split(classes=held, inside=np.flatnonzero(inside), outside=np.flatnonzero(~inside)))
    return found


# ---- scores


def msp(outputs: Outputs) -> Floats:
    """Return the largest softmax probability."""
    return np.asarray(outputs.log_p.max(axis=1), dtype=np.float64)


def max_logit(outputs: Outputs) -> Floats:
    """Return the largest logit."""
    return np.asarray(outputs.logits.max(axis=1), dtype=np.float64)


def energy(outputs: Outputs) -> Floats:
    """Return the log-sum-exp of the logits: the negative of the energy."""
    return logsumexp(outputs.logits)


def mcm(outputs: Outputs) -> Floats:
    """Return the largest softmax probability of the cosines themselves, at a temperature of 1."""
    return np.asarray(log_softmax(outputs.cosines).max(axis=1), dtype=np.float64)


def certainty(outputs: Outputs) -> Floats:
    """Return the negative entropy of the softmax, in nats."""
    return np.asarray((np.exp(outputs.log_p) * outputs.log_p).sum(axis=1), dtype=np.float64)


# outputs of N images -> [N]; of a probability the log, which ranks alike and does not round to 1
SCORES: Mapping[str, tuple[str, Callable[[Outputs], Floats]]] = {
    "msp": ("largest probability", msp),
    "max_logit": ("largest logit", max_logit),
    "energy": ("energy", energy),
    "mcm": ("MCM", mcm),
    "entropy": ("entropy", certainty),
}


@lru_cache(maxsize=4)
def _among(images: Images) -> list[tuple[Split, Outputs]]:
    """Return per split the outputs of all images in front of the texts of its classes alone."""
    return [(part, images.kept.among(part.classes)) for part in splits(images)]


@lru_cache(maxsize=16)
def _scored(images: Images, score: str) -> list[tuple[Split, Floats]]:
    """Return per split the scores [N] of all images among its classes."""
    return [(part, SCORES[score][1](outputs)) for part, outputs in _among(images)]


@lru_cache(maxsize=16)
def groups(images: Images, score: str, side: Side) -> list[tuple[Ranked, Split]]:
    """Return per split the scores of ID and OOD images; of an attack's images on the one ``side``."""
    ids = oods = _scored(images, score)
    if side:
        assert images.clean is not None, "measured under attack alone"
        there = _scored(images.clean, score)
        ids, oods = (ids, there) if side == "_adv_id" else (there, oods)
    return [(ranked(i[part.inside], o[part.outside]), part) for (part, i), (_, o) in zip(ids, oods, strict=True)]


# ---- measures of the scores of ID images, the positives, and of OOD images


def fpr_id_at_ood95(told: Ranked) -> float | None:
    """Return the share of ID images rejected by the threshold that rejects 95 % of OOD images."""
    return fpr_at_tpr(told.flipped)


def aupr_out(told: Ranked) -> float | None:
    """Return the average precision of OOD images as the positive ones."""
    return average_precision(told.flipped)


MEASURES: Mapping[str, tuple[str, Callable[[Ranked], float | None], bool]] = {
    "auroc": ("AUROC", auroc, True),
    "aupr_in": ("AUPR of ID", average_precision, True),
    "aupr_out": ("AUPR of OOD", aupr_out, True),
    "fpr_ood_at_id95": ("OOD accepted at 95 % of ID", fpr_at_tpr, False),
    "fpr_id_at_ood95": ("ID rejected at 95 % of OOD", fpr_id_at_ood95, False),
}
SIDES: Mapping[Side, tuple[str, tuple[Condition, ...]]] = {
    "": ("", ("clean",)),
    "_adv_id": (", ID attacked", ("attack", "worst")),
    "_adv_ood": (", OOD attacked", ("attack", "worst")),
}


def cannot_be_split(images: Images) -> str:
    """Return why the classes cannot be split, or ""."""
    classes = len(images.kept.texts.classes)
    if classes < LEAST_CLASSES:
        return f"{classes} classes cannot be split into two in and two out of distribution"
    one_sided = any(not len(part.inside) or not len(part.outside) for part in splits(images))
    return "too few images: in a split of the classes one side has none" if one_sided else ""


def _row(measure: str, score: str, side: Side) -> Metric:
    (title, of, higher), (by, _), (where, conditions) = MEASURES[measure], SCORES[score], SIDES[side]

    def value(images: Images) -> float | None:
        values = [got for told, _ in groups(images, score, side) if (got := of(told)) is not None]
        return float(np.mean(values)) if len(values) == SPLITS else None

    def ends(images: Images, value: float) -> Ends | None:
        moved = [moves(told, part.inside, part.outside, len(images)) for told, part in groups(images, score, side)]
        return ends_of_moves(value, np.mean(moved, axis=0), len(images))

    interval: Interval = ends if measure == "auroc" else "none"
    return Metric(
        name=f"ood_{measure}_{score}{side}", title=f"{title} by {by}{where}, class split", unit="%",
        higher_is_better=higher, conditions=conditions, attacked=side != "", value=value, interval=interval,
        reads="embeddings", always=False, undefined=cannot_be_split,
    )  # fmt: skip


OOD: tuple[Metric, ...] = tuple(
    _row(measure, score, side) for side in SIDES for score in SCORES for measure in MEASURES
)
