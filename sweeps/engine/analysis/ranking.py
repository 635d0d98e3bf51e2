"""The cells in order, each with its interval and its difference to the untouched model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import Outcomes, Scores, difference, read_seeds, score_interval
from sweeps.engine.analysis.scores import CellScore, scores, trial_row
from sweeps.engine.analysis.stats import paired_difference
from sweeps.engine.study.folder import SPLIT, PlannedTrial, Role, Study
from sweeps.engine.study.objectives import OBJECTIVES
from zsr_core.trial.result import TrialResult

LISTED = 200  # configurations that the table lists at most; the Parquet file holds all


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
