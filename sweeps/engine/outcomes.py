"""Which images a trial gets right, clean and under attack, from its records; and how sure its scores are by them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from sweeps.engine.select import score_eps
from sweeps.engine.stats import Array, Interval, harmonic, hierarchical_bootstrap
from sweeps.engine.study import PlannedTrial, trial_folder
from zsr_core.records import read_samples
from zsr_core.trial import TrialResult

COLUMNS = ("task", "sample_id", "condition", "eps", "correct")
Names = NDArray[np.str_]
Scores = tuple[Interval, Interval, Interval]  # clean, robust, harmonic; in percent


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcomes:
    """One task's images under one trial: what each is called, and whether it is right, clean and under every attack."""

    ids: Names  # [N], sorted
    clean: Array  # [N], 0 or 1
    robust: Array  # [N], 0 or 1: no attack of the suite breaks it


def read_outcomes(folder: Path, result: TrialResult) -> dict[str, Outcomes]:
    """Return the zero-shot tasks' outcomes at the budget that scores are read at; empty without records of attacks."""
    path = trial_folder(folder, result.trial_id) / "samples.parquet"
    if not path.is_file():
        return {}
    table = read_samples(path, COLUMNS)
    wanted = pc.or_(pc.equal(table["condition"], "none"), pc.equal(table["eps"], score_eps(result.config)))
    table = table.filter(wanted)
    task, sample, condition = (np.asarray(table[name].to_pylist(), dtype=str) for name in COLUMNS[:3])
    correct = np.asarray(table["correct"].to_numpy(), dtype=np.float64)
    known = [name for name in dict.fromkeys(task.tolist()) if name != result.config.train_data.called]
    if not np.any(condition != "none"):
        return {}
    return {name: _outcomes(sample[task == name], condition[task == name], correct[task == name]) for name in known}


def _outcomes(sample: Names, condition: Names, correct: Array) -> Outcomes:
    ids, row = np.unique(sample, return_inverse=True)
    clean, robust = np.zeros(len(ids)), np.ones(len(ids))
    attacked = condition != "none"
    clean[row[~attacked]] = correct[~attacked]
    np.minimum.at(robust, row[attacked], correct[attacked])
    return Outcomes(ids=ids, clean=clean, robust=robust)


def read_seeds(
    folder: Path, trials: Iterable[PlannedTrial], results: Mapping[str, TrialResult]
) -> dict[int, dict[str, Outcomes]]:
    """Return the outcomes of the finished ones among a cell's trials: seed -> task -> outcomes."""
    finished = [(t.seed, results[t.trial_id]) for t in trials if t.trial_id in results]
    found = {seed: read_outcomes(folder, result) for seed, result in finished if result.status == "done"}
    return {seed: outcomes for seed, outcomes in found.items() if outcomes}


def score_interval(trials: Mapping[int, Mapping[str, Outcomes]]) -> Scores | None:
    """Return clean, robust and harmonic with their intervals over seeds and images; None without outcomes."""
    return _bootstrap([trials], sorted(trials), _scores) if trials else None


def difference(
    trials: Mapping[int, Mapping[str, Outcomes]], reference: Mapping[int, Mapping[str, Outcomes]]
) -> Scores | None:
    """Return how much clean, robust and harmonic exceed the reference's, paired by seed and image; None if unpaired."""
    seeds = sorted(trials.keys() & reference.keys())
    if not seeds:
        return None
    return _bootstrap([trials, reference], seeds, lambda means: _scores(means[..., :2]) - _scores(means[..., 2:]))


def _bootstrap(
    arms: Sequence[Mapping[int, Mapping[str, Outcomes]]], seeds: Sequence[int], statistic: Callable[[Array], Array]
) -> Scores:
    every = [arm[seed] for arm in arms for seed in seeds]
    tasks = [task for task in every[0] if all(task in outcomes for outcomes in every)]
    series = {task: _series(arms, seeds, task) for task in tasks}
    # The generator starts anew for every comparison: a table made again has the same numbers.
    first, second, third = hierarchical_bootstrap(series, statistic, np.random.default_rng(0))
    return first, second, third


def _series(arms: Sequence[Mapping[int, Mapping[str, Outcomes]]], seeds: Sequence[int], task: str) -> Array:
    """Return [2 arms, S, N]: clean and robust outcomes of each arm, on the images that all have."""
    ids = reduce(np.intersect1d, [arm[seed][task].ids for arm in arms for seed in seeds])
    rows = []
    for arm in arms:
        kept = [np.searchsorted(arm[seed][task].ids, ids) for seed in seeds]
        rows.append([arm[seed][task].clean[at] for seed, at in zip(seeds, kept, strict=True)])
        rows.append([arm[seed][task].robust[at] for seed, at in zip(seeds, kept, strict=True)])
    return np.asarray(rows, dtype=np.float64)


def _scores(means: Array) -> Array:
    """Return [..., 3]: clean, robust and their harmonic mean in percent, from shares [..., 2]."""
    clean, robust = means[..., 0], means[..., 1]
    return np.asarray(100 * np.stack([clean, robust, harmonic(clean, robust)], axis=-1), dtype=np.float64)
