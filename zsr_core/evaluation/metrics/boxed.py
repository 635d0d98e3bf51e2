"""What metrics of detection by crops read, and the numbers that boxes and their names come to: pure functions."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsr_core.data.formats.boxes import Boxes, Floats, iou
from zsr_core.lazy import LazyModule

coco = LazyModule("pycocotools.coco")
cocoeval = LazyModule("pycocotools.cocoeval")
Names = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxed:
    """The O objects of some images, and P proposals of a detector as a model names them under one condition."""

    objects: Boxes
    proposals: Boxes
    named: Names  # [P] positions in the classes
    sure: Floats  # [P] the probability of that class


def areas(boxes: Boxes) -> Floats:
    """Return the areas [B] in pixels."""
    return np.asarray((boxes.box[:, 2:] - boxes.box[:, :2]).prod(axis=1), np.float64)


def class_gated_iou(objects: Boxes, proposals: Boxes, named: Names) -> Floats:
    """Return per object the largest IoU of a proposal of its image that is named as its class; 0 where none is."""
    best = np.zeros(len(objects))
    for k, (image, label) in enumerate(zip(objects.image, objects.label, strict=True)):
        same = (proposals.image == image) & (named == label)
        if same.any():
            best[k] = iou(objects.box[k : k + 1], proposals.box[same]).max()
    return best


def mean_ap(objects: Boxes, proposals: Boxes, named: Names, scores: Floats) -> float:
    """Return COCO's AP over IoU .50:.95, all areas, at most 100 detections an image, by pycocotools; -1 without any."""
    images = np.union1d(objects.image, proposals.image)
    kinds = np.union1d(objects.label, named)
    truth = {
        "info": {}, "images": [{"id": int(i)} for i in images], "categories": [{"id": int(c)} for c in kinds],
        "annotations": [
            {"id": k + 1, "image_id": int(i), "category_id": int(c), "bbox": _xywh(b), "iscrowd": 0, "area": float(a)}
            for k, (i, c, b, a) in enumerate(
                zip(objects.image, objects.label, objects.box, areas(objects), strict=True)
            )
        ],
    }  # fmt: skip
    rows = [
        {"image_id": int(i), "category_id": int(c), "bbox": _xywh(b), "score": float(s)}
        for i, c, b, s in zip(proposals.image, named, proposals.box, scores, strict=True)
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


def _xywh(box: Floats) -> list[float]:
    return [float(box[0]), float(box[1]), float(box[2] - box[0]), float(box[3] - box[1])]
