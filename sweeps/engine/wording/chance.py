"""Chance and collapse in sentences."""

from __future__ import annotations

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import planned_row
from sweeps.engine.analysis.searching.chance import chance_level, row_collapse
from sweeps.engine.study.folder import StudyFolder
from zsr_core.evaluation.collapse import Collapse


def chance_text(folder: StudyFolder) -> str:
    """Return the level of chance as a sentence; empty where it is unknown."""
    level = chance_level(folder)
    return "" if level is None else f"Chance level: {level:.1f} %, the accuracy of a guess, as a mean over the sets."


def collapse_note(found: Collapse | None) -> str:
    """Return the note of a table's row that has collapsed; empty for a row that has not."""
    if found is None or not found.collapsed:
        return ""
    if found.one_class:
        return f"collapsed: {found.largest_predicted:.0f} % of a set's predictions are one class"
    return f"collapsed: clean {found.clean:.1f} % is not above chance, {found.chance:.1f} %"


def warning_text(folder: StudyFolder) -> str:
    """Return a warning about the chosen cell if its predictions have collapsed; else an empty text."""
    winner = chosen(folder)
    found = None if winner is None else row_collapse(folder, planned_row(folder, winner))
    if found is None or not found.collapsed:
        return ""
    return (
        f"WARNING: the chosen cell ignores its input ({found.text}). Such a model is robust because no attack changes "
        "its answer; do not report it."
    )
