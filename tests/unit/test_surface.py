from __future__ import annotations

from typing import Any

import pytest

from sweeps.engine.analysis.surface import Point, Surface, edges, surface
from zsr_core.codec import ConfigError
from zsr_core.space import Real


def row(x: Any, y: Any, z: float | None, seed: int = 0, status: str = "done") -> dict[str, Any]:
    return {"m.x": x, "m.y": y, "score": z, "seed": seed, "status": status, "trial_id": f"{x}-{y}-{seed}"}


LOG = {"m.x": Real(low=0.1, high=1.0, log=True), "m.y": Real(low=0.0, high=1.0)}


def test_rows_of_two_seeds_become_the_surface_worked_by_hand() -> None:
    rows = [
        row(0.1, 0.0, 10.0), row(0.1, 0.0, 14.0, seed=1),
        row(1.0, 0.0, 30.0), row(1.0, 0.0, None, seed=1, status="failed"),
        row(0.1, 0.5, 20.0), row(0.1, 0.5, 20.0, seed=1),
        row(1.0, 0.5, None, status="failed"), row(1.0, 0.5, None, seed=1, status="missing"),
    ]  # fmt: skip
    best = Point(x=0.1, y=0.5, mean=20.0, sd=0.0, n=2)
    expected = Surface(
        x="m.x", y="m.y", z="score", x_log=True, y_log=False,
        points=(
            Point(x=0.1, y=0.0, mean=12.0, sd=8**0.5, n=2),
            Point(x=1.0, y=0.0, mean=30.0, sd=None, n=1, failed=1),
            best,
            Point(x=1.0, y=0.5, mean=None, sd=None, n=0, failed=1, missing=1),
        ),
        off_axis=(), xs=(0.1, 1.0), ys=(0.0, 0.5), optimum=best, published=(0.3, 0.2), baseline=5.0,
    )  # fmt: skip
    found = surface(rows, "m.x", "m.y", "score", domains=LOG, published={"m.x": 0.3, "m.y": 0.2}, baseline=5.0)
    assert found == expected
    assert found.table() == ((12.0, 30.0), (20.0, None))


def test_the_order_of_the_rows_does_not_matter() -> None:
    rows = [row(x, y, x + y) for x in (0.1, 0.2, 0.4) for y in (1.0, 2.0)]
    assert surface(rows, "m.x", "m.y", "score") == surface(rows[::-1], "m.x", "m.y", "score")


def test_a_cell_with_a_failed_seed_is_no_optimum() -> None:
    rows = [row(0.1, 0.1, 90.0), row(0.1, 0.1, None, seed=1, status="failed"), row(0.2, 0.1, 50.0)]
    found = surface(rows, "m.x", "m.y", "score")
    assert found.optimum == Point(x=0.2, y=0.1, mean=50.0, sd=None, n=1)


def test_of_equal_points_the_optimum_is_the_first_planned() -> None:
    found = surface([row(2.0, 2.0, 5.0), row(1.0, 1.0, 5.0), row(1.0, 2.0, 1.0)], "m.x", "m.y", "score")
    assert found.optimum == Point(x=2.0, y=2.0, mean=5.0, sd=None, n=1)


def test_scattered_points_are_no_grid() -> None:
    found = surface([row(i / 10, i / 7, float(i)) for i in range(1, 9)], "m.x", "m.y", "score")
    assert not found.is_grid
    assert found.xs == found.ys == ()


def test_a_grid_may_lack_a_corner() -> None:
    found = surface([row(x, y, 1.0) for x in (1, 2, 3) for y in (1, 2, 3) if x + y < 6], "m.x", "m.y", "score")
    assert found.is_grid
    assert found.table()[2] == (1.0, 1.0, None)


def test_a_weight_of_zero_is_off_a_log_axis_and_kept() -> None:
    found = surface([row(0.0, 0.1, 1.0), row(0.1, 0.1, 2.0), row(1.0, 0.1, 3.0)], "m.x", "m.y", "score", domains=LOG)
    assert [p.x for p in found.off_axis] == [0.0]
    assert [p.x for p in found.points] == [0.1, 1.0]


def test_nothing_finished_leaves_no_optimum() -> None:
    assert surface([row(1, 1, None, status="failed")], "m.x", "m.y", "score").optimum is None


def test_an_axis_that_is_no_number_is_named() -> None:
    with pytest.raises(ConfigError, match=r"surface: m\.x is 'text' in trial text-1-0; expected a number"):
        surface([row("text", 1, 1.0)], "m.x", "m.y", "score")


def test_trials_that_differ_in_a_third_axis_are_not_averaged() -> None:
    with pytest.raises(ConfigError, match="2 trials share the point"):
        surface([row(1, 1, 1.0), row(1, 1, 2.0)], "m.x", "m.y", "score")


def test_cell_boundaries_are_half_way_on_the_drawn_axis() -> None:
    assert edges((1.0, 2.0, 4.0), log=False) == (0.5, 1.5, 3.0, 5.0)
    assert edges((0.01, 0.1, 1.0), log=True) == pytest.approx((10**-2.5, 10**-1.5, 10**-0.5, 10**0.5))


@pytest.mark.parametrize("log", [False, True])
def test_a_single_level_still_has_a_cell_around_it(log: bool) -> None:
    low, high = edges((0.3,), log)
    assert low < 0.3 < high
