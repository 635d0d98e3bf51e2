"""The study as a table to read: every configuration with its scores, how sure they are, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.matrix import Matrix, read_ablation
from sweeps.engine.analysis.outcomes import read_seeds, score_interval
from sweeps.engine.analysis.ranking import Gain, Row, _is_report, _rows, _seeds, _trials, gain, ranked, seed_gain
from sweeps.engine.analysis.scores import CellScore, scores
from sweeps.engine.analysis.stats import Interval
from sweeps.engine.documents.forms.markdown import markdown_block, markdown_table, md
from sweeps.engine.format import counted, leaf, mean_text, published_text, sentence
from sweeps.engine.study.folder import Study, read_results, read_study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.wording.answer import selection_text
from sweeps.engine.wording.matrix import DAGGER, Described, bracket, described
from sweeps.engine.wording.study import provenance_text, scale_note, scoring_text, training_text
from zsr_core.files import write_text
from zsr_core.space import short
from zsr_core.trial.result import TrialResult

SCORES = tuple(f"{name}, %" for name in OBJECTIVES)
GAINS = tuple(f"Δ {name}" for name in OBJECTIVES)


def write_table(folder: Path, ablation: Callable[[Path], Matrix | None] = read_ablation) -> Path:
    """Write ``table.md`` from the trial folders, by rename, and return its path. ``ablation`` reads their matrix."""
    study = read_study(folder)
    results = read_results(folder, study)
    found = ablation(folder)
    lines = table_lines(folder, study, results)
    lines += ablation_lines(described(study, results, found)) if found is not None else []
    return write_text(folder / "table.md", "\n".join(lines) + "\n")


def table_lines(folder: Path, study: Study, results: Mapping[str, TrialResult]) -> list[str]:
    """Return the table's Markdown: the question, the setting, the cells, and the chosen one on the report split."""
    rows, base = ranked(folder, study, results)
    axes = axes_of([row.score for row in rows])
    lines = [f"# {study.question}", "", *setting_lines(study, results), ""]
    lines += markdown_table((*axes_names(axes), *SCORES, *GAINS, "notes"), table_rows([*rows, *base], axes))
    further = len(scores(study, results)) - len(rows)
    if further:
        lines += ["", f"{further} further configurations are in study.parquet."]
    curse = selection(folder, study, results)
    said = ["", selection_text(curse)] if curse else []
    return [*lines, "", *legend_lines(study, rows), *said, *report_lines(folder, study, results, axes)]


def ablation_lines(told: Described) -> list[str]:
    """Return the matrix of an ablation: its rows beside the design's reference row, with tests."""
    lines = ["", "## Ablation matrix", ""]
    for block in told.matrix.blocks:
        lines += markdown_block(told.matrix, block)
    return [*lines, "", *(f"- {md(line)}" for line in told.legend)]


def report_lines(folder: Path, study: Study, results: Mapping[str, TrialResult], axes: Sequence[str]) -> list[str]:
    """Return the chosen configuration and the untouched model on the report split, which chose nothing."""
    finals = scores(study, results, "final")
    if not finals:
        return []
    untouched = [s for s in scores(study, results, "baseline") if _is_report(s)]
    reference = _seeds(folder, study, results, "baseline", untouched)
    base_rows = _rows(study, results, "baseline", untouched)
    rows = []
    for score in finals:
        own = read_seeds(folder, _trials(study, "final", score), results)
        over = gain(own, reference) or seed_gain(_rows(study, results, "final", [score]), base_rows)
        rows.append(Row(score=score, interval=score_interval(own), gain=over))
    rows += [Row(score=score, interval=score_interval(reference)) for score in untouched]
    which = "Every row" if study.reproduces else "The chosen configuration"
    words = f"{which} on the report split: images that played no part in choosing it."
    head = (*axes_names(axes), *SCORES, *GAINS, "notes")
    return ["", "## Report split", "", words, "", *markdown_table(head, table_rows(rows, axes))]


def axes_of(cells: Sequence[CellScore]) -> tuple[str, ...]:
    """Return the paths that every cell sets, as columns; nothing where cells set different ones."""
    paths = [tuple(cell.overrides) for cell in cells]
    return paths[0] if paths and all(set(p) == set(paths[0]) for p in paths) else ()


def axes_names(axes: Sequence[str]) -> tuple[str, ...]:
    """Return the first columns' heads: the axes by their last name, or whole where two share it."""
    names = [leaf(path) for path in axes]
    return (tuple(names) if len(set(names)) == len(names) else tuple(axes)) or ("configuration",)


def table_rows(rows: Sequence[Row], axes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return each row as text: where it stands, the three scores, the three gains, and what is to be said of it."""
    return [_row(row, axes) for row in rows]


def _row(row: Row, axes: Sequence[str]) -> tuple[str, ...]:
    *cells, notes = row_cells(row, axes)
    return (*(f"**{text}**" if text and row.chosen else text for text in cells), notes)


def row_cells(row: Row, axes: Sequence[str]) -> tuple[str, ...]:
    """Return a row's text, cell by cell, without marks of any format."""
    score = row.score
    at = [short(score.overrides[path]) for path in axes if path in score.overrides]
    if len(at) < len(axes) or not axes:
        at = [score.cell, *[""] * (len(axes) - 1)]
    spread = (score.clean_sd, score.robust_sd, score.harmonic_sd)
    numbers = [
        score_text(score.value(name), sd, row.interval[i] if row.interval else None, doubted=score.doubts(name))
        for i, (name, sd) in enumerate(zip(OBJECTIVES, spread, strict=True))
    ]
    gains = [gain_text(over) for over in row.gain] if row.gain else ["–"] * len(GAINS)
    return (*at, *numbers, *gains, note_text(row))


def score_text(mean: float | None, sd: float | None, interval: Interval | None, *, doubted: bool = False) -> str:
    """Return a score, daggered if ``doubted``, with its spread over seeds or with one seed its interval over images."""
    text = mean_text(mean, sd) + (DAGGER if doubted else "")
    return f"{text}{bracket(interval.low, interval.high, '.1f')}" if sd is None and interval else text


def gain_text(over: Gain) -> str:
    """Return a difference in points with its 95 % interval, where there is one."""
    return f"{over.value:+.1f}{bracket(over.low, over.high, '+.1f')}"


def note_text(row: Row) -> str:
    """Return what a reader must know of a row: chosen, tied with it, failed and why, or not run."""
    score = row.score
    notes = ["chosen"] if row.chosen else ["≈ chosen"] if row.tied else []
    of = score.n + score.failed + score.missing
    if score.failed:
        notes.append(f"failed{f' in {score.failed} of {of} seeds' if of > 1 else ''}: {score.reason}")
    if score.missing:
        notes.append(f"missing{f' {score.missing} of {of} seeds' if of > 1 else ''}")
    if score.audit_fails:
        notes.append(f"{DAGGER} audit fails {', '.join(score.audit_fails)}")
    return "; ".join(notes)


def setting_lines(study: Study, results: Mapping[str, TrialResult]) -> list[str]:
    """Return the provenance: what was trained, how it was scored, with what, and how much of the plan is there."""
    status = [results[t.trial_id].status if t.trial_id in results else "missing" for t in study.plan]
    kinds = [kind for kind in ("done", "failed", "pruned", "missing") if kind in status]
    told = ", ".join(f"{status.count(kind)} {kind}" for kind in kinds)
    note = f" **{sentence(scale_note(study))}**" if scale_note(study) else ""
    return [
        f"{training_text(study)}. {scoring_text(study, results.values())}.{note}",
        "",
        f"{counted(len(study.plan), 'trial')}: {told}. {provenance_text(study, results.values())}",
    ]


def legend_lines(study: Study, rows: Sequence[Row]) -> list[str]:
    """Return what the numbers mean."""
    many = any(row.score.n > 1 for row in rows)
    recorded = any(row.interval for row in rows)
    spread = ", mean ± sample standard deviation over seeds" if many else ""
    if recorded and not many:
        spread = ", with the 95 % interval over images"
    text = f"Scores in percent{spread}. Δ: points above the untouched model"
    if recorded:
        text += (
            f", with the 95 % interval of a bootstrap over {'seeds and images' if many else 'images'}, paired. "
            "≈: the harmonic mean cannot be told from the chosen one's (the paired interval holds 0)"
        )
    lines = [f"{text}."]
    if any(row.score.audit_fails for row in rows):
        lines += ["", f"{DAGGER} robustness unverified: a rule of the audit fails."]
    if study.published:
        lines += ["", f"Published optimum: {published_text(study.published)}."]
    return lines
