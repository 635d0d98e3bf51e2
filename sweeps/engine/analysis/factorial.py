"""Main effects and interactions of a full factorial ablation, with intervals over seeds and images.

A part's main effect is the mean over all settings of the other parts of (score with it - score without it). The
interaction of two parts is the first one's effect with the second part on, minus its effect with the second part off.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sweeps.engine.analysis.difference import Column, Difference, RowTrials, adjusted, from_records, series_at
from sweeps.engine.analysis.matrix import MatrixRequest, columns_of, is_ablation
from sweeps.engine.analysis.outcomes import AT, score_means
from sweeps.engine.analysis.stats import DRAWS, Array, Resampled, mean_of, resample, summarise
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from zsr_core.codec import canonical, flatten, to_plain

LEAST = 2  # factors that make a factorial


@dataclass(frozen=True, kw_only=True)
class Factor:
    """A part that is on in half of the cells: its name, and the cells that have it."""

    name: str
    on: frozenset[str]  # cells


@dataclass(frozen=True, kw_only=True)
class Effect:
    """The effect of one part, or the interaction of two, column by column; None where seeds are missing."""

    factors: tuple[str, ...]
    differences: tuple[Difference | None, ...]


@dataclass(frozen=True, kw_only=True)
class Effects:
    """All main effects and interactions of two parts, over the zero-shot sets."""

    columns: tuple[Column, ...]
    effects: tuple[Effect, ...]
    cells: int


def factorial(folder: StudyFolder) -> Effects | None:
    """Return the effects of a full factorial ablation; None for another study, or if a cell has no finished seed."""
    if not is_ablation(folder):
        return None
    rows = folder.study.rows(role="cell")
    factors = factors_of(folder, rows)
    trials = {row.cell: RowTrials.of(folder, row) for row in rows}
    if len(factors) < LEAST or not all(each.results for each in trials.values()):
        return None
    columns = tuple(c for c in columns_of(folder, rows, MatrixRequest()) if c.scope == "zero-shot")
    contrasts = contrasts_of(factors, [row.cell for row in rows])
    raw = [_differences(list(trials.values()), weights, columns) for weights in contrasts.values()]
    (flat,) = adjusted([[gap for gaps in raw for gap in gaps]])
    corrected = iter(flat)
    effects = [Effect(factors=names, differences=tuple(next(corrected) for _ in columns)) for names in contrasts]
    return Effects(columns=columns, effects=tuple(effects), cells=len(rows))


def factors_of(folder: StudyFolder, rows: Sequence[PlannedRow]) -> tuple[Factor, ...]:
    """Return the two-level parts whose combinations are the cells; nothing if the cells are not all combinations.

    A part is a set of settings that change together. It is on where they equal the base's.
    """
    base = flatten(folder.study.base)
    settings = [flatten(folder.study.config(row.trials[0])) for row in rows]
    paths = [path for path in base if any(each.get(path) != base[path] for each in settings) and path != "seed"]
    groups: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        values = [canonical(to_plain(each.get(path))) for each in settings]
        pattern = tuple("on" if value == canonical(to_plain(base[path])) else value for value in values)
        if len(set(pattern)) != 2 or "on" not in pattern:
            return ()
        groups.setdefault(tuple("on" if each == "on" else "off" for each in pattern), []).append(path)
    patterns = list(groups)
    if len(rows) != 2 ** len(patterns) or len(set(zip(*patterns, strict=True))) != len(rows):
        return ()
    return tuple(
        Factor(
            name=" + ".join(path.rsplit(".", 1)[-1] for path in names),
            on=frozenset(row.cell for row, state in zip(rows, pattern, strict=True) if state == "on"),
        )
        for pattern, names in groups.items()
    )


def contrasts_of(factors: Sequence[Factor], cells: Sequence[str]) -> dict[tuple[str, ...], Array]:
    """Return each effect's weight of every cell, [N]: main effects, then interactions of two."""
    signs = {f.name: np.array([1.0 if cell in f.on else -1.0 for cell in cells]) for f in factors}
    half = len(cells) / 2
    contrasts: dict[tuple[str, ...], Array] = {(name,): sign / half for name, sign in signs.items()}
    contrasts |= {(a, b): signs[a] * signs[b] / (half / 2) for a, b in itertools.combinations(signs, 2)}
    return contrasts


def _differences(trials: Sequence[RowTrials], weights: Array, columns: Sequence[Column]) -> list[Difference | None]:
    """Return the weighted sum of the cells' scores, column by column."""

    def statistic(means: Array) -> Array:
        """[..., 2 N] shares of clean and robust images -> [..., 3] points."""
        scores = np.stack([score_means(means[..., 2 * i : 2 * i + 2]) for i in range(len(trials))], axis=-1)
        return np.asarray(scores @ weights, dtype=np.float64)

    gaps: list[Difference | None] = []
    means_of_sets: dict[tuple[float, tuple[str, ...]], Resampled] = {}  # a resample holds all scores of its sets
    for column in columns:
        by_seed = _by_seed([each.values(column) for each in trials], weights)
        if not by_seed:
            gaps.append(None)
            continue
        over = summarise(by_seed)
        gap = Difference(value=over.mean, seeds=over.n, t_low=over.low, t_high=over.high)
        series = series_at([each.records for each in trials], column.eps) if column.metric in AT else {}
        if series and all(name in series and series[name].shape[2] for name in column.sets):
            place, at = (column.eps, column.sets), AT[column.metric]
            if place not in means_of_sets:
                drawn = resample({name: series[name] for name in column.sets}, statistic, draws=DRAWS)
                means_of_sets[place] = mean_of(list(drawn.values()))
            mean = means_of_sets[place]
            gap = replace(from_records(gap, mean, at), test="bootstrap", p=float(mean.p_values()[at]))
        gaps.append(gap)
    return gaps


def _by_seed(values: Sequence[Mapping[int, float]], weights: Array) -> list[float]:
    shared = sorted(set.intersection(*(set(each) for each in values)))
    return [float(sum(w * each[seed] for w, each in zip(weights, values, strict=True))) for seed in shared]
