from __future__ import annotations

import math

import pytest

from sweeps.engine.analysis.published.grids import OVERALL, published_grids
from sweeps.engine.analysis.sensitivity import curvature, sensitivity
from sweeps.engine.analysis.surface import Surface, surface
from sweeps.engine.wording.sensitivity import sensitivity_lines, sensitivity_note
from zsr_core.codec import ConfigError
from zsr_core.published.rows import Published, published_numbers
from zsr_core.space import Real

X, Y = "method.alpha", "method.beta"
AXES = {X: Real(low=0.001, high=1.0, log=True), Y: Real(low=0.001, high=1.0, log=True)}


def surface_of(*points: tuple[float, float, float]) -> Surface:
    rows = [{X: x, Y: y, "clean": z, "seed": 0, "status": "done"} for x, y, z in points]
    return surface(rows, X, Y, "clean", domains=AXES)


def published(method: str, table: str) -> Surface:
    grids = published_grids(method, X, Y, AXES, {})
    (grid,) = [g for g in grids if g.place.endswith(f"table {table}")]
    return grid.surfaces[OVERALL]


def test_tga_zsr_falls_as_its_paper_prints() -> None:
    """Comp-TGA, table A9: 49.27 at (0.08, 0.05); 43.47 at alpha 0.09 and 46.62 at beta 0.04 are the worst."""
    found = sensitivity(published("TGA-ZSR", "A9"))
    assert (found.optimum.x, found.optimum.y, found.optimum.mean) == (0.08, 0.05, 49.27)
    assert found.s20_max == pytest.approx(11.77, abs=0.005)
    assert found.s20_mean == pytest.approx((11.772 + 5.379 + 1.258 + 1.522) / 4, abs=0.005)
    assert (found.s20_n, found.s20_how) == (4, "measured")
    alpha, beta = found.slope(X), found.slope(Y)
    assert alpha is not None
    assert beta is not None
    assert (alpha.to, round(alpha.step, 6), round(alpha.drop, 2), round(alpha.per_10, 1)) == (0.09, 0.125, 11.77, 9.4)
    assert (beta.to, round(beta.step, 6), round(beta.drop, 2), round(beta.per_10, 1)) == (0.04, -0.2, 5.38, 2.7)
    assert found.log_sensitivity == pytest.approx(11.772 / math.log(0.09 / 0.08), abs=0.01)


def test_comp_tga_falls_less_per_step_by_the_same_measure() -> None:
    """The same table: 49.95 at (0.1, 0.1), 49.61 at alpha 0.09."""
    found = sensitivity(published("Comp-TGA", "A9"))
    alpha = found.slope(X)
    assert alpha is not None
    assert (round(found.s20_max or 0, 2), round(alpha.per_10, 2), round(alpha.step, 6)) == (0.68, 0.68, -0.1)


def test_weights_that_are_off_count_in_no_number_of_a_log_axis() -> None:
    """Comp-TGA, table A7: 16 cells, of which 9 have both weights above 0."""
    found = sensitivity(published("TGA-ZSR", "A7"))
    assert found.cells == 9
    assert (found.optimum.x, found.optimum.y) == (0.1, 0.1)


def test_a_table_without_a_plane_is_no_grid() -> None:
    numbers = published_numbers()
    one_row = [r for r in numbers if r.fields is not None and r.fields.get("alpha") == 0.01]
    assert published_grids("TGA-ZSR", X, Y, AXES, {}, rows=one_row) == []
    assert published_grids("TeCoA", X, Y, AXES, {}) == []
    nothing: list[Published] = []
    assert published_grids("TGA-ZSR", X, Y, AXES, {}, rows=nothing) == []


DECADES = ((-1, 0.01), (0, 0.1), (1, 1.0))
COARSE = surface_of(*((x, y, 40.0 - 2 * abs(i) - 3 * abs(j)) for i, x in DECADES for j, y in DECADES))


def test_a_coarse_grid_is_read_between_its_cells_and_says_so() -> None:
    found = sensitivity(COARSE)
    assert (found.s20_n, found.s20_how) == (0, "interpolated")
    down = math.log10(0.8)  # the longer way on a log axis
    assert found.s20_max == pytest.approx(100 * (2 + 3) * -down / 40)
    steps = {(s.path, round(s.step, 3)): s for s in found.slopes}
    assert steps[X, -0.9].drop == pytest.approx(5.0)
    assert steps[X, -0.9].per_10 == pytest.approx(5.0 / 9)
    assert steps[Y, 9.0].per_10 == pytest.approx(7.5 / 90)
    assert found.log_sensitivity == pytest.approx(7.5 / math.log(10))


def test_the_plateau_is_a_share_of_the_drawn_area() -> None:
    found = sensitivity(COARSE)
    # S >= 39.2 is |x| / 0.4 + |y| / (0.8 / 3) <= 1 in decades: a rhombus of area 2 * 0.4 * 0.8 / 3 in a square of 4
    assert found.plateau == pytest.approx(2 * 0.4 * 0.8 / 3 / 4, abs=0.01)
    assert (found.plateau_cells, found.cells, found.unresolved) == (1, 9, 0.0)


def test_a_cliff_beside_the_optimum_leaves_s20_open() -> None:
    found = sensitivity(surface_of((0.01, 0.01, 20.0), (0.1, 0.01, 40.0), (0.01, 0.1, 20.0), (0.1, 0.1, 39.0)))
    assert (found.s20_max, found.s20_how) == (None, "unresolved")
    assert found.unresolved > 0.95  # all but the sides along beta
    assert "S20 unresolved" in sensitivity_note(found)
    assert any("unresolved: a cliff" in line for line in sensitivity_lines(found))


def test_the_curvature_of_a_quadratic_is_its_hessian() -> None:
    def z(x: float, y: float) -> float:
        u, v = math.log10(x) + 1, math.log10(y) + 1
        return 50 - 4 * u * u - v * v + u * v

    data = surface_of(*((x, y, z(x, y)) for x in (0.01, 0.1, 1.0) for y in (0.01, 0.1, 1.0)))
    found = curvature(data)
    assert found is not None
    middle, half = -5.0, math.hypot(3.0, 1.0)  # of [[-8, 1], [1, -2]]
    assert found.eigenvalues == pytest.approx((middle - half, middle + half))
    assert found.r2 == pytest.approx(1.0)
    steepest = found.directions[0]
    assert abs(steepest[0]) > abs(steepest[1])  # it falls fastest along x


def test_points_on_two_levels_determine_no_curvature() -> None:
    data = surface_of(*((x, y, 1.0) for x in (0.01, 0.1, 0.3, 1.0) for y in (0.01, 0.1)))
    assert curvature(data) is None
    assert curvature(surface_of((0.1, 0.1, 1.0))) is None


def test_scattered_points_are_read_in_their_triangles() -> None:
    at = [(0.1, 0.1), (0.02, 0.013), (0.9, 0.011), (0.5, 0.85), (0.013, 0.7), (0.011, 0.1), (0.95, 0.13)]
    data = surface_of(*((x, y, 40 - abs(math.log10(x) + 1) - abs(math.log10(y) + 1)) for x, y in at))
    assert not data.is_grid
    found = sensitivity(data)
    assert found.s20_how == "interpolated"
    assert {s.how for s in found.slopes if s.path == Y} == {"interpolated"}
    assert 0 < (found.s20_max or 0) < 2


def test_what_has_no_relative_drop_is_refused() -> None:
    with pytest.raises(ConfigError, match="a relative drop needs a score above 0"):
        sensitivity(surface_of((0.1, 0.1, -3.0), (0.1, 1.0, -4.0)))
    with pytest.raises(ConfigError, match="clean has no measured point"):
        sensitivity(surface_of())


def test_the_lines_hold_every_number() -> None:
    text = "\n".join(sensitivity_lines(sensitivity(published("TGA-ZSR", "A9"))))
    for part in ("best sampled 49.27 at alpha = 0.08, beta = 0.05", "11.77 %, 4.98 %", "alpha +12.5 % to 0.09",
                 "9.42 %", "beta -20 % to 0.04", "2.69 %"):  # fmt: skip
        assert part in text
