"""Attention maps against object masks and against themselves without attack, for each kind of map.

An attack's images are those that are right without attack, because no other image is attacked. A soft IoU says little
alone: a constant map reaches the mask's share of the image, which is the row ``mask_share``, and scaling a map to
[0, 1] moves it. Pointing and energy do not depend on the scale.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Metric, Unit
from zsr_core.evaluation.metrics.outputs import Floats
from zsr_core.evaluation.metrics.resampling import ends_over, mean_of
from zsr_core.records import ATTENTION_COLUMNS, ATTENTION_KINDS

ALL: tuple[Condition, ...] = ("clean", "attack", "worst")
ATTACKED: tuple[Condition, ...] = ("attack", "worst")
TITLES = {"text": "text-guided", "complementary": "complementary", "gradcam": "Grad-CAM"}
Column = Callable[[Images], Floats]  # [N], NaN where an image has no value


def fact(name: str) -> Column:
    """Return the column of this name of the images that count: all without attack, the attacked ones under it."""
    at = ATTENTION_COLUMNS.index(name)

    def column(images: Images) -> Floats:
        values = np.asarray(images.looked[:, at], np.float64)
        return values if images.clean is None else np.where(images.clean.correct, values, np.nan)

    return column


def change(name: str) -> Column:
    """Return the same column minus that of the same images without attack."""
    under = fact(name)
    at = ATTENTION_COLUMNS.index(name)

    def column(images: Images) -> Floats:
        assert images.clean is not None, "measured under attack alone"
        return under(images) - np.asarray(images.clean.looked[:, at], np.float64)

    return column


def _metric(
    name: str, title: str, of: Column, conditions: tuple[Condition, ...], *, unit: Unit = "%", higher: bool = True
) -> Metric:
    def value(images: Images) -> float:
        column = of(images)
        return float(column[~np.isnan(column)].mean())

    def ends(images: Images, value: float) -> Ends | None:
        column = of(images)
        there = (~np.isnan(column)).astype(np.float64)
        return ends_over(len(images), lambda weights: mean_of(np.nan_to_num(column), weights * there))

    def undefined(images: Images) -> str:
        if images.clean is not None and not images.clean.correct.any():
            return "no image is right without attack, so none is attacked"
        return "" if (~np.isnan(of(images))).any() else "no image has a value: it has no mask, or its map is constant"

    return Metric(
        name=name, title=title, unit=unit, higher_is_better=higher, conditions=conditions, value=value, interval=ends,
        attacked="clean" not in conditions, reads="attention", always=False, undefined=undefined,
    )  # fmt: skip


def _rows(kind: str) -> tuple[Metric, ...]:
    title = TITLES[kind]
    return (
        _metric(f"soft_iou_{kind}", f"soft IoU of {title} attention and mask", fact(f"soft_iou_{kind}"), ALL),
        _metric(f"soft_iou_change_{kind}", f"change of {title} soft IoU under attack", change(f"soft_iou_{kind}"),
                ATTACKED, unit="points"),
        _metric(f"pointing_{kind}", f"largest {title} attention on the object", fact(f"pointing_{kind}"), ALL),
        _metric(f"energy_{kind}", f"{title} attention on the object", fact(f"energy_{kind}"), ALL),
        _metric(f"drift_{kind}", f"drift of {title} attention under attack, 1 - cosine", fact(f"drift_{kind}"),
                ATTACKED, higher=False),
        _metric(f"kept_{kind}", f"soft IoU of {title} attention with and without attack", fact(f"kept_{kind}"),
                ATTACKED),
    )  # fmt: skip


ATTENTION: tuple[Metric, ...] = (
    _metric("mask_share", "share of the image that the mask covers; the soft IoU of a constant map",
            fact("mask_share"), ("clean",)),
    *(row for kind in ATTENTION_KINDS for row in _rows(kind)),
)  # fmt: skip
