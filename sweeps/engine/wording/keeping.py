"""The conditions of a study in sentences."""

from __future__ import annotations

from sweeps.engine.analysis.scores import eligible, scores
from sweeps.engine.analysis.searching.keeping import EXACT, broken
from sweeps.engine.format import counted
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score


def keep_text(folder: StudyFolder) -> str:
    """Return how many cells keep the study's conditions, as a sentence; empty without conditions."""
    if not folder.study.keep:
        return ""
    cells = eligible(scores(folder), deciding_score(folder.study.objectives).name)
    kept = sum(broken(folder, cell) <= EXACT for cell in cells)
    words = " and ".join(keep.text for keep in folder.study.keep)
    if cells and not kept:
        return f"WARNING: none of {counted(len(cells), 'cell')} keeps {words}; the chosen one breaks it least."
    return f"Chosen among the {kept} of {counted(len(cells), 'cell')} that keep {words}."
