"""The metrics, a file per family; :data:`METRICS` is the table. A new metric is one file and one line here."""

from __future__ import annotations

from zsr_core.codec import unknown
from zsr_core.evaluation.metrics.accuracy import CLEAN, HARMONIC, ROBUST
from zsr_core.evaluation.metrics.attention import ATTENTION
from zsr_core.evaluation.metrics.calibration import CALIBRATION
from zsr_core.evaluation.metrics.corrupted_retrieval import CORRUPTED_RETRIEVAL
from zsr_core.evaluation.metrics.corruptions import CORRUPTED
from zsr_core.evaluation.metrics.crops import DETECTION
from zsr_core.evaluation.metrics.factors import FACTORED
from zsr_core.evaluation.metrics.if_calibrated import IF_CALIBRATED
from zsr_core.evaluation.metrics.intervals import interval_of, mean_interval
from zsr_core.evaluation.metrics.metric import Condition, Ends, Images, Metric
from zsr_core.evaluation.metrics.ood import OOD
from zsr_core.evaluation.metrics.outside import AGAINST, OUTSIDE, row_of_set
from zsr_core.evaluation.metrics.retrieval import RETRIEVAL
from zsr_core.evaluation.metrics.temperature import TEMPERATURE
from zsr_core.evaluation.metrics.uncertainty import UNCERTAINTY
from zsr_core.names import LISTED_BY

ACCURACY: tuple[Metric, ...] = (CLEAN, ROBUST, HARMONIC)
# Measurements of a condition are in this order.
METRICS: tuple[Metric, ...] = (CLEAN, ROBUST, HARMONIC, *CALIBRATION, *IF_CALIBRATED, *TEMPERATURE, *UNCERTAINTY, *OOD)
METRICS += (*OUTSIDE, *CORRUPTED, *FACTORED, *RETRIEVAL, *CORRUPTED_RETRIEVAL, *ATTENTION, *DETECTION)
RETRIEVAL_NAMES = frozenset(metric.name for metric in METRICS if metric.reads == "retrieval")
# Of sets that are no tasks: captions, and scenes of several objects.
OWN_SETS = RETRIEVAL_NAMES | {metric.name for metric in DETECTION}


def metric_named(name: str) -> Metric:
    """Return the metric of that name; the rows of single OOD sets are no rows of the table, but have names too.

    Raises:
        ConfigError: naming the nearest known name, if there is none.
    """
    metrics = {metric.name: metric for metric in METRICS}
    if AGAINST in name:
        return row_of_set(name)
    if name not in metrics:
        raise unknown("metric", name, metrics, LISTED_BY)
    return metrics[name]


__all__ = [
    "ACCURACY", "CLEAN", "CORRUPTED_RETRIEVAL", "DETECTION", "HARMONIC", "METRICS", "OWN_SETS", "RETRIEVAL",
    "RETRIEVAL_NAMES", "ROBUST", "Condition", "Ends", "Images", "Metric", "interval_of", "mean_interval",
    "metric_named",
]  # fmt: skip
