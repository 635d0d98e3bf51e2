"""Which cell answers the question, and what choosing the best of many does to its score."""

from __future__ import annotations

from dataclasses import dataclass

from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import CellScore, best, eligible, pareto, scores
from sweeps.engine.analysis.stats import inflation
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import Score, deciding_score


def chosen(folder: StudyFolder) -> CellScore | None:
    """Return the cell that answers the question, from the selection split: None if no cell has finished.

    It is best at the study's deciding score (:func:`deciding_score`). A search with several objectives chooses among
    the cells that no other beats in all of them.
    """
    study = folder.study
    cells = scores(folder)
    if study.mode == "search" and len(study.objectives) > 1:
        cells = pareto(cells, study.objectives)
    return best(cells, deciding_score(study.objectives).name)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What choosing the best of ``n`` cells did to the chosen one's score, in percent and points."""

    n: int
    by: Score  # what was compared
    score: float  # the chosen cell's, on the selection split
    se: float  # standard error of that score, over seeds and images
    inflation: float  # how much the best of n equal cells gains by being chosen
    again: float | None  # the same configuration's score on the report split, once it has run


def selection(folder: StudyFolder) -> Selection | None:
    """Return the winner's curse of this study; None before there is a choice, or without records of it."""
    by = deciding_score(folder.study.objectives)
    winner, n = chosen(folder), len(eligible(scores(folder), by.name))
    if winner is None or n < 2:
        return None
    interval = row_interval(folder, winner).get(by.name)
    score = winner.value(by.name)
    if interval is None or score is None:
        return None
    final = next((cell for cell in scores(folder, "final") if cell.cell == winner.cell), None)
    again = None if final is None else final.value(by.name)
    return Selection(n=n, by=by, score=score, se=interval.se, inflation=inflation(n, interval.se), again=again)
