"""The difference between two rows of trials, paired by the seeds and images that both have.

Every table, page and figure that shows a difference takes it from here, so that its interval is the same everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal

import numpy as np

from sweeps.engine.analysis.outcomes import (
    AT,
    Arm,
    Seeds,
    left_out,
    paired,
    row_outcomes,
    score_gaps,
    score_means,
)
from sweeps.engine.analysis.stats import (
    DRAWS,
    LEVEL,
    Array,
    Resampled,
    Statistic,
    exact_mcnemar,
    holm,
    mean_of,
    paired_difference,
    resample,
    summarise,
)
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from sweeps.engine.study.objectives import HARMONIC, score_named
from sweeps.engine.study.set_groups import Scope
from zsr_core.evaluation.measurement import Measurement, picked
from zsr_core.evaluation.metrics import mean_interval
from zsr_core.trial.result import TrialResult

Test = Literal["bootstrap", "McNemar", ""]
ENOUGH_SEEDS = 5  # ours: with fewer seeds a bootstrap over seeds alone underestimates the spread


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score to compare: its name, its budget and its sets."""

    metric: str  # a score of the table, by name
    eps: float  # in [0, 1] pixel units; for clean accuracy, the budget of the robust accuracy beside it
    title: str  # "robust", with the budget if the columns have several
    sets: tuple[str, ...]
    over: str  # "12-set mean (without source)", or the set's name
    scope: Scope


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A row's score minus that of its reference row, in points, over the seeds that both have."""

    value: float
    seeds: int
    t_low: float | None = None  # 95 % t-interval over the per-seed differences; None with one seed
    t_high: float | None = None
    low: float | None = None  # 95 % bootstrap over seeds, then images; None without records
    high: float | None = None
    better: int | None = None  # of one set: number of (seed, image) pairs that only this row classifies correctly
    worse: int | None = None  # the same for the reference row
    test: Test = ""  # the test that p comes from; empty without records
    p: float | None = None
    p_holm: float | None = None  # adjusted within its family

    @property
    def agrees(self) -> bool:
        """Whether the seeds support the sign: there are at least five, or their t-interval excludes 0."""
        if self.seeds >= ENOUGH_SEEDS:
            return True
        return self.t_low is not None and self.t_high is not None and not self.t_low <= 0 <= self.t_high

    @property
    def holds(self) -> bool:
        """Whether the difference is significant: after Holm's correction, and with the support of the seeds."""
        return self.p_holm is not None and self.p_holm < LEVEL and self.agrees

    @property
    def interval(self) -> tuple[float | None, float | None]:
        """The 95 % interval to show: the bootstrap's, or without records the t-interval over seeds.

        None where all resamples agree, because an interval of zero width suggests false precision.
        """
        low, high = (self.t_low, self.t_high) if self.low is None else (self.low, self.high)
        return (None, None) if low == high else (low, high)

    @property
    def is_open(self) -> bool:
        """Whether the difference is undecided: the interval contains 0, or there is no interval."""
        low, high = (self.t_low, self.t_high) if self.low is None else (self.low, self.high)
        return low is None or high is None or low <= 0 <= high


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number in percent, the mean over the seeds that finished, with its uncertainty."""

    value: float | None = None
    sd: float | None = None  # sample standard deviation over seeds
    t_low: float | None = None  # 95 % t-interval over seeds; None with one seed
    t_high: float | None = None
    low: float | None = None  # 95 % bootstrap over images, seeds fixed; None without records
    high: float | None = None
    gap: Difference | None = None  # to the baseline row
    best: bool = False  # highest of its column
    doubted: bool = False  # a score under attack, in a row that fails the audit


@dataclass(frozen=True, kw_only=True)
class RowTrials:
    """The finished trials of one row, by seed: their results, and their records if they exist."""

    results: Mapping[int, TrialResult]
    records: Arm

    @classmethod
    def of(cls, folder: StudyFolder, row: PlannedRow) -> RowTrials:
        """Return the finished trials of a planned row."""
        return cls(results=folder.by_seed(row.trials), records=row_outcomes(folder, row))

    def values(self, column: Column) -> dict[int, float]:
        """Return each seed's number, in percent; a seed that did not measure all the column's sets has none."""
        read = {seed: measured(result, column) for seed, result in self.results.items()}
        return {seed: value for seed, value in read.items() if value is not None}

    def sets(self) -> tuple[str, ...]:
        """Return the zero-shot sets that all finished seeds have records of, at any budget."""
        names = [
            [task for task in outcomes if task not in left_out(self.results[seed])]
            for seed, budgets in self.records.items()
            for outcomes in budgets.values()
        ]
        return tuple(reduce(lambda a, b: [task for task in a if task in b], names)) if names else ()


def measured(result: TrialResult, column: Column) -> float | None:
    """Return one trial's number, in percent: the mean over the column's sets; None if it did not measure them all."""
    values = [m.value for m in _of_sets(result, column) if m.value is not None]
    return sum(values) / len(values) if values and len(values) == len(column.sets) else None


def measured_interval(result: TrialResult, column: Column) -> tuple[float | None, float | None]:
    """Return the 95 % interval over images of :func:`measured`, from the sets' own; (None, None) if one has none."""
    numbers = [m for m in _of_sets(result, column) if m.value is not None]
    if not numbers or len(numbers) < len(column.sets):
        return None, None
    ends = [None if m.low is None or m.high is None else (m.low, m.high) for m in numbers]
    return mean_interval([m.value for m in numbers if m.value is not None], ends) or (None, None)


def _of_sets(result: TrialResult, column: Column) -> list[Measurement]:
    """Return a trial's measurements of the column's score, one per set that it measured, in the column's order."""
    score = score_named(column.metric)

    def by_set(rows: Sequence[Measurement]) -> dict[str, Measurement]:
        return {m.task: m for m in score.read(rows, column.eps)}

    read = picked(result.measurements, ("column", column.metric, column.eps), by_set)
    return [read[name] for name in column.sets if name in read]


def row_cells(own: RowTrials, columns: Sequence[Column]) -> list[Cell]:
    """Return a row's numbers with their intervals over seeds and over images."""
    series = {eps: series_at([own.records], eps) for eps in _budgets(columns)}
    drawn = {eps: _resampled(outcomes, score_means, fixed_seeds=True) for eps, outcomes in series.items()}
    cells = []
    for column in columns:
        values = list(own.values(column).values())
        if not values:
            cells.append(Cell())
            continue
        over = summarise(values)
        low, high = _interval(drawn[column.eps], column)
        if column.metric not in AT and len(own.results) == 1:  # several seeds measured the same images
            low, high = measured_interval(next(iter(own.results.values())), column)
        cells.append(Cell(value=over.mean, sd=over.sd, t_low=over.low, t_high=over.high, low=low, high=high))
    return cells


def differences(
    own: RowTrials, reference: RowTrials, columns: Sequence[Column], *, draws: int = DRAWS
) -> list[Difference | None]:
    """Return ``own`` minus ``reference``, column by column, paired by seed and image; None if the two share no seed.

    A difference depends on the records of its two rows alone, and not on the other rows and columns of the call. If
    the rows are exchanged, it changes its sign and nothing else.
    """
    series = {eps: series_at([own.records, reference.records], eps) for eps in _budgets(columns)}
    needed = {name for column in columns for name in column.sets}
    drawn = {
        eps: _resampled_gaps({name: each for name, each in outcomes.items() if name in needed}, draws)
        for eps, outcomes in series.items()
    }
    return [_difference(own, reference, column, drawn[column.eps], series[column.eps]) for column in columns]


def _difference(
    own: RowTrials, reference: RowTrials, column: Column, drawn: Mapping[str, Resampled], series: Mapping[str, Array]
) -> Difference | None:
    over = paired_difference(own.values(column), reference.values(column))
    if over is None:
        return None
    by_seeds = Difference(value=over.mean, seeds=over.n, t_low=over.low, t_high=over.high)
    recorded = column.metric in AT and all(name in drawn for name in column.sets)
    return _tested(by_seeds, column, drawn, series) if recorded else by_seeds


def _tested(
    by_seeds: Difference, column: Column, drawn: Mapping[str, Resampled], series: Mapping[str, Array]
) -> Difference:
    """Return the difference computed from the records, with its interval and p.

    The accuracy of one set is a share of images, so its p comes from McNemar's exact test. A mean over sets or a
    harmonic mean is no share, so its p comes from the bootstrap.
    """
    mean, at = _over(drawn, column)
    outcomes = series[column.sets[0]]  # [4, S, N]: clean and robust of this row, then of the reference
    paired_value = replace(from_records(by_seeds, mean, at), seeds=outcomes.shape[1])
    if column.scope != "set" or column.metric == HARMONIC.name:
        return replace(paired_value, test="bootstrap", p=float(mean.p_values()[at]))
    signs = (outcomes[at] - outcomes[2 + at]).astype(np.int64)  # [S, N], 1 where only this row is right
    return replace(
        paired_value,
        better=int((signs > 0).sum()),
        worse=int((signs < 0).sum()),
        test="McNemar",
        p=exact_mcnemar(signs.sum(axis=0)),
    )


def from_records(by_seeds: Difference, resampled: Resampled, at: int) -> Difference:
    """Return the difference with value and interval number ``at`` of a bootstrap of the records."""
    low, high = resampled.interval()
    return replace(by_seeds, value=float(resampled.value[at]), low=float(low[at]), high=float(high[at]))


def adjusted(families: Iterable[Sequence[Difference | None]]) -> list[list[Difference | None]]:
    """Return the differences with every p adjusted within its family; those without a p stay as they are."""
    corrected = []
    for family in families:
        raw = [each.p for each in family if each is not None and each.p is not None]
        left = iter(holm(raw))
        corrected.append(
            [each if each is None or each.p is None else replace(each, p_holm=next(left)) for each in family]
        )
    return corrected


def _budgets(columns: Sequence[Column]) -> list[float]:
    return sorted({column.eps for column in columns})


def series_at(arms: Sequence[Arm], eps: float) -> dict[str, Array]:
    """Return, per set, [2 arms, S, N]: outcomes on the seeds and images that all arms have; empty without records."""
    at_budget: list[Seeds] = [{seed: budgets[eps] for seed, budgets in arm.items() if eps in budgets} for arm in arms]
    seeds = sorted(set.intersection(*(set(arm) for arm in at_budget)))
    return paired(at_budget, seeds) if seeds else {}


def _resampled_gaps(series: Mapping[str, Array], draws: int) -> dict[str, Resampled]:
    """Return the gaps of each set, [4, S, N] outcomes; both directions of a gap come from the same resamples."""
    turned = {name for name, outcomes in series.items() if outcomes[:2].tobytes() > outcomes[2:].tobytes()}
    ordered = {name: outcomes[[2, 3, 0, 1]] if name in turned else outcomes for name, outcomes in series.items()}
    return {
        name: Resampled(value=-each.value, drawn=-each.drawn) if name in turned else each
        for name, each in _resampled(ordered, score_gaps, draws=draws).items()
    }


def _resampled(
    series: Mapping[str, Array], statistic: Statistic, *, draws: int = 2000, fixed_seeds: bool = False
) -> dict[str, Resampled]:
    whole = {name: outcomes for name, outcomes in series.items() if outcomes.shape[2]}
    return resample(whole, statistic, draws=draws, fixed_seeds=fixed_seeds) if whole else {}


def _over(drawn: Mapping[str, Resampled], column: Column) -> tuple[Resampled, int]:
    """Return the mean over the column's sets, and the index of the column's score in it."""
    return mean_of([drawn[name] for name in column.sets]), AT[column.metric]


def _interval(drawn: Mapping[str, Resampled], column: Column) -> tuple[float | None, float | None]:
    if column.metric not in AT or not all(name in drawn for name in column.sets):
        return None, None
    mean, at = _over(drawn, column)
    low, high = mean.interval()
    return float(low[at]), float(high[at])
