"""Domains and designs: what they contain, what they list, what they refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from zsr_core.codec import ConfigError
from zsr_core.space import (
    Choice,
    Int,
    Real,
    Variant,
    all_subsets,
    grid,
    leave_one_out,
    product,
    transform,
)

PARTS = {"larm": {"method.alpha": 0.0}, "gacm": {"method.beta": 0.0}}


def test_both_ends_of_an_axis_belong_to_it() -> None:
    axis = Real(low=0.1, high=2.0)
    assert axis.contains(0.1)
    assert axis.contains(2)
    assert not axis.contains(0.0999)
    assert not axis.contains(math.nan)
    assert not axis.contains("1")
    assert not axis.contains(True)
    whole = Int(low=1, high=3)
    assert [n for n in range(6) if whole.contains(n)] == [1, 2, 3]
    assert not whole.contains(2.0)
    choice = Choice(values=("l2", "l1"))
    assert choice.contains("l1")
    assert not choice.contains("cos")


def test_levels_are_even_by_difference_or_by_ratio() -> None:
    assert Real(low=0.0, high=1.0).levels(5) == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Real(low=0.01, high=1.0, log=True).levels(3) == (0.01, 0.1, 1.0)


@pytest.mark.parametrize("log", [False, True])
def test_the_first_and_last_level_are_the_ends_themselves(log: bool) -> None:
    axis = Real(low=1 / 255, high=math.pi * 1e-1, log=log)
    levels = axis.levels(7)
    assert levels[0] == axis.low
    assert levels[-1] == axis.high
    assert all(axis.contains(level) for level in levels)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Real(low=1.0, high=0.5), "low: got 1.0, expected a number below high"),
        (lambda: Real(low=1.0, high=1.0), "low: got 1.0"),
        (lambda: Real(low=0.0, high=1.0, log=True), "above 0 on a log axis"),
        (lambda: Real(low=math.nan, high=1.0), "low: got nan"),
        (lambda: Real(low=0.0, high=math.inf), "high: got inf"),
        (lambda: Int(low=0, high=4, log=True), "above 0 on a log axis"),
        (lambda: Int(low=1.5, high=4), "low: got 1.5, expected a whole number"),  # type: ignore[arg-type]
        (lambda: Int(low=4, high=1), "low: got 4"),
        (lambda: Choice(values=()), "values: got ()"),
        (lambda: Choice(values=("a", "a")), "no value twice"),
        (lambda: Real(low=0.0, high=1.0).levels(1), "levels: got 1"),
        (lambda: grid({}), "space: got {}, expected at least one axis"),
        (lambda: grid({"method.alpha": []}), "method.alpha: got [], expected at least one value"),
        (lambda: grid({"method.alpha": [0.1, 0.1]}), "no value twice"),
        (lambda: leave_one_out({}), "parts: got {}"),
        (lambda: all_subsets({}), "parts: got 0"),
        (lambda: all_subsets({str(i): {} for i in range(13)}), "between 1 and 12"),
        (lambda: product(), "at least one design"),
        (lambda: product(()), "at least one row in each design"),
    ],
)
def test_a_space_that_cannot_be_is_refused_by_name(make: Any, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        make()
    assert says in str(error.value)


def test_a_grid_is_every_combination_with_the_last_axis_fastest() -> None:
    cells = grid({"method.alpha": [0.0, 0.1], "method.distance": ["l2", "l1", "cos"]})
    assert [c.label for c in cells[:4]] == [
        "alpha=0 distance=l2",
        "alpha=0 distance=l1",
        "alpha=0 distance=cos",
        "alpha=0.1 distance=l2",
    ]
    assert len(cells) == 6
    assert cells[-1].overrides == {"method.alpha": 0.1, "method.distance": "cos"}


def test_leaving_one_out_lists_the_whole_then_each_part_switched_off() -> None:
    rows = leave_one_out(PARTS)
    assert [(r.label, dict(r.overrides)) for r in rows] == [
        ("full", {}),
        ("w/o larm", {"method.alpha": 0.0}),
        ("w/o gacm", {"method.beta": 0.0}),
    ]


def test_all_subsets_run_from_none_to_all_and_switch_off_what_they_do_not_name() -> None:
    rows = all_subsets(PARTS)
    assert [(r.label, dict(r.overrides)) for r in rows] == [
        ("none", {"method.alpha": 0.0, "method.beta": 0.0}),
        ("larm", {"method.beta": 0.0}),
        ("gacm", {"method.alpha": 0.0}),
        ("larm + gacm", {}),
    ]


def test_an_axis_is_drawn_in_decades_if_it_is_logarithmic() -> None:
    assert transform(Real(low=0.01, high=1.0, log=True), 0.1) == pytest.approx(-1.0)
    assert transform(Real(low=0.01, high=1.0), 0.1) == 0.1
    assert transform(Int(low=1, high=100, log=True), 10) == pytest.approx(1.0)


def test_a_product_is_every_combination_and_its_reference_is_that_of_all_designs() -> None:
    rows = product(leave_one_out(PARTS), (Variant(label="base", reference=True), *grid({"threat.eps": [0.1]})))
    assert [(r.label, dict(r.overrides), r.reference) for r in rows] == [
        ("full × base", {}, True),
        ("full × eps=0.1", {"threat.eps": 0.1}, False),
        ("w/o larm × base", {"method.alpha": 0.0}, False),
        ("w/o larm × eps=0.1", {"method.alpha": 0.0, "threat.eps": 0.1}, False),
        ("w/o gacm × base", {"method.beta": 0.0}, False),
        ("w/o gacm × eps=0.1", {"method.beta": 0.0, "threat.eps": 0.1}, False),
    ]


def test_a_product_may_refine_a_branch_and_never_undoes_one() -> None:
    methods = (Variant(label="a", overrides={"method": "A"}),)
    weights = grid({"method.alpha": [0.1]})
    assert dict(product(methods, weights)[0].overrides) == {"method": "A", "method.alpha": 0.1}
    for designs in ((weights, methods), (weights, weights)):
        with pytest.raises(ConfigError, match=r"method\S*: got .*expected a path that no earlier design"):
            product(*designs)


def test_each_design_names_its_reference_row() -> None:
    designs = (leave_one_out(PARTS, full="whole"), all_subsets(PARTS))
    assert [[r.label for r in rows if r.reference] for rows in designs] == [["whole"], ["none"]]
    assert not any(row.reference for row in grid({"a.x": [1, 2]}))
