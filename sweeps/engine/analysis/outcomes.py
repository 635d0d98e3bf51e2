"""Which images a trial classifies correctly, clean and under attack, and the intervals of its scores from these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.analysis.stats import Array, Interval, harmonic, hierarchical_bootstrap
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from sweeps.engine.study.objectives import CLEAN, HARMONIC, ROBUST
from zsr_core.codec import require
from zsr_core.data import trained_names, zero_shot_names
from zsr_core.records import read_samples
from zsr_core.trial.result import TrialResult

COLUMNS = ("task", "sample_id", "condition", "eps", "correct")
# The scores that are computed from clean and robust outcomes, in the order of :func:`score_means`.
BY_OUTCOMES = (CLEAN, ROBUST, HARMONIC)
AT = {score.name: i for i, score in enumerate(BY_OUTCOMES)}  # index of a score in the numbers of `score_means`
Names = NDArray[np.str_]
Codes = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """One task's images under one trial: their ids, and whether each is right, clean and under every attack."""

    ids: Names  # [N], sorted
    clean: Array  # [N], 0 or 1
    robust: Array  # [N], 0 or 1: no attack of the suite breaks it


Budgets = Mapping[float, Mapping[str, Outcomes]]  # eps -> task -> outcomes
Arm = Mapping[int, Budgets]  # one row's records: seed -> eps -> task -> outcomes
Seeds = Mapping[int, Mapping[str, Outcomes]]  # the same at one budget: seed -> task -> outcomes


def trial_outcomes(folder: StudyFolder, trial_id: str) -> Budgets:
    """Return every task's outcomes, the training set's too, at every budget; empty without records of attacks."""
    path = folder.trial_path(trial_id) / "samples.parquet"
    return folder.once(("outcomes", trial_id), lambda: read_outcomes(path, trial_id))


def read_outcomes(path: Path, trial_id: str) -> dict[float, dict[str, Outcomes]]:
    """Return the outcomes in one ``samples.parquet``: eps -> task -> outcomes; empty without the file or attacks.

    Raises:
        ConfigError: naming the file, if it cannot be read or holds the records of another trial.
    """
    if not path.is_file():
        return {}
    table = read_samples(path, ("trial_id", *COLUMNS))
    owners = set(table["trial_id"].unique().to_pylist())
    require(owners == {trial_id}, f"samples: {path}", sorted(owners), f"the records of trial {trial_id} alone")
    (task, tasks), (sample, samples), (condition, conditions) = (_coded(table[name]) for name in COLUMNS[:3])
    eps, correct = (np.asarray(table[name].to_numpy(), dtype=np.float64) for name in COLUMNS[3:])
    attacked = (conditions != "none")[condition]
    return {
        budget: {
            str(tasks[code]): _outcomes(samples, sample[rows], attacked[rows], correct[rows])
            for code in dict.fromkeys(task.tolist())
            for rows in [np.flatnonzero((task == code) & (~attacked | (eps == budget)))]
        }
        for budget in sorted(set(eps[attacked].tolist()))
    }


def _coded(column: pa.ChunkedArray) -> tuple[Codes, Names]:
    """Return a text column as (codes, sorted distinct texts), because few texts are distinct."""
    coded = column.unify_dictionaries() if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    array = coded.combine_chunks()
    names = np.asarray(array.dictionary.to_pylist(), dtype=str)
    order = np.argsort(names)
    rank = np.empty(len(names), dtype=np.int64)
    rank[order] = np.arange(len(names))
    return rank[array.indices.to_numpy()], names[order]


def _outcomes(samples: Names, sample: Codes, attacked: NDArray[np.bool_], correct: Array) -> Outcomes:
    ids, row = np.unique(sample, return_inverse=True)
    clean, robust = np.zeros(len(ids)), np.ones(len(ids))
    clean[row[~attacked]] = correct[~attacked]
    np.minimum.at(robust, row[attacked], correct[attacked])
    return Outcomes(ids=samples[ids], clean=clean, robust=robust)


def row_outcomes(folder: StudyFolder, row: PlannedRow) -> Arm:
    """Return the outcomes of a row's finished trials that have records."""
    read = {seed: trial_outcomes(folder, result.trial_id) for seed, result in folder.by_seed(row.trials).items()}
    return {seed: budgets for seed, budgets in read.items() if budgets}


def zero_shot(arm: Arm, results: Mapping[int, TrialResult], eps: float) -> Seeds:
    """Return an arm's zero-shot tasks at one budget; ``results`` give, by seed, the tasks that scores leave out."""
    return {
        seed: {task: outcomes for task, outcomes in budgets[eps].items() if task not in left_out(results[seed])}
        for seed, budgets in arm.items()
        if eps in budgets
    }


def left_out(result: TrialResult) -> tuple[str, ...]:
    """Return the tasks that the trial's scores leave out: its training set, unless nothing else is evaluated."""
    tasks, trained = result.config.eval_suite.tasks, result.config.train_data
    return trained_names(tasks, trained) if zero_shot_names(tasks, trained) else ()


def row_interval(folder: StudyFolder, score: CellScore) -> dict[str, Interval]:
    """Return a row's scores with their intervals over seeds and images, by name; empty without records."""
    row = planned_row(folder, score)

    def bootstrapped() -> dict[str, Interval]:
        own = zero_shot(row_outcomes(folder, row), folder.by_seed(row.trials), folder.study.score_eps)
        return score_interval(own)

    return folder.once(("interval", row.role, row.split, row.cell), bootstrapped)


def planned_row(folder: StudyFolder, score: CellScore) -> PlannedRow:
    """Return the planned row of a score."""
    rows = folder.once(
        ("rows", score.role, score.split),
        lambda: {row.cell: row for row in folder.study.rows(role=score.role, split=score.split)},
    )
    return rows[score.cell]


def score_interval(trials: Seeds) -> dict[str, Interval]:
    """Return the scores of outcomes, with their intervals over seeds and images; empty without outcomes."""
    series = paired([trials], sorted(trials)) if trials else {}
    return _bootstrap(series, score_means) if series else {}


def _bootstrap(series: Mapping[str, Array], statistic: Callable[[Array], Array]) -> dict[str, Interval]:
    intervals = hierarchical_bootstrap(series, statistic)
    return {score.name: interval for score, interval in zip(BY_OUTCOMES, intervals, strict=True)}


def paired(arms: Sequence[Seeds], seeds: Sequence[int]) -> dict[str, Array]:
    """Return, for each task that all have, [2 arms, S, N]: clean and robust outcomes of each arm, image by image."""
    every = [arm[seed] for arm in arms for seed in seeds]
    return {task: _series(arms, seeds, task) for task in every[0] if all(task in outcomes for outcomes in every)}


def _series(arms: Sequence[Seeds], seeds: Sequence[int], task: str) -> Array:
    """Return [2 arms, S, N] on the images that all have."""
    ids = reduce(_shared, [arm[seed][task].ids for arm in arms for seed in seeds])
    rows = []
    for arm in arms:
        kept = [_places(arm[seed][task].ids, ids) for seed in seeds]
        rows.append([arm[seed][task].clean[at] for seed, at in zip(seeds, kept, strict=True)])
        rows.append([arm[seed][task].robust[at] for seed, at in zip(seeds, kept, strict=True)])
    return np.asarray(rows, dtype=np.float64)


def _shared(a: Names, b: Names) -> Names:
    """Return the ids that both have; the first test is a fast path for equal ids."""
    return a if np.array_equal(a, b) else np.intersect1d(a, b)


def _places(among: Names, ids: Names) -> Codes:
    return np.arange(len(ids)) if len(ids) == len(among) else np.searchsorted(among, ids)


def score_means(means: Array) -> Array:
    """Return [..., 3]: clean, robust and their harmonic mean in percent, from shares [..., 2]."""
    clean, robust = means[..., 0], means[..., 1]
    return np.asarray(100 * np.stack([clean, robust, harmonic(clean, robust)], axis=-1), dtype=np.float64)


def score_gaps(means: Array) -> Array:
    """Return [..., 3]: how much the first arm's scores exceed the second's, in points, from shares [..., 4]."""
    return score_means(means[..., :2]) - score_means(means[..., 2:])
