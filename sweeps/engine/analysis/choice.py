"""The chosen cell of a study, and by how much choosing the best of many cells inflates its score."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import CellScore, best, eligible, pareto, scores
from sweeps.engine.analysis.searching.keeping import keeping
from sweeps.engine.analysis.stats import inflation
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import Score, deciding_score


def chosen(folder: StudyFolder, among: Sequence[CellScore] | None = None) -> CellScore | None:
    """Return the cell with the best deciding score on the selection split; None if no cell has finished.

    The score is :func:`deciding_score`. A search with several objectives chooses among the cells of the Pareto front. A
    cell that breaks a condition of the study is chosen only if all cells do.

    ``among``: the scores of all cells, if they are known already.
    """
    study = folder.study
    cells = keeping(folder, scores(folder) if among is None else among)
    if study.mode == "search" and len(study.objectives) > 1:
        cells = pareto(cells, study.objectives)
    return best(cells, deciding_score(study.objectives).name)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The winner's curse: how far choosing the best of ``n`` cells inflates its score, in percent and points."""

    n: int
    by: Score  # the deciding score
    score: float  # the chosen cell's, on the selection split
    se: float  # standard error of that score, over seeds and images
    inflation: float  # expected excess of the best of n equally good cells
    again: float | None  # the same configuration's score on the report split, once it has run


def selection(folder: StudyFolder) -> Selection | None:
    """Return the winner's curse of this study; None with fewer than two eligible cells, or without records."""
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
