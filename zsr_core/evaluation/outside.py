"""Runs the images that out-of-distribution (OOD) detection is measured on: OOD sets, clean and attacked, and a task's
own images under attacks on the detector.

The field ``split`` of their records is the role and the set: "near:near_objects", "far:far_noise", or "own:report" for
a task's own images. No other record has a colon there. They have no label (-1), are never correct, and stay out of
``samples.parquet``, so that no accuracy counts them. Clean OOD images are encoded once, for all tasks: task "".
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

from zsr_core.attacks import Detector
from zsr_core.codec import fingerprint
from zsr_core.data import ImageSet
from zsr_core.events import BatchJudged, Event, OnEvent, ignore
from zsr_core.names import OOD_KINDS, OodKind
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank

OWN: Literal["own"] = "own"
Role = OodKind | Literal["own"]
# (images, texts, attacks, where batches are reported) -> records, clean ones first
Predict = Callable[[ImageSet, TextBank, Sequence[Detector], OnEvent], list[SampleRecord]]


@dataclass(frozen=True, kw_only=True)
class Outside:
    """One OOD set as it is evaluated."""

    kind: OodKind
    images: ImageSet


def role_of(record: SampleRecord) -> Role | None:
    """Return what a record of detection is of; None for the record of a task that accuracy counts."""
    role, colon, _ = record.split.partition(":")
    return next((known for known in (*OOD_KINDS, OWN) if colon and known == role), None)


def unlabelled(images: ImageSet) -> ImageSet:
    """Return the images without their classes and labels, if they have any: nothing may read them."""
    return replace(images, classes=(), labels=torch.zeros(len(images.labels), dtype=torch.int64))


def part_name(task: str, outside: str) -> str:
    """Return how plans and progress call one OOD set that is attacked in front of one task's texts."""
    return f"{task} against {outside}"


def clean_records(sets: Sequence[Outside], bank: TextBank, predict: Predict, told: OnEvent) -> list[SampleRecord]:
    """Return a record of each clean OOD image with its embedding; ``bank`` has no influence on it."""
    blank = {"task": "", "pred": -1, "p_max": math.nan, "entropy": math.nan}
    return [
        replace(_bare(record), split=f"{each.kind}:{each.images.name}", **blank)  # type: ignore[arg-type]
        for each in sets
        for record in predict(each.images, bank, (), told)
    ]


def attacked_records(
    images: ImageSet,
    preds: Sequence[int],
    sets: Sequence[Outside],
    bank: TextBank,
    attacks: Sequence[Detector],
    predict: Predict,
    told: OnEvent,
) -> list[SampleRecord]:
    """Return the records of attacks on the detector of one task: on its own images, then on each OOD set.

    Args:
        images: the task's.
        preds: [N], the classes that the model gives them without attack.
        told: is called after each batch of an attack.
    """
    rejected = [replace(attack, goal="reject") for attack in attacks]
    own = _attacked(images, preds, bank, rejected, predict, told)
    records = [replace(_bare(record), split=f"own:{record.split}") for record in own]
    for each in sets:
        named = replace(each.images, name=part_name(images.name, each.images.name))
        seen = [record.pred for record in predict(named, bank, (), ignore)]  # this pass is part of no plan
        accepted = [replace(attack, goal="accept") for attack in attacks]
        records += [
            replace(_bare(record), task=images.name, split=f"{each.kind}:{each.images.name}")
            for record in _attacked(named, seen, bank, accepted, predict, told)
        ]
    return records


def _attacked(
    images: ImageSet,
    preds: Sequence[int],
    bank: TextBank,
    attacks: Sequence[Detector],
    predict: Predict,
    told: OnEvent,
) -> list[SampleRecord]:
    """Return the attacked records alone. Every image is attacked, because its label is what the model answers."""
    labels = torch.tensor(list(preds), dtype=torch.int64)
    answered = replace(images, labels=labels, key=fingerprint([images.key, "labelled as answered"]))

    def attacks_only(event: Event) -> None:
        if isinstance(event, BatchJudged) and event.condition != "none":
            told(event)

    return [record for record in predict(answered, bank, attacks, attacks_only) if record.condition != "none"]


def _bare(record: SampleRecord) -> SampleRecord:
    return replace(record, label=-1, correct=False, margin=math.nan)
