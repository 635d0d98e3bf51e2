"""Which images a trial gets right, clean and under attack, from its records; and how sure its scores are by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from sweeps.engine.analysis.stats import Array, Interval, harmonic, hierarchical_bootstrap
from sweeps.engine.study.folder import PlannedTrial, trial_folder
from sweeps.engine.study.objectives import score_eps
from zsr_core.data import trained_names
from zsr_core.records import read_samples
from zsr_core.trial.result import TrialResult

COLUMNS = ("task", "sample_id", "condition", "eps", "correct")
Names = NDArray[np.str_]
Codes = NDArray[np.int64]
Scores = tuple[Interval, Interval, Interval]  # clean, robust, harmonic; in percent


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """One task's images under one trial: what each is called, and whether it is right, clean and under every attack."""

    ids: Names  # [N], sorted
    clean: Array  # [N], 0 or 1
    robust: Array  # [N], 0 or 1: no attack of the suite breaks it


Budgets = Mapping[float, Mapping[str, Outcomes]]  # eps -> task -> outcomes


def read_outcomes(folder: Path, result: TrialResult) -> dict[str, Outcomes]:
    """Return the zero-shot tasks' outcomes at the budget that scores are read at; empty without records of attacks."""
    every = read_budgets(folder, result).get(score_eps(result.config), {})
    config = result.config
    trained = trained_names(config.eval_suite.tasks, config.train_data)
    return {task: found for task, found in every.items() if task not in trained}


def read_budgets(folder: Path, result: TrialResult) -> dict[float, dict[str, Outcomes]]:
    """Return every task's outcomes, the training set's too, at every budget; empty without records of attacks."""
    path = trial_folder(folder, result.trial_id) / "samples.parquet"
    if not path.is_file():
        return {}
    table = read_samples(path, COLUMNS)
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
    """Return a text column as numbers, in the order of the texts that they stand for: there are few of those."""
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


def read_seeds(
    folder: Path, trials: Iterable[PlannedTrial], results: Mapping[str, TrialResult]
) -> dict[int, dict[str, Outcomes]]:
    """Return the outcomes of the finished ones among a cell's trials: seed -> task -> outcomes."""
    finished = [(t.seed, results[t.trial_id]) for t in trials if t.trial_id in results]
    found = {seed: read_outcomes(folder, result) for seed, result in finished if result.status == "done"}
    return {seed: outcomes for seed, outcomes in found.items() if outcomes}


def score_interval(trials: Mapping[int, Mapping[str, Outcomes]]) -> Scores | None:
    """Return clean, robust and harmonic with their intervals over seeds and images; None without outcomes."""
    return _bootstrap([trials], sorted(trials), score_means) if trials else None


def difference(
    trials: Mapping[int, Mapping[str, Outcomes]], reference: Mapping[int, Mapping[str, Outcomes]]
) -> Scores | None:
    """Return how much clean, robust and harmonic exceed the reference's, paired by seed and image; None if unpaired."""
    seeds = sorted(trials.keys() & reference.keys())
    if not seeds:
        return None
    return _bootstrap([trials, reference], seeds, score_gaps)


def _bootstrap(
    arms: Sequence[Mapping[int, Mapping[str, Outcomes]]], seeds: Sequence[int], statistic: Callable[[Array], Array]
) -> Scores:
    # The generator starts anew for every comparison: a table made again has the same numbers.
    first, second, third = hierarchical_bootstrap(paired(arms, seeds), statistic, np.random.default_rng(0))
    return first, second, third


def paired(arms: Sequence[Mapping[int, Mapping[str, Outcomes]]], seeds: Sequence[int]) -> dict[str, Array]:
    """Return, for each task that all have, [2 arms, S, N]: clean and robust outcomes of each arm, image by image."""
    every = [arm[seed] for arm in arms for seed in seeds]
    return {task: _series(arms, seeds, task) for task in every[0] if all(task in outcomes for outcomes in every)}


def _series(arms: Sequence[Mapping[int, Mapping[str, Outcomes]]], seeds: Sequence[int], task: str) -> Array:
    """Return [2 arms, S, N] on the images that all have."""
    ids = reduce(_shared, [arm[seed][task].ids for arm in arms for seed in seeds])
    rows = []
    for arm in arms:
        kept = [_places(arm[seed][task].ids, ids) for seed in seeds]
        rows.append([arm[seed][task].clean[at] for seed, at in zip(seeds, kept, strict=True)])
        rows.append([arm[seed][task].robust[at] for seed, at in zip(seeds, kept, strict=True)])
    return np.asarray(rows, dtype=np.float64)


def _shared(a: Names, b: Names) -> Names:
    """Return the ids that both have; mostly they are the same ones."""
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
