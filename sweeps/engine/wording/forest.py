"""The content of a forest plot: a line per configuration, a panel per score or set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sweeps.engine.analysis.difference import Cell, Column
from sweeps.engine.analysis.matrix import Matrix, Row, is_candidate
from sweeps.engine.format import counted
from sweeps.engine.study.objectives import score_named
from sweeps.engine.wording.matrix import DAGGER, family_text
from zsr_core.codec import ConfigError

MOST = 40  # most configurations in one figure
MOST_SAMPLED = 20  # the same for a grid or a search, whose lower ranks say little


@dataclass(frozen=True, kw_only=True)
class Mark:
    """One difference to the baseline in points, and its 95 % interval if there is one."""

    value: float
    low: float | None
    high: float | None
    holds: bool | None  # after Holm's correction; None where nothing was tested
    doubted: bool  # a rule of the audit fails


@dataclass(frozen=True, kw_only=True)
class Line:
    """One configuration: a mark per panel, or the reason why it has none."""

    label: str
    note: str  # which seeds are missing; for a line without marks, the reason
    chosen: bool
    marks: tuple[Mark | None, ...]


@dataclass(frozen=True, kw_only=True)
class Forest:
    """Panels side by side over the same lines. Panels of one ``scale`` share their axis."""

    baseline: str
    panels: tuple[str, ...]
    scales: tuple[str, ...]
    lines: tuple[Line, ...]
    words: tuple[str, ...]  # the legend, and which lines are left out


def forest(matrix: Matrix, columns: Sequence[int], *, most: int = MOST, untouched: bool = False) -> Forest:
    """Return the differences in ``columns``, the best row first; of more than ``most`` rows the best ones.

    The untouched model lies far from a design's rows, so it would set the axis. It is a line only if asked for.

    Raises:
        ConfigError: if the matrix has no row but the baseline.
    """
    rows = [row for row in matrix.rows if not row.baseline and (untouched or is_candidate(row))]
    if not rows:
        raise ConfigError(f"forest: {matrix.study} has no row but the baseline {matrix.baseline!r}")
    shown = best_rows(rows, matrix, ranking_column(matrix, columns), most)
    lines = tuple(line(row, columns, matrix.baseline) for row in shown)
    apart = [row for row in matrix.rows if not row.baseline and not is_candidate(row) and row not in rows]
    left_out = (f"{len(rows) - len(shown)} of {counted(len(rows), 'configuration')} lower in rank are not shown.",)
    return Forest(
        baseline=matrix.baseline,
        panels=tuple(title(matrix.columns[j]) for j in columns),
        scales=tuple(matrix.columns[j].metric for j in columns),
        lines=lines,
        words=(
            *words(matrix, columns, lines, untouched=untouched),
            *(left_out if len(shown) < len(rows) else ()),
            *(_apart_text(row, columns) for row in apart),
        ),
    )


def title(column: Column) -> str:
    """Return a panel's title: the name of the score or of the set."""
    return column.over if column.scope == "set" else column.title


def _apart_text(row: Row, columns: Sequence[int]) -> str:
    """Return the differences of a row that is not drawn, as a sentence."""
    gaps = [row.cells[j].gap for j in columns]
    values = ", ".join(f"{gap.value:+.1f}" for gap in gaps if gap is not None)
    return f"Not drawn: {row.label}, {values} points." if values else f"Not drawn: {row.label}."


def ranking_column(matrix: Matrix, columns: Sequence[int]) -> int:
    """Return the column that orders the rows: the mean over sets of the last column's score."""
    last = matrix.columns[columns[-1]]
    means = [
        j for j, c in enumerate(matrix.columns) if (c.metric, c.eps) == (last.metric, last.eps) and c.scope != "set"
    ]
    return means[0] if means else columns[-1]


def best_rows(rows: Sequence[Row], matrix: Matrix, by: int, most: int) -> list[Row]:
    """Return the ``most`` best rows in the column with index ``by``, the best first; the chosen row is kept."""
    sign = score_named(matrix.columns[by].metric).sense

    def rank(row: Row) -> float:
        value = row.cells[by].value
        return float("-inf") if value is None else sign * value

    kept = sorted(rows, key=lambda row: (row.chosen, rank(row)), reverse=True)[:most]
    return sorted(kept, key=rank, reverse=True)


def line(row: Row, columns: Sequence[int], baseline: str) -> Line:
    """Return one row's marks and their note."""
    marks = tuple(mark(row.cells[j]) for j in columns)
    some = any(mark is not None for mark in marks)
    return Line(label=row.label, note=note(row, baseline, some=some), chosen=row.chosen, marks=marks)


def note(row: Row, baseline: str, *, some: bool) -> str:
    """Return why a line has no mark, or which seeds are missing from its marks."""
    missing = row.planned - len(row.seeds) - row.failed - row.stopped
    if some:
        counts = ((row.failed, "failed"), (row.stopped, "stopped early"), (missing, "not run"))
        lacks = [f"{n} {word}" for n, word in counts if n]
        return f"{' and '.join(lacks)} of {counted(row.planned, 'seed')}" if lacks else ""
    if row.failed:
        return f"failed: {row.reason}"
    if row.stopped and not row.seeds:
        return "stopped early"
    return f"no seed that {baseline} has finished too" if row.seeds else "not run"


def mark(cell: Cell) -> Mark | None:
    """Return a cell's difference with its bootstrap interval, or without records the interval over seeds."""
    gap = cell.gap
    if gap is None:
        return None
    low, high = gap.interval
    return Mark(
        value=gap.value, low=low, high=high, holds=None if gap.p_holm is None else gap.holds, doubted=cell.doubted
    )


def words(matrix: Matrix, columns: Sequence[int], lines: Sequence[Line], *, untouched: bool) -> tuple[str, ...]:
    """Return the legend: the means, the resampling, the correction, and the marks of failed audits."""
    shown = [matrix.columns[j] for j in columns]
    means = " and ".join(dict.fromkeys(column.over for column in shown if column.scope != "set"))
    gaps = [gap for row in matrix.rows for j in columns if (gap := row.cells[j].gap) is not None]
    resampled = any(gap.low is not None for gap in gaps)
    seeds = "seeds, then images" if any(gap.seeds > 1 for gap in gaps) else "images"
    kind = f" (bootstrap over {seeds})" if resampled else " (over seeds)"
    what = f"{means}: points" if means else "Points"
    rows = [row for row in matrix.rows if untouched or is_candidate(row)]
    corrected = family_text(rows, matrix.columns, dict.fromkeys(column.scope for column in shown))
    marks = [mark for each in lines for mark in each.marks if mark is not None]
    return (
        f"{matrix.split.capitalize()} split. {what} above the row '{matrix.baseline}', 95 % intervals{kind}.",
        *([f"{corrected}."] if corrected else []),
        *(["Red: the chosen configuration."] if any(each.chosen for each in lines) else []),
        *([f"{DAGGER} robustness unverified, the audit fails."] if any(mark.doubted for mark in marks) else []),
    )
