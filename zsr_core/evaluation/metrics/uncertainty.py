"""Uncertainty under attack: does a model become less sure where an attack moves its input? (UCAT, arXiv 2512.12997)

Six uncertainties, larger where a model is less sure, all of one forward pass. Those of a Dirichlet distribution take
the concentrations ``alpha_k = exp((cos_k + 1) / 0.07)``, the link of UCAT's training, for every method, because numbers
of two links cannot be compared. (UCAT's released code prints uncertainties of another link than it trains.)

An attack's images are those that are right without attack, because no other image is attacked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

from zsr_core.evaluation.metrics.calibration import ALL, FEWER_DRAWS, aurc_of
from zsr_core.evaluation.metrics.intervals import DRAWS, percentiles, wilson
from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Metric, Reads, Unit
from zsr_core.evaluation.metrics.outputs import Floats, Rows, logsumexp
from zsr_core.evaluation.metrics.ranking import Ranked, auroc, auroc_ends, ranked
from zsr_core.evaluation.metrics.resampling import draws_of

TAU = 0.07  # of the link, as UCAT trains
CONFIDENT = 0.9  # ours and usual: a wrong answer above it is over-confident
ATTACKED: tuple[Condition, ...] = ("attack", "worst")
Mask = npt.NDArray[np.bool_]
Group = Callable[[Images], Mask]  # which of the images


@dataclass(frozen=True, kw_only=True)
class Uncertainty:
    """A number per image that is larger where the model is less sure; ``suffix`` ends its metrics' names."""

    suffix: str
    title: str
    unit: Unit
    of: Callable[[Images], Floats]
    reads: Reads = "embeddings"


def doubt(images: Images) -> Floats:
    """Return 1 minus the largest probability."""
    return 1 - images.p_max


def entropy(images: Images) -> Floats:
    """Return the entropy of the probabilities, in nats."""
    return images.entropy


def closeness(images: Images) -> Floats:
    """Return the second largest logit minus the largest one."""
    two = np.partition(images.kept.logits, -2, axis=1)[:, -2:]
    return two[:, 0] - two[:, 1]


def energy(images: Images) -> Floats:
    """Return the negative log-sum-exp of the logits."""
    return -logsumexp(images.kept.logits)


def lack_of_evidence(images: Images) -> Floats:
    """Return the negative log of the total concentration of the Dirichlet distribution."""
    return -logsumexp(_log_alpha(images))


def mutual_information(images: Images) -> Floats:
    """Return the mutual information of label and probabilities under the Dirichlet distribution, in nats.

    ``H[mean p] - E[H[p]] = sum_k m_k g(alpha_k) - g(alpha_0)`` with ``g(a) = digamma(a + 1) - log a``, about 1 / (2 a).
    The two entropies differ in their last digits only at CLIP's concentrations, so they are never subtracted.
    """
    log_alpha = _log_alpha(images)
    total = logsumexp(log_alpha)
    mean = np.exp(log_alpha - total[:, None])
    return np.asarray((mean * digamma_beyond_log(log_alpha)).sum(axis=1) - digamma_beyond_log(total), dtype=np.float64)


def _log_alpha(images: Images) -> Floats:
    return (images.kept.cosines + 1) / TAU


def digamma_beyond_log(log_a: Floats) -> Floats:
    """Return ``digamma(a + 1) - log a`` for ``a = exp(log_a)``, without cancellation where a is large."""
    inverse = np.exp(-np.maximum(log_a, 3.5))
    series = inverse / 2 - inverse**2 / 12 + inverse**4 / 120 - inverse**6 / 252 + inverse**8 / 240
    small = torch.digamma(torch.from_numpy(np.exp(np.minimum(log_a, 4.0)) + 1)).numpy() - log_a
    return np.where(log_a > 3.5, series, small)


ENTROPY = Uncertainty(suffix="", title="entropy", unit="nats", of=entropy, reads="records")
UNCERTAINTIES: tuple[Uncertainty, ...] = (
    ENTROPY,
    Uncertainty(suffix="_p_max", title="doubt", unit="points", of=doubt, reads="records"),
    Uncertainty(suffix="_margin", title="negative logit margin", unit="", of=closeness),
    Uncertainty(suffix="_energy", title="energy", unit="", of=energy),
    Uncertainty(suffix="_evidence", title="negative log evidence", unit="nats", of=lack_of_evidence),
    Uncertainty(suffix="_mi", title="mutual information", unit="nats", of=mutual_information),
)


# ---- rise: the same images, attacked and not


def attacked(images: Images) -> Mask:
    """Return [N], whether an image was attacked."""
    return clean_of(images).correct


def broken(images: Images) -> Mask:
    """Return [N], whether an attack broke an image."""
    return clean_of(images).correct & ~images.correct


def held(images: Images) -> Mask:
    """Return [N], whether an image is right in spite of the attack."""
    return images.correct


GROUPS: tuple[Group, ...] = (attacked, broken, held)


def clean_of(images: Images) -> Images:
    assert images.clean is not None, "rises are measured under attack alone"
    return images.clean


def rises(images: Images, u: Uncertainty, which: Group) -> Floats:
    """Return the uncertainty under attack minus that without, of the images that ``which`` names."""
    return (_column(images, u) - _column(clean_of(images), u))[which(images)]


@lru_cache(maxsize=16)
def _column(images: Images, u: Uncertainty) -> Floats:
    """Return an uncertainty of all images [N], which several metrics read."""
    return u.of(images)


@lru_cache(maxsize=2)
def _drawn_rises(images: Images) -> dict[tuple[Uncertainty, Group], Floats]:
    """Return [R], the mean rises over those of the resampled images that are in a group; NaN where none is.

    One product with the draws gives those of all uncertainties and groups.
    """
    members = {which: which(images) for which in GROUPS}
    known = [u for u in UNCERTAINTIES if u.reads == "records" or images.outputs is not None]
    risen = {u: _column(images, u) - _column(clean_of(images), u) for u in known}
    columns = [*members.values(), *(risen[u] * members[which] for u in known for which in GROUPS)]
    sums = np.concatenate([weights @ np.stack(columns, axis=1) for weights in draws_of(len(images))])
    counts = dict(zip(GROUPS, sums.T, strict=False))
    drawn = zip(((u, which) for u in known for which in GROUPS), sums.T[len(GROUPS) :], strict=True)
    nothing = np.full(len(sums), np.nan)
    return {key: np.divide(got, counts[key[1]], out=nothing.copy(), where=counts[key[1]] > 0) for key, got in drawn}


def _none(which: Group, words: str) -> Callable[[Images], str]:
    return lambda images: "" if which(images).any() else f"no image was {words}"


def _rise(u: Uncertainty, which: Group, name: str, words: str) -> Metric:
    def value(images: Images) -> float:
        return float(rises(images, u, which).mean())

    def ends(images: Images, value: float) -> Ends | None:
        drawn = _drawn_rises(images)[u, which]
        return percentiles(drawn[np.isfinite(drawn)], DRAWS)

    return Metric(
        name=f"rise{name}{u.suffix}", title=f"rise of {u.title} of {words} images", unit=u.unit, higher_is_better=True,
        conditions=ATTACKED, attacked=True, value=value, interval=ends, reads=u.reads, always=False,
        undefined=_none(which, words),
    )  # fmt: skip


def _share_of_rises(u: Uncertainty) -> Metric:
    def value(images: Images) -> float:
        return float(np.count_nonzero(rises(images, u, attacked) > 0) / np.count_nonzero(attacked(images)))

    def ends(images: Images, value: float) -> Ends | None:
        return wilson(value, int(np.count_nonzero(attacked(images))))

    return Metric(
        name=f"p_rise{u.suffix}", title=f"attacked images whose {u.title} rises", unit="%", higher_is_better=True,
        conditions=ATTACKED, attacked=True, value=value, interval=ends, reads=u.reads, always=False,
        undefined=_none(attacked, "attacked"),
    )  # fmt: skip


# ---- AUROC: errors, and attacks


Scores = tuple[Floats, Floats, Rows, Rows]  # of positives, negatives; of which image each


def error_scores(images: Images, u: Uncertainty) -> Scores:
    """Return the uncertainties of wrong images, of right ones, and whose they are."""
    rows = np.arange(len(images))
    wrong, score = ~images.correct, _column(images, u)
    return score[wrong], score[~wrong], rows[wrong], rows[~wrong]


def mixed_error_scores(images: Images, u: Uncertainty) -> Scores:
    """Return the same for the images without attack and under it together, as many of both."""
    clean = clean_of(images)
    rows = np.tile(np.arange(len(images)), 2)
    wrong = ~np.concatenate([clean.correct, images.correct])
    score = np.concatenate([_column(clean, u), _column(images, u)])
    return score[wrong], score[~wrong], rows[wrong], rows[~wrong]


def attack_scores(images: Images, u: Uncertainty, which: Group) -> Scores:
    """Return the uncertainties of images under attack, and of the same images without."""
    rows = np.flatnonzero(which(images))
    return _column(images, u)[rows], _column(clean_of(images), u)[rows], rows, rows


def _auroc(
    name: str, title: str, u: Uncertainty, scores: Callable[[Images], Scores], conditions: tuple[Condition, ...],
    undefined: Callable[[Images], str], *, always: bool = False,
) -> Metric:  # fmt: skip
    @lru_cache(maxsize=1)  # a value and its interval sort the scores once
    def sorted_once(images: Images) -> tuple[Ranked, Rows, Rows]:
        positive, negative, of_positive, of_negative = scores(images)
        return ranked(positive, negative), of_positive, of_negative

    def value(images: Images) -> float | None:
        return auroc(sorted_once(images)[0])

    def ends(images: Images, value: float) -> Ends | None:
        return auroc_ends(*sorted_once(images))

    return Metric(
        name=f"{name}{u.suffix}", title=f"{title} by {u.title}, AUROC", unit="%", higher_is_better=True,
        conditions=conditions, attacked="clean" not in conditions, value=value, interval=ends, reads=u.reads,
        always=always, undefined=undefined,
    )  # fmt: skip


def _of_one_kind(images: Images) -> str:
    if images.correct.all():
        return "no image is wrong"
    return "" if images.correct.any() else "no image is right"


def _mixed_of_one_kind(images: Images) -> str:
    """Return why errors cannot be detected; an image that is wrong without attack is wrong under it too."""
    if images.correct.all():
        return "no image is wrong"
    return "" if clean_of(images).correct.any() else "no image is right"


def _rows(u: Uncertainty) -> tuple[Metric, ...]:
    return (
        _rise(u, attacked, "", "attacked"),
        _rise(u, broken, "_broken", "broken"),
        _rise(u, held, "_held", "held"),
        _share_of_rises(u),
        _auroc("auroc_error", "errors told", u, lambda images: error_scores(images, u), ALL, _of_one_kind),
        _auroc("auroc_error_mixed", "errors told among clean and attacked images", u,
               lambda images: mixed_error_scores(images, u), ATTACKED, _mixed_of_one_kind),
        _auroc("auroc_adv", "attacks told", u, lambda images: attack_scores(images, u, attacked), ATTACKED,
               _none(attacked, "attacked"), always=u is ENTROPY),
        _auroc("auroc_adv_broken", "successful attacks told", u, lambda images: attack_scores(images, u, broken),
               ATTACKED, _none(broken, "broken")),
    )  # fmt: skip


# ---- decisions


def confident_errors(images: Images) -> float:
    """Return the share of images that are wrong at a confidence above 0.9."""
    return float(np.count_nonzero(~images.correct & (images.p_max > CONFIDENT)) / len(images))


def aurc_mixed(images: Images) -> float:
    """Return the area under the risk-coverage curve of the images without attack and under it together."""
    return float(_mixed_area(images, np.ones((1, len(images))))[0])


def _mixed_area(images: Images, weights: Floats) -> Floats:
    clean = clean_of(images)
    uncertainty = -np.concatenate([clean.p_max, images.p_max])
    return aurc_of(uncertainty, ~np.concatenate([clean.correct, images.correct]), np.hstack([weights, weights]))


def _mixed_ends(images: Images, value: float) -> Ends | None:
    blocks = draws_of(len(images), FEWER_DRAWS)
    return percentiles(np.concatenate([_mixed_area(images, weights) for weights in blocks]), FEWER_DRAWS)


UNCERTAINTY: tuple[Metric, ...] = (
    *(row for u in UNCERTAINTIES for row in _rows(u)),
    Metric(
        name="confident_errors", title="wrong answers above 90 % confidence", unit="%", higher_is_better=False,
        conditions=ALL, attacked=False, value=confident_errors, interval="wilson", always=False,
    ),
    Metric(
        name="aurc_mixed", title="area under the risk-coverage curve of clean and attacked images", unit="%",
        higher_is_better=False, conditions=ATTACKED, attacked=True, value=aurc_mixed, interval=_mixed_ends,
        always=False,
    ),
)  # fmt: skip
