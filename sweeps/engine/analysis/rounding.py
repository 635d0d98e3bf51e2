"""Round numbers inside a range, for the ticks of an axis."""

from __future__ import annotations

import math

STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)
WIDE, NARROW = 3.0, 1.5  # decades: from the first on only powers of ten, below the second 1, 2 and 5 of each


def round_values(low: float, high: float, *, log: bool, most: int = 5) -> list[float]:
    """Return round values from ``low`` to ``high``: even steps, or on a log axis 1, 3 or 1, 2, 5 of each decade.

    A log range that holds fewer than two such values gets even steps.
    """
    if log and low > 0:
        width = math.log10(high) - math.log10(low)
        heads = (1,) if width > WIDE else (1, 3) if width >= NARROW else (1, 2, 5)
        decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
        values = [head * 10.0**decade for decade in decades for head in heads]
        inside = [v for v in values if low * (1 - 1e-9) <= v <= high * (1 + 1e-9)]
        if len(inside) > 1:
            return inside
    return _even(low, high, most)


def _even(low: float, high: float, most: int) -> list[float]:
    span = high - low
    if not span > 0:
        return [low]
    unit = 10.0 ** math.floor(math.log10(span / most))
    step = next(s * unit for s in (*STEPS, 20.0) if span / (s * unit) <= most)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]
