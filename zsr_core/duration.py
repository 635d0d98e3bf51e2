"""Seconds as text."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Return a length of time as one reads it: ``45 s``, ``3 min``, ``2.5 h``."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
