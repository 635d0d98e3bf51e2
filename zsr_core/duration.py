"""Seconds and bytes as text."""

from __future__ import annotations

import math


def duration(seconds: float) -> str:
    """Return a length of time as one reads it: ``45 s``, ``3 min``, ``2.5 h``."""
    if not math.isfinite(seconds):
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def size_text(size: float) -> str:
    """Return a number of bytes as one reads it: ``3 kB``, ``98 MB``, ``2.1 GB``."""
    if size < 1e6:
        return f"{size / 1e3:.0f} kB"
    return f"{size / 1e6:.0f} MB" if size < 1e9 else f"{size / 1e9:.1f} GB"
