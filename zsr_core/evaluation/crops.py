"""Zero-shot detection by crops: a detector's boxes are cut out, and CLIP names each crop, without and under attack.

The holistic study (App. C there) attacks every crop by itself and prints "the IoU metric" without its formula. Three
numbers are given here:

    crop accuracy        of the crops of the true boxes; no detector is in it
    class-gated IoU      mean over objects of the largest IoU of a proposal that is named as the object's class, 0 where
                         none is: our reading of the source's metric
    mAP                  COCO's AP over IoU .50:.95, with a proposal's score times the probability of its class
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from zsr_core.attacks import AnyAttack
from zsr_core.codec import fingerprint
from zsr_core.data import ImageSet
from zsr_core.data.formats.boxes import Boxes, Crops, Floats, Scenes, iou
from zsr_core.evaluation.metrics.intervals import wilson
from zsr_core.evaluation.metrics.resampling import ends_over, mean_of
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.lazy import LazyModule
from zsr_core.records import SampleRecord
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel

coco = LazyModule("pycocotools.coco")
cocoeval = LazyModule("pycocotools.cocoeval")
NO_LIBRARY = "pycocotools is not installed: pip install 'zsr[detection]'"
SIZES: Mapping[str, tuple[float, float]] = {  # areas in pixels, as COCO has them
    "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One number under one condition; ``value`` is None where it is undefined, with the reason."""

    metric: str
    attack: str  # "none", or the attack's name
    eps: float
    value: float | None  # "crop_accuracy*" and "map" in percent, "class_gated_iou" a fraction
    n: int  # objects
    low: float | None = None
    high: float | None = None
    reason: str = ""


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
    """Return every number without attack and under each attack and budget; the attack's unit is the crop.

    A proposal is attacked away from the class of the object that it overlaps most; one that overlaps none, or that is
    named wrong without attack, stays as it is. The model's squares are attacked, not the image.

    Args:
        pad: by how much of its size a box is widened on every side before it is cut out.
    """
    how: dict[str, Any] = {"seed": seed, "batch_size": batch_size, "device": device}
    true = crops_of(scenes, scenes.objects, image_size, pad, f"{scenes.name}-objects", scenes.objects.label)
    found = crops_of(scenes, proposals, image_size, pad, f"{scenes.name}-proposals", nearest_labels(scenes, proposals))
    bank = banks(true)
    own = _by_condition(predict(victim, true, bank, attacks, threats, **how))
    named = _by_condition(predict(victim, found, bank, attacks, threats, **how))
    rows: list[Detection] = []
    for (attack, eps), records in own.items():
        rows += _crop_accuracy(scenes, records, attack, eps)
        at = named[attack, eps]
        classes, sure = np.array([r.pred for r in at]), np.array([r.p_max for r in at])
        rows.append(_gated(scenes, proposals, classes, attack, eps))
        rows.append(_map(scenes, proposals, classes, proposals.score * sure, attack, eps))
    return rows


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


def class_gated_iou(scenes: Scenes, proposals: Boxes, classes: npt.NDArray[np.int64]) -> Floats:
    """Return per object the largest IoU of a proposal of its image that is named as its class; 0 where none is."""
    best = np.zeros(len(scenes.objects))
    for k, (image, label) in enumerate(zip(scenes.objects.image, scenes.objects.label, strict=True)):
        same = (proposals.image == image) & (classes == label)
        if same.any():
            best[k] = iou(scenes.objects.box[k : k + 1], proposals.box[same]).max()
    return best


def mean_ap(scenes: Scenes, proposals: Boxes, classes: npt.NDArray[np.int64], scores: Floats) -> float:
    """Return COCO's AP over IoU .50:.95, all areas, at most 100 detections an image, by pycocotools; -1 without any."""
    sizes = [{"id": i, "width": w, "height": h} for i, (w, h) in enumerate(scenes.sizes)]
    truth = {
        "info": {}, "images": sizes, "categories": [{"id": i, "name": c} for i, c in enumerate(scenes.classes)],
        "annotations": [
            {"id": k + 1, "image_id": int(i), "category_id": int(c), "bbox": _xywh(b), "iscrowd": 0, "area": _area(b)}
            for k, (i, c, b) in enumerate(
                zip(scenes.objects.image, scenes.objects.label, scenes.objects.box, strict=True)
            )
        ],
    }  # fmt: skip
    rows = [
        {"image_id": int(i), "category_id": int(c), "bbox": _xywh(b), "score": float(s)}
        for i, c, b, s in zip(proposals.image, classes, proposals.box, scores, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
        known = coco.COCO()
        known.dataset = truth
        known.createIndex()
        judged = cocoeval.COCOeval(known, known.loadRes(rows), "bbox")
        judged.evaluate()
        judged.accumulate()
        judged.summarize()
    return float(judged.stats[0])


def _by_condition(records: Sequence[SampleRecord]) -> dict[tuple[str, float], list[SampleRecord]]:
    found: dict[tuple[str, float], list[SampleRecord]] = {}
    for record in records:
        found.setdefault((record.condition, record.eps), []).append(record)
    return found


def _crop_accuracy(scenes: Scenes, records: Sequence[SampleRecord], attack: str, eps: float) -> list[Detection]:
    right = np.array([r.correct for r in records])
    areas = np.array([_area(box) for box in scenes.objects.box])
    parts = {"": np.full(len(right), True), **{f"_{k}": (lo <= areas) & (areas < hi) for k, (lo, hi) in SIZES.items()}}
    rows = []
    for suffix, part in parts.items():
        n = int(part.sum())
        name = f"crop_accuracy{suffix}"
        if n == 0:
            rows.append(
                Detection(metric=name, attack=attack, eps=eps, value=None, n=0, reason="no object of this size")
            )
            continue
        share = float(right[part].mean())
        low, high = (100 * end for end in wilson(share, n))
        rows.append(Detection(metric=name, attack=attack, eps=eps, value=100 * share, n=n, low=low, high=high))
    return rows


def _gated(scenes: Scenes, proposals: Boxes, classes: npt.NDArray[np.int64], attack: str, eps: float) -> Detection:
    best = class_gated_iou(scenes, proposals, classes)
    low, high = ends_over(len(best), lambda weights: mean_of(best, weights)) or (None, None)
    value = float(best.mean())
    return Detection(metric="class_gated_iou", attack=attack, eps=eps, value=value, n=len(best), low=low, high=high)


def _map(
    scenes: Scenes, proposals: Boxes, classes: npt.NDArray[np.int64], scores: Floats, attack: str, eps: float
) -> Detection:
    n = len(scenes.objects)
    if importlib.util.find_spec("pycocotools") is None:
        return Detection(metric="map", attack=attack, eps=eps, value=None, n=n, reason=NO_LIBRARY)
    return Detection(metric="map", attack=attack, eps=eps, value=100 * mean_ap(scenes, proposals, classes, scores), n=n)


def _xywh(box: Floats) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]


def _area(box: Floats) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
