"""Proposals that repeat another one, or nearly so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zsr_core.codec import is_finite
from zsr_core.space import Choice, Domain, transform

NEAR = 0.01  # share of each axis as it is drawn, within which two proposals are nearly the same; ours


def placed(point: Mapping[str, Any], space: Mapping[str, Domain]) -> tuple[float, ...]:
    """Return a point's place in the unit cube, axis by axis as it is drawn; values of a choice are a unit apart.

    A value outside its axis, such as a weight that is off, is two units away from all that are inside.
    """
    return tuple(_place(point.get(path), domain) for path, domain in space.items())


def _place(value: Any, domain: Domain) -> float:
    if isinstance(domain, Choice):
        return float(domain.values.index(value)) if value in domain.values else -2.0
    if not is_finite(value) or (domain.log and value <= 0):
        return -2.0
    low, high = transform(domain, domain.low), transform(domain, domain.high)
    return (transform(domain, float(value)) - low) / (high - low)


def near(a: Sequence[float], b: Sequence[float], within: float = NEAR) -> bool:
    """Return whether two places are nearly the same on every axis."""
    return all(abs(x - y) <= within for x, y in zip(a, b, strict=True))


def repeated(points: Sequence[Mapping[str, Any]], space: Mapping[str, Domain], within: float = NEAR) -> int:
    """Return how many points are nearly the same as an earlier one."""
    seen: list[tuple[float, ...]] = []
    count = 0
    for point in points:
        at = placed(point, space)
        count += any(near(at, other, within) for other in seen)
        seen.append(at)
    return count
