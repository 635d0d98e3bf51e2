"""Zero-shot detection by crops: a detector's boxes are cut out, and the model names each crop.

The holistic study (App. C there) attacks every crop by itself and prints "the IoU metric" without its formula. Three
numbers are given here:

    crop accuracy        of the crops of the true boxes; no detector is in it
    class-gated IoU      mean over objects of the largest IoU of a proposal that is named as the object's class, 0 where
                         none is: our reading of the source's metric
    mAP                  COCO's AP over IoU .50:.95, with a proposal's score times the probability of its class
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

import numpy as np

from zsr_core.evaluation.metrics.boxed import areas, class_gated_iou, mean_ap
from zsr_core.evaluation.metrics.intervals import wilson
from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Metric
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import ends_over, mean_of

NO_LIBRARY = "pycocotools is not installed: pip install 'zsr[detection]'"
EVERY = ""
SIZES: Mapping[str, tuple[float, float]] = {  # areas in pixels, as COCO has them
    EVERY: (0.0, np.inf), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, np.inf),
}  # fmt: skip


def of_size(images: Images, size: str) -> Images:
    """Return the objects of one of COCO's sizes; each row of ``images`` is an object."""
    low, high = SIZES[size]
    own = areas(images.boxed.objects)
    return images.take(np.flatnonzero((low <= own) & (own < high)))


def _crop_accuracy(size: str) -> Metric:
    def counted(images: Images) -> int:
        return len(of_size(images, size))

    def value(images: Images) -> float:
        return float(of_size(images, size).correct.mean())

    def ends(images: Images, share: float) -> Ends | None:
        return wilson(share, counted(images))

    def undefined(images: Images) -> str:
        return "" if counted(images) else "no object of this size"

    return Metric(
        name=f"crop_accuracy_{size}" if size else "crop_accuracy",
        title=f"accuracy on crops of {size or 'the true'} boxes", unit="%", higher_is_better=True,
        conditions=("clean", "attack", "worst"), value=value, attacked=False, reads="detection", always=False,
        interval=ends, undefined=undefined, counted=counted,
    )  # fmt: skip


def gated_iou(images: Images) -> Floats:
    """Return the class-gated IoU of every object, [O]."""
    seen = images.boxed
    return class_gated_iou(seen.objects, seen.proposals, seen.named)


def gated_ends(images: Images, value: float) -> Ends | None:
    """Return the interval of their mean over objects."""
    each = gated_iou(images)
    return ends_over(len(each), lambda weights: mean_of(each, weights))


def average_precision(images: Images) -> float | None:
    """Return COCO's mean average precision, a fraction; None where it has none."""
    seen = images.boxed
    found = mean_ap(seen.objects, seen.proposals, seen.named, seen.proposals.score * seen.sure)
    return None if found < 0 else found


def without_library(images: Images) -> str:
    """Return what to install where the library of COCO's metric is missing, or ""."""
    return NO_LIBRARY if importlib.util.find_spec("pycocotools") is None else ""


NAMED: tuple[Condition, ...] = ("clean", "attack")
DETECTION: tuple[Metric, ...] = (
    *(_crop_accuracy(size) for size in SIZES),
    Metric(
        name="class_gated_iou", title="class-gated IoU of detection by crops", unit="%", higher_is_better=True,
        conditions=NAMED, value=lambda images: float(gated_iou(images).mean()), attacked=False, reads="detection",
        always=False, interval=gated_ends,
    ),
    Metric(
        name="map", title="mAP of detection by crops", unit="%", higher_is_better=True, conditions=NAMED,
        value=average_precision, attacked=False, reads="detection", always=False, undefined=without_library,
    ),
)  # fmt: skip
