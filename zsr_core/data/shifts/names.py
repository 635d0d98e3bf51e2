"""How records and measurements name the condition of images that differ from a set's own in a known way.

They are not attacks: no record of such a condition counts in a clean or a robust number.
"""

from __future__ import annotations

from typing import Final

from zsr_core.data.shifts.kinds import Cell

CORRUPTION: Final = "corruption"
FACTOR: Final = "factor"
UNCHANGED: Final = "factor-none"  # the images that a factor's are compared with
UNTOUCHED: Final = "untouched"  # how conditions begin of which the record is the untouched model's


def corruption_name(cell: Cell) -> str:
    """Return ``corruption-fog-3``."""
    return f"{CORRUPTION}-{cell.kind}-{cell.severity}"


def kind_name(kind: str) -> str:
    """Return ``corruption-fog``, a kind at all its severities."""
    return f"{CORRUPTION}-{kind}"


def corruption_cell(condition: str) -> Cell | None:
    """Return the cell that a condition names; None of any other."""
    prefix, _, rest = condition.partition("-")
    kind, sign, severity = rest.rpartition("-")
    return Cell(kind=kind, severity=int(severity)) if prefix == CORRUPTION and sign else None


def factor_name(factor: str, level: int | None = None) -> str:
    """Return ``factor-colour`` or, of one level, ``factor-colour-3``; levels count from 1."""
    return f"{FACTOR}-{factor}" if level is None else f"{FACTOR}-{factor}-{level}"


def factor_level(condition: str) -> tuple[str, int | None] | None:
    """Return the factor that a condition names, and its level if it has one; None of any other condition."""
    prefix, _, rest = condition.partition("-")
    if prefix != FACTOR or condition == UNCHANGED or not rest:
        return None
    factor, _, level = rest.partition("-")
    return factor, int(level) if level else None


def untouched_name(condition: str) -> str:
    """Return the condition of the untouched model's record under ``condition``."""
    return f"{UNTOUCHED}-{condition}"


def is_shift(condition: str) -> bool:
    """Return whether a condition is a corruption or a factor, and so neither clean nor an attack."""
    return condition.removeprefix(f"{UNTOUCHED}-").partition("-")[0] in (CORRUPTION, FACTOR)
