"""What is said of a matrix: its setting, its legend, its numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.matrix import Block, Cell, Column, Gap, Matrix, Row, Scope, family, read_matrices
from sweeps.engine.analysis.stats import LEVEL
from sweeps.engine.format import counted, sentence
from sweeps.engine.study.folder import Study, read_results, read_study
from sweeps.engine.study.objectives import OBJECTIVES, WORST, Objective
from sweeps.engine.wording.answer import selection_text
from sweeps.engine.wording.study import scale_note, training_text
from zsr_core.trial.result import TrialResult


@dataclass(frozen=True, kw_only=True)
class Described:
    """A matrix and what is said of it: the setting it was measured in, and what its numbers and marks mean."""

    matrix: Matrix
    setting: tuple[str, ...]
    legend: tuple[str, ...]


def described(study: Study, results: Mapping[str, TrialResult], found: Matrix, *more: str) -> Described:
    """Return the matrix with its sentences; ``more`` are added to the legend."""
    done = [result for result in results.values() if result.status == "done"]
    return Described(matrix=found, setting=setting_of(study, done), legend=(*legend_of(found), *more))


def read_described(
    folder: Path,
    *,
    baseline: str | None = None,
    metrics: Sequence[Objective] = OBJECTIVES,
    per_set: bool = False,
    all_budgets: bool = False,
) -> tuple[Described, ...]:
    """Return the matrices of :func:`read_matrices`, each with its sentences.

    Raises:
        ConfigError: if the folder holds no study, or for a baseline that is no row's label.
    """
    study = read_study(folder)
    results = read_results(folder, study)
    matrices = read_matrices(folder, baseline=baseline, metrics=metrics, per_set=per_set, all_budgets=all_budgets)
    curse = selection(folder, study, results)
    first, *rest = matrices
    more = (selection_text(curse),) if curse else ()
    return described(study, results, first, *more), *(described(study, results, each) for each in rest)


BOLD = "Bold: the highest of a column among tuned rows with all seeds and an audit that holds."


def family_text(rows: Sequence[Row], columns: Sequence[Column], scopes: Iterable[Scope]) -> str:
    """Return which families p was adjusted in, as words; nothing where nothing was tested."""
    words: dict[Scope, str] = {"zero-shot": "the zero-shot mean", "all": "the mean over all sets", "set": "single sets"}
    sizes = {scope: len(family(rows, columns, scope)) for scope in scopes}
    told = [f"{counted(n, 'comparison')} on {words[scope]}" for scope, n in sizes.items() if n]
    each = " (each a family of its own)" if len(told) > 1 else ""
    return f"Holm-corrected over the {' and the '.join(told)}{each}" if told else ""


def setting_of(study: Study, results: Iterable[TrialResult]) -> tuple[str, ...]:
    """Return what was trained and attacked, a sentence each."""
    attacks = sorted({m.attack for result in results for m in result.measurements} - {"none", WORST})
    per_image = ", the worst per image" if len(attacks) > 1 else ""
    tested = f"Robust to {' + '.join(attacks) or 'no attack'}{per_image}; {counted(len(study.seeds), 'seed')}."
    note = sentence(scale_note(study))
    return (f"{training_text(study)}.", tested, *([note] if note else []))


def legend_of(found: Matrix) -> tuple[str, ...]:
    """Return what the numbers and marks mean, a sentence each: only of what there is."""
    baseline, rows = found.baseline, found.rows
    cells = [cell for row in rows for cell in row.cells]
    gaps = [cell.gap for cell in cells if cell.gap is not None]
    many = any(cell.sd is not None for cell in cells)
    lines = [
        "Scores in percent: mean ± half the 95 % t-interval over seeds."
        if many
        else "Scores in percent, with the 95 % interval over images."
    ]
    if gaps:
        drawn = any(gap.low is not None for gap in gaps)
        of = "of a bootstrap over seeds, then images within each set (the sets are fixed)"
        how = f", [95 % interval {of if many else 'of a bootstrap over images within each set'}]" if drawn else ""
        lines.append(f"Δ: points above the row '{baseline}' on the same seeds{' and images' if drawn else ''}{how}.")
    else:
        lines.append(f"The baseline row '{baseline}' shares no finished seed with another: there are no differences.")
    tests = {gap.test for gap in gaps} - {""}
    if tests:
        which = "p by that bootstrap"
        if "McNemar" in tests:
            which += "; of clean and robust accuracy on a single set by McNemar's exact test, images as units"
        lines.append(f"* p < 0.05 after Holm's correction; {which}.")
    drawn_from = {gap.seeds for gap in gaps if gap.low is not None}
    if 1 in drawn_from:
        lines.append("One seed: no interval holds what another training would change.")
    elif drawn_from and min(drawn_from) < 5:
        few = f"Of {min(drawn_from)} seeds a bootstrap shows less spread than there is"
        lines.append(f"{few}: the CSV has the t-interval over seeds beside it.")
    if any(gap.low is None and gap.t_low is not None for gap in gaps):
        lines.append("Where records are gone, the interval of Δ is the t-interval over seeds, and there is no p.")
    if any(cell.best for cell in cells):
        lines.append(BOLD)
    if any(cell.doubted for cell in cells):
        failing = "; ".join(f"{row.label}: {', '.join(row.fails)}" for row in rows if row.fails)
        lines.append(f"† robustness unverified, the audit fails ({failing}).")
    return tuple(lines)


DASH = "–"
DAGGER = "†"


# ---- words that all forms share


def value_text(cell: Cell) -> str:
    """Return a number, daggered where the audit doubts it, with its spread."""
    if cell.value is None:
        return DASH
    return " ".join(filter(None, (f"{cell.value:.1f}{DAGGER if cell.doubted else ''}", spread_text(cell))))


def spread_text(cell: Cell) -> str:
    """Return half the t-interval over seeds, or with one seed the interval over images, or nothing."""
    if cell.value is not None and cell.t_high is not None:
        return f"± {cell.t_high - cell.value:.1f}"
    return bracket(cell.low, cell.high, ".1f").strip()


def gap_text(gap: Gap) -> str:
    """Return a difference in points with its interval, over seeds and images if there are records."""
    ends = (gap.t_low, gap.t_high) if gap.low is None else (gap.low, gap.high)
    return f"{gap.value:+.1f}{bracket(*ends, '+.1f')}"


def star(gap: Gap | None) -> str:
    """Return a star if the difference holds after Holm's correction."""
    return "*" if gap is not None and gap.p_holm is not None and gap.p_holm < LEVEL else ""


def p_text(p_holm: float | None) -> str:
    """Return the adjusted p, or nothing where nothing was tested."""
    if p_holm is None:
        return ""
    return "p<0.001" if p_holm < 0.001 else f"p={p_holm:.3f}"


def bracket(low: float | None, high: float | None, form: str) -> str:
    """Return an interval in brackets, or nothing where all resamples agree (no image stands): that is no certainty."""
    return "" if low is None or high is None or low == high else f" [{low:{form}}, {high:{form}}]"


def note_text(row: Row, *, reason: bool = True) -> str:
    """Return what a reader must know of a row: that it is the baseline or chosen, what failed, which audits fail."""
    notes = [name for name, holds in (("baseline", row.baseline), ("chosen", row.chosen)) if holds]
    of = f" {row.failed} of {row.planned} seeds" if row.planned > 1 else ""
    if row.failed:
        notes.append(f"failed{of}{f': {row.reason}' if reason else ''}")
    missing = row.planned - len(row.seeds) - row.failed
    if missing:
        notes.append(f"missing{f' {missing} of {row.planned} seeds' if row.planned > 1 else ''}")
    if row.fails:
        notes.append(f"{DAGGER} audit fails {', '.join(row.fails)}")
    return "; ".join(notes)


def _heading(block: Block) -> str:
    return block.title if block.kind == "mean" else f"{block.title}, by set"


def _head(block: Block, column: Column) -> str:
    return column.title if block.kind == "mean" else column.over


def _closing(found: Matrix, block: Block) -> list[str]:
    text = family_text(found.rows, found.columns, block.scopes)
    return [f"{text}."] if text else []


def _split_text(matrix: Matrix) -> str:
    chosen = ": images that played no part in choosing" if matrix.split == "report" else ""
    return f"{matrix.split.capitalize()} split{chosen}."


def _short(cell: Cell) -> str:
    if cell.value is None:
        return DASH
    return f"{cell.value:.1f}{DAGGER if cell.doubted else ''}{star(cell.gap)}"
