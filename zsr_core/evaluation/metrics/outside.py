"""Detection of out-of-distribution (OOD) images of sets of their own: near, of the same nature, and far, of another.

A task's images are in distribution (ID). Scores and measures are those of :mod:`zsr_core.evaluation.metrics.ood`. A
row per set is named by it; the rows of near and of far OOD are means over the sets of that kind, which are never mixed.

Under attack one side is attacked at a time. Attacks on the classifier change ID images alone. Attacks on the detector
(:mod:`zsr_core.attacks.detector`) lower the score of ID images and raise that of OOD images. Under "worst" each image
has the worst score that any attack gave it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np

from zsr_core.codec import unknown
from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Interval, Metric, OodSet
from zsr_core.evaluation.metrics.ood import MEASURES, SCORES, Side
from zsr_core.evaluation.metrics.outputs import Floats, Outputs
from zsr_core.evaluation.metrics.ranking import Ranked, ends_of_moves, moves, ranked
from zsr_core.names import LISTED_BY, OOD_KINDS, OodKind

AGAINST = "_vs_"  # between a row's name and the set's
# What every trial with OOD sets measures; the other measures where they are asked for.
USUAL = ("auroc", "fpr_ood_at_id95")
SIDES: Mapping[Side, tuple[str, tuple[Condition, ...]]] = {
    "": ("", ("clean",)),
    "_adv_id": (", ID attacked", ("attack", "worst", "detector")),
    "_adv_ood": (", OOD attacked", ("worst", "detector")),
}

Chosen = Callable[[OodSet], bool]


@lru_cache(maxsize=256)
def _scored(outputs: Outputs, score: str) -> Floats:
    return SCORES[score][1](outputs)


@lru_cache(maxsize=256)
def told_apart(images: Images, found: OodSet, score: str, side: Side) -> Ranked:
    """Return the scores of ID images [N] and of one set's OOD images [M]; of one side as attacks left them."""
    assert images.ood is not None, "a row is undefined without OOD sets"
    clean = images if images.clean is None else images.clean
    inside, outside = _scored(clean.kept, score), _scored(found.clean, score)
    if side == "_adv_id":
        inside = np.min([_scored(each, score) for each in images.ood.inside], axis=0)
    if side == "_adv_ood":
        outside = np.max([_scored(each, score) for each in found.attacked], axis=0)
    return ranked(inside, outside)


def _row(name: str, of: str, measure: str, score: str, side: Side, chosen: Chosen, lacking: str) -> Metric:
    (title, measured, higher), (by, _), (where, conditions) = MEASURES[measure], SCORES[score], SIDES[side]

    def pairs(images: Images) -> list[Ranked]:
        assert images.ood is not None, "a row is undefined without OOD sets"
        return [told_apart(images, found, score, side) for found in images.ood.sets if chosen(found)]

    def undefined(images: Images) -> str:
        found = [each for each in images.ood.sets if chosen(each)] if images.ood is not None else []
        if not found:
            return lacking
        empty = next((each.name for each in found if not len(each.clean)), "")
        if empty:
            return f"{empty} has no image"
        return "no OOD image was attacked" if side == "_adv_ood" and not all(each.attacked for each in found) else ""

    def value(images: Images) -> float | None:
        values = [got for told in pairs(images) if (got := measured(told)) is not None]
        return float(np.mean(values)) if values else None

    def ends(images: Images, value: float) -> Ends | None:
        both = pairs(images)
        total, first, moved = len(images) + sum(len(told.of_negative) for told in both), len(images), []
        for told in both:
            rows = np.arange(first, first + len(told.of_negative))
            moved.append(moves(told, np.arange(len(images)), rows, total))
            first += len(rows)
        return ends_of_moves(value, np.mean(moved, axis=0), total)

    interval: Interval = ends if measure == "auroc" else "none"
    return Metric(
        name=name, title=f"{title} by {by}{where}, {of}", unit="%", higher_is_better=higher, conditions=conditions,
        attacked=side != "", value=value, interval=interval, reads="embeddings", always=False, undefined=undefined,
    )  # fmt: skip


def _of_kind(kind: OodKind, measure: str, score: str, side: Side) -> Metric:
    name, lacking = f"{kind}_{measure}_{score}{side}", f"no {kind} OOD set was evaluated"
    return _row(name, f"{kind} OOD", measure, score, side, lambda found: found.kind == kind, lacking)


def slug(name: str) -> str:
    """Return a set's name as rows are named by it: with letters, digits and _ alone."""
    return re.sub(r"\W", "_", name)


@lru_cache(maxsize=1024)
def against(measure: str, score: str, side: Side, of: str) -> Metric:
    """Return the row of one set, ``of`` its :func:`slug`."""
    lacking = f"no OOD set {of} was evaluated"
    name = f"{measure}_{score}{side}{AGAINST}{of}"
    return _row(name, f"against {of}", measure, score, side, lambda found: slug(found.name) == of, lacking)


OUTSIDE: tuple[Metric, ...] = tuple(
    _of_kind(kind, measure, score, side)
    for side in SIDES
    for kind in OOD_KINDS
    for score in SCORES
    for measure in MEASURES
)
_STEMS: Mapping[str, tuple[str, str, Side]] = {
    f"{measure}_{score}{side}": (measure, score, side) for side in SIDES for score in SCORES for measure in MEASURES
}


def row_of_set(name: str) -> Metric:
    """Return the row of one OOD set by its name, such as ``auroc_msp_vs_far_noise``.

    Raises:
        ConfigError: for an unknown measure, score or side before the set's name, with the nearest.
    """
    stem, _, of = name.partition(AGAINST)
    if stem not in _STEMS:
        raise unknown("metric", name, [f"{known}{AGAINST}{of}" for known in _STEMS], LISTED_BY)
    return against(*_STEMS[stem], of)


def rows_of_sets(names: Sequence[str]) -> tuple[Metric, ...]:
    """Return every row of the OOD sets of these names."""
    return tuple(against(*stem, slug(name)) for name in names for stem in _STEMS.values())


def usual_rows(names: Sequence[str], kinds: Sequence[OodKind], *, attacked: bool) -> tuple[Metric, ...]:
    """Return the rows that every trial with these OOD sets measures: of each kind that there is, then of each set.

    Args:
        attacked: whether detectors are attacked; without that, ID images under attacks on the classifier are measured
            where they are asked for.
    """
    places: list[Side] = ["", "_adv_id", "_adv_ood"] if attacked else [""]
    every = [(measure, score, side) for side in places for score in SCORES for measure in USUAL]
    of_kinds = [f"{kind}_{m}_{s}{side}" for kind in OOD_KINDS if kind in kinds for m, s, side in every]
    by_name = {metric.name: metric for metric in OUTSIDE}
    of_sets = [against(m, s, side, slug(name)) for name in names for m, s, side in every if m == "auroc"]
    return (*(by_name[name] for name in of_kinds), *of_sets)
