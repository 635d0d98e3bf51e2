"""Whether a search may stop: the expected further gain of a proposal beside the noise of the best score.

The scores are modelled by a Gaussian process over the space as it is drawn, with noise of its own. The expected gain is
the largest expected improvement over the best point's mean (Jones et al. 1998); below the standard error of the best
score, one more trial is not expected to show anything (Makarova et al. 2022 compare regret and noise in this way).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import eligible, known, scores
from sweeps.engine.analysis.searching.duplicates import placed
from sweeps.engine.analysis.stats import Array
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score
from zsr_core.space import Choice

LEAST = 10  # finished cells, below which a Gaussian process tells little; and three for each axis
CANDIDATES = 1024  # points of a Sobol sequence at which the gain is looked for


@dataclass(frozen=True, kw_only=True)
class Certainty:
    """The expected further gain and the noise of the best score, in points of ``score``."""

    score: str
    gain: float
    noise: float
    n: int  # cells

    @property
    def certain(self) -> bool:
        """Whether a further trial is expected to gain less than the noise."""
        return self.gain < self.noise

    @property
    def text(self) -> str:
        """Both numbers, in words."""
        than = "below" if self.certain else "not below"
        return (
            f"after {self.n} cells the expected further gain of a trial in {self.score} is {self.gain:.2f} points, "
            f"{than} the noise of the best score, {self.noise:.2f} points"
        )


def certainty(folder: StudyFolder) -> Certainty | None:
    """Return what a further trial is expected to gain; None with too few cells, or without the best one's records."""
    by, space = deciding_score(folder.study.objectives), folder.study.space
    cells = eligible(scores(folder), by.name)
    best = chosen(folder)
    if best is None or not space or len(cells) < max(LEAST, 3 * len(space)):
        return None
    interval = row_interval(folder, best).get(by.name)
    if interval is None:
        return None
    points = np.array([placed(cell.overrides, space) for cell in cells])
    values = np.array([by.sense * known(cell.value(by.name)) for cell in cells])
    inside = (points >= 0).all(axis=1)  # a weight that is off has no place on its axis
    wide = [len(domain.values) - 1 if isinstance(domain, Choice) else 1 for domain in space.values()]
    choices = [isinstance(domain, Choice) for domain in space.values()]
    gain = expected_gain(points[inside], values[inside], interval.se, wide, choices)
    return Certainty(score=by.title, gain=gain, noise=interval.se, n=len(cells))


def expected_gain(
    points: Array, values: Array, noise: float, wide: Sequence[int], choices: Sequence[bool] = ()
) -> float:
    """Return the largest expected improvement of a new point, in the unit of ``values``.

    ``points`` [N, D] in units of the axes, whose lengths are ``wide``; ``noise`` is the standard error of a value.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import, one flag needs it
    from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # noqa: PLC0415

    middle, scale = float(values.mean()), float(values.std())
    if scale == 0:
        return 0.0
    kernel = ConstantKernel(1.0, (0.05, 50.0)) * Matern([0.5] * points.shape[1], (0.05, 20.0), nu=2.5)
    kernel += WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(kernel, alpha=(noise / scale) ** 2 + 1e-8, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a flat axis puts its length scale at the bound
        process.fit(points, (values - middle) / scale)
    candidates = qmc.Sobol(points.shape[1], seed=0).random(CANDIDATES) * np.array(wide)
    for axis, choice in enumerate(choices):
        if choice:
            candidates[:, axis] = candidates[:, axis].round()
    reached = float(process.predict(points).max())
    mean, sd = process.predict(candidates, return_std=True)
    sd = np.sqrt(np.maximum(sd**2 - process.kernel_.k2.noise_level, 1e-12))  # of the surface, not of a new trial
    z = (mean - reached) / sd
    improvement = (mean - reached) * norm.cdf(z) + sd * norm.pdf(z)
    return scale * max(0.0, float(improvement.max())) if math.isfinite(improvement.max()) else math.inf
