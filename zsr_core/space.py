"""Where a configuration may go: domains for its fields, and the designs that list variants to run.

Bounds are inclusive at both ends. Zero is never an end of a log axis: "off" is an override of its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zsr_core.codec import is_finite, require


@dataclass(frozen=True, kw_only=True)
class Real:
    """A real axis ``[low, high]``, both ends included; ``log`` spaces it by ratio and needs ``low > 0``."""

    low: float
    high: float
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            require(is_finite(getattr(self, name)), name, getattr(self, name), "a finite number")
        require(self.low < self.high, "low", self.low, f"a number below high ({self.high:g})")
        require(not self.log or self.low > 0, "low", self.low, "a number above 0 on a log axis (write 'off' as a part)")

    def contains(self, value: Any) -> bool:
        return is_finite(value) and self.low <= value <= self.high

    def levels(self, n: int) -> tuple[float, ...]:
        """Return ``n`` evenly spaced values, by ratio on a log axis: the ends exactly, the others rounded for labels.

        Rounding never leaves the axis.
        """
        require(n >= 2, "levels", n, "at least 2")
        at = [i / (n - 1) for i in range(1, n - 1)]
        if self.log:
            between = [float(f"{self.low * (self.high / self.low) ** t:.4g}") for t in at]
        else:
            between = [float(f"{self.low + (self.high - self.low) * t:.6g}") for t in at]
        return (self.low, *(min(max(x, self.low), self.high) for x in between), self.high)


@dataclass(frozen=True, kw_only=True)
class Int:
    """A whole-number axis ``low .. high``, both ends included."""

    low: int
    high: int
    log: bool = False

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            require(isinstance(value, int) and not isinstance(value, bool), name, value, "a whole number")
        require(self.low < self.high, "low", self.low, f"a number below high ({self.high})")
        require(not self.log or self.low > 0, "low", self.low, "a number above 0 on a log axis")

    def contains(self, value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class Choice:
    """An axis of named or listed values, in reading order."""

    values: tuple[Any, ...]

    def __post_init__(self) -> None:
        require(len(self.values) > 0, "values", self.values, "at least one value")
        require(len(set(map(repr, self.values))) == len(self.values), "values", self.values, "no value twice")

    def contains(self, value: Any) -> bool:
        return value in self.values


Domain = Real | Int | Choice


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row or cell of a design: a label for tables and the overrides, by dotted path, that make it."""

    label: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    reference: bool = False  # whether tables compare the design's other rows with this one


def short(value: Any) -> str:
    """Return a value as a table shows it: ``0.3``, ``4/255`` stays text, names as they are."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _variant(overrides: Mapping[str, Any]) -> Variant:
    label = " ".join(f"{path.rsplit('.', 1)[-1]}={short(value)}" for path, value in overrides.items())
    return Variant(label=label, overrides=dict(overrides))


def grid(axes: Mapping[str, Sequence[Any]]) -> tuple[Variant, ...]:
    """Return every combination of the axes' values, the last axis running fastest.

    Raises:
        ConfigError: if there is no axis, an axis is empty or lists a value twice.
    """
    require(len(axes) > 0, "space", dict(axes), "at least one axis")
    for path, values in axes.items():
        require(len(values) > 0, path, list(values), "at least one value")
        require(len(set(map(repr, values))) == len(values), path, list(values), "no value twice")
    return tuple(_variant(dict(zip(axes, cell, strict=True))) for cell in itertools.product(*axes.values()))


def leave_one_out(parts: Mapping[str, Mapping[str, Any]], *, full: str = "full") -> tuple[Variant, ...]:
    """Return the full method, then it without each part in turn; ``parts``: name -> overrides that switch it off."""
    require(len(parts) > 0, "parts", dict(parts), "at least one part")
    without = (Variant(label=f"w/o {name}", overrides=dict(off)) for name, off in parts.items())
    return (Variant(label=full, reference=True), *without)


def all_subsets(parts: Mapping[str, Mapping[str, Any]]) -> tuple[Variant, ...]:
    """Return the 2^n combinations of parts, from none to all; what is not in the label is switched off."""
    require(0 < len(parts) <= 12, "parts", len(parts), "between 1 and 12 parts")
    names = list(parts)
    rows = []
    for size in range(len(names) + 1):
        for kept in itertools.combinations(names, size):
            overrides = {path: v for name in names if name not in kept for path, v in parts[name].items()}
            rows.append(Variant(label=" + ".join(kept) or "none", overrides=overrides, reference=not kept))
    return tuple(rows)


def product(*designs: Sequence[Variant]) -> tuple[Variant, ...]:
    """Return every combination of one row of each design, the last design running fastest.

    Overrides apply in the designs' order: a later design may set a field of a branch that an earlier one has set
    (``method``, then ``method.alpha``), but not set the same path again. A combination of references is a reference.

    Raises:
        ConfigError: if there is no design, one is empty, or one sets again what an earlier one has set.
    """
    require(len(designs) > 0, "designs", designs, "at least one design")
    require(all(len(design) > 0 for design in designs), "designs", designs, "at least one row in each design")
    return tuple(_joined(rows) for rows in itertools.product(*designs))


def _joined(rows: Sequence[Variant]) -> Variant:
    overrides: dict[str, Any] = {}
    for row in rows:
        for path in row.overrides:
            undone = [known for known in overrides if known == path or known.startswith(f"{path}.")]
            require(not undone, path, row.label, "a path that no earlier design of the product sets")
        overrides.update(row.overrides)
    label = " × ".join(row.label for row in rows)
    return Variant(label=label, overrides=overrides, reference=all(row.reference for row in rows))


def transform(domain: Domain, value: float) -> float:
    """Return ``value`` on the axis as it is drawn: log10 on a log axis, itself otherwise."""
    return math.log10(value) if getattr(domain, "log", False) else float(value)
