"""One metric of one set's images with its interval, or why it has no value; and the mean of several sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from zsr_core.codec import is_finite
from zsr_core.evaluation.metrics.intervals import interval_of, mean_interval
from zsr_core.evaluation.metrics.metric import Ends, Images, Metric, Reads

# What a metric reads: where images have it, and why they may not. Retrieval and detection have sets of their own.
NEEDED: Mapping[Reads, tuple[str, str]] = {
    "embeddings": ("outputs", "the embeddings were not kept"),
    "corruptions": ("corruptions", "no corruption was evaluated"),
    "factors": ("factors", "no visual factor was evaluated"),
    "attention": ("attention", "attention was not measured: set eval_suite.attention"),
}


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a metric came to for one set, or for the mean of several."""

    n: int  # images
    value: float | None = None
    ends: Ends | None = None
    reason: str = ""  # why there is no value

    def scaled(self, factor: float) -> Estimate:
        """Return the same times ``factor``, such as 100 for percent."""
        ends = None if self.ends is None else (factor * self.ends[0], factor * self.ends[1])
        return replace(self, value=None if self.value is None else factor * self.value, ends=ends)


def estimate(metric: Metric, images: Images) -> Estimate:
    """Return a metric's value and interval for these images, in the scale of ``Metric.value``."""
    n = metric.counted(images)
    reason = _missing(metric, images) or metric.undefined(images)
    if reason:
        return Estimate(n=n, reason=reason)
    value = metric.value(images)
    if value is None or not is_finite(value):
        return Estimate(n=n, reason=f"the metric gave {value} and no reason")
    return Estimate(n=n, value=float(value), ends=interval_of(metric, images, value))


def _missing(metric: Metric, images: Images) -> str:
    """Return what the metric reads and the images do not have, or ""."""
    if metric.reads not in NEEDED:
        return ""
    column, why = NEEDED[metric.reads]
    return why if getattr(images, column) is None else ""


def mean_estimate(parts: Mapping[str, Estimate]) -> Estimate:
    """Return the mean over sets; undefined, naming the sets, if one of them is."""
    n = sum(part.n for part in parts.values())
    undefined = [f"{name} ({part.reason})" for name, part in parts.items() if part.value is None]
    if undefined:
        return Estimate(n=n, reason=f"undefined for {', '.join(undefined)}")
    values = [part.value for part in parts.values() if part.value is not None]
    ends = mean_interval(values, [part.ends for part in parts.values()])
    return Estimate(n=n, value=sum(values) / len(values), ends=ends)
