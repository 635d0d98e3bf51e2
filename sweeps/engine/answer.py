"""What a finished launch says: the answer in a sentence, what failed, and where everything is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.describe import counted, criterion, leaf, mean_text, published_text, scale_note
from sweeps.engine.outcomes import read_seeds, score_interval
from sweeps.engine.plan import SPLIT
from sweeps.engine.select import OBJECTIVES, CellScore, Objective, best, eligible, pareto, scores
from sweeps.engine.stats import inflation
from sweeps.engine.study import Study
from zsr_core.space import short
from zsr_core.trial import TrialResult


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


def selection_text(found: Selection) -> str:
    """Return the winner's curse in a sentence."""
    text = (
        f"Winner's curse: of {found.n} equally good cells the best would look up to {found.inflation:.1f} points "
        f"better in {found.by} than it is (standard error of its score: {found.se:.1f})"
    )
    if found.again is None:
        return f"{text}."
    return f"{text}; {found.score:.1f} on the selection split became {found.again:.1f} on the report split."


def answer(study: Study, results: Mapping[str, TrialResult], curse: Selection | None = None) -> list[str]:
    """Return the answer as lines: the chosen cell, its scores on the reporting split beside the untouched model's."""
    winner = chosen(study, results)
    if winner is None:
        return ["No cell has finished: there is no answer yet."]
    cells = scores(study, results)
    told = sum(cell.harmonic is not None for cell in cells)
    lines = [f"Best of {counted(told, 'cell')} on the selection split: {where(winner)} ({_figures(winner)})."]
    finals = [cell for cell in scores(study, results, "final") if cell.cell == winner.cell]
    untouched = [c for c in scores(study, results, "baseline") if c.overrides.get(SPLIT) == "report"]
    for row, name in ((finals, where(winner)), (untouched, "the untouched model")):
        if row and row[0].harmonic is not None:
            lines.append(f"On the report split, {name}: {_figures(row[0])}.")
    lines += [selection_text(curse)] if curse else []
    lines += [f"All figures were {scale_note(study)}."] if scale_note(study) else []
    if study.published:
        lines.append(f"Published optimum: {published_text(study.published)}.")
    if len(study.objectives) > 1:
        lines += ["", "No other cell is better in both clean and robust accuracy:"]
        lines += [f"  {where(cell):<32} {_figures(cell)}" for cell in pareto(cells)]
    return lines


def where(cell: CellScore) -> str:
    values = [f"{leaf(path)}={short(value)}" for path, value in cell.overrides.items() if path != SPLIT]
    return " ".join(values) if cell.cell.startswith("#") else cell.cell


def _figures(cell: CellScore) -> str:
    sd = {"clean": cell.clean_sd, "robust": cell.robust_sd, "harmonic": cell.harmonic_sd}
    return ", ".join(f"{name} {mean_text(cell.value(name), sd[name])}" for name in OBJECTIVES)


def shortfall(study: Study, results: Mapping[str, TrialResult], to_come: int = 0) -> list[str]:
    """Return what keeps the study from being whole, a line each: failures with their reason, trials not run."""
    failed = [(t, results[t.trial_id]) for t in study.plan if _status(results, t.trial_id) == "failed"]
    absent = sum(_status(results, t.trial_id) in ("missing", "pruned") for t in study.plan) + to_come
    lines = [f"failed: {trial.label}: {result.error}" for trial, result in failed]
    return lines + ([f"{absent} planned trials have not run."] if absent else [])


def _status(results: Mapping[str, TrialResult], trial_id: str) -> str:
    return results[trial_id].status if trial_id in results else "missing"


def places(folder: Path, made: Iterable[Path], tracking: str | None) -> list[str]:
    """Return where the results, what was made from them, and the tracking UI are."""
    lines = [f"results   {folder}"]
    kinds = {".png": "figure", ".md": "table", ".parquet": "Parquet"}
    lines += [f"{kinds.get(path.suffix, 'file'):<9} {path}" for path in made if path.suffix not in (".svg", ".pdf")]
    if tracking:
        lines.append(f"tracking  {tracking}; `make ui` opens it in the browser")
    return lines
