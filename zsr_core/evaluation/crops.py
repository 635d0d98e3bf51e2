"""A model on the crops of boxes, without and under attack: what it names them, and the numbers of that.

The numbers are the rows of :mod:`zsr_core.evaluation.metrics.crops`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from zsr_core.attacks import AnyAttack
from zsr_core.codec import fingerprint
from zsr_core.data import ImageSet
from zsr_core.data.formats.boxes import Boxes, Crops, Scenes, iou
from zsr_core.data.partition import Split
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.metrics import DETECTION
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.scenes.measure import measure_detection
from zsr_core.evaluation.scenes.store import Detected
from zsr_core.evaluation.victim import Victim
from zsr_core.events import OnEvent, ignore
from zsr_core.model.precision import AttackPrecision
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One number under one condition; ``value`` is None where it is undefined, with the reason."""

    metric: str
    attack: str  # "none", or the attack's name
    eps: float
    value: float | None  # in percent
    n: int  # objects
    low: float | None = None
    high: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True, eq=False)
class How:
    """How crops are cut out and judged, whatever they show; the fields are those of :func:`predict`.

    ``pad``: by how much of its size a box is widened on every side before it is cut out. ``name``: what the records
    call the set; None: the scenes' name.
    """

    image_size: int
    pad: float = 0.0
    name: str | None = None
    split: Split = "all"
    seed: int = 0
    trial_id: str = ""
    batch_size: int = 128
    device: torch.device | str = "cpu"
    attack_precision: AttackPrecision = "fp32"
    journal: Journal | None = None
    on_event: OnEvent = ignore


def detect(
    victim: Victim,
    scenes: Scenes,
    proposals: Boxes,
    banks: Callable[[ImageSet], TextBank],
    image_size: int,
    attacks: Sequence[AnyAttack],
    threats: Sequence[ThreatModel],
    *,
    pad: float = 0.0,
    seed: int = 0,
    batch_size: int = 128,
    device: torch.device | str = "cpu",
) -> list[Detection]:
    """Return every number without attack and under each attack and budget; the arguments are those of :func:`named`."""
    how = How(image_size=image_size, pad=pad, seed=seed, batch_size=batch_size, device=device)
    seen = named(victim, scenes, proposals, banks, attacks, threats, how)
    conditions = {(r.condition, r.eps) for r in seen.objects_named}
    return [
        Detection(metric=m.metric, attack=m.attack, eps=m.eps, value=m.value, n=m.n, low=m.low, high=m.high,
                  reason=m.reason)
        for m in measure_detection(seen, DETECTION)
        if m.task == seen.name and (m.attack, m.eps) in conditions
    ]  # fmt: skip


def named(
    victim: Victim,
    scenes: Scenes,
    proposals: Boxes,
    banks: Callable[[ImageSet], TextBank],
    attacks: Sequence[AnyAttack],
    threats: Sequence[ThreatModel],
    how: How,
) -> Detected:
    """Return what the model names every box without attack and under each attack; the attack's unit is the crop.

    A proposal is attacked away from the class of the object that it overlaps most; one that overlaps none, or that is
    named wrong without attack, stays as it is. The model's squares are attacked, not the image.

    Args:
        banks: crops as an image set -> their class texts.
    """
    true, found = crop_sets(scenes, proposals, how.image_size, how.pad)
    bank, name = banks(true), how.name or scenes.name
    objects_named, proposals_named = (
        [
            replace(record, task=name, split=how.split)
            for record in predict(
                victim, images, bank, attacks, threats, seed=how.seed, trial_id=how.trial_id,
                batch_size=how.batch_size, device=how.device, journal=how.journal, on_event=how.on_event,
                attack_precision=how.attack_precision,
            )
        ]
        for images in (true, found)
    )  # fmt: skip
    return Detected(
        name=name, objects=scenes.objects, proposals=proposals, objects_named=objects_named,
        proposals_named=proposals_named,
    )  # fmt: skip


def crop_sets(scenes: Scenes, proposals: Boxes, size: int, pad: float) -> tuple[ImageSet, ImageSet]:
    """Return the crops of the true boxes and those of the proposals."""
    true = crops_of(scenes, scenes.objects, size, pad, objects_name(scenes), scenes.objects.label)
    return true, crops_of(scenes, proposals, size, pad, proposals_name(scenes), nearest_labels(scenes, proposals))


def objects_name(scenes: Scenes) -> str:
    """Return what progress and a plan call the crops of the true boxes."""
    return f"{scenes.name}-objects"


def proposals_name(scenes: Scenes) -> str:
    """Return what progress and a plan call the crops of the proposals."""
    return f"{scenes.name}-proposals"


def crops_of(scenes: Scenes, boxes: Boxes, size: int, pad: float, name: str, labels: npt.NDArray[np.int64]) -> ImageSet:
    """Return the crops of ``boxes`` as an image set of ``size`` x ``size`` pixels."""
    return ImageSet(
        name=name, split="all", classes=scenes.classes, templates=scenes.templates,
        ids=tuple(f"{name}/{i:06d}" for i in range(len(boxes))), labels=torch.from_numpy(labels),
        key=fingerprint([scenes.key, size, pad, boxes.box.tolist(), boxes.image.tolist()]),
        pixels=Crops(scenes=scenes, boxes=boxes, size=size, pad=pad),
    )  # fmt: skip


def nearest_labels(scenes: Scenes, proposals: Boxes) -> npt.NDArray[np.int64]:
    """Return [P], the class of the object that each proposal overlaps most; 0 where its image has no object."""
    labels = np.zeros(len(proposals), np.int64)
    for image in range(len(scenes.ids)):
        here, there = np.flatnonzero(proposals.image == image), np.flatnonzero(scenes.objects.image == image)
        if len(here) and len(there):
            overlap = iou(proposals.box[here], scenes.objects.box[there])
            labels[here] = scenes.objects.label[there[overlap.argmax(axis=1)]]
    return labels
