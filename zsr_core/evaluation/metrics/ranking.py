"""How well a number tells two groups of images apart: AUROC, precision and recall, false-positive rates.

All are exact for equal scores. Intervals of an AUROC follow DeLong et al., Biometrics 1988, and where one image gives
several scores, Obuchowski, Biometrics 1997; they are made on the logit scale, so that they stay within 0 and 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from zsr_core.evaluation.metrics.metric import Ends
from zsr_core.evaluation.metrics.outputs import Floats, Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranked:
    """Two groups of scores, sorted once for all that is measured of them: G distinct scores in rising order."""

    of_positive: Rows  # [P], which distinct score each positive has
    of_negative: Rows  # [Q]
    positives: Rows  # [G], how many positives have each distinct score
    negatives: Rows  # [G]

    @property
    def flipped(self) -> Ranked:
        """The same with every score negated and the groups exchanged."""
        last = len(self.positives) - 1
        return Ranked(
            of_positive=last - self.of_negative, of_negative=last - self.of_positive,
            positives=self.negatives[::-1], negatives=self.positives[::-1],
        )  # fmt: skip

    @property
    def one_sided(self) -> bool:
        """Whether a group is empty, so that nothing can be told apart."""
        return not len(self.of_positive) or not len(self.of_negative)


def ranked(positive: Floats, negative: Floats) -> Ranked:
    """Return scores [P] and [Q] in one order."""
    scores = np.concatenate([positive, negative])
    order = np.argsort(scores)
    first = is_first(scores[order])
    of = np.empty(len(scores), np.intp)
    of[order] = first.cumsum() - 1
    distinct, of_positive, of_negative = int(first.sum()), of[: len(positive)], of[len(positive) :]
    return Ranked(
        of_positive=of_positive, of_negative=of_negative, positives=np.bincount(of_positive, minlength=distinct),
        negatives=np.bincount(of_negative, minlength=distinct),
    )  # fmt: skip


def is_first(ordered: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a value of a sorted list [N] is the first of its equals."""
    return np.concatenate([np.ones(min(len(ordered), 1), bool), ordered[1:] != ordered[:-1]])


def auroc(groups: Ranked) -> float | None:
    """Return P(positive > negative) + P(equal) / 2; None if a group is empty."""
    return None if groups.one_sided else float(placements(groups).mean())


def placements(groups: Ranked) -> Floats:
    """Return [P], for each positive the share of negatives below it, equal ones counted half."""
    twice = 2 * groups.negatives.cumsum() - groups.negatives
    return twice[groups.of_positive] / (2 * len(groups.of_negative))


def auroc_ends(groups: Ranked, of_positive: Rows, of_negative: Rows) -> Ends | None:
    """Return the 95 % interval of :func:`auroc`; None where it is 0 or 1, or of fewer than two images.

    Args:
        of_positive, of_negative: [P] and [Q], the number of the image that a score is of, from 0. Scores of one image
            are not independent.
    """
    value = auroc(groups)
    if value is None:
        return None
    images = int(max(of_positive.max(), of_negative.max())) + 1
    moved = np.zeros(images, np.bool_)
    moved[of_positive] = moved[of_negative] = True
    return ends_of_moves(value, moves(groups, of_positive, of_negative, images), int(moved.sum()))


def moves(groups: Ranked, of_positive: Rows, of_negative: Rows, images: int) -> Floats:
    """Return [images], how far each image moves the AUROC: its influence, of which the sum is 0.

    The other arguments are those of :func:`auroc_ends`; no group is empty.
    """
    share, other = placements(groups), placements(groups.flipped)
    value = share.mean()
    share, other = (share - value) / len(share), (other - value) / len(other)
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


def average_precision(groups: Ranked) -> float | None:
    """Return the area under the precision-recall curve in steps, ``sum (R_n - R_(n-1)) P_n``; None without positives.

    Precision is read at every distinct score, as scikit-learn does.
    """
    if groups.one_sided:
        return None
    new = groups.positives[::-1]
    hits, accepted = new.cumsum(), (new + groups.negatives[::-1]).cumsum()
    return float((new * hits / accepted).sum() / len(groups.of_positive))


def fpr_at_tpr(groups: Ranked, tpr: float = 0.95) -> float | None:
    """Return the share of negatives accepted by the highest threshold that accepts ``tpr`` of the positives.

    A score is accepted if it is at or above the threshold, which is one of the positives' scores.
    """
    if groups.one_sided:
        return None
    needed = max(math.ceil(tpr * len(groups.of_positive) - 1e-9), 1)
    at = int(np.searchsorted(groups.positives[::-1].cumsum(), needed))
    return float(groups.negatives[::-1][: at + 1].sum() / len(groups.of_negative))
