"""From per-image records to every number with its interval."""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from zsr_core.codec import require
from zsr_core.data.shifts.names import corruption_cell, factor_level, is_shift
from zsr_core.evaluation.detection import with_detection
from zsr_core.evaluation.estimates import Estimate, estimate, mean_estimate
from zsr_core.evaluation.measurement import Measurement as Measurement
from zsr_core.evaluation.measurement import distinct
from zsr_core.evaluation.metrics import (
    ACCURACY,
    OWN_SETS,
    Condition,
    Images,
    Metric,
    mean_interval,
)
from zsr_core.evaluation.metrics.outputs import ClassTexts, Outputs
from zsr_core.evaluation.shifted_places import with_shifts
from zsr_core.evaluation.vectors import embedding_matrix, matrix
from zsr_core.records import SampleRecord

ZERO_SHOT_MEAN = "zero_shot_mean"  # mean over every task but the training set
WORST = "worst"  # an image is robust if no attack breaks it

Place = tuple[str, str, float]  # task, attack, eps


class Measured(Protocol):
    """What every row of one trial has from what was measured."""

    @property
    def trial_id(self) -> str: ...
    @property
    def weights_sha(self) -> str: ...
    @property
    def split(self) -> str: ...


def row_of(of: Measured, place: Place, metric: str, number: Estimate) -> Measurement:
    """Return the measurement of a number that is in the metric's unit."""
    low, high = (None, None) if number.ends is None else number.ends
    task, attack, eps = place
    return Measurement(
        trial_id=of.trial_id, weights_sha=of.weights_sha, task=task, split=of.split, attack=attack, eps=eps,
        metric=metric, value=number.value, n=number.n, low=low, high=high, reason=number.reason,
    )  # fmt: skip


def measure(
    records: Sequence[SampleRecord],
    zero_shot: Sequence[str],
    metrics: Sequence[Metric] = ACCURACY,
    *,
    texts: Mapping[str, ClassTexts] | None = None,
    source: Sequence[SampleRecord] = (),
    ood: Sequence[SampleRecord] = (),
    shifted: Sequence[SampleRecord] = (),
) -> list[Measurement]:
    """Return every number of one trial: per task, then the mean over the tasks named in ``zero_shot``.

    Each metric is measured under its own conditions: without attack, under each attack and budget, and under attack
    "worst", which is per image the worst of all attacks. A mean is over the tasks' numbers, so that the mean of
    harmonics is not the harmonic of means. It is undefined if one task's number is.

    Args:
        metrics: rows of the table of metrics, in this order; one that reads embeddings is undefined without them.
        texts: by task, the class texts that make logits of the records' embeddings.
        source: clean images of the training set on the selection split, with embeddings; a temperature is fitted
            on them.
        ood: out-of-distribution images with embeddings, of the same weights; see :mod:`zsr_core.evaluation.outside`.
        shifted: records under corruptions and of visual factors. No other metric counts them.

    Raises:
        ConfigError: if the records mix weights, splits or pixel spaces, because such numbers never share a row; or if
            an attack left out some of a task's images.
    """
    if not records:
        return []
    metrics = [metric for metric in metrics if metric.name not in OWN_SETS]
    _check(records)
    first = records[0]
    kept = bool(texts) and all(record.embedding for record in records)
    numbers: dict[tuple[str, float, str], dict[str, Estimate]] = {}  # (attack, eps, metric) -> by task
    rows = []

    def add(place: Place, metric: Metric, number: Estimate) -> None:
        rows.append(row_of(first, place, metric.name, number.scaled(metric.factor)))

    shown = with_shifts(by_place(records, texts if kept else None, source), shifted)
    places = {place: (condition_of(place[1]), images) for place, images in shown.items()}
    for place, (condition, images) in (with_detection(places, ood) if ood else places).items():
        for metric in metrics:
            if condition in metric.conditions:
                number = estimate(metric, images)
                numbers.setdefault((*place[1:], metric.name), {})[place[0]] = number
                add(place, metric, _alone(number))
    named = {metric.name: metric for metric in metrics}
    for (attack, eps, name), by_task in numbers.items():
        parts = {task: number for task, number in by_task.items() if task in set(zero_shot)}
        # A corruption or a factor of some sets alone has no mean over sets.
        if parts and (len(parts) == len(zero_shot) or not is_shift(attack)):
            add((ZERO_SHOT_MEAN, attack, eps), named[name], mean_estimate(parts))
    return rows


def classified(measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements of classification: those of captions and scenes are left out."""
    return [m for m in measurements if m.metric not in OWN_SETS]


def score_task(measurements: Sequence[Measurement]) -> str:
    """Return the task that a trial is scored on: the mean over the zero-shot sets, or a set that stands alone.

    A trial that evaluates only its training set has no zero-shot mean; that set is then its score. Sets of captions
    and of scenes are no tasks: their scores are always means over them.
    """
    tasks = {task for task, metric in distinct(measurements, "task", "metric") if metric not in OWN_SETS}
    return ZERO_SHOT_MEAN if len(tasks) != 1 else next(iter(tasks))


def shift_task(measurements: Sequence[Measurement], kind: str) -> str:
    """Return the task on which corruptions or factors are read: the one that has them alone, else :func:`score_task`.

    Args:
        kind: how their conditions begin, "corruption" or "factor". There is no mean where only some tasks have them.
    """
    named = distinct(measurements, "task", "attack", "metric")
    own = {task for task, attack, metric in named if attack.partition("-")[0] == kind and metric not in OWN_SETS}
    return next(iter(own)) if len(own) == 1 else score_task(measurements)


def by_place(
    records: Iterable[SampleRecord],
    texts: Mapping[str, ClassTexts] | None = None,
    source: Sequence[SampleRecord] = (),
) -> dict[Place, Images]:
    """Return the images of every task without attack, under every attack and budget, and under :data:`WORST`.

    A task's images are in one order under all of them. With ``texts`` they have outputs; see :func:`measure`.

    Raises:
        ConfigError: if two attacks have one name; or, naming the task and the attack, if the images under it are not
            those without attack.
    """
    groups = _grouped(records)
    attacks = list(dict.fromkeys(attack for _, attack, _ in groups if attack != "none"))
    budgets = sorted({eps for _, attack, eps in groups if attack != "none"})
    places: dict[Place, Images] = {}
    fitted = _without_attack(source, _texts(texts, source[0].task)) if texts and source else None
    for task in dict.fromkeys(task for task, _, _ in groups):
        own = groups.get((task, "none", 0.0), {})
        require(bool(own), f"task {task!r}, condition 'none'", 0, "a record of every image without attack")
        text = None if texts is None else _texts(texts, task)
        clean = places[task, "none", 0.0] = replace(_without_attack(own.values(), text), source=fitted)
        for eps in budgets:
            for attack in attacks:
                under = groups.get((task, attack, eps), {})
                if under.keys() != own.keys():
                    name = min(under.keys() ^ own.keys())
                    expected = f"images that have a record both without attack and under {attack!r} at {eps:g}"
                    require(False, f"task {task!r}", name, expected)
                rows = [under[i] for i in own]
                places[task, attack, eps] = replace(clean, clean=clean, outputs=_outputs(rows, text), **_columns(rows))
            places[task, WORST, eps] = worst_of([places[task, attack, eps] for attack in attacks])
    return places


def worst_of(attacks: Sequence[Images]) -> Images:
    """Return per image its columns under the worst of ``attacks``, the first of equals.

    That is one that breaks the image, if any does; of several the one under which the margin is smallest.
    """
    first = attacks[0]
    correct, margin = (np.stack([getattr(a, name) for a in attacks]) for name in ("correct", "margin"))  # [A, N]
    at = np.lexsort((margin, correct), axis=0)[:1]  # [1, N]
    columns = {name: np.stack([getattr(a, name) for a in attacks]) for name in ("pred", "p_max", "entropy")}
    columns |= {"correct": correct, "margin": margin}
    worst = {name: np.take_along_axis(column, at, axis=0)[0] for name, column in columns.items()}
    looked = [a.attention for a in attacks if a.attention is not None]
    attention = np.take_along_axis(np.stack(looked), at[..., None], axis=0)[0] if len(looked) == len(attacks) else None
    return replace(first, attention=attention, outputs=_chosen([a.outputs for a in attacks], at[0]), **worst)


def _check(records: Sequence[SampleRecord]) -> None:
    for name in ("weights_sha", "trial_id", "split", "threat_space", "norm"):
        values = set(map(operator.attrgetter(name), records))
        require(
            len(values) == 1, name, sorted(values),
            "records of one trial, one checkpoint, one split, one pixel space, one norm",
        )  # fmt: skip


def _grouped(records: Iterable[SampleRecord]) -> dict[Place, dict[str, SampleRecord]]:
    """Return the records by place and image; it refuses two attacks of one name."""
    groups: dict[tuple[str, str, float, str], dict[str, SampleRecord]] = {}
    for r in records:
        groups.setdefault((r.task, r.condition, r.eps, r.attack_id), {})[r.sample_id] = r
    profiles: dict[str, str] = {}
    for _, condition, _, attack_id in groups:
        known = profiles.setdefault(condition, attack_id)
        require(known == attack_id, "attack_id", [known, attack_id], f"one attack named {condition!r}")
    return {(task, attack, eps): group for (task, attack, eps, _), group in groups.items()}


def _without_attack(records: Collection[SampleRecord], text: ClassTexts | None) -> Images:
    sample_id = np.fromiter([r.sample_id for r in records], object, len(records))
    label = np.fromiter([r.label for r in records], np.int64, len(records))
    return Images(
        sample_id=sample_id, label=label, clean=None, outputs=_outputs(list(records), text), **_columns(records)
    )


def _texts(texts: Mapping[str, ClassTexts], task: str) -> ClassTexts:
    require(task in texts, f"texts of task {task!r}", None, "the class texts of every task")
    return texts[task]


def _outputs(records: Sequence[SampleRecord], text: ClassTexts | None) -> Outputs | None:
    return None if text is None else Outputs(unit=embedding_matrix(records), texts=text)


def _chosen(outputs: Sequence[Outputs | None], at: npt.NDArray[np.intp]) -> Outputs | None:
    """Return per image the outputs of the attack number ``at`` [N]; None if one has none."""
    there = [each for each in outputs if each is not None]
    if len(there) < len(outputs):
        return None
    if len(there) == 1:
        return there[0]  # with its derived columns
    unit = there[0].unit.copy()
    for number, each in enumerate(there):
        unit[at == number] = each.unit[at == number]
    return replace(there[0], unit=unit)


def _columns(records: Collection[SampleRecord]) -> dict[str, Any]:
    """Return the columns that differ by condition; a list comprehension is the fastest way to make one."""
    n = len(records)
    return {
        "pred": np.fromiter([r.pred for r in records], np.int64, n),
        "correct": np.fromiter([r.correct for r in records], np.bool_, n),
        "p_max": np.fromiter([r.p_max for r in records], np.float64, n),
        "entropy": np.fromiter([r.entropy for r in records], np.float64, n),
        "margin": np.fromiter([r.margin for r in records], np.float64, n),
        "attention": _attention(records),
    }


def _attention(records: Collection[SampleRecord]) -> npt.NDArray[np.float32] | None:
    if not records or not all(r.attention for r in records):
        return None
    return matrix([r.attention for r in records])


def condition_of(attack: str) -> Condition:
    """Return which kind of condition one is, by the name of its attack or shift."""
    if is_shift(attack):
        return "factor" if factor_level(attack) else "corruption" if corruption_cell(attack) else "kind"
    return "clean" if attack == "none" else "worst" if attack == WORST else "attack"


def _alone(part: Estimate) -> Estimate:
    """Return a task's number with the interval of a mean of one, so that both kinds of row are rounded alike."""
    return part if part.value is None else replace(part, ends=mean_interval([part.value], [part.ends]))
