"""A running sweep in MLflow: shown as it goes, and neither delayed nor stopped by the tracker."""

from __future__ import annotations

import json
import math
import shutil
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Metric

from sweeps.engine.study.folder import write_study
from sweeps.engine.tracking.recorder import Recorder, derived_files, record_study
from sweeps.engine.tracking.spool import Contents, Spool
from sweeps.engine.tracking.updates import SEAL
from zsr_core.codec import ConfigError
from zsr_core.files import write_text

# MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

PATIENCE_S = 20.0


def test_a_sweep_is_shown_as_it_goes(case: Any, recorder: Recorder, said: list[str]) -> None:
    study = case.planned()
    trial = study.plan[1]
    recorder.start()
    recorder.trial_progress(trial.trial_id, {"epoch": 0, "loss": 2.0, "phase": 0, "done_share": 0.2}, 0)
    assert recorder.wait(PATIENCE_S)
    run = case.runs()[trial.trial_id]
    assert run.info.status == case.runs()[""].info.status == "RUNNING"
    assert (run.data.params["alpha"], run.data.tags["cell"]) == ("0.003", trial.cell)
    shown = {"clean", "robust", "harmonic"}
    assert run.data.metrics.keys() == {*shown, "train_loss"}
    assert all(math.isnan(run.data.metrics[name]) for name in shown), "a score that is not known is no number"
    case.finish(study, trial)
    recorder.trial_finished(trial.trial_id)
    assert recorder.wait(PATIENCE_S)
    ended = case.runs()[trial.trial_id]
    assert ended.info.status == "FINISHED"
    assert SEAL in ended.data.tags
    assert ended.info.run_id == run.info.run_id
    assert [ended.data.metrics[name] for name in ("clean", "robust", "harmonic")] == [60, 20, 30]
    assert said == []


def test_a_recorded_sweep_needs_no_mirroring_and_its_curves_are_drawn_once(
    case: Any, recorder: Recorder, said: list[str]
) -> None:
    study = case.planned()
    recorder.start()
    for trial in study.plan:
        for epoch in range(2 if trial.role == "cell" else 0):
            recorder.trial_progress(trial.trial_id, {"loss": 2.0 - epoch, "ce": 1.5 - epoch}, epoch)
        case.finish(study, trial)
        recorder.trial_finished(trial.trial_id)
    write_text(case.folder / "table.md", "the table")
    assert recorder.close(derived_files(case.folder)) == []
    report = record_study(case.folder, case.uri)
    assert (report.created, report.updated, report.already_there) == (0, 0, 6)
    assert case.curve(case.runs()[study.plan[1].trial_id], "train_loss") == [(0, 2.0), (1, 1.0)]
    assert case.runs()[""].info.status == "FINISHED"
    assert said == []
    assert Spool.of(case.folder, case.uri).read() == Contents()


def test_a_resumed_sweep_brings_up_what_the_last_one_left(case: Any, recorder: Recorder) -> None:
    study = case.planned()
    first = Recorder(case.folder, case.uri)
    first.start()
    first.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, 0)
    first.close([])
    MlflowClient(tracking_uri=case.uri).update_run(case.runs()[study.plan[1].trial_id].info.run_id, "RUNNING")
    case.finish(study, study.plan[0])
    recorder.start()
    assert recorder.wait(PATIENCE_S)
    assert case.runs().keys() == {"", study.plan[0].trial_id, study.plan[1].trial_id}
    assert case.runs()[study.plan[1].trial_id].info.status == "KILLED"
    assert case.runs()[study.plan[0].trial_id].info.status == "FINISHED"


def test_a_search_may_add_to_its_plan_as_it_goes(case: Any, recorder: Recorder) -> None:
    study = case.planned()
    write_study(case.folder, replace(study, plan=study.plan[:1]))
    recorder.start()
    assert recorder.wait(PATIENCE_S)
    write_study(case.folder, study)
    recorder.trial_progress(study.plan[3].trial_id, {"loss": 1.0}, 0)
    assert recorder.wait(PATIENCE_S)
    assert study.plan[3].trial_id in case.runs()


def test_a_loss_that_is_not_a_number_is_recorded_as_such(case: Any, recorder: Recorder) -> None:
    trial = case.planned().plan[1]
    recorder.start()
    recorder.trial_progress(trial.trial_id, {"loss": math.nan}, 0)
    assert recorder.wait(PATIENCE_S)
    ((_, value),) = case.curve(case.runs()[trial.trial_id], "train_loss")
    assert math.isnan(value)


def test_a_store_that_comes_back_is_caught_up_with(case: Any, tmp_path: Path, said: list[str]) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file where a folder should be")
    uri = f"sqlite:///{blocked}/mlflow.db"
    study = case.finish_all()
    recorder = Recorder(case.folder, uri, said.append)
    recorder.start()
    recorder.trial_progress(study.plan[1].trial_id, {"loss": 2.0}, 0)
    recorder.trial_finished(study.plan[1].trial_id)
    assert not recorder.wait(0.5)
    waiting = Spool.of(case.folder, uri).read().events
    assert [event.kind for event in waiting] == ["start", "progress", "finished"]
    blocked.unlink()
    blocked.mkdir()
    shutil.copy(case.folder.parent / "mlflow.db", blocked)
    assert recorder.close([]) == []
    assert len(case.runs(uri)) == 6
    assert Spool.of(case.folder, uri).read() == Contents()
    assert len(said) == 2
    assert "cannot be used now" in said[0]
    assert "can be used again" in said[1]


@pytest.mark.slow
def test_what_a_dead_server_missed_waits_on_disk_and_is_sent_later(case: Any, said: list[str]) -> None:
    study = case.finish_all()
    dead = "http://127.0.0.1:9"
    recorder = Recorder(case.folder, dead, said.append)
    recorder.start()
    for _ in range(50):
        recorder.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, 0)
    recorder.trial_finished(study.plan[1].trial_id)
    (trouble,) = recorder.close([])
    assert len(said) == 1, "a server that does not answer is reported once"
    assert "127.0.0.1:9" in said[0]
    assert "53 events have not reached http://127.0.0.1:9" in trouble
    assert f"`zsr record --study {case.folder}`" in trouble
    waiting, wanted = Spool.of(case.folder, dead), Spool.of(case.folder, case.uri)
    assert len(waiting.read().events) == 53
    shutil.move(waiting.path, wanted.path)
    assert record_study(case.folder, case.uri).created == 6
    assert wanted.read() == Contents()


def test_a_server_that_takes_a_call_and_never_answers_delays_nothing(case: Any, said: list[str]) -> None:
    study = case.planned()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        recorder = Recorder(case.folder, f"http://127.0.0.1:{silent.getsockname()[1]}", said.append)
        begun = time.monotonic()
        recorder.start()
        for epoch in range(200):
            recorder.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, epoch)
        assert time.monotonic() - begun < 0.5
        (trouble,) = recorder.close([], wait_s=0.5)
        assert time.monotonic() - begun < 3
    assert "202 events have not reached" in trouble


def test_half_a_database_is_reported_at_the_end_and_its_events_are_kept(case: Any, said: list[str]) -> None:
    database = case.folder.parent / "mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    case.finish_all()
    recorder = Recorder(case.folder, case.uri, said.append)
    recorder.start()
    (trouble,) = recorder.close([])
    assert "2 events have not reached" in trouble
    assert f"{database} is damaged" in trouble
    assert len(said) == 1
    database.write_bytes(whole)
    assert record_study(case.folder, case.uri).created == 6


def refuse_step_13(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """Have the tracker refuse every call with a metric of step 13."""
    takes = MlflowClient.log_batch

    def picky(client: MlflowClient, run_id: str, metrics: list[Metric], *others: Any) -> None:
        if any(metric.step == 13 for metric in metrics):
            raise RuntimeError(reason)
        takes(client, run_id, metrics, *others)

    monkeypatch.setattr(MlflowClient, "log_batch", picky)


def test_an_event_that_is_refused_is_set_aside_and_the_rest_recorded(
    case: Any, recorder: Recorder, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_id = case.planned().plan[1].trial_id
    refuse_step_13(monkeypatch, "not this one")
    recorder.start()
    recorder.trial_progress(trial_id, {"loss": 1.0}, 13)
    recorder.trial_progress(trial_id, {"loss": 0.5}, 14)
    assert recorder.close([]) == []
    assert case.curve(case.runs()[trial_id], "train_loss") == [(14, 0.5)]
    aside = Spool.of(case.folder, case.uri).aside
    assert json.loads(aside.read_text())["reason"] == "not this one"
    assert sum("refuses an event" in line for line in said) == 1


def test_a_study_whose_end_is_refused_is_not_called_recorded(
    case: Any, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    case.finish_all()
    recorder.start()
    assert recorder.wait(PATIENCE_S)

    def full(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(MlflowClient, "log_artifact", full)
    (trouble,) = recorder.close(derived_files(case.folder))
    assert "no space left" in trouble
    assert f"`zsr record --study {case.folder}`" in trouble


def test_a_run_deleted_under_a_sweep_is_made_again(case: Any, recorder: Recorder) -> None:
    trial = case.planned().plan[1]
    recorder.start()
    recorder.trial_progress(trial.trial_id, {"loss": 1.0}, 0)
    assert recorder.wait(PATIENCE_S)
    MlflowClient(tracking_uri=case.uri).delete_run(case.runs()[trial.trial_id].info.run_id)
    recorder.trial_progress(trial.trial_id, {"loss": 0.5}, 1)
    assert recorder.wait(PATIENCE_S)
    assert "train_loss" in case.runs()[trial.trial_id].data.metrics


def test_one_process_at_a_time_records_a_study(case: Any, recorder: Recorder) -> None:
    recorder.start()
    assert recorder.wait(PATIENCE_S)
    with pytest.raises(ConfigError, match="being recorded"):
        record_study(case.folder, case.uri)
    said: list[str] = []
    second = Recorder(case.folder, case.uri, said.append)
    second.start()
    second.trial_finished("x")
    assert not second.wait(PATIENCE_S)
    assert second.close([]) == []
    assert len(said) == 1
    assert "another process" in said[0]


def test_no_login_of_an_address_is_reported_or_kept(
    case: Any, said: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k3n")
    uri = "http://me:hidden@127.0.0.1:9"
    recorder = Recorder(case.folder, uri, said.append)
    recorder.start()
    troubles = recorder.close([])
    with pytest.raises(ConfigError, match=r"http://\*\*\*@127\.0\.0\.1:9 cannot be used") as refused:
        record_study(case.folder, uri)
    assert len(said) == len(troubles) == 1
    kept = [path.read_text() for path in (case.folder / "mlflow_spool").iterdir()]
    everything = "\n".join([*said, *troubles, str(refused.value), caplog.text, *kept])
    assert "127.0.0.1:9" in everything
    assert "hidden" not in everything
    assert "t0k3n" not in everything


def test_recording_leaves_no_trace_in_the_process(case: Any, recorder: Recorder) -> None:
    before = threading.active_count()
    recorder.start()
    recorder.close([])
    assert threading.active_count() == before
    assert not (Path.cwd() / "mlruns").exists()
