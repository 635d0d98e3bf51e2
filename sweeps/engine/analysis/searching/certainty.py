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
from typing import Any

import numpy as np
from scipy.stats import norm, qmc

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import CellScore, eligible, known, scores
from sweeps.engine.analysis.searching.duplicates import placed
from sweeps.engine.analysis.stats import Array
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score
from zsr_core.space import Choice

LEAST = 10  # finished cells, below which a Gaussian process tells little; and three for each axis
REFIT = 1.1  # times as many cells, at which the length scales are fitted anew
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
    return Watch().look(folder, scores(folder))


class Watch:
    """Looks for certainty again and again while a search goes on, and fits only where the answer can have changed.

    A look without a new score repeats the last answer. The length scales of the model are fitted anew once there are
    ``REFIT`` times as many cells, and before a search is called certain; in between the model only takes in the scores.
    """

    def __init__(self) -> None:
        self._seen: tuple[object, ...] = ()
        self._found: Certainty | None = None
        self._noise: dict[tuple[str, int], float | None] = {}  # by the best cell and its number of seeds
        self._kernel: Any = None
        self._fitted = 0  # cells that the kernel was fitted to

    def look(self, folder: StudyFolder, cells: Sequence[CellScore]) -> Certainty | None:
        """Return what a further trial is expected to gain, as :func:`certainty` does; ``cells``: all scores."""
        by, space = deciding_score(folder.study.objectives), folder.study.space
        known_cells = eligible(cells, by.name)
        if not space or len(known_cells) < max(LEAST, 3 * len(space)):
            return None
        best = chosen(folder, cells)
        noise = None if best is None else self._noise_of(folder, best, by.name)
        if noise is None:
            return None
        values = tuple(by.sense * known(cell.value(by.name)) for cell in known_cells)
        seen = (noise, values, tuple(cell.cell for cell in known_cells))
        if seen != self._seen:
            self._seen, self._found = seen, self._judged(folder, known_cells, values, noise, by.title)
        return self._found

    def _noise_of(self, folder: StudyFolder, best: CellScore, score: str) -> float | None:
        key = (best.cell, best.n)
        if key not in self._noise:
            interval = row_interval(folder, best).get(score)
            self._noise[key] = None if interval is None else interval.se
        return self._noise[key]

    def _judged(
        self, folder: StudyFolder, cells: Sequence[CellScore], values: Sequence[float], noise: float, title: str
    ) -> Certainty:
        space = folder.study.space
        points = np.array([placed(cell.overrides, space) for cell in cells])
        inside = (points >= 0).all(axis=1)  # a weight that is off has no place on its axis
        wide = [len(domain.values) - 1 if isinstance(domain, Choice) else 1 for domain in space.values()]
        choices = [isinstance(domain, Choice) for domain in space.values()]

        def found(kernel: Any) -> Certainty:
            gain, self._kernel = _gain(points[inside], np.array(values)[inside], noise, wide, choices, kernel)
            return Certainty(score=title, gain=gain, noise=noise, n=len(cells))

        if self._kernel is not None and len(cells) < REFIT * self._fitted:
            taken_in = found(self._kernel)
            if not taken_in.certain:
                return taken_in
        self._fitted = len(cells)
        return found(None)


def expected_gain(
    points: Array, values: Array, noise: float, wide: Sequence[int], choices: Sequence[bool] = ()
) -> float:
    """Return the largest expected improvement of a new point, in the unit of ``values``.

    ``points`` [N, D] in units of the axes, whose lengths are ``wide``; ``noise`` is the standard error of a value.
    """
    return _gain(points, values, noise, wide, choices, None)[0]


def _gain(
    points: Array, values: Array, noise: float, wide: Sequence[int], choices: Sequence[bool], fitted: Any
) -> tuple[float, Any]:
    """Return the largest expected improvement and the kernel: ``fitted`` as it is, or one that is fitted here."""
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import, one flag needs it
    from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # noqa: PLC0415

    middle, scale = float(values.mean()), float(values.std())
    if scale == 0:
        return 0.0, fitted
    kernel = ConstantKernel(1.0, (0.05, 50.0)) * Matern([0.5] * points.shape[1], (0.05, 20.0), nu=2.5)
    kernel += WhiteKernel(0.01, (1e-6, 1.0))
    process = GaussianProcessRegressor(
        fitted or kernel, alpha=(noise / scale) ** 2 + 1e-8, random_state=0,
        optimizer="fmin_l_bfgs_b" if fitted is None else None,
    )  # fmt: skip
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
    gain = scale * max(0.0, float(improvement.max())) if math.isfinite(improvement.max()) else math.inf
    return gain, process.kernel_
