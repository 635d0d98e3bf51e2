"""An undefined number is a dash with its reason where it is shown, and is left out where numbers are computed with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas
import pytest

from sweeps.engine.analysis.curves import accuracy_by_eps
from sweeps.engine.analysis.published.pairs import cell_numbers
from sweeps.engine.analysis.scores import row_score
from sweeps.engine.documents.parquet import export_study
from sweeps.engine.running.audit import row_of
from sweeps.engine.running.course import event
from sweeps.engine.study.folder import Study, open_study, trial_folder
from sweeps.engine.tracking.entries import version_tags
from sweeps.engine.tracking.notes import trial_note
from sweeps.engine.tracking.points import final_points
from zsr_core.cli.evaluate import table
from zsr_core.cli.train import summary
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement
from zsr_core.trial.result import TrialResult, read_result, write_result

WHY = "the set has one class"


def _undefined(m: Measurement) -> Measurement:
    return replace(m, value=None, low=None, high=None, reason=WHY)


@pytest.fixture
def study(tmp_path: Path, make_study: Callable[..., Study]) -> Study:
    return make_study(tmp_path, levels=(0.1,), report=False)


@pytest.fixture
def result(tmp_path: Path, study: Study) -> TrialResult:
    """A trial of which every number is undefined, written and read."""
    whole = read_result(trial_folder(tmp_path, study.plan[-1].trial_id))
    assert whole is not None
    folder = trial_folder(tmp_path, whole.trial_id)
    facts = {**whole.provenance, "weights_sha": "w"}
    rows = tuple(map(_undefined, whole.measurements))
    write_result(folder, replace(whole, measurements=rows, provenance=facts, cost={"seconds_total": 2.0}))
    found = read_result(folder)
    assert found is not None
    assert found.measurements == rows
    return found


def test_tables_show_a_dash_with_the_reason(study: Study, result: TrialResult) -> None:
    dash = f"– ({WHY})"
    assert summary(result).count(dash) == len(result.measurements)
    config = replace(result.config, eval_suite=replace(result.config.eval_suite, attacks=()))
    assert f"| mean of the zero-shot sets | 72 | {dash} |" in table(replace(result, config=config), ())
    note = trial_note(study, study.plan[-1], result)
    assert all(f"| {name} | {dash} | – |" in note for name in ("clean", "robust", "harmonic"))


def test_tracking_and_progress_leave_it_out(study: Study, result: TrialResult) -> None:
    assert [point.name for point in final_points(result, at=0, eps=study.score_eps)] == ["cost_seconds_total"]
    assert not {"clean", "robust", "harmonic"} & version_tags(study, study.plan[-1], result).keys()
    assert event("cell", result, study).startswith("cell:")


def test_no_analysis_computes_with_it(tmp_path: Path, result: TrialResult) -> None:
    assert accuracy_by_eps(result) == {}
    assert row_of(result, 1 / 255) is None
    assert cell_numbers("cell", [result]) == ()
    folder = open_study(tmp_path)
    (row,) = folder.study.rows(role="cell")
    score = row_score(folder, row)
    assert (score.n, *(score.value(name) for name in ("clean", "robust", "harmonic"))) == (1, None, None, None)


def test_a_seed_without_a_number_is_left_out_of_the_mean_over_seeds(tmp_path: Path, study: Study) -> None:
    whole = read_result(trial_folder(tmp_path, study.plan[-1].trial_id))
    assert whole is not None
    rows = tuple(_undefined(m) if m.task == ZERO_SHOT_MEAN else m for m in whole.measurements)
    alone = cell_numbers("cell", [whole])
    both = {(n.task, n.metric, n.attack): n for n in cell_numbers("cell", [whole, replace(whole, measurements=rows)])}
    for number in alone:
        assert both[number.task, number.metric, number.attack].value == pytest.approx(number.value)
        assert both[number.task, number.metric, number.attack].seeds == (1 if number.task == ZERO_SHOT_MEAN else 2)


def test_it_is_null_in_the_parquet_file(tmp_path: Path, study: Study, result: TrialResult) -> None:
    frame = pandas.read_parquet(export_study(open_study(tmp_path)))
    rows = frame[frame.trial_id == result.trial_id]
    assert len(rows) == len(result.measurements)
    assert rows.value.isna().all()
    assert not frame[frame.trial_id != result.trial_id].value.isna().any()
