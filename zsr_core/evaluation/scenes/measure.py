"""From what a model named the boxes of scenes to measurements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from zsr_core.evaluation.estimates import estimate, mean_estimate
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, by_place, condition_of, row_of
from zsr_core.evaluation.metrics import Metric
from zsr_core.evaluation.metrics.boxed import Boxed
from zsr_core.evaluation.scenes.store import Detected
from zsr_core.records import SampleRecord


def measure_detection(detected: Detected | None, metrics: Sequence[Metric]) -> list[Measurement]:
    """Return every number of ``metrics`` that reads detection, of the scenes and as the mean over sets of scenes.

    ``n`` counts objects. Under "worst" an object is right if no attack breaks the crop of its true box.
    """
    asked = [metric for metric in metrics if metric.reads == "detection"]
    if detected is None or not asked:
        return []
    first, rows, means = detected.objects_named[0], [], []
    proposed: dict[tuple[str, float], list[SampleRecord]] = {}
    for record in detected.proposals_named:
        proposed.setdefault((record.condition, record.eps), []).append(record)
    for (_, attack, eps), images in by_place(detected.objects_named).items():
        condition = condition_of(attack)
        own = proposed["none", 0.0] if attack == WORST else proposed[attack, eps]  # the worst case names no proposal
        boxes = Boxed(
            objects=detected.objects, proposals=detected.proposals, named=np.array([r.pred for r in own], np.int64),
            sure=np.array([r.p_max for r in own], np.float64),
        )  # fmt: skip
        for metric in (metric for metric in asked if condition in metric.conditions):
            number = estimate(metric, replace(images, boxes=boxes)).scaled(metric.factor)
            rows.append(row_of(first, (detected.name, attack, eps), metric.name, number))
            mean = mean_estimate({detected.name: number})
            means.append(row_of(first, (ZERO_SHOT_MEAN, attack, eps), metric.name, mean))
    return [*rows, *means]
