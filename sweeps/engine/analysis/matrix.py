"""A study as a matrix: a row per configuration, set beside the baseline row on the same seeds and images.

The matrix is a value: :func:`matrix` is pure, every number in it is a group-by over the trials' records, and how
it is written, in a terminal or a paper, is the work of :mod:`sweeps.engine.documents.forms`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import Budgets, paired, read_budgets, score_gaps, score_means
from sweeps.engine.analysis.scores import rules_that
from sweeps.engine.analysis.stats import (
    Array,
    Resampled,
    enough_draws,
    exact_mcnemar,
    holm,
    mean_of,
    paired_difference,
    resample,
    summarise,
)
from sweeps.engine.format import eps_text
from sweeps.engine.study.folder import PlannedTrial, Role, Study, read_results, read_study
from sweeps.engine.study.objectives import AVERAGE, OBJECTIVES, WORST, Objective, score_eps
from sweeps.engine.study.plan import is_report
from zsr_core.codec import unknown
from zsr_core.data import trained_names
from zsr_core.trial.result import TrialResult

Scope = Literal["zero-shot", "all", "set"]
Test = Literal["bootstrap", "McNemar", ""]
Statistic = Callable[[Array], Array]
Arm = Mapping[int, Budgets]  # one row's records: seed -> eps -> set -> outcomes


@dataclass(frozen=True, kw_only=True)
class Column:
    """One score: which, at which budget, and over which sets."""

    metric: Objective
    eps: float  # in [0, 1] pixel units; of clean accuracy, the budget beside which it was measured
    title: str  # "robust", with the budget where the matrix has several
    sets: tuple[str, ...]
    over: str  # "12-set mean (without source)", or the set's name
    scope: Scope


@dataclass(frozen=True, kw_only=True)
class Gap:
    """How many points a cell lies above the baseline row's, over the seeds that both have."""

    value: float
    seeds: int
    t_low: float | None  # 95 % t-interval over the seeds' own differences; None with one seed
    t_high: float | None
    low: float | None = None  # 95 % bootstrap over seeds, then images; None without records
    high: float | None = None
    better: int | None = None  # of one set: (seed, image) pairs that this row alone gets right, the baseline alone
    worse: int | None = None
    test: Test = ""  # which test p is of; none without records
    p: float | None = None
    p_holm: float | None = None  # adjusted within the column's scope


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One number in percent, the mean over the seeds that finished, and how sure it is."""

    value: float | None = None
    sd: float | None = None  # sample standard deviation over seeds
    t_low: float | None = None  # 95 % t-interval over seeds; None with one seed
    t_high: float | None = None
    low: float | None = None  # 95 % bootstrap over images, seeds fixed; None without records
    high: float | None = None
    gap: Gap | None = None
    best: bool = False  # highest of its column, see with_best
    doubted: bool = False  # a number of attacks, in a row whose audit fails


@dataclass(frozen=True, kw_only=True)
class Row:
    """One configuration: how many of its seeds finished, why not all, what the audit says, and its cells."""

    label: str
    role: Role
    baseline: bool
    chosen: bool
    seeds: tuple[int, ...]  # that finished
    planned: int
    failed: int
    reason: str  # the first failure's
    fails: tuple[str, ...]  # audit rules that fail, in any seed
    warns: tuple[str, ...]
    cells: tuple[Cell, ...]

    @property
    def whole(self) -> bool:
        """Whether every planned seed finished."""
        return len(self.seeds) == self.planned


@dataclass(frozen=True, kw_only=True)
class Block:
    """Columns to be read together: the scores of one mean, or one score over the sets."""

    title: str
    columns: tuple[int, ...]
    kind: Literal["mean", "sets"]
    scopes: tuple[Scope, ...]  # whose comparisons are the families of Holm's correction


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """A study's rows and columns on one split. ``blocks`` group the columns."""

    study: str
    question: str
    split: str
    baseline: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    blocks: tuple[Block, ...]


def read_matrices(
    folder: Path,
    *,
    baseline: str | None = None,
    metrics: Sequence[Objective] = OBJECTIVES,
    per_set: bool = False,
    all_budgets: bool = False,
    draws: int | None = None,
) -> tuple[Matrix, ...]:
    """Return the study's matrix on the selection split and, once the end has run, the one on the report split.

    Raises:
        ConfigError: if the folder holds no study, or for a baseline that is no row's label.
    """
    study = read_study(folder)
    results = read_results(folder, study)
    records = read_records(folder, study, results)
    build = partial(
        matrix, study, results, records, metrics=metrics, per_set=per_set, all_budgets=all_budgets, draws=draws
    )
    selected = build(baseline=baseline)
    reported = {trial.cell for trial in study.plan if is_report(trial)}
    if not reported:
        return (selected,)
    return selected, build(report=True, baseline=baseline if baseline in reported else None)


def read_ablation(folder: Path) -> Matrix | None:
    """Return the matrix of an ablation, its first mean alone; None for a grid or a search, which have surfaces.

    Raises:
        ConfigError: if the folder holds no study.
    """
    study = read_study(folder)
    if study.mode != "matrix" or study.space:
        return None
    results = read_results(folder, study)
    found = matrix(study, results, read_records(folder, study, results))
    return replace(found, blocks=found.blocks[:1]) if found.blocks else None


def read_records(folder: Path, study: Study, results: Mapping[str, TrialResult]) -> dict[str, Budgets]:
    """Return the records of every trial that is done: trial id -> eps -> set -> outcomes."""
    done = [trial.trial_id for trial in study.plan if _is_done(results, trial)]
    return {trial_id: read_budgets(folder, results[trial_id]) for trial_id in done}


def _is_done(results: Mapping[str, TrialResult], trial: PlannedTrial) -> bool:
    return trial.trial_id in results and results[trial.trial_id].status == "done"


def matrix(
    study: Study,
    results: Mapping[str, TrialResult],
    records: Mapping[str, Budgets],
    *,
    report: bool = False,
    baseline: str | None = None,
    metrics: Sequence[Objective] = OBJECTIVES,
    per_set: bool = False,
    all_budgets: bool = False,
    draws: int | None = None,
) -> Matrix:
    """Return the matrix of one split. ``records``: trial id -> what :func:`read_budgets` returns.

    ``baseline`` is a row's label; by default the design's reference row, or where only the chosen row stands beside
    the untouched model, as on the report split, that model. ``all_budgets`` has robust accuracy at every budget of the
    suite; so it is wherever the rows differ in their own. ``draws``: by default enough for the comparisons.

    Raises:
        ConfigError: for a baseline that is no row's label, naming the nearest.
    """
    rows = rows_of(study, report=report)
    labels = [trials[0].cell for trials in rows]
    usual = study.baseline if study.baseline in labels and len(rows) > 2 else labels[0]
    name = usual if baseline is None else baseline
    if name not in labels:
        raise unknown("--baseline", name, labels)
    done = {name: result for name, result in results.items() if result.status == "done"}
    budgets = budgets_of(study, done, every=all_budgets)
    here = [done[trial.trial_id] for trials in rows for trial in trials if trial.trial_id in done]
    columns = columns_of(study, here, budgets, metrics, per_set=per_set)
    if draws is None:
        draws = enough_draws(len(rows) * max(Counter(column.scope for column in columns).values(), default=0))
    winner = chosen(study, results)
    winner_label = winner.cell if winner is not None and not report else None
    reference = _Arm.of(rows[labels.index(name)], done, records)
    built = []
    for trials in rows:
        own = _Arm.of(trials, done, records)
        cells = own.cells(columns)
        if trials[0].cell != name:
            cells = [replace(c, gap=gap) for c, gap in zip(cells, own.gaps(reference, columns, draws), strict=True)]
        built.append(_row(trials, results, cells, columns, baseline=name, chosen=winner_label))
    found = with_best(with_holm(built, columns), columns)
    return Matrix(
        study=study.study, question=study.question, split="report" if report else study.base.eval_suite.split,
        baseline=name, columns=columns, rows=found, blocks=blocks_of(columns),
    )  # fmt: skip


def rows_of(study: Study, *, report: bool) -> list[list[PlannedTrial]]:
    """Return the trials of each row, in the design's order, the untouched model first."""
    rows: dict[tuple[str, str], list[PlannedTrial]] = {}
    for trial in study.plan:
        if is_report(trial) == report:
            rows.setdefault((trial.role, trial.cell), []).append(trial)
    return list(rows.values())


def budgets_of(study: Study, done: Mapping[str, TrialResult], *, every: bool) -> tuple[float, ...]:
    """Return the budgets that robust accuracy is shown at: the one all are scored at, or all where radii are compared.

    A study of training radii, or one whose trials are scored at several budgets, shows every budget of the suite.
    """
    configs = [done[t.trial_id].config if t.trial_id in done else study.config(t) for t in study.plan]
    own, radii = {score_eps(config) for config in configs}, {config.threat.eps for config in configs}
    one = len(own) == 1 and len(radii) == 1 and not every
    return tuple(own) if one else tuple(sorted(study.base.eval_suite.eps))


def columns_of(
    study: Study,
    results: Sequence[TrialResult],
    budgets: Sequence[float],
    metrics: Sequence[Objective],
    *,
    per_set: bool,
) -> tuple[Column, ...]:
    """Return the columns: every score that was measured, of the zero-shot mean, of all sets' mean, then of each set.

    Where nothing was, they are those of the plan: rows that all failed are rows too.
    """
    rows = [m for result in results for m in result.measurements]
    planned = [task.called for task in study.base.eval_suite.tasks]
    known = {m.metric for m in rows} or set(metrics)
    sets = tuple(dict.fromkeys([m.task for m in rows if m.task != AVERAGE] or planned))
    trained = trained_names(study.base.eval_suite.tasks, study.base.train_data)
    others = tuple(name for name in sets if name not in trained)
    groups: list[tuple[Scope, str, tuple[str, ...]]] = []
    if others:
        without = f" (without {', '.join(trained)})" if len(others) < len(sets) else ""
        groups.append(("zero-shot", f"{len(others)}-set mean{without}", others))
    if len(others) < len(sets):
        groups.append(("all", f"{len(sets)}-set mean" if others else ", ".join(trained), sets))
    if per_set:
        groups += [("set", name, (name,)) for name in sets]
    return tuple(
        Column(
            metric=metric,
            eps=eps,
            title=f"{metric} {eps_text(eps)}" if len(budgets) > 1 and metric != "clean" else metric,
            sets=members,
            over=over,
            scope=scope,
        )
        for scope, over, members in groups
        for metric in metrics
        if metric in known
        for eps in (budgets[:1] if metric == "clean" else budgets)
    )


@dataclass(frozen=True, kw_only=True)
class _Arm:
    """The finished trials of one row, by seed: what they measured, and their records where those are there."""

    results: Mapping[int, TrialResult]
    records: Arm

    @classmethod
    def of(
        cls, trials: Sequence[PlannedTrial], done: Mapping[str, TrialResult], records: Mapping[str, Budgets]
    ) -> _Arm:
        here = [trial for trial in trials if trial.trial_id in done]
        return cls(
            results={t.seed: done[t.trial_id] for t in here},
            records={t.seed: records[t.trial_id] for t in here if records.get(t.trial_id)},
        )

    def values(self, column: Column) -> dict[int, float]:
        """Return each seed's number, in percent; a seed that did not measure all the column's sets has none."""
        found = {seed: measured(result, column) for seed, result in self.results.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def cells(self, columns: Sequence[Column]) -> list[Cell]:
        """Return this row's numbers with their intervals over seeds and over images."""
        series = {eps: _series([self.records], eps) for eps in _budgets(columns)}
        drawn = {eps: _resampled(found, score_means, fixed_seeds=True) for eps, found in series.items()}
        cells = []
        for column in columns:
            values = list(self.values(column).values())
            if not values:
                cells.append(Cell())
                continue
            over = summarise(values)
            low, high = _interval(drawn[column.eps], column)
            cells.append(Cell(value=over.mean, sd=over.sd, t_low=over.low, t_high=over.high, low=low, high=high))
        return cells

    def gaps(self, reference: _Arm, columns: Sequence[Column], draws: int) -> list[Gap | None]:
        """Return how far this row lies above the reference, column by column, paired by seed and image."""
        series = {eps: _series([self.records, reference.records], eps) for eps in _budgets(columns)}
        drawn = {eps: _resampled(found, score_gaps, draws=draws) for eps, found in series.items()}
        gaps: list[Gap | None] = []
        for column in columns:
            over = paired_difference(self.values(column), reference.values(column))
            if over is None:
                gaps.append(None)
                continue
            gap = Gap(value=over.mean, seeds=over.n, t_low=over.low, t_high=over.high)
            if all(name in drawn[column.eps] for name in column.sets):
                gap = _tested(gap, column, drawn[column.eps], series[column.eps])
            gaps.append(gap)
        return gaps


def measured(result: TrialResult, column: Column) -> float | None:
    """Return one trial's number, in percent: the mean over the column's sets; None if it did not measure them all."""
    attack, eps = ("none", 0.0) if column.metric == "clean" else (WORST, column.eps)
    found = {
        m.task: m.value for m in result.measurements if (m.metric, m.attack, m.eps) == (column.metric, attack, eps)
    }
    if not all(name in found for name in column.sets):
        return None
    return sum(found[name] for name in column.sets) / len(column.sets)


def _budgets(columns: Sequence[Column]) -> list[float]:
    return sorted({column.eps for column in columns})


def _series(arms: Sequence[Arm], eps: float) -> dict[str, Array]:
    """Return, per set, [2 arms, S, N]: outcomes on the seeds and images that all arms have; empty without records."""
    there = [{seed: budgets[eps] for seed, budgets in arm.items() if eps in budgets} for arm in arms]
    seeds = sorted(set.intersection(*(set(arm) for arm in there)))
    return paired(there, seeds) if seeds else {}


def _resampled(
    series: Mapping[str, Array], statistic: Statistic, *, draws: int = 2000, fixed_seeds: bool = False
) -> dict[str, Resampled]:
    # The generator starts anew for every comparison: a matrix made again has the same numbers.
    rng = np.random.default_rng(0)
    return resample(series, statistic, rng, draws=draws, fixed_seeds=fixed_seeds) if series else {}


def _over(drawn: Mapping[str, Resampled], column: Column) -> tuple[Resampled, int]:
    """Return the mean over the column's sets, and which of its numbers is the column's."""
    return mean_of([drawn[name] for name in column.sets]), OBJECTIVES.index(column.metric)


def _interval(drawn: Mapping[str, Resampled], column: Column) -> tuple[float | None, float | None]:
    if not all(name in drawn for name in column.sets):
        return None, None
    mean, at = _over(drawn, column)
    low, high = mean.interval()
    return float(low[at]), float(high[at])


def _tested(gap: Gap, column: Column, drawn: Mapping[str, Resampled], series: Mapping[str, Array]) -> Gap:
    """Return the difference as the records have it, with its interval and p.

    One set's accuracy is a share of images: McNemar's exact test. A mean over sets, or a harmonic mean, is none: the
    bootstrap's.
    """
    mean, at = _over(drawn, column)
    low, high = mean.interval()
    outcomes = series[column.sets[0]]  # [4, S, N]: clean and robust of this row, then of the baseline
    gap = replace(gap, value=float(mean.value[at]), seeds=outcomes.shape[1], low=float(low[at]), high=float(high[at]))
    if column.scope != "set" or column.metric == "harmonic":
        return replace(gap, test="bootstrap", p=float(mean.p_values()[at]))
    signs = (outcomes[at] - outcomes[2 + at]).astype(np.int64)  # [S, N], 1 where this row alone is right
    return replace(
        gap,
        better=int((signs > 0).sum()),
        worse=int((signs < 0).sum()),
        test="McNemar",
        p=exact_mcnemar(signs.sum(axis=0)),
    )


def _row(
    trials: Sequence[PlannedTrial],
    results: Mapping[str, TrialResult],
    cells: Sequence[Cell],
    columns: Sequence[Column],
    *,
    baseline: str,
    chosen: str | None,
) -> Row:
    there = [results[t.trial_id] for t in trials if t.trial_id in results]
    failed = [result for result in there if result.status == "failed"]
    fails, warns = rules_that("FAIL", there), rules_that("WARN", there)
    doubted = [replace(c, doubted=bool(fails) and col.metric != "clean") for c, col in zip(cells, columns, strict=True)]
    return Row(
        label=trials[0].cell, role=trials[0].role, baseline=trials[0].cell == baseline,
        chosen=trials[0].role == "cell" and trials[0].cell == chosen,
        seeds=tuple(t.seed for t in trials if _is_done(results, t)),
        planned=len(trials), failed=len(failed), reason=failed[0].error if failed else "",
        fails=fails, warns=warns, cells=tuple(doubted),
    )  # fmt: skip


def with_holm(rows: Sequence[Row], columns: Sequence[Column]) -> list[Row]:
    """Return the rows with every p adjusted within its family: the comparisons of all rows in one scope."""
    adjusted: dict[tuple[int, int], float] = {}
    for scope in dict.fromkeys(column.scope for column in columns):
        at = family(rows, columns, scope)
        raw = [gap.p for gap in (rows[i].cells[j].gap for i, j in at) if gap is not None and gap.p is not None]
        adjusted.update(zip(at, holm(raw), strict=True))

    def cell(i: int, j: int, found: Cell) -> Cell:
        if found.gap is None or (i, j) not in adjusted:
            return found
        return replace(found, gap=replace(found.gap, p_holm=adjusted[i, j]))

    return [replace(row, cells=tuple(cell(i, j, c) for j, c in enumerate(row.cells))) for i, row in enumerate(rows)]


def family(rows: Sequence[Row], columns: Sequence[Column], scope: Scope) -> list[tuple[int, int]]:
    """Return where the comparisons of one scope stand, (row, column): those that have a p."""
    return [
        (i, j)
        for i, row in enumerate(rows)
        for j, (cell, column) in enumerate(zip(row.cells, columns, strict=True))
        if column.scope == scope and cell.gap is not None and cell.gap.p is not None
    ]


def with_best(rows: Sequence[Row], columns: Sequence[Column]) -> tuple[Row, ...]:
    """Return the rows with each column's highest number marked.

    A tuned configuration must have it, with all its seeds, and no number that the audit doubts can be best.
    """
    tops: list[float | None] = []
    for j in range(len(columns)):
        values = [v for v in (_candidate(row, row.cells[j]) for row in rows) if v is not None]
        tops.append(max(values) if len(values) > 1 else None)
    return tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, best=top is not None and _candidate(row, cell) == top)
                for cell, top in zip(row.cells, tops, strict=True)
            ),
        )
        for row in rows
    )


def _candidate(row: Row, cell: Cell) -> float | None:
    return cell.value if row.role != "baseline" and row.whole and not cell.doubted else None


def blocks_of(columns: Sequence[Column]) -> tuple[Block, ...]:
    """Return a block per mean with its scores, then, where there are single sets, a block per score over the sets."""
    means: tuple[Scope, ...] = ("zero-shot", "all")
    scopes = [scope for scope in means if any(c.scope == scope for c in columns)]
    blocks = []
    for scope in scopes:
        at = tuple(j for j, column in enumerate(columns) if column.scope == scope)
        blocks.append(Block(title=columns[at[0]].over, columns=at, kind="mean", scopes=(scope,)))
    if any(column.scope == "set" for column in columns):
        for title in dict.fromkeys(column.title for column in columns):
            at = tuple(j for j, column in enumerate(columns) if column.title == title)
            blocks.append(Block(title=title, columns=at, kind="sets", scopes=(*scopes, "set")))
    return tuple(blocks)
