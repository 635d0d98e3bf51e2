"""Corruptions and visual factors of a study's rows: the zero-shot means, averaged over seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.stats import Number, mean_of_seeds
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from zsr_core.codec import ConfigError
from zsr_core.data.shifts.kinds import Cell
from zsr_core.data.shifts.names import CORRUPTION, FACTOR, corruption_cell, factor_level, factor_name, is_shift
from zsr_core.evaluation.measure import Measurement, shift_task
from zsr_core.trial.result import TrialResult

KINDS = {"corrupted_accuracy": CORRUPTION, "factor_gap": FACTOR}  # what a figure is of, by the number that it draws
MOST = 6  # rows of a figure; of more, the untouched model and the chosen cell are shown


@dataclass(frozen=True, kw_only=True)
class CorruptionMap:
    """One row of a study: accuracy under every corruption, and the corruption error of every kind; in percent."""

    label: str
    accuracy: Mapping[Cell, Number]
    errors: Mapping[str, Number]  # by kind; a kind under which the untouched model makes no error is absent
    mean_accuracy: Number | None
    mean_error: Number | None


@dataclass(frozen=True, kw_only=True)
class FactorProfile:
    """One row of a study: per factor and level the gap in points, per factor the ratio of errors."""

    label: str
    gaps: Mapping[tuple[str, int | None], Number]  # level None: over all levels, or a factor that has none
    ratios: Mapping[str, Number]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """The rows of a figure."""

    split: str
    images: int  # an accuracy of one corruption or factor is of so many
    corruptions: tuple[CorruptionMap, ...] = ()
    factors: tuple[FactorProfile, ...] = ()


def corruption_maps(folder: StudyFolder) -> Shown:
    """Return the rows' accuracy under corruptions, of the report split if it was measured.

    Raises:
        ConfigError: if no finished trial has it.
    """
    rows, split = _rows(folder, "corrupted_accuracy")
    if not rows:
        raise ConfigError(_nothing("corruptions", folder, "eval_suite.corruptions"))
    maps = []
    for row, numbers in rows:
        cells = {a: n for (metric, a), n in numbers.items() if metric == "corrupted_accuracy"}
        errors = {
            a.partition("-")[2]: n for (metric, a), n in numbers.items() if metric == "corruption_error" and is_shift(a)
        }
        maps.append(CorruptionMap(
            label=row.cell, errors=errors,
            accuracy={cell: n for a, n in cells.items() if (cell := corruption_cell(a)) is not None},
            mean_accuracy=cells.get("none"), mean_error=numbers.get(("corruption_error", "none")),
        ))  # fmt: skip
    return Shown(split=split, images=_images(folder, rows[0][0], "corrupted_accuracy"), corruptions=tuple(maps))


def factor_profiles(folder: StudyFolder) -> Shown:
    """Return the rows' profiles of visual factors, of the report split if it was measured.

    Raises:
        ConfigError: if no finished trial has one.
    """
    rows, split = _rows(folder, "factor_gap")
    if not rows:
        raise ConfigError(_nothing("factors", folder, "eval_suite.factors or eval_suite.annotations"))
    profiles = [
        FactorProfile(
            label=row.cell,
            gaps={at: n for (metric, a), n in numbers.items() if metric == "factor_gap" and (at := factor_level(a))},
            ratios={
                at[0]: n
                for (metric, a), n in numbers.items()
                if metric == "factor_error_ratio" and (at := factor_level(a)) and at[1] is None
            },
        )
        for row, numbers in rows
    ]
    first = next(name for name, level in profiles[0].gaps if level in (1, None))
    level = 1 if (first, 1) in profiles[0].gaps else None
    images = _images(folder, rows[0][0], "factor_gap", factor_name(first, level))
    return Shown(split=split, images=images, factors=tuple(profiles))


def _nothing(kind: str, folder: StudyFolder, field: str) -> str:
    return f"{kind}: no trial of {folder.study.study} has measured them; expected a sweep whose base sets {field}"


def _rows(folder: StudyFolder, metric: str) -> tuple[list[tuple[PlannedRow, dict[tuple[str, str], Number]]], str]:
    """Return the rows that have measured ``metric``, with their numbers by metric and condition, and their split."""
    winner = chosen(folder)
    for split in ("report", "selection"):
        found = [(row, shift_numbers(folder, row, KINDS[metric])) for row in folder.study.rows(split=split)]
        found = [(row, numbers) for row, numbers in found if any(m == metric and is_shift(a) for m, a in numbers)]
        if len(found) > MOST:
            found = [each for each in found if each[0].role == "baseline" or (winner and each[0].cell == winner.cell)]
        if found:
            return found, split
    return [], ""


def shift_numbers(folder: StudyFolder, row: PlannedRow, kind: str) -> dict[tuple[str, str], Number]:
    """Return a row's numbers without a budget by metric and condition, of the task that has those of this ``kind``.

    They are means over the row's seeds, of the numbers that all its seeds have.
    """
    results = list(folder.done(row.trials).values())
    seeds: dict[tuple[str, str], list[Measurement]] = {}
    for result in results:
        for m in _scored(result, kind):
            seeds.setdefault((m.metric, m.attack), []).append(m)
    means = {at: mean_of_seeds(each) for at, each in seeds.items() if len(each) == len(results)}
    return {at: number for at, number in means.items() if number is not None}


def _scored(result: TrialResult, kind: str) -> list[Measurement]:
    """Return the numbers without a budget of the mean over sets, or of the one set that has numbers of this kind."""
    task = shift_task(result.measurements, kind)
    return [m for m in result.measurements if m.task == task and not m.eps]


def _images(folder: StudyFolder, row: PlannedRow, metric: str, attack: str = "none") -> int:
    result = next(iter(folder.done(row.trials).values()))
    return next((m.n for m in _scored(result, KINDS[metric]) if (m.metric, m.attack) == (metric, attack)), 0)
