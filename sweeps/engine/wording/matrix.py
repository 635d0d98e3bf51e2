"""A matrix in words: its setting, its legend, its numbers as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sweeps.engine.analysis.difference import ENOUGH_SEEDS, Cell, Column, Difference
from sweeps.engine.analysis.matrix import Block, Matrix, Row, family
from sweeps.engine.format import counted, sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.set_groups import Scope
from sweeps.engine.wording.chance import chance_text, collapse_note
from sweeps.engine.wording.study import attacks_of, fewer_seeds_text, images_text, scale_note, training_text


@dataclass(frozen=True, kw_only=True)
class Described:
    """A matrix with the setting that it was measured in and the legend of its numbers and marks."""

    matrix: Matrix
    setting: tuple[str, ...]
    legend: tuple[str, ...]


def described(folder: StudyFolder, matrix: Matrix, *more: str) -> Described:
    """Return the matrix with its sentences; ``more`` are added to the legend."""
    return Described(
        matrix=matrix,
        setting=setting_of(folder),
        legend=(*legend_of(matrix), *filter(None, (chance_text(folder), fewer_seeds_text(folder), *more))),
    )


BOLD = "Bold: the best of a column among tuned rows with all seeds and an audit that holds."


def family_text(rows: Sequence[Row], columns: Sequence[Column], scopes: Iterable[Scope]) -> str:
    """Return the families of tests that p is corrected over, as text; empty if nothing was tested."""
    words: dict[Scope, str] = {
        "zero-shot": "the zero-shot mean", "all": "the mean over all sets", "captions": "retrieval",
        "scenes": "detection", "set": "single sets",
    }  # fmt: skip
    sizes = {scope: len(family(rows, columns, scope)) for scope in scopes}
    families = [f"{counted(n, 'comparison')} on {words[scope]}" for scope, n in sizes.items() if n]
    each = " (each a family of its own)" if len(families) > 1 else ""
    apart = any(
        row.role == "baseline" and any(cell.gap is not None and cell.gap.p is not None for cell in row.cells)
        for row in rows
    )
    own = "; those of the untouched model by themselves" if apart else ""
    return f"Holm-corrected over the {' and the '.join(families)}{each}{own}" if families else ""


def setting_of(folder: StudyFolder) -> tuple[str, ...]:
    """Return sentences on the training, the attacks, the images per set, and the scale if it is the miniature's."""
    study = folder.study
    attacks = attacks_of(folder.done().values())
    per_image = ", the worst per image" if len(attacks) > 1 else ""
    tested = f"Robust to {' + '.join(attacks) or 'no attack'}{per_image}; {counted(len(study.seeds), 'seed')}."
    note = sentence(scale_note(study))
    return tuple(filter(None, (f"{training_text(study)}.", tested, images_text(folder), note)))


def legend_of(matrix: Matrix) -> tuple[str, ...]:
    """Return one sentence for each kind of number and mark that the matrix has."""
    cells = [cell for row in matrix.rows for cell in row.cells]
    gaps = [cell.gap for cell in cells if cell.gap is not None]
    many = any(cell.sd is not None for cell in cells)
    lines = ["Scores in percent: mean ± sample standard deviation over seeds." if many
             else "Scores in percent, with the 95 % interval over images."]  # fmt: skip
    lines += _gap_legend(matrix.baseline, gaps, many=many)
    if any(cell.best for cell in cells):
        lines.append(BOLD)
    if any(cell.doubted for cell in cells):
        failing = "; ".join(f"{row.label}: {', '.join(row.fails)}" for row in matrix.rows if row.fails)
        lines.append(f"† robustness unverified, the audit fails ({failing}).")
    return (*lines, *untuned_legend(matrix.rows))


def untuned_legend(rows: Sequence[Row]) -> list[str]:
    """Return the sentence on rows whose method has no recipe of its own; empty where all have one."""
    untuned = any(row.untuned for row in rows)
    words = "trained by the shared recipe; other methods here have a recipe that was tuned for them or published."
    return [f"{DOUBLE_DAGGER} {words}"] if untuned else []


def _gap_legend(baseline: str, gaps: Sequence[Difference], *, many: bool) -> list[str]:
    """Return the sentences on the differences and their stars."""
    if not gaps:
        return [f"The baseline row '{baseline}' shares no finished seed with another: there are no differences."]
    drawn = any(gap.low is not None for gap in gaps)
    of = "of a bootstrap over seeds, then images within each set (the sets are fixed)"
    how = f", [95 % interval {of if many else 'of a bootstrap over images within each set'}]" if drawn else ""
    lines = [f"Δ: points above the row '{baseline}' on the same seeds{' and images' if drawn else ''}{how}."]
    tests = {gap.test for gap in gaps} - {""}
    fewest = min((gap.seeds for gap in gaps if gap.low is not None), default=0)
    if tests and fewest == 1:
        lines.append("One seed: nothing is starred, because no interval here includes the variation between trainings.")
    elif tests:
        which = "p by that bootstrap"
        if "McNemar" in tests:
            which += "; of clean and robust accuracy on a single set by McNemar's exact test, images as units"
        seeds = ", and with fewer than 5 seeds the seeds' own t-interval leaves out 0" if fewest < ENOUGH_SEEDS else ""
        lines.append(f"* p < 0.05 after Holm's correction{seeds}; {which}.")
    if any(gap.low is None and gap.t_low is not None for gap in gaps):
        lines.append("Where records are missing, the interval of Δ is the t-interval over seeds, and there is no p.")
    return lines


DASH = "–"
DAGGER = "†"
DOUBLE_DAGGER = "‡"


# ---- text that all forms share


def value_text(cell: Cell) -> str:
    """Return a number with its spread, and a dagger if a rule of the audit fails."""
    if cell.value is None:
        return DASH
    return " ".join(filter(None, (f"{cell.value:.1f}{DAGGER if cell.doubted else ''}", spread_text(cell))))


def spread_text(cell: Cell) -> str:
    """Return the sample standard deviation over seeds; for one seed the interval over images, or nothing."""
    if cell.value is not None and cell.sd is not None:
        return f"± {cell.sd:.1f}"
    return bracket(cell.low, cell.high, ".1f").strip()


def gap_text(gap: Difference) -> str:
    """Return a difference in points with its 95 % interval."""
    return f"{gap.value:+.1f}{bracket(*gap.interval, '+.1f')}"


def star(gap: Difference | None) -> str:
    """Return a star if the difference is significant."""
    return "*" if gap is not None and gap.holds else ""


def p_text(gap: Difference | None) -> str:
    """Return the adjusted p; empty if nothing was tested, or if fewer than 5 seeds leave the sign open."""
    if gap is None or gap.p_holm is None or not gap.agrees:
        return ""
    return "p<0.001" if gap.p_holm < 0.001 else f"p={gap.p_holm:.3f}"


def bracket(low: float | None, high: float | None, form: str) -> str:
    """Return an interval in brackets; empty if it has no width, because that would suggest false precision."""
    return "" if low is None or high is None or low == high else f" [{low:{form}}, {high:{form}}]"


def note_text(row: Row, *, reason: bool = True) -> str:
    """Return a row's notes: whether it is the baseline or chosen, failed and missing seeds, failed audit rules."""
    notes = [name for name, holds in (("baseline", row.baseline), ("chosen", row.chosen)) if holds]
    return "; ".join([*notes, *trouble_notes(row, reason=reason)])


def trouble_notes(row: Row, *, reason: bool = True, of: str = "") -> list[str]:
    """Return the notes on failed, stopped and missing seeds and on the audit; ``of`` stands before the failed seeds."""
    notes = []
    if row.failed:
        seeds = f"{of} {row.failed} of {row.planned} seeds" if row.planned > 1 else ""
        notes.append(f"failed{seeds}{f': {row.reason}' if reason else ''}")
    if row.stopped:
        seeds = f" {row.stopped} of {row.planned} seeds" if row.planned > 1 else ""
        notes.append(f"stopped{seeds}{f': {row.reason}' if reason and not row.failed else ''}")
    missing = row.planned - len(row.seeds) - row.failed - row.stopped
    if missing:
        notes.append(f"missing{f' {missing} of {row.planned} seeds' if row.planned > 1 else ''}")
    notes += list(filter(None, [collapse_note(row.collapse)]))
    if row.untuned:
        notes.append(f"{DOUBLE_DAGGER} shared recipe")
    if row.fails:
        notes.append(f"{DAGGER} audit fails {', '.join(row.fails)}")
    return notes


def heading(block: Block) -> str:
    return block.title if block.kind == "mean" else f"{block.title}, by set"


def head_text(block: Block, column: Column) -> str:
    return column.title if block.kind == "mean" else column.over


def closing_lines(matrix: Matrix, block: Block) -> list[str]:
    text = family_text(matrix.rows, matrix.columns, block.scopes)
    return [f"{text}."] if text else []


def split_text(matrix: Matrix) -> str:
    chosen = ": images that played no part in choosing" if matrix.split == "report" else ""
    return f"{matrix.split.capitalize()} split{chosen}."


def short_text(cell: Cell) -> str:
    if cell.value is None:
        return DASH
    return f"{cell.value:.1f}{DAGGER if cell.doubted else ''}{star(cell.gap)}"
