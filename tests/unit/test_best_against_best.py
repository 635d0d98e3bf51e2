from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.comparison import Side, compare
from sweeps.engine.analysis.matrix import MatrixRequest, matrix
from sweeps.engine.format import value_text
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.wording.comparison import best_summary
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]


def test_the_best_rows_of_two_studies_are_tested_on_a_split_that_both_finished(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path / "a", levels=(0.1, 1.0))
    make_study(tmp_path / "b", levels=(0.5, 1.0))
    sides = [Side(name=name.upper(), folder=open_study(tmp_path / name)) for name in ("a", "b")]
    found = compare(sides[0], sides[1])
    assert [row.report for row in found.best] == [False], "the second study has not run its choice on the report split"
    assert {(row.first.cell, row.second.cell) for row in found.best} == {("alpha=0.1 beta=0.1", "alpha=0.5 beta=0.5")}
    gap = found.best[0].differences["harmonic"]
    assert gap.p_holm is not None, "the rows share seeds and images, so the difference is tested"
    assert "on the selection split, whose images chose both" in best_summary(found)
    assert compare(sides[0], sides[0]).best == (), "one configuration needs no second test"


def test_columns_are_kept_in_the_order_asked_for_and_the_family_is_what_is_shown(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    folder = open_study(tmp_path)
    some = matrix(folder, MatrixRequest(columns=("robust", "clean"), draws=200))
    assert [column.title for column in some.columns if column.scope == "zero-shot"] == ["robust", "clean"]
    by_set = matrix(folder, MatrixRequest(columns=("robust", "sport"), per_set=True, draws=200))
    assert [column.over for column in by_set.columns if column.scope == "set"] == ["sport"]
    with pytest.raises(ConfigError, match=r"--columns: unknown value 'robst'"):
        matrix(folder, MatrixRequest(columns=("robst",), draws=200))


@pytest.mark.parametrize(
    ("value", "text"),
    [(4 / 255, "4/255"), (0.1, "0.1"), (1 / 3, "0.33333333"), ((2 / 255, 4 / 255), "[2/255, 4/255]"), ("x", "x")],
)
def test_a_setting_is_shown_with_few_digits(value: object, text: str) -> None:
    assert value_text(value) == text
