"""Numbers as the cells of the command line's tables."""

from __future__ import annotations

from zsr_core.evaluation.measure import Measurement


def cell(m: Measurement | None, digits: int = 1, absent: str = "–") -> str:
    """Return a value with its interval; a dash with the reason where it is undefined, ``absent`` where none is."""
    if m is None:
        return absent
    span = "" if m.low is None or m.high is None else f" [{m.low:.{digits}f}, {m.high:.{digits}f}]"
    return f"– ({m.reason})" if m.value is None else f"{m.value:.{digits}f}{span}"
