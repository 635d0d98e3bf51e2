"""When a difference may be called significant, and what of it is shown."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.comparison import matched
from sweeps.engine.analysis.difference import ENOUGH_SEEDS, Column, Difference, adjusted, measured, measured_interval
from sweeps.engine.analysis.matrix import MatrixRequest, matrix
from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.documents.forms.written import matrix_text
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.study.objectives import CLEAN, HARMONIC, ROBUST
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN

MakeStudy = Callable[..., Study]
SURE = Difference(value=2.0, seeds=5, t_low=-1.0, t_high=5.0, low=1.0, high=3.0, test="bootstrap", p=0.001, p_holm=0.01)
FEW = replace(SURE, seeds=3, t_low=0.5, t_high=3.5)


def test_from_five_seeds_on_the_bootstrap_is_believed_by_itself() -> None:
    assert ENOUGH_SEEDS == 5
    assert SURE.agrees
    assert SURE.holds


@pytest.mark.parametrize(
    ("t_low", "t_high", "agrees"),
    [(0.5, 3.5, True), (-3.5, -0.5, True), (-0.1, 4.1, False), (0.0, 4.0, False), (0.0, 0.0, False)],
)
@pytest.mark.parametrize("seeds", [2, 4])
def test_with_fewer_seeds_their_own_t_interval_must_leave_out_0(
    seeds: int, t_low: float, t_high: float, agrees: bool
) -> None:
    few = replace(SURE, seeds=seeds, t_low=t_low, t_high=t_high)
    assert few.agrees == few.holds == agrees


def test_one_seed_bears_nothing_out() -> None:
    one = replace(SURE, seeds=1, t_low=None, t_high=None)
    assert not one.agrees
    assert not one.holds


@pytest.mark.parametrize(("p", "holds"), [(0.049, True), (0.05, False), (None, False)])
def test_a_difference_holds_below_the_level_after_correction(p: float | None, holds: bool) -> None:
    assert replace(FEW, p_holm=p).holds == holds


def test_the_interval_is_the_bootstraps_and_without_records_the_seeds() -> None:
    assert SURE.interval == (1.0, 3.0)
    assert replace(SURE, low=None, high=None).interval == (-1.0, 5.0)
    assert replace(SURE, low=2.0, high=2.0).interval == (None, None), "no width would suggest certainty"


@pytest.mark.parametrize(
    ("changes", "is_open"),
    [
        ({}, False),
        ({"low": -0.5}, True),
        ({"low": 0.0}, True),
        ({"low": None, "high": None}, True),  # the t-interval, which holds 0
        ({"low": None, "high": None, "t_low": 0.5}, False),
        ({"low": None, "high": None, "t_low": None, "t_high": None}, True),
        ({"low": 2.0, "high": 2.0}, False),  # all resamples agree on a difference
        ({"value": 0.0, "low": 0.0, "high": 0.0}, True),  # all resamples agree that there is none
    ],
)
def test_a_difference_is_open_where_its_interval_holds_0(changes: dict[str, float | None], is_open: bool) -> None:
    assert replace(SURE, **changes).is_open == is_open  # type: ignore[arg-type]


def test_each_family_is_adjusted_by_itself_and_one_without_a_p_is_in_none() -> None:
    untested = Difference(value=1.0, seeds=2)
    first, second = adjusted([[replace(SURE, p=0.01), None, untested, replace(SURE, p=0.04)], [replace(SURE, p=0.04)]])
    assert [each and each.p_holm for each in first] == [pytest.approx(0.02), None, None, pytest.approx(0.04)]
    assert [each and each.p_holm for each in second] == [pytest.approx(0.04)]


def test_one_difference_has_one_interval_and_one_p_wherever_it_is_shown(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    folder, label = open_study(tmp_path), "alpha=0.1 beta=0.1"
    rows = {row.cell: row for row in folder.study.rows()}

    def shown(request: MatrixRequest, row: str = label) -> dict[str, Difference]:
        whole = matrix(folder, request)
        (cells,) = [each.cells for each in whole.rows if each.label == row]
        return {
            column.title: cell.gap
            for column, cell in zip(whole.columns, cells, strict=True)
            if column.scope == "zero-shot" and cell.gap is not None
        }

    def printed(request: MatrixRequest) -> list[str]:
        lines = csv.DictReader(io.StringIO(matrix_text(folder, "csv", request)))
        return [
            " ".join((line["metric"], line["gap"], line["gap_low"], line["gap_high"], line["p_holm"]))
            for line in lines
            if line["configuration"] == label and "mean (without" in line["over"]
        ]

    plain = shown(MatrixRequest())
    assert {gap.test for gap in plain.values()} == {"bootstrap"}
    assert len(printed(MatrixRequest())) == 3
    assert printed(MatrixRequest(per_set=True)) == printed(MatrixRequest())
    alone = shown(MatrixRequest(metrics=("robust",), only={label}))["robust"]
    assert replace(alone, p_holm=None) == replace(plain["robust"], p_holm=None)
    compared = matched(folder, folder, rows[label], rows["untouched"], (CLEAN, ROBUST, HARMONIC)).differences
    assert dict(compared) == {name: replace(gap, p_holm=None) for name, gap in plain.items()}
    listed = next(row for row in ranked(folder).rows if row.label == label)
    assert [cell.gap for cell in listed.cells] == list(plain.values())
    for name, gap in shown(MatrixRequest(baseline=label), "untouched").items():
        assert (gap.value, gap.low, gap.high, gap.p) == pytest.approx(
            (-plain[name].value, -(plain[name].high or 0), -(plain[name].low or 0), plain[name].p)
        )


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2), (0, 1, 2, 3, 4)])
def test_a_star_in_the_table_is_a_difference_that_holds(
    tmp_path: Path, make_study: MakeStudy, seeds: tuple[int, ...]
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), seeds=seeds, report=False)
    folder = open_study(tmp_path)
    gaps = [cell.gap for row in matrix(folder, MatrixRequest(draws=500)).rows for cell in row.cells if cell.gap]
    assert any(gap.p_holm is not None and gap.p_holm < 0.05 for gap in gaps)
    text = matrix_text(folder, "md", MatrixRequest(draws=500))
    for gap in gaps:
        by_seeds = gap.t_low is not None and gap.t_high is not None and not gap.t_low <= 0 <= gap.t_high
        assert gap.agrees == (len(seeds) >= 5 or by_seeds)
    assert any(gap.holds for gap in gaps) == (len(seeds) > 1)
    assert ("p<0.001" in text or "p=0." in text) == (len(seeds) > 1)
    assert ("nothing is starred" in text) == (len(seeds) == 1)


def test_the_interval_of_a_score_that_records_do_not_give_is_the_measurements_own(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    result = next(iter(open_study(tmp_path).results.values()))
    mean = next(m for m in result.measurements if m.task == ZERO_SHOT_MEAN and m.metric == "clean")
    column = Column(
        metric="clean", eps=0.0, title="clean", sets=("animals", "dishes", "sport"), over="", scope="zero-shot"
    )
    assert measured(result, column) == pytest.approx(mean.value)
    assert measured_interval(result, column) == (pytest.approx(mean.low), pytest.approx(mean.high))
    assert measured_interval(result, replace(column, sets=("animals", "faces"))) == (None, None)
    assert measured_interval(result, replace(column, metric="harmonic", eps=1 / 255)) == (None, None)
