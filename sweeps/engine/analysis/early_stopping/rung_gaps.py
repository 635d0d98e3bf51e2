"""The difference between two cells at a rung, paired by seeds and images, with its variance over images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from sweeps.engine.analysis.early_stopping.verdict import Gap, Spread
from sweeps.engine.analysis.outcomes import AT, Seeds, paired, score_means
from sweeps.engine.analysis.stats import Array
from sweeps.engine.study.objectives import CLEAN, ROBUST


def gaps(rival: Seeds, own: Seeds, objectives: Sequence[str]) -> tuple[Gap, ...]:
    """Return by how much ``rival`` is better at each objective, in points: the mean over tasks and the seeds of both.

    Raises:
        ValueError: if they share no seed.
    """
    seeds = sorted(rival.keys() & own.keys())
    if not seeds:
        raise ValueError("gaps: the two cells share no seed")
    series = paired([rival, own], seeds)  # task -> [4, S, N]
    return tuple(_gap(series, name) for name in objectives)


def _gap(series: Mapping[str, Array], objective: str) -> Gap:
    values, variances, images = [], [], 0
    for outcomes in series.values():
        means = outcomes.mean(axis=2).T  # [S, 4]
        scores = score_means(means.reshape(-1, 2, 2))  # [S, 2 cells, 3]
        values.append(float((scores[:, 0] - scores[:, 1]).mean(axis=0)[AT[objective]]))
        variances.append(_variance(outcomes, objective))
        images += outcomes.shape[2]
    variance = float(np.sum(variances)) / len(values) ** 2
    return Gap(value=float(np.mean(values)), images=Spread(variance=variance, dof=max(1, images - len(values))))


def _variance(outcomes: Array, objective: str) -> float:
    """Return the variance over images of one task's difference, in squared points; infinite for a single image.

    By the delta method: a score is linear in the outcomes near their means. One image more that goes the other way is
    added to the sum of squares, because a few images that all agree are no proof that all images would.
    """
    n = outcomes.shape[2]
    if n < 2:
        return float("inf")
    mean = outcomes.mean(axis=(1, 2))  # [4]
    first, second = _slopes(mean[0], mean[1], objective), _slopes(mean[2], mean[3], objective)
    weights = np.array([*first, -second[0], -second[1]])
    of_image = np.einsum("k,kn->n", weights, outcomes.mean(axis=1))  # [N]
    squares = float(((of_image - of_image.mean()) ** 2).sum()) + 1.0
    return float(100.0**2 * squares / (n - 1) / n)


def _slopes(clean: float, robust: float, objective: str) -> tuple[float, float]:
    """Return how much a score rises with clean and with robust accuracy."""
    if objective == CLEAN.name:
        return 1.0, 0.0
    if objective == ROBUST.name:
        return 0.0, 1.0
    total = clean + robust
    return (2 * (robust / total) ** 2, 2 * (clean / total) ** 2) if total > 0 else (1.0, 1.0)
