"""The closing lines of a launch: the answer, the failures, and the paths of all files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeps.engine.analysis.choice import Selection, chosen
from sweeps.engine.analysis.difference import Difference
from sweeps.engine.analysis.ranking import Ranking
from sweeps.engine.analysis.scores import CellScore, eligible, pareto, scores, untouched_score
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.analysis.searching.keeping import keeping
from sweeps.engine.format import counted, leaf, mean_text, published_text
from sweeps.engine.study.folder import NUMBERED, SPLIT, StudyFolder
from sweeps.engine.study.objectives import Score, deciding_score, score_named, shown_scores
from sweeps.engine.wording.branches import best_of_each
from sweeps.engine.wording.chance import warning_text
from sweeps.engine.wording.edges import edges_text
from sweeps.engine.wording.keeping import keep_text
from sweeps.engine.wording.matrix import gap_text
from sweeps.engine.wording.study import fewer_seeds_text, scale_note
from zsr_core.space import short

RIVALS = 8  # most rivals of the chosen cell that a sentence names


def answer(
    folder: StudyFolder,
    curse: Selection | None = None,
    rivals: Mapping[str, Difference] | None = None,
    reported: Ranking | None = None,
) -> list[str]:
    """Return the answer as lines: the chosen cell, its rivals, and its scores on the report split beside untouched.

    ``rivals``: as in :class:`~sweeps.engine.analysis.ranking.Ranking`; ``reported``: the ranking on the report split.
    """
    winner = chosen(folder)
    if winner is None:
        return ["No cell has finished: there is no answer yet."]
    study, cells = folder.study, scores(folder)
    decides = deciding_score(study.objectives)
    n = len(eligible(cells, decides.name))
    lines = list(filter(None, [unfinished_text(folder)]))
    lines += [f"Best of {counted(n, 'cell')} on the selection split: {where(winner)} ({figures(folder, winner)})."]
    lines += list(filter(None, [keep_text(folder), warning_text(folder)]))
    lines += [rivals_text(decides, rivals)] if rivals else []
    lines += list(filter(None, [edges_text(best_on_edge(folder), rivals or ())]))
    finals = [cell for cell in scores(folder, "final") if cell.cell == winner.cell]
    untouched = untouched_score(folder, "report")
    for cell, name in ((next(iter(finals), None), where(winner)), (untouched, "the untouched model")):
        if cell is not None and cell.value(decides.name) is not None:
            lines.append(f"On the report split, {name}: {figures(folder, cell)}.")
    beside = reported_text(folder, reported) if reported else ""
    lines += [beside] if beside else []
    lines += [selection_text(curse)] if curse else []
    lines += list(filter(None, [fewer_seeds_text(folder)]))
    lines += [f"All figures were {scale_note(study)}."] if scale_note(study) else []
    if study.published:
        lines.append(f"Published optimum: {published_text(study.published)}.")
    each = best_of_each(study, keeping(folder, cells))
    lines += ["", *each] if each else []
    if len(study.objectives) > 1:
        titles = [score_named(name).title for name in study.objectives]
        lines += ["", f"No other cell is better in {' and '.join(titles)} together:"]
        lines += [
            f"  {where(cell):<32} {figures(folder, cell)}" for cell in pareto(keeping(folder, cells), study.objectives)
        ]
    return lines


def unfinished_text(folder: StudyFolder) -> str:
    """Return how many planned cells have not run, in a sentence; empty if all have."""
    rows = folder.study.rows(role="cell", split="selection")
    absent = sum(all(folder.status(trial) == "missing" for trial in row.trials) for row in rows)
    if not absent:
        return ""
    verb = "has" if absent == 1 else "have"
    return f"Unfinished: {absent} of {len(rows)} planned cells {verb} not run, and a better one may be among them."


def reported_text(folder: StudyFolder, reported: Ranking) -> str:
    """Return a sentence on the chosen row beside the other rows of the report split; empty if it has no other rows."""
    others = [row.label for row in reported.rows if row.role == "final" and not row.chosen]
    if not others or not any(row.chosen for row in reported.rows):
        return ""
    decides = deciding_score(folder.study.objectives)
    named = list(reported.above.items())[:RIVALS]
    above = ", ".join(f"{label} ({gap_text(gap)} points)" for label, gap in named)
    parts = [f"{above or 'no row'} {'lie' if len(named) > 1 else 'lies'} above the chosen one"]
    parts += [f"{counted(len(reported.rivals), 'row')} cannot be told apart from it"] if reported.rivals else []
    return (
        f"On the report split, of {counted(len(others), 'other row')} by {decides.title}, by the paired 95 % interval: "
        f"{'; '.join(parts)}."
    )


def rivals_text(decides: Score, rivals: Mapping[str, Difference]) -> str:
    """Return a sentence on the cells that do not differ significantly from the chosen one, with the differences."""
    differences = [f"{label} ({gap_text(gap)} points)" for label, gap in list(rivals.items())[:RIVALS]]
    more = f" and {len(rivals) - RIVALS} more" if len(rivals) > RIVALS else ""
    return (
        f"In {decides.title} it does not differ significantly from {counted(len(rivals), 'other cell')}, because the "
        f"95 % interval of the difference contains 0: {', '.join(differences)}{more}."
    )


def selection_text(curse: Selection) -> str:
    """Return the winner's curse in a sentence."""
    text = (
        f"Winner's curse: of {curse.n} equally good cells the best would look up to {curse.inflation:.1f} points "
        f"better in {curse.by.title} than it is (standard error of its score: {curse.se:.1f})"
    )
    if curse.again is None:
        return f"{text}."
    return f"{text}; {curse.score:.1f} on the selection split became {curse.again:.1f} on the report split."


def where(cell: CellScore) -> str:
    """Return the name of a cell in text: its label, without the number of a search's proposal.

    A proposal whose label is its number alone has its values for a name.
    """
    if cell.proposal is None:
        return cell.cell
    named = NUMBERED.sub("", cell.cell, count=1)
    if named != cell.cell:
        return named
    return " ".join(f"{leaf(path)}={short(value)}" for path, value in cell.overrides.items() if path != SPLIT)


def figures(folder: StudyFolder, cell: CellScore) -> str:
    """Return a cell's scores in words."""
    shown = shown_scores(folder.study.objectives)
    return ", ".join(f"{score.name} {mean_text(cell.value(score.name), cell.sd(score.name))}" for score in shown)


def shortfall(folder: StudyFolder, to_come: int = 0) -> list[str]:
    """Return one line per failed trial with its reason, and the number of trials that have not run."""
    failed = [
        (trial, folder.results[trial.trial_id]) for trial in folder.study.plan if folder.status(trial) == "failed"
    ]
    absent = sum(folder.status(trial) == "missing" for trial in folder.study.plan) + to_come
    lines = [f"failed: {trial.label}: {result.error}" for trial, result in failed]
    return lines + ([f"{absent} planned trials have not run."] if absent else [])


def places(folder: Path, written: Iterable[Path], tracking: str | None) -> list[str]:
    """Return the paths of the results and of the files written from them, and the tracking address."""
    lines = [f"results   {folder}"]
    kinds = {".png": "figure", ".md": "table", ".parquet": "Parquet"}
    lines += [f"{kinds.get(path.suffix, 'file'):<9} {path}" for path in written if path.suffix not in (".svg", ".pdf")]
    if tracking:
        lines.append(f"tracking  {tracking}; `make ui` opens it in the browser")
    return lines
