"""Temperature scaling: how much of a calibration error one number repairs (Guo et al., ICML 2017).

Logits are divided by T, which minimises the negative log-likelihood. ``source``: T is fitted on clean images of the
training set's selection split and then the same everywhere, as it can be at deployment. ``oracle``: T is fitted on the
very images that it is judged on, which bounds what any temperature could do. No prediction changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from typing import Literal

import numpy as np

from zsr_core.evaluation.metrics.calibration import ALL, brier, ece, nll, overconfidence
from zsr_core.evaluation.metrics.metric import Ends, Images, Interval, Metric, Unit, Value
from zsr_core.evaluation.metrics.outputs import Floats, Tempered, log_softmax
from zsr_core.evaluation.metrics.resampling import Statistic, ends_of, value_of

FittedOn = Literal["source", "oracle"]
ROUNDS = 200  # of Newton's method between bounds, which halves the bounds where a step would leave them
CLOSEST = 1e-13  # relative width of the bounds at which 1 / T is known


def temperature(images: Images) -> float | None:
    """Return the temperature that minimises the negative log-likelihood of images with outputs; None without one."""
    return None if without_temperature(images) else _fitted(images)


@lru_cache(maxsize=8)
def without_temperature(images: Images) -> str:
    """Return why no temperature is best for these images, or ""."""
    if images.outputs is None:
        return "the embeddings of the images that a temperature is fitted on were not kept"
    logits = images.outputs.logits
    own = logits[np.arange(len(images)), images.label]
    if (own >= logits.max(axis=1)).all():
        return "every image is right, so a lower temperature is always better"
    if own.mean() <= logits.mean():
        return "the true classes' logits are no larger than the others', so a higher temperature is always better"
    return ""


@lru_cache(maxsize=8)
def _fitted(images: Images) -> float:
    """Return T: the likelihood is convex in 1 / T, so the root of its slope is the one minimum."""
    logits, rows = images.kept.logits, np.arange(len(images))
    own = logits[rows, images.label].mean()
    low, high, beta = 0.0, np.inf, 1.0
    for _ in range(ROUNDS):
        p = np.exp(log_softmax(beta * logits))
        mean = (p * logits).sum(axis=1)
        slope = float(mean.mean() - own)
        low, high = (beta, high) if slope < 0 else (low, beta)
        curvature = float(((p * logits**2).sum(axis=1) - mean**2).mean())
        step = beta - slope / curvature if curvature > 0 else np.inf
        inside = low < step < high
        flat = abs(slope) < 1e-15 * max(1.0, abs(own))
        if flat and not inside:
            break  # beta is the root and a bound, so half-way between the bounds would be further from it
        beta = step if inside else (2 * low if np.isinf(high) else (low + high) / 2)
        if flat or high - low < CLOSEST * high:
            break
        if inside and abs(slope / curvature) < CLOSEST * beta:
            break
    return 1 / beta


def fitted_images(images: Images, on: FittedOn) -> Images | None:
    """Return the images that the temperature is fitted on; None where the training set's were not kept."""
    return images.source if on == "source" else images


def tempered(images: Images, on: FittedOn) -> Images | None:
    """Return the images as the model with the fitted temperature gives them; None without a temperature.

    Raises:
        ArithmeticError: if a prediction changes, which no temperature above 0 can do.
    """
    fitted = fitted_images(images, on)
    t = None if fitted is None else temperature(fitted)
    return None if t is None else _at(images, t)


@lru_cache(maxsize=4)
def _at(images: Images, t: float) -> Images:
    outputs = Tempered(unit=images.kept.unit, texts=images.kept.texts, whole=images.kept, temperature=t)
    if not np.array_equal(outputs.logits.argmax(axis=1), images.kept.logits.argmax(axis=1)):
        raise ArithmeticError(f"temperature {t:g}: a prediction changed; expected the same ones at any temperature")
    p_max: Floats = np.exp(outputs.log_p.max(axis=1))
    entropy: Floats = -(np.exp(outputs.log_p) * outputs.log_p).sum(axis=1)
    return replace(images, outputs=outputs, p_max=p_max, entropy=entropy, margin=images.margin / t)


def _undefined(on: FittedOn) -> Callable[[Images], str]:
    def reason(images: Images) -> str:
        fitted = fitted_images(images, on)
        if fitted is None:
            return "the training set is no task of the suite, so no temperature was fitted"
        return without_temperature(fitted)

    return reason


def _scaled(name: str, title: str, statistic: Statistic, unit: Unit, on: FittedOn) -> Metric:
    plain_value, plain_ends = value_of(statistic), ends_of(statistic)

    def value(images: Images) -> float | None:
        scaled = tempered(images, on)
        return None if scaled is None else plain_value(scaled)

    def ends(images: Images, value: float) -> Ends | None:
        scaled = tempered(images, on)
        return None if scaled is None else plain_ends(scaled, value)

    return _row(f"{name}_{on}_t", f"{title} at the {on}'s temperature", unit, on, value, ends)


def _row(name: str, title: str, unit: Unit, on: FittedOn, value: Value, ends: Interval) -> Metric:
    return Metric(
        name=name, title=title, unit=unit, higher_is_better=False, conditions=ALL, attacked=False, always=False,
        reads="embeddings", value=value, interval=ends, undefined=_undefined(on),
    )  # fmt: skip


def _temperature_row(on: FittedOn) -> Metric:
    def value(images: Images) -> float | None:
        fitted = fitted_images(images, on)
        return None if fitted is None else temperature(fitted)

    return _row(f"temperature_{on}", f"temperature fitted on the {on}", "", on, value, "none")


_BOTH: tuple[FittedOn, ...] = ("source", "oracle")
_SCALED: tuple[tuple[str, str, Statistic, Unit], ...] = (
    ("ece", "calibration error", ece, "%"),
    ("overconfidence", "confidence minus accuracy", overconfidence, "points"),
    ("nll", "negative log-likelihood", nll, "nats"),
    ("brier", "Brier score", brier, ""),
)
TEMPERATURE: tuple[Metric, ...] = (
    *(_temperature_row(on) for on in _BOTH),
    *(_scaled(name, title, statistic, unit, on) for on in _BOTH for name, title, statistic, unit in _SCALED),
)
