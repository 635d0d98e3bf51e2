from __future__ import annotations

import numpy as np
import pytest

from sweeps.engine.analysis.interpolation import (
    cliffs,
    gp_field,
    in_hull,
    interpolator,
    linear_field,
    mesh,
    spans_a_plane,
)
from sweeps.engine.analysis.surface import Surface, surface
from zsr_core.space import Real

AXES = {"m.x": Real(low=0.01, high=1.0, log=True), "m.y": Real(low=0.0, high=1.0)}


def surface_of(*points: tuple[float, float, float | None]) -> Surface:
    rows = [
        {"m.x": x, "m.y": y, "clean": z, "seed": 0, "status": "failed" if z is None else "done"} for x, y, z in points
    ]
    return surface(rows, "m.x", "m.y", "clean", domains=AXES)


def scattered(n: int = 24, seed: int = 0) -> Surface:
    rng = np.random.default_rng(seed)
    at = zip(10 ** rng.uniform(-2, 0, n), rng.uniform(0, 1, n), strict=True)
    return surface_of(*((x, y, 50 + 2 * np.log10(x) + 3 * y) for x, y in at))  # linear on the drawn axes


GRID = surface_of((0.01, 0.0, 10.0), (0.1, 0.0, 12.0), (1.0, 0.0, 30.0),
                  (0.01, 1.0, 14.0), (0.1, 1.0, 16.0), (1.0, 1.0, None))  # fmt: skip


def read(data: Surface, x: float, y: float, threshold: float = 5.0) -> float:
    return float(interpolator(data, threshold)(np.array([np.log10(x)]), np.array([y]))[0])


def test_a_grid_is_read_bilinearly_on_the_drawn_axes() -> None:
    assert read(GRID, 0.01, 0.0) == 10.0
    assert read(GRID, 10**-1.5, 0.0) == pytest.approx(11.0)  # half-way by ratio
    assert read(GRID, 10**-1.5, 0.5) == pytest.approx((10 + 12 + 14 + 16) / 4)


def test_nothing_is_read_outside_beside_a_failure_or_across_a_cliff() -> None:
    assert np.isnan(read(GRID, 2.0, 0.0))
    assert np.isnan(read(GRID, 0.5, 0.5))  # the cell has the failed corner
    assert np.isnan(read(GRID, 0.5, 0.0))  # 12 -> 30
    assert read(GRID, 0.5, 0.0, threshold=20.0) == pytest.approx(12 + 18 * (np.log10(0.5) + 1))
    assert read(GRID, 1.0, 0.0) == 30.0  # a sampled point is known for itself
    assert read(GRID, 0.1, 0.5) == pytest.approx(14.0)  # on the side that the open cell shares with a whole one


def test_the_cliffs_of_a_grid_are_between_neighbouring_levels() -> None:
    (cliff,) = cliffs(GRID)
    assert (cliff.a.x, cliff.b.x, cliff.a.y, cliff.height) == (0.1, 1.0, 0.0, 18.0)
    assert [c.height for c in cliffs(GRID, 3.0)] == [18.0, 4.0, 4.0]
    failed = surface_of((0.01, 0.0, 10.0), (0.1, 0.0, None), (1.0, 0.0, 30.0))
    assert cliffs(failed) == ()  # what lies between is known to fail


def test_triangles_give_back_what_is_linear_on_the_drawn_axes() -> None:
    data = scattered()
    assert not data.is_grid
    field = linear_field(data, threshold=100.0)
    gx, gy = np.meshgrid(field.x, field.y)
    known = np.isfinite(field.value)
    assert known.mean() > 0.5
    np.testing.assert_allclose(field.value[known], (50 + 2 * gx + 3 * gy)[known], atol=1e-9)
    assert not known[~in_hull(data, gx, gy)].any()
    assert "Delaunay" in field.how


def test_a_triangle_over_a_cliff_and_one_around_a_failure_are_left_open() -> None:
    square = [(0.01, 0.0, 0.0), (1.0, 0.03, 0.0), (0.99, 1.0, 50.0), (0.0101, 0.98, 0.0)]
    data = surface_of(*square)
    found = mesh(data)
    assert found is not None
    assert len(found.triangles) == 2
    holds_high = [50.0 in found.z[t] for t in found.triangles]
    assert found.cliff.tolist() == holds_high
    failed = surface_of(*square, (0.012, 0.5, None))
    found = mesh(failed)
    assert found is not None
    assert found.open.sum() == 1
    at = [found.points[i] for i in found.triangles[found.open][0]]
    assert {(p.x, p.y) for p in at} >= {(0.01, 0.0), (0.0101, 0.98)}  # the one whose side the failure is at


def test_cliffs_between_scattered_points_are_edges_of_their_triangles() -> None:
    data = surface_of((0.01, 0.0, 10.0), (1.0, 0.1, 10.0), (0.1, 0.9, 40.0))
    assert {frozenset((c.a.mean, c.b.mean)) for c in cliffs(data)} == {frozenset((10.0, 40.0))}
    assert len(cliffs(data)) == 2


def test_points_on_a_line_span_no_plane() -> None:
    line = np.array([0.0, 1.0, 2.0, 5.0])
    assert not spans_a_plane(line, 2 * line)
    assert not spans_a_plane(line[:2], line[:2])
    assert spans_a_plane(line, np.array([0.0, 1.0, 0.0, 1.0]))
    flat = surface_of(*((0.01 * 2**i, 0.1 * i, 1.0) for i in range(4)))
    assert mesh(flat) is None
    assert np.isnan(read(flat, 0.02, 0.1))


def test_a_gaussian_process_is_sure_near_samples_and_silent_outside_their_hull() -> None:
    data = scattered(20)
    field = gp_field(data)
    assert field is not None
    assert field.sd is not None
    gx, gy = np.meshgrid(field.x, field.y)
    inside = in_hull(data, gx, gy)
    assert np.isnan(field.value[~inside]).all()
    assert np.isnan(field.sd[~inside]).all()
    np.testing.assert_allclose(field.value[inside], (50 + 2 * gx + 3 * gy)[inside], atol=0.3)
    nearest = np.min([np.hypot((gx - np.log10(p.x)) / 2, gy - p.y) for p in data.points], axis=0)
    assert field.sd[inside & (nearest < 0.02)].mean() < field.sd[inside & (nearest > 0.1)].mean()
    assert "Gaussian process" in field.how


def test_too_few_points_make_no_gaussian_process() -> None:
    assert gp_field(scattered(7)) is None
