"""The index of a study's results: read in place of the folders, equal to them, and rebuilt where it is stale."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.engine.documents.parquet import export_study
from sweeps.engine.study import folder as folder_module
from sweeps.engine.study import index as index_module
from sweeps.engine.study.folder import Study, open_study, trial_folder
from sweeps.engine.study.index import FOLDER
from zsr_core.trial.result import TrialResult, read_result, write_result

BuildStudy = Callable[..., Study]


@pytest.fixture
def study(tmp_path: Path, make_study: BuildStudy, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of a small study whose results are old enough for an index, which is made from 5 results."""
    monkeypatch.setattr(index_module, "LEAST", 5)
    plan = make_study(tmp_path / "study", fails=lambda trial: "0.01 beta=0.1" in trial.label).plan
    for trial in plan:
        result = trial_folder(tmp_path / "study", trial.trial_id) / "result.json"
        os.utime(result, (1e9, 1e9))
    return tmp_path / "study"


def files(study: Path) -> list[Path]:
    return sorted((study / FOLDER).glob("*.parquet"))


def read_from_folders(study: Path, trials: Study) -> dict[str, TrialResult]:
    read = {t.trial_id: read_result(trial_folder(study, t.trial_id)) for t in trials.plan}
    return {trial_id: result for trial_id, result in read.items() if result is not None}


def test_results_from_the_index_equal_those_from_the_folders(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_study(study)
    assert len(files(study)) == 1
    monkeypatch.setattr(folder_module, "read_result", lambda place: pytest.fail(f"{place} was read again"))
    again = open_study(study)
    assert dict(again.results) == dict(first.results) == read_from_folders(study, first.study)
    assert {result.status for result in again.results.values()} == {"done", "failed"}


def test_the_export_is_the_same_with_and_without_an_index(study: Path) -> None:
    without = pq.read_table(export_study(open_study(study)))
    assert files(study)
    assert pq.read_table(export_study(open_study(study))).equals(without)


def test_a_result_that_was_written_again_is_read_from_its_folder(study: Path) -> None:
    first = open_study(study)
    trial_id, result = next((k, r) for k, r in first.results.items() if r.status == "done")
    write_result(trial_folder(study, trial_id), replace(result, cost={**result.cost, "seconds_total": 7.0}))
    assert open_study(study).results[trial_id].cost["seconds_total"] == 7.0


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign"])
def test_an_index_that_cannot_be_read_is_made_again(study: Path, damage: str) -> None:
    first = open_study(study)
    (file,) = files(study)
    if damage == "foreign":
        pq.write_table(pq.read_table(file).replace_schema_metadata({"zsr.index": "another"}), file)
    else:
        file.write_bytes(file.read_bytes()[:200] if damage == "torn" else b"")
    assert dict(open_study(study).results) == dict(first.results)
    assert len(files(study)) == 2


def test_a_study_that_cannot_be_written_to_is_read_without_an_index(study: Path) -> None:
    (study / FOLDER).write_text("no folder can be made here")
    assert open_study(study).results


def test_a_result_of_this_moment_is_not_indexed(study: Path) -> None:
    for place in (study / "trials").iterdir():
        os.utime(place / "result.json")
    open_study(study)
    assert not files(study)


def test_many_files_of_an_index_become_one(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module, "MOST_FILES", 1)
    first = open_study(study)
    for place in (study / "trials").iterdir():
        os.utime(place / "result.json", (1e9 + 5, 1e9 + 5))
    assert dict(open_study(study).results) == dict(first.results)
    assert len(files(study)) == 1
    assert dict(open_study(study).results) == dict(first.results)
