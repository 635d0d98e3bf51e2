"""The search for the miniature's recipes gives every method the same budget over valid points."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import ClassVar

import pytest
from by_path import benchmark

from zsr_core.codec import require
from zsr_core.methods import METHODS
from zsr_core.methods.method import Defaults
from zsr_core.trial.presets import MINIATURE, shared

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "find_recipes.py"


@pytest.fixture(scope="module")
def search() -> ModuleType:
    return benchmark("find_recipes")


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_every_method_gets_as_many_points_all_different_and_all_possible(search: ModuleType, kind: type) -> None:
    axes = search.axes_of(kind)
    points = list(search.points(axes, 12))
    assert points[0] == {}
    assert len(points) == len({repr(point) for point in points}) == 12
    base = shared()["miniature"].with_({"method": kind()})
    for point in points[1:]:
        assert all(axis.domain.low <= point[axis.path] <= axis.domain.high for axis in axes)
        assert base.with_(point).trial_id


@pytest.mark.parametrize("kind", MINIATURE, ids=lambda kind: kind.__name__)
def test_a_recorded_recipe_is_one_of_the_twelve_points_that_the_search_tries(search: ModuleType, kind: type) -> None:
    assert dict(MINIATURE[kind]) in list(search.points(search.axes_of(kind), 12))


@dataclass(frozen=True, kw_only=True)
class Own(Defaults):
    """``L = ...``, unpublished: a method without a search space."""

    title: ClassVar[str] = "Own"

    weight: float = 10.0
    share: float = 0.5
    margin: float = 0.0
    steps: int = 3

    def __post_init__(self) -> None:
        require(0 <= self.share <= 1, "share", self.share, "a share")


def test_the_numbers_of_a_method_without_a_search_space_are_varied_around_their_defaults(search: ModuleType) -> None:
    ranges = [(axis.path, axis.domain.low, axis.domain.high, axis.domain.log) for axis in search.field_axes(Own)]
    assert ranges == [
        ("method.weight", 1.0, 100.0, True), ("method.share", 0.05, 0.5, True), ("method.margin", 0.0, 1.0, False)
    ]  # fmt: skip
    axes = search.axes_of(Own)
    assert [axis.path for axis in axes] == ["optim.lr", "method.weight", "method.share"]
    assert search.varied_text(Own, axes) == (
        "varies optim.lr 0.0001 to 0.002, method.weight 1 to 100, method.share 0.05 to 0.5; "
        "keeps margin, steps at the default"
    )


def test_the_points_of_an_axis_leave_no_third_of_it_empty(search: ModuleType) -> None:
    shares = sorted((0.5 + n * 0.6180339887) % 1 for n in range(1, 12))
    found = sorted(point["optim.lr"] for point in list(search.points((search.LR,), 12))[1:])
    low, high = search.LR.domain.low, search.LR.domain.high
    assert found == pytest.approx([low * (high / low) ** t for t in shares], rel=5e-3)


def test_the_chosen_point_is_the_cleanest_that_is_robust_enough(search: ModuleType) -> None:
    def at(clean: float, robust: float, harmonic: float) -> object:
        return search.Tried(point={}, clean=clean, robust=robust, harmonic=harmonic)

    points = [at(50, 12, 19), at(60, 9, 15), at(70, 7, 12), at(-1, -1, -1)]
    assert search.chosen(points, 8) is points[1]
    assert search.chosen(points, 20) is points[0]
    assert search.chosen(points, 0) is points[2]


def test_methods_are_compared_along_the_trade_off(search: ModuleType) -> None:
    points = [
        search.Tried(point={}, clean=c, robust=r, harmonic=0.0) for c, r in ((80, 10), (70, 16), (60, 15), (50, 22))
    ]
    assert search.clean_at(points, 15) == 70
    assert search.clean_at(points, 23) is None
    assert search.robust_at(points, 60) == 16
    # Above 7 % robust: 3 points of height at 80 % clean, then 6 at 70 %, then 6 at 50 %; (60, 15) is dominated.
    assert search.hypervolume(points, 7.0) == 3 * 80 + 6 * 70 + 6 * 50
    better = [search.Tried(point={}, clean=80, robust=22, harmonic=0.0)]
    lines = search.trade_off_lines({"A": points, "B": better}, 7.0)
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| B", "| A"]
    assert lines[3] == "| A | 70.0 | 70.0 | 50.0 | 16.0 | 16.0 | 960 |"
