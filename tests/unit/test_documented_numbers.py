"""The script that compares the numbers of the docs with fresh studies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from by_path import benchmark

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "documented_numbers.py"


@pytest.fixture(scope="module")
def numbers() -> Any:
    return benchmark("documented_numbers")


def test_every_documented_number_is_found_once_and_carries_its_command(numbers: Any, tmp_path: Path) -> None:
    rows = numbers.check(tmp_path)
    assert len(rows) >= 36
    assert {row.why for row in rows} == {"no such study in the results folder"}
    assert all(row.command.startswith("python sweeps/") for row in rows)


def test_numbers_are_read_where_a_line_breaks_and_a_pattern_that_is_missing_is_an_error(numbers: Any) -> None:
    assert numbers.stated("it rises from 7.4\n  to 16.9 % here", "rises from # to # %") == [7.4, 16.9]
    assert numbers.stated("| A | 71.0 ± 1.1 | 9.1 ± 0.3 |", "| A | # ± {} | # ± {} |") == [71.0, 9.1]
    with pytest.raises(ValueError, match="stands 0 times"):
        numbers.stated("nothing", "rises from # to # %")


@pytest.mark.parametrize(("documented", "differs"), [(16.9, False), (19.4, False), (14.4, False), (19.7, True)])
def test_a_number_differs_outside_the_fresh_interval(numbers: Any, documented: float, differs: bool) -> None:
    row = numbers.Checked(
        file="README.md", text="#", command="c", documented=documented, fresh=16.9, low=14.4, high=19.4
    )
    assert row.differs is differs
    assert ("DIFFERS" in numbers.line(row)) is differs
    assert not numbers.Checked(file="f", text="#", command="c", documented=16.9, why="absent").differs
