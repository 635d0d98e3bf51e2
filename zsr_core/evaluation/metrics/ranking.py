"""How well a number tells two groups of images apart: AUROC, precision and recall, false-positive rates.

All are exact for equal scores. Intervals of an AUROC follow DeLong et al., Biometrics 1988, and where one image gives
several scores, Obuchowski, Biometrics 1997; they are made on the logit scale, so that they stay within 0 and 1.
"""

from __future__ import annotations

import math

import numpy as np

from zsr_core.evaluation.metrics.metric import Ends
from zsr_core.evaluation.metrics.outputs import Floats, Rows


def auroc(positive: Floats, negative: Floats) -> float | None:
    """Return P(positive > negative) + P(equal) / 2, of scores [P] and [Q]; None if a group is empty."""
    return float(placements(positive, negative).mean()) if len(positive) and len(negative) else None


def placements(scores: Floats, others: Floats) -> Floats:
    """Return [N], for each score the share of ``others`` below it, equal ones counted half."""
    ranked = np.sort(others)
    below, upto = (np.searchsorted(ranked, scores, side=side) for side in ("left", "right"))
    return (below + upto) / (2 * len(others))


def auroc_ends(positive: Floats, negative: Floats, of_positive: Rows, of_negative: Rows) -> Ends | None:
    """Return the 95 % interval of :func:`auroc`; None where it is 0 or 1, or of fewer than two images.

    Args:
        of_positive, of_negative: [P] and [Q], the number of the image that a score is of, from 0. Scores of one image
            are not independent.
    """
    value = auroc(positive, negative)
    if value is None:
        return None
    images = int(max(of_positive.max(), of_negative.max())) + 1
    counted = len(np.union1d(of_positive, of_negative))
    return ends_of_moves(value, moves(positive, negative, of_positive, of_negative, images), counted)


def moves(positive: Floats, negative: Floats, of_positive: Rows, of_negative: Rows, images: int) -> Floats:
    """Return [images], how far each image moves the AUROC: its influence, of which the sum is 0.

    The other arguments are those of :func:`auroc_ends`; no group is empty.
    """
    share, other = placements(positive, negative), 1 - placements(negative, positive)
    value = share.mean()
    share, other = (share - value) / len(positive), (other - value) / len(negative)
    return np.asarray(
        np.bincount(of_positive, share, images) + np.bincount(of_negative, other, images), dtype=np.float64
    )


def ends_of_moves(value: float, moved: Floats, images: int) -> Ends | None:
    """Return the 95 % interval of an AUROC, or of a mean of several, from what each of so many images adds to it."""
    if value in (0.0, 1.0) or images < 2:
        return None
    deviation = math.sqrt(images / (images - 1) * float((moved**2).sum()))
    if deviation == 0:
        return None
    middle, half = math.log(value / (1 - value)), 1.959964 * deviation / (value * (1 - value))
    return _expit(middle - half), _expit(middle + half)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def average_precision(positive: Floats, negative: Floats) -> float | None:
    """Return the area under the precision-recall curve in steps, ``sum (R_n - R_(n-1)) P_n``; None without positives.

    Precision is read at every distinct score, as scikit-learn does.
    """
    if not len(positive) or not len(negative):
        return None
    scores = np.concatenate([positive, negative])
    hit = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    hits = hit[order].cumsum()[ends]
    return float((np.diff(hits, prepend=0.0) * hits / (ends + 1)).sum() / len(positive))


def fpr_at_tpr(positive: Floats, negative: Floats, tpr: float = 0.95) -> float | None:
    """Return the share of negatives accepted by the highest threshold that accepts ``tpr`` of the positives.

    A score is accepted if it is at or above the threshold, which is one of the positives' scores.
    """
    if not len(positive) or not len(negative):
        return None
    needed = math.ceil(tpr * len(positive) - 1e-9)
    threshold = np.sort(positive)[len(positive) - max(needed, 1)]
    return float(np.count_nonzero(negative >= threshold) / len(negative))
