"""Interpolation between the sampled points of a surface, inside their hull.

A cliff is a pair of neighbours that differ by more than :data:`CLIFF` points. Nothing is interpolated across it,
because no trial shows where between the two the score changes. It is drawn open until trials are run in between.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay

from sweeps.engine.analysis.surface import Point, Surface
from sweeps.engine.study.limits import CLIFF

Array = NDArray[np.float64]
FLAT = 0.02  # in-circle over circumcircle radius; a flatter triangle joins points too far apart to interpolate
CELL_STEPS = 16  # steps of the drawn field per cell of a grid
STEPS = 161  # steps of the drawn field per axis, over scattered points
GP_LEAST = 8  # points; fewer do not determine the length scales of a Gaussian process


@dataclass(frozen=True, kw_only=True)
class Cliff:
    """Two neighbouring sampled points whose scores differ by more than the threshold."""

    a: Point
    b: Point

    @property
    def height(self) -> float:
        """The absolute difference of the two scores, in points."""
        assert self.a.mean is not None
        assert self.b.mean is not None
        return abs(self.a.mean - self.b.mean)


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """Delaunay triangles between scattered points, in drawn coordinates; ``open`` and ``cliff`` ones are not filled."""

    points: tuple[Point, ...]  # the N measured ones
    x: Array  # [N]
    y: Array  # [N]
    z: Array  # [N]
    triangles: NDArray[np.int64]  # [T, 3]
    open: NDArray[np.bool_]  # [T]: flat triangles, and those that contain a failed point
    cliff: NDArray[np.bool_]  # [T]: two corners differ by more than the threshold


@dataclass(frozen=True, kw_only=True, eq=False)
class Field:
    """A score on a fine grid of drawn coordinates; NaN outside the hull, at cliffs and at failures."""

    x: Array  # [I]
    y: Array  # [J]
    value: Array  # [J, I]
    sd: Array | None  # [J, I], of the mean; only a Gaussian process has it
    how: str  # the interpolation, in words
    noise: float | None = None  # standard error of a point, in points of score; only a Gaussian process has it


def to_axis(values: Sequence[float] | Array, log: bool) -> Array:
    """Return the drawn coordinates of values: log10 on a log axis."""
    plain = np.asarray(values, dtype=np.float64)
    return np.log10(plain) if log else plain


def coordinates(data: Surface, points: Sequence[Point]) -> tuple[Array, Array]:
    """Return the points' drawn coordinates, [N] and [N]."""
    return to_axis([p.x for p in points], data.x_log), to_axis([p.y for p in points], data.y_log)


def measured(data: Surface) -> tuple[Point, ...]:
    """Return the points with a mean."""
    return tuple(p for p in data.points if p.mean is not None)


def spans_a_plane(x: Array, y: Array) -> bool:
    """Return whether at least three points are not on one line, so that triangles exist between them."""
    if len(x) < 3:
        return False
    u, v = _unit(x), _unit(y)
    return int(np.linalg.matrix_rank(np.stack([u - u[0], v - v[0]]), tol=1e-6)) == 2


def mesh(data: Surface, threshold: float = CLIFF) -> Mesh | None:
    """Return the triangles between the measured points; None if they span no plane.

    Each axis is scaled to [0, 1] over the samples first, because the units must not decide which points are neighbours.
    """
    points = measured(data)
    x, y = coordinates(data, points)
    if not spans_a_plane(x, y):
        return None
    z = np.array([p.mean for p in points], dtype=np.float64)
    u, v = _unit(x), _unit(y)
    delaunay = Delaunay(np.stack([u, v], axis=1))
    corners = np.asarray(delaunay.simplices, dtype=np.int64)
    order = np.lexsort(corners.T)  # qhull does not guarantee an order
    corners = corners[order]
    steps = np.ptp(z[corners], axis=1)
    around = np.zeros(len(delaunay.simplices), dtype=bool)
    failed = [p for p in data.points if p.failed]
    if failed:
        fx, fy = coordinates(data, failed)
        at = delaunay.find_simplex(np.stack([_unit(fx, x), _unit(fy, y)], axis=1))
        around[at[at >= 0]] = True
    return Mesh(
        points=points, x=x, y=y, z=z, triangles=corners,
        open=_flat(u, v, corners) | around[order], cliff=steps > threshold,
    )  # fmt: skip


def _unit(values: Array, over: Array | None = None) -> Array:
    over = values if over is None else over
    span = float(np.ptp(over)) or 1.0
    return np.asarray((values - over.min()) / span, dtype=np.float64)


def _flat(u: Array, v: Array, corners: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return [T]: whether in-circle over circumcircle radius, r / R = 4 area^2 / (s a b c), is below :data:`FLAT`."""
    p = np.stack([u, v], axis=1)[corners]  # [T, 3, 2]
    a, b, c = (np.linalg.norm(p[:, i] - p[:, j], axis=1) for i, j in ((1, 2), (2, 0), (0, 1)))
    s = (a + b + c) / 2
    area_squared = np.clip(s * (s - a) * (s - b) * (s - c), 0, None)
    return np.asarray(4 * area_squared / (s * a * b * c) < FLAT, dtype=np.bool_)


def cliffs(data: Surface, threshold: float = CLIFF) -> tuple[Cliff, ...]:
    """Return the pairs of neighbours that differ by more than ``threshold`` points, the highest first.

    Neighbours are adjacent levels of a grid along one axis, or the ends of a Delaunay edge between scattered points.
    """
    pairs = _grid_pairs(data) if data.is_grid else _mesh_pairs(data)
    candidates = [Cliff(a=a, b=b) for a, b in pairs if a.mean is not None and b.mean is not None]
    return tuple(sorted((c for c in candidates if c.height > threshold), key=lambda c: (-c.height, c.a.y, c.a.x)))


def _grid_pairs(data: Surface) -> list[tuple[Point, Point]]:
    known = {(p.x, p.y): p for p in measured(data)}
    ends = [((a, y), (b, y)) for y in data.ys for a, b in itertools.pairwise(data.xs)]
    ends += [((x, a), (x, b)) for x in data.xs for a, b in itertools.pairwise(data.ys)]
    return [(known[a], known[b]) for a, b in ends if a in known and b in known]


def _mesh_pairs(data: Surface) -> list[tuple[Point, Point]]:
    net = mesh(data)
    if net is None:
        return []
    whole = net.triangles[~net.open]
    ends = {tuple(sorted((int(t[i]), int(t[j])))) for t in whole for i, j in ((0, 1), (1, 2), (2, 0))}
    return [(net.points[i], net.points[j]) for i, j in sorted(ends)]


Interpolator = Callable[[Array, Array], Array]


def interpolator(data: Surface, threshold: float = CLIFF) -> Interpolator:
    """Return the function that interpolates the surface at drawn coordinates: bilinear in a grid, else in triangles.

    It returns NaN outside the hull, beside a failed or missing point, and across a cliff.
    """
    if data.is_grid:
        return lambda x, y: _bilinear(data, x, y, threshold)
    net = mesh(data, threshold)
    if net is None:
        return lambda x, y: np.full(np.shape(x), np.nan)
    return lambda x, y: _in_triangles(net, x, y)


def _bilinear(data: Surface, x: Array, y: Array, threshold: float) -> Array:
    xs, ys = to_axis(data.xs, data.x_log), to_axis(data.ys, data.y_log)
    table = np.array([[np.nan if v is None else v for v in row] for row in data.table()], dtype=np.float64)
    i, t = _cell(xs, x)
    j, u = _cell(ys, y)
    right, above = np.minimum(i + 1, len(xs) - 1), np.minimum(j + 1, len(ys) - 1)
    # [4, ...], in order around the cell
    corners = np.stack([table[j, i], table[j, right], table[above, right], table[above, i]])
    weights = np.stack([(1 - t) * (1 - u), t * (1 - u), t * u, (1 - t) * u])
    used = weights > 1e-9
    value = np.sum(np.where(used, weights * corners, 0.0), axis=0)
    both = used & np.roll(used, -1, axis=0)
    steps = np.where(both, np.abs(corners - np.roll(corners, -1, axis=0)), 0.0)
    outside = (x < xs[0] - 1e-9) | (x > xs[-1] + 1e-9) | (y < ys[0] - 1e-9) | (y > ys[-1] + 1e-9)
    return np.asarray(np.where(outside | (steps.max(axis=0) > threshold), np.nan, value), dtype=np.float64)


def _cell(levels: Array, at: Array) -> tuple[NDArray[np.int64], Array]:
    """Return the cell of each value, and the value's position in it from 0 to 1."""
    i = np.clip(np.searchsorted(levels, at, side="right") - 1, 0, max(len(levels) - 2, 0))
    if len(levels) == 1:
        return i, np.zeros(np.shape(at))
    return i, np.clip((at - levels[i]) / (levels[i + 1] - levels[i]), 0.0, 1.0)


def _in_triangles(net: Mesh, x: Array, y: Array) -> Array:
    out = np.full(np.shape(x), np.nan)
    for corners in net.triangles[~(net.open | net.cliff)]:
        (x0, x1, x2), (y0, y1, y2) = net.x[corners], net.y[corners]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        b = ((x - x0) * (y2 - y0) - (x2 - x0) * (y - y0)) / area
        c = ((x1 - x0) * (y - y0) - (x - x0) * (y1 - y0)) / area
        inside = (b >= -1e-9) & (c >= -1e-9) & (b + c <= 1 + 1e-9)
        z = net.z[corners]
        out = np.where(inside, z[0] + b * (z[1] - z[0]) + c * (z[2] - z[0]), out)
    return out


def in_hull(data: Surface, x: Array, y: Array) -> NDArray[np.bool_]:
    """Return whether drawn coordinates lie between the sampled points: in a grid's rectangle, or the convex hull."""
    px, py = coordinates(data, measured(data))
    if data.is_grid:
        xs, ys = to_axis(data.xs, data.x_log), to_axis(data.ys, data.y_log)
        return np.asarray((x >= xs[0]) & (x <= xs[-1]) & (y >= ys[0]) & (y <= ys[-1]))
    if not spans_a_plane(px, py):
        return np.zeros(np.shape(x), dtype=bool)
    hull = Delaunay(np.stack([_unit(px), _unit(py)], axis=1))
    at = np.stack([_unit(np.asarray(x), px), _unit(np.asarray(y), py)], axis=-1)
    return np.asarray(hull.find_simplex(at) >= 0)


def linear_field(data: Surface, threshold: float = CLIFF) -> Field:
    """Return the surface interpolated linearly on the drawn axes, NaN at cliffs and failures."""
    x, y = _fine(data, 0), _fine(data, 1)
    value = interpolator(data, threshold)(*np.meshgrid(x, y))
    how = "bilinear" if data.is_grid else "linear in Delaunay triangles"
    return Field(x=x, y=y, value=value, sd=None, how=f"{how}, on the drawn axes")


def _fine(data: Surface, axis: int) -> Array:
    levels, log = ((data.xs, data.x_log), (data.ys, data.y_log))[axis]
    if data.is_grid:
        at = to_axis(levels, log)
        parts = [np.linspace(a, b, CELL_STEPS, endpoint=False) for a, b in itertools.pairwise(at)]
        return np.concatenate([*parts, at[-1:]])
    samples = coordinates(data, measured(data))[axis]
    return np.linspace(float(samples.min()), float(samples.max()), STEPS)


def gp_field(data: Surface, errors: Mapping[tuple[float, float], float] | None = None) -> Field | None:
    """Return a Gaussian process through the points, with the sd of its mean; NaN outside their hull.

    The kernel is Matern 5/2 with a length scale per axis, plus white noise, fitted by maximum likelihood on axes scaled
    to [0, 1] and scores scaled to mean 0 and sd 1. ``errors`` are the known standard errors of the points, in points of
    score; the white noise is what these leave unexplained. A length scale is at least the points' mean distance. None
    for fewer than :data:`GP_LEAST` points.
    """
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - slow to import, one figure needs it
    from sklearn.gaussian_process import GaussianProcessRegressor  # noqa: PLC0415
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel  # noqa: PLC0415

    points = measured(data)
    px, py = coordinates(data, points)
    if len(points) < GP_LEAST or not spans_a_plane(px, py):
        return None
    z = np.array([p.mean for p in points], dtype=np.float64)
    middle, scale = float(z.mean()), float(z.std()) or 1.0
    spacing = 1 / math.sqrt(len(points))  # mean distance of neighbours; the points do not show what is finer
    smooth = ConstantKernel(1.0, (0.05, 50.0)) * Matern([0.5, 0.5], (spacing, 20.0), nu=2.5)
    kernel = smooth + WhiteKernel(0.05, (1e-6, 1))
    own = np.array([(errors or {}).get((p.x, p.y), 0.0) for p in points], dtype=np.float64)  # [N]
    process = GaussianProcessRegressor(kernel, alpha=(own / scale) ** 2 + 1e-10, n_restarts_optimizer=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a flat axis puts its length scale at the bound
        process.fit(np.stack([_unit(px), _unit(py)], axis=1), (z - middle) / scale)
    x = np.linspace(float(px.min()), float(px.max()), STEPS)
    y = np.linspace(float(py.min()), float(py.max()), STEPS)
    gx, gy = np.meshgrid(x, y)
    mean, sd = process.predict(np.stack([_unit(gx.ravel(), px), _unit(gy.ravel(), py)], axis=1), return_std=True)
    noise = float(process.kernel_.k2.noise_level)
    sd = np.sqrt(np.clip(sd**2 - noise, 0.0, None))  # without the noise: sd of the surface, not of a new trial
    outside = ~in_hull(data, gx, gy)
    value, spread = (np.where(outside, np.nan, f.reshape(gx.shape)) for f in (middle + scale * mean, scale * sd))
    noise_sd = math.sqrt(scale**2 * noise + float(np.mean(own**2)))
    return Field(x=x, y=y, value=value, sd=spread, how="Gaussian process (Matérn 5/2)", noise=noise_sd)
