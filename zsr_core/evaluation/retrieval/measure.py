"""From what a model gave for image-text sets to measurements: each condition by itself, never merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from zsr_core.data.shifts.names import corruption_cell, corruption_name, kind_name
from zsr_core.evaluation.estimates import Estimate, estimate, mean_estimate
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement, row_of
from zsr_core.evaluation.metrics import Condition, Images, Metric
from zsr_core.evaluation.metrics.ranks import Gallery, moved
from zsr_core.evaluation.retrieval.gather import TOKEN_ATTACKS, Retrieved
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.rng import seed_for

# What metrics are measured under, what measurements call it, its budget, and what is seen under it.
Under = tuple[Condition, str, float, Gallery]


def measure_retrieval(
    retrieved: Sequence[Retrieved], suite: RetrievalSuite, metrics: Sequence[Metric]
) -> list[Measurement]:
    """Return every number of ``metrics`` that reads retrieval: per set, then the mean over the sets.

    A measurement's ``attack`` is the condition ("none" without one) and its ``eps`` the condition's budget: in pixel
    units, as an l2 move of a unit embedding, or of tokens relative to their length. ``n`` counts images.
    Corruptions are named as those of classification: ``corruption-fog-3``, ``corruption-fog``, and "none" over all.
    """
    rows: list[Measurement] = []
    asked = [metric for metric in metrics if metric.reads == "retrieval"]
    numbers: dict[tuple[str, str, float], dict[str, Estimate]] = {}  # (metric, attack, eps) -> by set, in its unit
    for one in retrieved if asked else ():
        for condition, attack, eps, gallery in conditions(one, suite):
            images = _images(one, gallery)
            for metric in (metric for metric in asked if condition in metric.conditions):
                number = estimate(metric, images).scaled(metric.factor)
                numbers.setdefault((metric.name, attack, eps), {})[one.name] = number
                rows.append(row_of(one, (one.name, attack, eps), metric.name, number))
    for (name, attack, eps), by_set in numbers.items():
        rows.append(row_of(retrieved[0], (ZERO_SHOT_MEAN, attack, eps), name, mean_estimate(by_set)))
    return rows


def conditions(one: Retrieved, suite: RetrievalSuite) -> Iterator[Under]:
    """Yield every condition of a set that the suite asks for: clean, pixels, embeddings, tokens, corruptions."""
    plain = Gallery(images=one.images, texts=one.texts, owner=one.owner)
    cells = [(cell, unit) for (name, _), unit in one.copies.items() if (cell := corruption_cell(name)) is not None]
    corrupted = tuple((cell, replace(plain, images=unit)) for cell, unit in cells)
    clean = replace(plain, corrupted=corrupted)
    yield "clean", "none", 0.0, clean

    def under(**seen: object) -> Gallery:
        return Gallery(images=one.images, texts=one.texts, owner=one.owner, clean=clean, **seen)  # type: ignore[arg-type]

    for (name, eps), unit in one.copies.items():
        if name == "distractor":
            m = len(unit) // len(one.images)
            forged = unit.reshape(len(one.images), m, -1)
            yield "distractor", name, eps, under(forged=forged, distractors=one.distractors)
        elif name in TOKEN_ATTACKS:
            yield ("token_query" if name == "token_query" else "token_hiding"), name, eps, under(seen=unit)
        elif name == "query":
            yield "query", name, eps, under(seen=unit)
        elif corruption_cell(name) is None:
            for asked in suite.pixel:
                if asked in ("hiding", "gallery"):
                    yield asked, str(asked), eps, under(seen=unit)
    for radius in suite.radii:
        yield "embedding", "embedding", radius, under(radius=radius)
        noised = under(seen=_noised(one.images, radius), said=_noised(one.texts, radius))
        yield "noise", "noise", radius, noised
    for each in corrupted:
        yield "corruption", corruption_name(each[0]), 0.0, replace(plain, corrupted=(each,))
    for kind in dict.fromkeys(cell.kind for cell, _ in corrupted):
        own = tuple(each for each in corrupted if each[0].kind == kind)
        yield "kind", kind_name(kind), 0.0, replace(plain, corrupted=own)


def _noised(unit: np.ndarray, radius: float) -> np.ndarray:
    """Return unit embeddings moved by ``radius`` in random directions, the same for every model and radius."""
    random = np.random.default_rng(seed_for(0, "retrieval noise", *unit.shape))
    return moved(unit, radius, random.standard_normal(unit.shape))


def gallery_images(one: Retrieved) -> Images:
    """Return a set's images without attack, for a metric that reads retrieval."""
    return _images(one, Gallery(images=one.images, texts=one.texts, owner=one.owner))


def _images(one: Retrieved, gallery: Gallery) -> Images:
    n = len(one.ids)
    none, blank = np.zeros(n, np.int64), np.zeros(n)
    return Images(
        sample_id=np.array(one.ids, dtype=object), label=none, pred=none, correct=np.zeros(n, np.bool_), p_max=blank,
        entropy=blank, margin=blank, gallery=gallery,
    )  # fmt: skip
