"""The noise in the scores of a surface's points, by a bootstrap that draws the same images for all points.

Points share images and seeds, so part of their errors is common and does not change which point is higher. What is
returned here leaves that part out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeps.engine.analysis.outcomes import AT, Seeds, left_out, paired, score_means, trial_outcomes
from sweeps.engine.analysis.score_query import Contrast, Query, Reading, readings
from sweeps.engine.analysis.stats import Array, mean_of, resample
from sweeps.engine.study.folder import StudyFolder
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN

DRAWS = 400  # resamples; the quantiles that are read from them are far from the tails
Place = tuple[float, float]


@dataclass(frozen=True, kw_only=True, eq=False)
class Noise:
    """The scores of P points, and their values in R resamples that all points share."""

    at: tuple[Place, ...]  # [P]
    value: Array  # [P], percent or points
    drawn: Array  # [R, P]
    seeds: int  # 1: only images were resampled

    @property
    def over(self) -> str:
        """What was resampled, in words."""
        return "images" if self.seeds == 1 else "seeds, then images"

    def errors(self) -> dict[Place, float]:
        """Return each point's standard error, without the part that all points have in common."""
        centred = self.drawn - self.value
        own = centred - centred.mean(axis=1, keepdims=True)
        return dict(zip(self.at, own.std(axis=0, ddof=1).tolist(), strict=True))

    @property
    def range(self) -> float:
        """The range of the measured scores, in points."""
        return float(np.ptp(self.value))

    @property
    def equal_range(self) -> float:
        """The range that as many equally good points would stay below in 95 % of the resamples, in points."""
        return float(np.quantile(np.ptp(self.drawn - self.value, axis=1), 0.95))

    @property
    def hides_the_range(self) -> bool:
        """Whether the measured scores differ by no more than equally good points would."""
        return self.range <= self.equal_range


def noise_of(folder: StudyFolder, score: Query, trials: Mapping[Place, Sequence[str]]) -> Noise | None:
    """Return the noise of ``score`` at points of which ``trials`` names the finished trials, by id.

    None where it cannot be known: with fewer than two points, without records or a seed that all points share, or for
    a score that is not computed from the worst case per image, or whose two parts are of different sets.
    """
    parts, at = readings(score), tuple(trials)
    known = all(part.name in AT and part.attack in (None, WORST) for part in parts)
    if not known or len(at) < 2 or len({part.task for part in parts}) > 1:
        return None
    arms = [_arm(folder, ids, part) for part in parts for ids in trials.values()]
    seeds = sorted(set.intersection(*(set(arm) for arm in arms)))
    series = paired(arms, seeds) if seeds else {}
    series = {name: outcomes for name, outcomes in series.items() if outcomes.shape[2]}
    if not series:
        return None

    def statistic(means: Array) -> Array:
        """[..., 2 parts P] shares -> [..., P] scores: clean and robust of every point, part by part."""
        each = score_means(means.reshape(*means.shape[:-1], len(parts), len(at), 2))
        read = [each[..., i, :, AT[part.name]] for i, part in enumerate(parts)]
        return read[0] - read[1] if isinstance(score, Contrast) else read[0]

    drawn = mean_of(list(resample(series, statistic, draws=DRAWS).values()))
    return Noise(at=at, value=drawn.value, drawn=drawn.drawn, seeds=len(seeds))


def _arm(folder: StudyFolder, ids: Sequence[str], part: Reading) -> Seeds:
    """Return seed -> task -> outcomes at the reading's budget, of the sets that it averages over."""
    eps = folder.study.score_eps if part.eps is None else part.eps
    arm = {}
    for trial_id in ids:
        result, budgets = folder.results[trial_id], trial_outcomes(folder, trial_id)
        budget = next((b for b in budgets if math.isclose(b, eps, rel_tol=1e-6)), None)
        if budget is not None:
            wanted = part.task
            arm[result.config.seed] = {
                task: outcomes
                for task, outcomes in budgets[budget].items()
                if (task not in left_out(result) if wanted == ZERO_SHOT_MEAN else task == wanted)
            }
    return arm
