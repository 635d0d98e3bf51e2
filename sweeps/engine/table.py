"""The study as a table to read: every configuration with its scores, how sure they are, and what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.answer import chosen, selection, selection_text
from sweeps.engine.describe import (
    counted,
    leaf,
    mean_text,
    provenance_text,
    published_text,
    scale_note,
    scoring_text,
    sentence,
    training_text,
)
from sweeps.engine.matrix import Matrix, read_ablation
from sweeps.engine.outcomes import Outcomes, Scores, difference, read_seeds, score_interval
from sweeps.engine.plan import SPLIT
from sweeps.engine.select import OBJECTIVES, CellScore, scores, trial_row
from sweeps.engine.stats import Interval, paired_difference
from sweeps.engine.study import PlannedTrial, Role, Study, read_results, read_study
from sweeps.engine.typeset import DAGGER, bracket, markdown_block, markdown_table, md
from zsr_core.files import write_text
from zsr_core.space import short
from zsr_core.trial import TrialResult

LISTED = 200  # configurations that the table lists at most; the Parquet file holds all
SCORES = tuple(f"{name}, %" for name in OBJECTIVES)
GAINS = tuple(f"Δ {name}" for name in OBJECTIVES)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """A difference in points, with its 95 % interval where there is one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line: a cell's score, how sure it is, its gain on the untouched model, and whether it is chosen."""

    score: CellScore
    interval: Scores | None = None
    gain: tuple[Gain, ...] | None = None
    chosen: bool = False
    tied: bool = False  # its harmonic mean cannot be told from the chosen cell's


def write_table(folder: Path, ablation: Callable[[Path], Matrix | None] = read_ablation) -> Path:
    """Write ``table.md`` from the trial folders, by rename, and return its path. ``ablation`` reads their matrix."""
    study = read_study(folder)
    results = read_results(folder, study)
    lines = [*table_lines(folder, study, results), *ablation_lines(ablation(folder))]
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


def ranked(
    folder: Path, study: Study, results: Mapping[str, TrialResult], most: int = LISTED
) -> tuple[list[Row], list[Row]]:
    """Return the ``most`` best cells by falling harmonic mean, then the untouched model's rows.

    The chosen one is among them, whatever it was chosen by; those that cannot be told from it are marked.
    """
    winner = chosen(study, results)
    untouched = [s for s in scores(study, results, "baseline") if not _is_report(s)]
    reference = _seeds(folder, study, results, "baseline", untouched)
    base_rows = _rows(study, results, "baseline", untouched)
    best_seeds = _seeds(folder, study, results, "cell", [winner] if winner else [])
    listed = in_order(scores(study, results))[:most]
    rows = []
    for score in [*listed, *([winner] if winner and winner not in listed else [])]:
        own = read_seeds(folder, _trials(study, "cell", score), results)
        is_chosen = winner is not None and score.cell == winner.cell
        rows.append(
            Row(
                score=score,
                interval=score_interval(own),
                gain=gain(own, reference) or seed_gain(_rows(study, results, "cell", [score]), base_rows),
                chosen=is_chosen,
                tied=not is_chosen and tied(own, best_seeds),
            )
        )
    return rows, [Row(score=score, interval=score_interval(reference)) for score in untouched]


def ablation_lines(found: Matrix | None) -> list[str]:
    """Return the matrix of an ablation: its rows beside the design's reference row, with tests; else nothing."""
    if found is None:
        return []
    lines = ["", "## Ablation matrix", ""]
    for block in found.blocks:
        lines += markdown_block(found, block)
    return [*lines, "", *(f"- {md(line)}" for line in found.legend)]


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


Seeds = Mapping[int, Mapping[str, Outcomes]]  # a cell's finished trials: seed -> task -> outcomes


def gain(own: Seeds, reference: Seeds) -> tuple[Gain, ...] | None:
    """Return clean, robust and harmonic above the reference, paired by seed and image; None without records."""
    found = difference(own, reference)
    return tuple(Gain(value=one.value, low=one.low, high=one.high) for one in found) if found else None


def seed_gain(own: Iterable[Mapping[str, Any]], reference: Iterable[Mapping[str, Any]]) -> tuple[Gain, ...] | None:
    """Return the same from the trials' scores alone, paired by seed: what is left where the records are gone."""
    sides = [[row for row in rows if row["harmonic"] is not None] for rows in (own, reference)]
    gains = []
    for name in OBJECTIVES:
        values, base = ({row["seed"]: row[name] for row in rows} for rows in sides)
        found = paired_difference(values, base)
        gains += [Gain(value=found.mean, low=found.low, high=found.high)] if found else []
    return tuple(gains) or None


def tied(own: Seeds, best_seeds: Seeds) -> bool:
    """Return whether the paired interval of the two harmonic means' difference holds 0."""
    found = difference(own, best_seeds)
    return found is not None and found[2].low <= 0 <= found[2].high


def in_order(cells: Iterable[CellScore]) -> list[CellScore]:
    """Return the cells by falling harmonic mean; those without one follow, by clean accuracy, then as planned."""
    worst = float("-inf")
    return sorted(
        cells,
        key=lambda c: (worst if c.harmonic is None else c.harmonic, worst if c.clean is None else c.clean),
        reverse=True,
    )


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


def _is_report(score: CellScore) -> bool:
    return score.overrides.get(SPLIT) == "report"


def _trials(study: Study, role: Role, score: CellScore) -> list[PlannedTrial]:
    return [t for t in study.plan if t.role == role and t.cell == score.cell]


def _rows(
    study: Study, results: Mapping[str, TrialResult], role: Role, cells: Sequence[CellScore]
) -> list[dict[str, Any]]:
    return [trial_row(t, results.get(t.trial_id)) for score in cells for t in _trials(study, role, score)]


def _seeds(
    folder: Path, study: Study, results: Mapping[str, TrialResult], role: Role, cells: Sequence[CellScore]
) -> dict[int, dict[str, Outcomes]]:
    return read_seeds(folder, _trials(study, role, cells[0]), results) if cells else {}
