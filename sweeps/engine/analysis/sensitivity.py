"""Sensitivity of a score to its weights: how much it drops near the optimum of a surface.

All drops are relative to the best sampled score S*, in percent of it. Papers probe steps of different size (12.5 to
20 % for one method, 10 % for another), so slopes are given per 10 % of relative step before methods are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sweeps.engine.analysis.interpolation import (
    Interpolator,
    coordinates,
    in_hull,
    interpolator,
    measured,
    to_axis,
)
from sweeps.engine.analysis.noise import Noise
from sweeps.engine.analysis.surface import Point, Surface
from sweeps.engine.study.limits import CLIFF
from zsr_core.codec import ConfigError, require

Array = NDArray[np.float64]
Ends = tuple[float, float]  # of a 95 % interval
DRAWS = 200  # resampled surfaces behind an interval
NEAR = 0.2  # relative step of "S20", to either side
PLATEAU = 0.98  # of S*, above which a point belongs to the plateau
PLATEAU_STEPS = 160  # grid points per side, for the plateau's area
MOSTLY = 0.5  # largest unresolved share of the area with which the plateau's share is shown
TERMS = 6  # terms of a quadratic in two variables
HOW = Literal["measured", "interpolated", "unresolved"]


@dataclass(frozen=True, kw_only=True)
class Slope:
    """The drop at a step along one axis from the optimum, the other axis held."""

    path: str
    to: float  # the value stepped to
    step: float  # relative, signed: +0.125 is 12.5 % up
    drop: float  # percent of S*
    how: HOW
    ends: Ends | None = None  # 95 % interval of the drop

    @property
    def per_10(self) -> float:
        """The drop per 10 % of relative step, in percent of S*."""
        return self.drop / abs(self.step) / 10


@dataclass(frozen=True, kw_only=True)
class Curvature:
    """A quadratic fitted to all points on the drawn axes: the eigenvalues of its Hessian, steepest fall first."""

    eigenvalues: tuple[float, float]  # points of score per unit of the axes squared; a unit is a decade on a log axis
    directions: tuple[tuple[float, float], tuple[float, float]]  # unit vectors (x, y), one per eigenvalue
    r2: float  # share of the variance that the quadratic explains
    n: int


@dataclass(frozen=True, kw_only=True)
class Sensitivity:
    """The numbers of one surface around its best sampled point."""

    z: str
    x: str
    y: str
    optimum: Point
    s20_max: float | None  # the largest drop within 20 % of both weights, percent of S*; None if unresolved
    s20_mean: float | None  # mean drop of those points, without the optimum
    s20_n: int  # number of sampled points within 20 %, without the optimum
    s20_how: HOW
    slopes: tuple[Slope, ...]
    log_sensitivity: float | None  # percent of S* per e-fold: the largest among the nearest points
    plateau: float  # share of the sampled area within 2 % of S*
    unresolved: float  # share of the sampled area without an interpolated score: cliffs, failures
    plateau_cells: int  # sampled points on the plateau
    cells: int
    curvature: Curvature | None  # None where the points do not determine a quadratic
    # 95 % intervals with the optimum's place held; None without noise.
    s20_max_ends: Ends | None = None
    s20_mean_ends: Ends | None = None
    log_sensitivity_ends: Ends | None = None
    over: str = ""  # what was resampled

    def slope(self, path: str) -> Slope | None:
        """Return the steepest of the slopes along one axis."""
        return max((s for s in self.slopes if s.path == path), key=lambda s: s.per_10, default=None)


def sensitivity(data: Surface, threshold: float = CLIFF, noise: Noise | None = None) -> Sensitivity:
    """Return the numbers of ``data`` around its best sampled point.

    If no point was sampled nearby, the drops are read from the linear interpolation, unless a cliff is in between.
    With the ``noise`` of its points the drops have intervals.

    Raises:
        ConfigError: if no point was measured, or the best score is not above 0.
    """
    best = data.optimum
    require(data.sense != 0, "sensitivity", data.z, "a score with a direction; --best gives a difference one")
    if best is None or best.mean is None:
        raise ConfigError(f"sensitivity: {data.z} has no measured point")
    if best.mean <= 0:
        raise ConfigError(f"sensitivity: {data.z} is {best.mean:g} at its best; a relative drop needs a score above 0")
    read = interpolator(data, threshold)
    drops, how, near, slopes, steepest = _around(data, best, read)
    plateau, unresolved = _plateau(data, best, read)
    ends = _intervals(data, best, noise) if noise is not None else {}
    return Sensitivity(
        z=data.z, x=data.x, y=data.y, optimum=best,
        s20_max=max(drops, default=None), s20_mean=float(np.mean(drops)) if drops else None, s20_n=near,
        s20_how=how if drops else "unresolved",
        slopes=tuple(replace(slope, ends=ends.get((slope.path, slope.to))) for slope in slopes),
        log_sensitivity=steepest, s20_max_ends=ends.get("max") if drops else None,
        s20_mean_ends=ends.get("mean") if drops else None, log_sensitivity_ends=ends.get("log"),
        over=noise.over if noise is not None else "",
        plateau=plateau, unresolved=unresolved,
        plateau_cells=sum(data.sense * _score(p) >= _plateau_edge(data, best) for p in measured(data)),
        cells=len(measured(data)),
        curvature=curvature(data),
    )  # fmt: skip


def _around(data: Surface, best: Point, read: Interpolator) -> tuple[list[float], HOW, int, list[Slope], float | None]:
    """Return the drops within 20 %, how they were found, their number of sampled points, the slopes, the steepest."""
    points = [p for p in measured(data) if p != best]
    near = [p for p in points if _within(p.x, best.x) and _within(p.y, best.y)]
    drops, how = [_drop(data, best, p.mean) for p in near], "measured"
    if not drops:
        drops, how = _box_drops(data, best, read)
    slopes = [*_slopes(data, best, points, read, "x"), *_slopes(data, best, points, read, "y")]
    found: HOW = "measured" if how == "measured" else "interpolated" if drops else "unresolved"
    return drops, found, len(near), slopes, _log_sensitivity(data, best, near, slopes)


def _intervals(data: Surface, best: Point, noise: Noise) -> dict[object, Ends]:
    """Return the 95 % intervals of the drops: "max", "mean" and "log", and the slopes by (path, to).

    Each resample gives all points new scores at once; the place of the optimum is held.
    """
    values: dict[object, list[float]] = {}
    for scores in noise.drawn[:DRAWS]:
        means = dict(zip(noise.at, scores.tolist(), strict=True))
        points = tuple(replace(p, mean=means.get((p.x, p.y), p.mean)) for p in data.points)
        top = next(p for p in points if (p.x, p.y) == (best.x, best.y))
        if top.mean is None or top.mean <= 0:
            continue
        resampled = replace(data, points=points, optimum=top)
        drops, _, _, slopes, steepest = _around(resampled, top, interpolator(resampled, math.inf))
        if drops:
            values.setdefault("max", []).append(max(drops))
            values.setdefault("mean", []).append(float(np.mean(drops)))
        if steepest is not None:
            values.setdefault("log", []).append(steepest)
        for slope in slopes:
            values.setdefault((slope.path, slope.to), []).append(slope.drop)
    quantiles = {key: np.quantile(each, [0.025, 0.975]) for key, each in values.items()}
    return {key: (float(low), float(high)) for key, (low, high) in quantiles.items()}


def _score(point: Point) -> float:
    assert point.mean is not None
    return point.mean


def _drop(data: Surface, best: Point, score: float | None) -> float:
    assert score is not None
    return 100 * data.sense * (_score(best) - score) / _score(best)


def _plateau_edge(data: Surface, best: Point) -> float:
    """Return the worst score of the plateau, times the score's sense."""
    return data.sense * _score(best) * (PLATEAU if data.sense > 0 else 2 - PLATEAU)


def _within(value: float, centre: float) -> bool:
    return abs(value - centre) <= NEAR * abs(centre) * (1 + 1e-9)


def _box_drops(data: Surface, best: Point, read: Interpolator) -> tuple[list[float], str]:
    """Return the interpolated drops at the corners and mid-sides of the 20 % box.

    A linear function has its extremes at the ends, so the inside of the box is not searched."""
    steps = [(i * NEAR, j * NEAR) for j in (-1, 0, 1) for i in (-1, 0, 1) if i or j]
    scores = _read(data, read, [(best.x * (1 + a), best.y * (1 + b)) for a, b in steps])
    inside = _inside(data, [(best.x * (1 + a), best.y * (1 + b)) for a, b in steps])
    if np.isnan(scores[inside]).any():
        return [], "unresolved"
    return [_drop(data, best, float(v)) for v in scores[inside]], "interpolated"


def _read(data: Surface, read: Interpolator, at: Sequence[tuple[float, float]]) -> Array:
    return read(to_axis([x for x, _ in at], data.x_log), to_axis([y for _, y in at], data.y_log))


def _inside(data: Surface, at: Sequence[tuple[float, float]]) -> NDArray[np.bool_]:
    return in_hull(data, to_axis([x for x, _ in at], data.x_log), to_axis([y for _, y in at], data.y_log))


def _slopes(
    data: Surface, best: Point, points: Sequence[Point], read: Interpolator, axis: Literal["x", "y"]
) -> list[Slope]:
    """Return the slope to the nearest sampled point on each side, or to an interpolated step of 20 % without one."""
    here, path = (best.x, data.x) if axis == "x" else (best.y, data.y)
    if here == 0:
        return []
    line = [p for p in points if (p.y == best.y if axis == "x" else p.x == best.x)]
    slopes = []
    for side in (-1, 1):
        on_side = [p for p in line if side * ((p.x if axis == "x" else p.y) - here) > 0]
        nearest = min(on_side, key=lambda p: abs((p.x if axis == "x" else p.y) - here), default=None)
        if nearest is not None:
            to = nearest.x if axis == "x" else nearest.y
            drop, how = _drop(data, best, nearest.mean), "measured"
        else:
            to = here * (1 + side * NEAR)
            value = float(_read(data, read, [(to, best.y) if axis == "x" else (best.x, to)])[0])
            if math.isnan(value):
                continue
            drop, how = _drop(data, best, value), "interpolated"
        slopes.append(Slope(path=path, to=to, step=(to - here) / here, drop=drop, how=how))  # type: ignore[arg-type]
    return slopes


def _log_sensitivity(data: Surface, best: Point, near: Sequence[Point], slopes: Sequence[Slope]) -> float | None:
    """Return the largest ((S* - S) / S*) / |d log (x, y)| among the nearest points, in percent per e-fold."""
    if best.x <= 0 or best.y <= 0:
        return None
    rates = [s.drop / abs(math.log1p(s.step)) for s in slopes if s.step > -1]
    rates += [
        _drop(data, best, p.mean) / math.hypot(math.log(p.x / best.x), math.log(p.y / best.y))
        for p in near
        if p.x > 0 and p.y > 0
    ]
    return max(rates, default=None)


def _plateau(data: Surface, best: Point, read: Interpolator) -> tuple[float, float]:
    """Return (share of the hull's drawn area on the plateau, share of it that is unresolved)."""
    x, y = coordinates(data, measured(data))
    gx, gy = np.meshgrid(np.linspace(x.min(), x.max(), PLATEAU_STEPS), np.linspace(y.min(), y.max(), PLATEAU_STEPS))
    inside = in_hull(data, gx, gy)
    if not inside.any():
        return 0.0, 1.0
    value = read(gx, gy)[inside]
    on_plateau = np.nan_to_num(data.sense * value, nan=-math.inf) >= _plateau_edge(data, best)
    return float(on_plateau.mean()), float(np.isnan(value).mean())


def curvature(data: Surface) -> Curvature | None:
    """Return the least-squares quadratic's Hessian on the drawn axes; None if the points leave it undetermined."""
    points = measured(data)
    x, y = coordinates(data, points)
    z = np.array([p.mean for p in points], dtype=np.float64)
    if len(z) <= TERMS:
        return None
    u, v = x - x.mean(), y - y.mean()
    design = np.stack([np.ones_like(u), u, v, u * u / 2, u * v, v * v / 2], axis=1)  # [N, 6]
    scale = np.abs(design).max(axis=0)
    if not scale.all() or np.linalg.matrix_rank(design / scale, tol=1e-8) < TERMS:
        return None
    weights = np.linalg.lstsq(design / scale, z, rcond=None)[0] / scale
    values, vectors = np.linalg.eigh([[weights[3], weights[4]], [weights[4], weights[5]]])
    spread = float(np.sum((z - z.mean()) ** 2))
    left = float(np.sum((z - design @ weights) ** 2))
    signs = [1.0 if vectors[np.argmax(np.abs(vectors[:, k])), k] > 0 else -1.0 for k in (0, 1)]
    first, second = (tuple(float(c) for c in signs[k] * vectors[:, k]) for k in (0, 1))
    return Curvature(
        eigenvalues=(float(values[0]), float(values[1])),
        directions=((first[0], first[1]), (second[0], second[1])),
        r2=1 - left / spread if spread else 1.0, n=len(z),
    )  # fmt: skip
