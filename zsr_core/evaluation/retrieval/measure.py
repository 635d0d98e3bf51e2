"""From what a model gave for image-text sets to measurements: each condition by itself, never merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement
from zsr_core.evaluation.metrics import Condition, Ends, Images, Metric, interval_of, mean_interval
from zsr_core.evaluation.metrics.ranks import Gallery, moved
from zsr_core.evaluation.retrieval.gather import TOKEN_ATTACKS, Retrieved
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.rng import seed_for

Under = tuple[Condition, float, Gallery]  # a condition, its budget, what is seen under it


def measure_retrieval(
    retrieved: Sequence[Retrieved], suite: RetrievalSuite, metrics: Sequence[Metric]
) -> list[Measurement]:
    """Return every number of ``metrics`` that reads retrieval: per set, then the mean over the sets.

    A measurement's ``attack`` is the condition ("none" without one) and its ``eps`` the condition's budget: in pixel
    units, as an l2 move of a unit embedding, or of tokens relative to their length. ``n`` counts images.
    """
    rows: list[Measurement] = []
    asked = [metric for metric in metrics if metric.reads == "retrieval"]
    if not asked:
        return rows
    for one in retrieved:
        for condition, eps, gallery in conditions(one, suite):
            images = _images(one, gallery)
            rows += [
                _measured(one, metric, images, condition, eps) for metric in asked if condition in metric.conditions
            ]
    return [*rows, *_means(rows, {metric.name: metric for metric in asked})]


def conditions(one: Retrieved, suite: RetrievalSuite) -> Iterator[Under]:
    """Yield every condition of a set that the suite asks for: clean, pixels, embeddings, tokens."""
    clean = Gallery(images=one.images, texts=one.texts, owner=one.owner)
    yield "clean", 0.0, clean

    def under(**seen: object) -> Gallery:
        return Gallery(images=one.images, texts=one.texts, owner=one.owner, clean=clean, **seen)  # type: ignore[arg-type]

    for (name, eps), unit in one.copies.items():
        if name == "distractor":
            m = len(unit) // len(one.images)
            forged = unit.reshape(len(one.images), m, -1)
            yield "distractor", eps, under(forged=forged, distractors=one.distractors)
        elif name in TOKEN_ATTACKS:
            yield ("token_query" if name == "token_query" else "token_hiding"), eps, under(seen=unit)
        elif name == "query":
            yield "query", eps, under(seen=unit)
        else:
            for asked in suite.pixel:
                if asked in ("hiding", "gallery"):
                    yield asked, eps, under(seen=unit)
    for radius in suite.radii:
        yield "embedding", radius, under(radius=radius)
        yield "noise", radius, under(seen=_noised(one.images, radius), said=_noised(one.texts, radius))


def _noised(unit: np.ndarray, radius: float) -> np.ndarray:
    """Return unit embeddings moved by ``radius`` in random directions, the same for every model and radius."""
    random = np.random.default_rng(seed_for(0, "retrieval noise", *unit.shape))
    return moved(unit, radius, random.standard_normal(unit.shape))


def _images(one: Retrieved, gallery: Gallery) -> Images:
    n = len(one.ids)
    none, blank = np.zeros(n, np.int64), np.zeros(n)
    return Images(
        sample_id=np.array(one.ids, dtype=object), label=none, pred=none, correct=np.zeros(n, np.bool_), p_max=blank,
        entropy=blank, margin=blank, gallery=gallery,
    )  # fmt: skip


def _measured(one: Retrieved, metric: Metric, images: Images, condition: Condition, eps: float) -> Measurement:
    reason = metric.undefined(images)
    value = None if reason else metric.value(images)
    ends: Ends | None = None if value is None else interval_of(metric, images, value)
    if not reason and value is None:
        reason = f"the metric gave {value} and no reason"
    factor = metric.factor
    return Measurement(
        trial_id=one.trial_id, weights_sha=one.weights_sha, task=one.name, split=one.split,
        attack="none" if condition == "clean" else condition, eps=eps, metric=metric.name,
        value=None if value is None else factor * value, n=len(images), reason=reason,
        low=None if ends is None else factor * ends[0], high=None if ends is None else factor * ends[1],
    )  # fmt: skip


def _means(rows: Sequence[Measurement], metrics: dict[str, Metric]) -> list[Measurement]:
    """Return the mean over the sets of each number; undefined, naming the sets, if one of them is."""
    groups: dict[tuple[str, str, float], list[Measurement]] = {}
    for row in rows:
        groups.setdefault((row.metric, row.attack, row.eps), []).append(row)
    means = []
    for (name, attack, eps), parts in groups.items():
        undefined = [f"{part.task} ({part.reason})" for part in parts if part.value is None]
        values = [part.value for part in parts if part.value is not None]
        ends = None
        if not undefined:
            own = [None if p.low is None or p.high is None else (p.low, p.high) for p in parts]
            ends = mean_interval(values, own)
        means.append(Measurement(
            trial_id=parts[0].trial_id, weights_sha=parts[0].weights_sha, task=ZERO_SHOT_MEAN, split=parts[0].split,
            attack=attack, eps=eps, metric=metrics[name].name, n=sum(part.n for part in parts),
            value=None if undefined else sum(values) / len(values), low=None if ends is None else ends[0],
            high=None if ends is None else ends[1],
            reason=f"undefined for {', '.join(undefined)}" if undefined else "",
        ))  # fmt: skip
    return means
