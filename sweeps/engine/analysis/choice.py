"""Which cell answers the question, and what choosing the best of many does to its score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.analysis.outcomes import read_seeds, score_interval
from sweeps.engine.analysis.scores import CellScore, best, eligible, pareto, scores
from sweeps.engine.analysis.stats import inflation
from sweeps.engine.format import NAMES
from sweeps.engine.study.folder import Study
from sweeps.engine.study.objectives import OBJECTIVES, Objective
from zsr_core.trial.result import TrialResult


def criterion(study: Study) -> str:
    """Return what the chosen cell is best at."""
    return NAMES[study.objectives[0] if len(study.objectives) == 1 else "harmonic"]


def chosen(study: Study, results: Mapping[str, TrialResult]) -> CellScore | None:
    """Return the cell that answers the question, from the selection split: None if no cell has finished.

    One objective: the cell that scores highest on it. Two: the highest harmonic mean, in a search among the cells that
    no other beats in both.
    """
    cells = scores(study, results)
    if len(study.objectives) == 1:
        return best(cells, study.objectives[0])
    return best(pareto(cells) if study.mode == "search" else cells)


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What choosing the best of ``n`` cells did to the chosen one's score, in percent and points."""

    n: int
    by: str  # what was compared, in words
    score: float  # the chosen cell's, on the selection split
    se: float  # standard error of that score, over seeds and images
    inflation: float  # how much the best of n equal cells gains by being chosen
    again: float | None  # the same configuration's score on the report split, once it has run


def selection(folder: Path, study: Study, results: Mapping[str, TrialResult]) -> Selection | None:
    """Return the winner's curse of this study; None before there is a choice, or without records of it."""
    objective: Objective = "harmonic"
    if len(study.objectives) == 1:
        (objective,) = (name for name in OBJECTIVES if name == study.objectives[0])
    winner, n = chosen(study, results), len(eligible(scores(study, results), objective))
    if winner is None or n < 2:
        return None
    trials = [t for t in study.plan if t.role == "cell" and t.cell == winner.cell]
    intervals = score_interval(read_seeds(folder, trials, results))
    score = winner.value(objective)
    if intervals is None or score is None:
        return None
    se = intervals[OBJECTIVES.index(objective)].se
    final = next((cell for cell in scores(study, results, "final") if cell.cell == winner.cell), None)
    again = None if final is None else final.value(objective)
    return Selection(n=n, by=criterion(study), score=score, se=se, inflation=inflation(n, se), again=again)
