"""The cells ordered by score, each beside the untouched model, and the rivals of the chosen cell.

A rival is a cell whose difference to the chosen one has an interval that contains 0."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.difference import Column, Difference, RowTrials, differences
from sweeps.engine.analysis.matrix import Matrix, MatrixRequest, Row, matrix
from sweeps.engine.analysis.outcomes import planned_row
from sweeps.engine.analysis.scores import CellScore, scores, untouched_score
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import CLEAN, Score, deciding_score
from zsr_core.data import Split

LISTED = 200  # largest number of configurations in the table; the Parquet file has all


@dataclass(frozen=True, kw_only=True)
class Ranking:
    """Rows of one split from the best deciding score down, each beside the untouched model."""

    columns: tuple[Column, ...]  # of the zero-shot mean
    rows: tuple[Row, ...]  # the untouched model's row is the last
    left_out: int  # configurations that are not listed
    # Chosen row minus each rival in the deciding score, by the rival's label.
    rivals: Mapping[str, Difference] = field(default_factory=dict)
    # The same of rows that lie above the chosen one, their interval without 0: possible on the report split alone.
    above: Mapping[str, Difference] = field(default_factory=dict)


def ranked(folder: StudyFolder, split: Split = "selection", most: int = LISTED) -> Ranking:
    """Return the ``most`` best configurations of one split and the untouched model.

    The chosen configuration is always listed.
    """
    return folder.once(("ranked", split, most), lambda: _ranked(folder, split, most))


def rivals_among(folder: StudyFolder, names: Collection[str]) -> frozenset[str]:
    """Return those of the cells ``names`` that are rivals of the chosen one; a ranking would compare every cell."""
    return folder.once(("rivals", *sorted(names)), lambda: _rivals_among(folder, names))


def _rivals_among(folder: StudyFolder, names: Collection[str]) -> frozenset[str]:
    winner = chosen(folder)
    others = [cell for cell in scores(folder) if winner is not None and cell.cell in names and cell.cell != winner.cell]
    if winner is None or not others:
        return frozenset()
    whole = matrix(folder, MatrixRequest(baseline=None, only={cell.cell for cell in (winner, *others)}))
    return frozenset(label for label, gap in gaps_to(folder, winner, whole, others).items() if gap.is_open)


def _ranked(folder: StudyFolder, split: Split, most: int) -> Ranking:
    decides = deciding_score(folder.study.objectives)
    cells = [*scores(folder, "cell", split), *scores(folder, "final", split)]
    winner = chosen(folder)
    if winner is not None and split == "report":
        own = winner.cell
        winner = next((cell for cell in scores(folder, "final", split) if cell.cell == own), None)
    listed = in_order(cells, decides)[:most]
    listed += [winner] if winner is not None and winner.cell not in {cell.cell for cell in listed} else []
    untouched = untouched_score(folder, split)
    baseline = None if untouched is None else untouched.cell
    whole = matrix(folder, MatrixRequest(split=split, baseline=baseline, only={cell.cell for cell in listed}))
    order = {cell.cell: i for i, cell in enumerate(listed)}
    rows = sorted(whole.rows, key=lambda row: order.get(row.label, len(order)))
    zero_shot = _mean_columns(whole)
    others = [] if winner is None else [cell for cell in listed if cell.cell != winner.cell]
    gaps = {} if winner is None else gaps_to(folder, winner, whole, others)
    return Ranking(
        columns=tuple(whole.columns[j] for j in zero_shot),
        rows=tuple(replace(row, cells=tuple(row.cells[j] for j in zero_shot)) for row in rows),
        left_out=len(cells) - len([cell for cell in listed if cell in cells]),
        rivals={label: gap for label, gap in gaps.items() if gap.is_open},
        above={label: gap for label, gap in gaps.items() if gap.high is not None and gap.high * decides.sense < 0},
    )


def _mean_columns(whole: Matrix) -> tuple[int, ...]:
    return whole.blocks[0].columns if whole.blocks else ()


def gaps_to(
    folder: StudyFolder, winner: CellScore, whole: Matrix, others: Sequence[CellScore]
) -> dict[str, Difference]:
    """Return the chosen row minus each of ``others`` that has a bootstrap interval of this difference.

    The interval is of the deciding score over the zero-shot sets, paired by seed and image.
    """
    decides = deciding_score(folder.study.objectives).name
    column = next((whole.columns[j] for j in _mean_columns(whole) if whole.columns[j].metric == decides), None)
    if column is None:
        return {}
    first = RowTrials.of(folder, planned_row(folder, winner))
    gaps = {}
    for cell in others:
        (gap,) = differences(first, RowTrials.of(folder, planned_row(folder, cell)), (column,))
        if gap is not None and gap.low is not None:
            gaps[cell.cell] = gap
    return gaps


def in_order(cells: Iterable[CellScore], score: Score) -> list[CellScore]:
    """Return the cells from the best at ``score`` down, then those without it by clean accuracy, then as planned."""

    def key(cell: CellScore) -> tuple[float, float]:
        value, clean = cell.value(score.name), cell.value(CLEAN.name)
        worst = float("-inf")
        return worst if value is None else score.sense * value, worst if clean is None else clean

    return sorted(cells, key=key, reverse=True)
