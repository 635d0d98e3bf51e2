"""Which cells keep the conditions of a study, and by how much the others break them."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.engine.analysis.scores import CellScore, untouched_score
from sweeps.engine.study.folder import StudyFolder

EXACT = 1e-9  # a violation below it is rounding


def violations(folder: StudyFolder, cell: CellScore) -> dict[str, float]:
    """Return by how much a cell breaks each of the study's conditions, at most 0 where it keeps it.

    A condition whose bound or score is not measured yet is left out.
    """
    untouched = untouched_score(folder)
    found: dict[str, float] = {}
    for keep in folder.study.keep:
        value = cell.value(keep.score)
        reference = None if untouched is None else untouched.value(keep.score)
        violation = None if value is None else keep.violation(value, reference)
        if violation is not None:
            found[keep.text] = violation
    return found


def broken(folder: StudyFolder, cell: CellScore) -> float:
    """Return the sum of a cell's violations; 0 if it keeps every condition."""
    return sum(max(0.0, each) for each in violations(folder, cell).values())


def keeping(folder: StudyFolder, cells: Sequence[CellScore]) -> list[CellScore]:
    """Return the cells that keep the study's conditions; if none does, those that break them least."""
    if not folder.study.keep:
        return list(cells)
    measured = [cell for cell in cells if cell.n]
    least = min((broken(folder, cell) for cell in measured), default=0.0)
    return [cell for cell in measured if broken(folder, cell) <= least + EXACT]
