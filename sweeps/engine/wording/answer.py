"""What a finished launch says: the answer in a sentence, what failed, and where everything is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from sweeps.engine.analysis.choice import Selection, chosen
from sweeps.engine.analysis.comparison import Comparison
from sweeps.engine.analysis.scores import CellScore, pareto, scores
from sweeps.engine.format import counted, eps_text, leaf, mean_text, published_text
from sweeps.engine.study.folder import SPLIT, Study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.wording.study import scale_note
from zsr_core.codec import canonical, to_plain
from zsr_core.space import short
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult


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


def choice(found: Comparison) -> str:
    """Return what each study chose."""
    first, second = found.first, found.second
    names = [where(cell) if cell else None for cell in found.chosen]
    if names[0] is None or names[1] is None:
        without = " and ".join(side for side, name in zip((first, second), names, strict=True) if name is None)
        return f"No configuration has finished in {without}."
    if names[0] == names[1]:
        return f"Both choose {names[0]}."
    return f"{first} chooses {names[0]}; {second} chooses {names[1]}."


def warnings(first: TrialConfig, second: TrialConfig) -> tuple[str, ...]:
    """Return why the two studies' numbers are not of one kind: other attacks, sets, images, model or budgets."""
    one, two = first.eval_suite, second.eval_suite
    found = []
    if first.model != second.model:
        found.append("The models differ: so do all scores, whatever was tuned.")
    if canonical([to_plain(a) for a in one.attacks]) != canonical([to_plain(a) for a in two.attacks]):
        found.append(
            "The attacks differ: robust accuracies are not of one kind, and their difference is the attacks' too."
        )
    if {t.called for t in one.tasks} != {t.called for t in two.tasks}:
        found.append("The sets differ: differences are over the sets that both have.")
    if (one.n, one.split) != (two.n, two.split):
        found.append("The images differ: differences are over the images that both have.")
    if (one.norm, *map(eps_text, one.eps)) != (two.norm, *map(eps_text, two.eps)):
        found.append("The budgets differ.")
    return tuple(found)
