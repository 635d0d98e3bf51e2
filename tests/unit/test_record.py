"""Studies in MLflow: found again, never twice; a sweep neither waits for the tracker nor fails by it."""

from __future__ import annotations

import json
import math
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder, write_study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.tracking import entries
from sweeps.engine.tracking import recorder as record
from sweeps.engine.tracking.recorder import Recorder, Spool, connect, found_artifacts, record_study
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError, to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.measure import Measurement
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.methods import TeCoA, TgaZsr
from zsr_core.space import Real
from zsr_core.trial import presets
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

# MLflow 3.17 uses what SQLAlchemy 2.1 has on its way out
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[2]
FINISHED_AT = "2026-03-01T10:00:20+00:00"


def suite(config: TrialConfig) -> TrialConfig:
    tasks = (DataRef(name="source"), DataRef(name="dishes"))
    evaluated = EvalSuite(tasks=tasks, attacks=(Pgd(steps=10),), eps=(1 / 255, 4 / 255), n=8)
    return replace(config, epochs=2, eval_suite=evaluated)


SWEEP = Sweep(
    name="two_by_two",
    question="Where should alpha and beta stand?",
    base={"miniature": suite(presets.miniature(TgaZsr()))},
    space={path: Real(low=0.003, high=0.3, log=True) for path in ("method.alpha", "method.beta")},
    levels=2,
)


def new() -> Study:
    """A study of the untouched model and 2 x 2 cells, five trials."""
    return new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))


def measured(config: TrialConfig, at: float) -> tuple[Measurement, ...]:
    split = config.eval_suite.split
    rows = []
    for task in ("source", "dishes", "zero_shot_mean"):
        conditions = [("clean", "none", 0.0, 60 + at)]
        for eps in config.eval_suite.eps:
            conditions += [("robust", name, eps, 20 + at) for name in ("pgd10", "worst")]
            conditions += [("harmonic", "worst", eps, 30 + at)]
        rows += [
            Measurement(
                trial_id=config.trial_id, weights_sha="w" * 12, task=task, split=split, attack=attack, eps=eps,
                metric=metric, value=value, n=8, low=value - 5, high=value + 5,
            )
            for metric, attack, eps, value in conditions
        ]  # fmt: skip
    return tuple(rows)


def finish(folder: Path, study: Study, trial: PlannedTrial, at: float = 0.0, error: str = "") -> TrialResult:
    """Write what a trial leaves behind, done or failed."""
    config = study.config(trial)
    epochs = tuple({"epoch": e, "loss": 2.0 - e, "ce": 1.5 - e, "seconds": 4.0} for e in range(config.epochs))
    result = TrialResult(
        trial_id=config.trial_id,
        config=config,
        status="failed" if error else "done",
        error=error,
        measurements=() if error else measured(config, at),
        history=epochs,
        cost={"seconds_total": 20.0, "passes_forward": 1234.0},
        provenance={
            "zsr": "0.0.1", "torch": "2.0", "git_sha": "ab" * 20, "git_dirty": "true", "device": "cpu: x86_64",
            "weights_sha": "w" * 12, "started": "2026-03-01T10:00:00+00:00", "finished": FINISHED_AT,
        },
        audit={"G01": "pass"},
    )  # fmt: skip
    write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return result


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: its schema takes seconds, so it is made once and copied."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def folder(tmp_path: Path, empty_store: Path) -> Path:
    """A planned study in a results folder whose store is empty."""
    where = tmp_path / "results" / "two_by_two"
    write_study(where, new())
    shutil.copy(empty_store, where.parent / "mlflow.db")
    return where


@pytest.fixture
def uri(folder: Path) -> str:
    return f"sqlite:///{folder.parent}/mlflow.db"


def done(folder: Path) -> Study:
    """Finish every trial of the study in ``folder``, each a point better than the one before."""
    study = new()
    for number, trial in enumerate(study.plan):
        finish(folder, study, trial, at=number)
    return study


def runs_at(uri: str) -> dict[str, Run]:
    """Return all runs by trial id, the study's own under ""; a trial that has two fails the test."""
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("two_by_two")
    runs = client.search_runs([experiment.experiment_id])
    keys = [run.data.tags.get("zsr.trial_id", "") for run in runs]
    assert len(keys) == len(set(keys))
    return dict(zip(keys, runs, strict=True))


def curve(uri: str, run: Run, name: str) -> list[tuple[int, float]]:
    history = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, name)
    return sorted((point.step, point.value) for point in history)


def until(true: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)


class TestMirroring:
    def test_mirroring_twice_makes_no_second_run(self, folder: Path, uri: str) -> None:
        study = done(folder)
        first, second = record_study(folder, uri), record_study(folder, uri)
        assert (first.created, first.updated, first.already_there) == (6, 0, 0)
        assert (second.created, second.updated, second.already_there) == (0, 0, 6)
        assert set(runs_at(uri)) == {"", *(trial.trial_id for trial in study.plan)}
        assert "6 created" in str(first)

    def test_trials_are_children_of_their_study_and_all_are_finished(self, folder: Path, uri: str) -> None:
        done(folder)
        record_study(folder, uri)
        runs = runs_at(uri)
        own = runs.pop("")
        assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {own.info.run_id}
        assert {run.info.status for run in (own, *runs.values())} == {"FINISHED"}

    def test_every_cell_has_alpha_and_beta_as_numbers_and_eps_as_both(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        runs = runs_at(uri)
        cells = [runs[trial.trial_id].data.params for trial in study.plan if trial.role == "cell"]
        assert {(float(p["alpha"]), float(p["beta"])) for p in cells} == {
            (a, b) for a in (0.003, 0.3) for b in (0.003, 0.3)
        }
        assert {float(p["eps"]) for p in cells} == {4 / 255}
        assert {(p["eps_text"], p["method"], p["trained_on"]) for p in cells} == {("4/255", "TGA-ZSR", "source")}
        assert float(cells[0]["lr"]) == study.base.optim.lr
        assert int(cells[0]["config.batch_size"]) == study.base.batch_size

    def test_the_first_numeric_parameters_by_the_alphabet_are_what_the_study_varies(self) -> None:
        numeric = [name for name, text in entries.params(new().base).items() if re.fullmatch(r"[\d.e-]+", text)]
        assert sorted(numeric)[:2] == ["alpha", "beta"]

    def test_the_untouched_model_has_no_weights_of_a_method(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        baseline = next(trial for trial in study.plan if trial.role == "baseline")
        run = runs_at(uri)[baseline.trial_id]
        assert run.data.params["method"] == run.data.tags["method"] == "untouched"
        assert run.data.params.keys().isdisjoint({"alpha", "beta", "eps", "lr", "eps_text"})
        assert run.data.metrics["clean"] == 60

    def test_metrics_name_task_attack_and_budget_and_the_headline_stands_alone(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        metrics = runs_at(uri)[study.plan[1].trial_id].data.metrics
        assert metrics["clean_dishes"] == metrics["clean"] == 61
        assert metrics["robust_pgd10_eps1_dishes"] == metrics["robust_worst_eps4_source"] == metrics["robust"] == 21
        assert metrics["harmonic_worst_eps4_zero_shot_mean"] == metrics["harmonic"] == 31
        assert metrics["cost_passes_forward"] == 1234
        assert all(re.fullmatch(r"[\w.]+", name) for name in metrics)

    def test_training_curves_have_one_point_per_epoch_at_the_time_it_ended(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        run = runs_at(uri)[study.plan[1].trial_id]
        assert curve(uri, run, "train_loss") == [(0, 2.0), (1, 1.0)]
        points = MlflowClient(tracking_uri=uri).get_metric_history(run.info.run_id, "train_ce")
        assert [point.timestamp - run.info.start_time for point in points] == [4000, 8000]
        assert run.info.end_time - run.info.start_time == 20000

    def test_tags_say_with_what_a_number_was_made(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        trial = study.plan[1]
        tags = runs_at(uri)[trial.trial_id].data.tags
        assert tags["mlflow.source.git.commit"] == tags["git_sha"] == "ab" * 20
        expected = {
            "study": "two_by_two", "variant": trial.label, "cell": trial.cell, "role": "cell", "seed": "0",
            "method": "TGA-ZSR", "scale": "miniature", "config_hash": trial.trial_id, "status": "done",
            "git_dirty": "true", "device": "cpu: x86_64", "weights_sha": "w" * 12, "audit.G01": "pass",
            "version.zsr": "0.0.1", "version.torch": "2.0", "cost.seconds_total": "20", "cost.passes_forward": "1234",
        }  # fmt: skip
        assert {name: tags[name] for name in expected} == expected
        assert {"version.ray", "version.optuna", "version.mlflow", "version.open_clip"} <= tags.keys()
        assert "error" not in tags
        assert "miniature" in tags["mlflow.note.content"]

    def test_data_is_logged_with_a_digest_that_differs_by_set_and_split(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        run = MlflowClient(tracking_uri=uri).get_run(runs_at(uri)[study.plan[1].trial_id].info.run_id)
        seen = {(item.dataset.name, item.tags[0].value): item.dataset.digest for item in run.inputs.dataset_inputs}
        assert seen.keys() == {("source", "training"), ("source", "evaluation"), ("dishes", "evaluation")}
        assert len(set(seen.values())) == 3

    def test_the_study_shows_question_answer_scores_and_files(self, folder: Path, uri: str) -> None:
        study = done(folder)
        write_text(folder / "table.md", "| cell | clean |\n|---|---|\n| one | 61.0 |\n")
        write_text(folder / "figures" / "surface.svg", "<svg/>")
        record_study(folder, uri)
        own = runs_at(uri)[""]
        note = own.data.tags["mlflow.note.content"]
        assert study.question in note
        assert study.plan[-1].cell in note
        assert "| one | 61.0 |" in note
        assert "miniature" in note
        assert own.data.metrics["best_harmonic"] == 34
        assert own.data.metrics["baseline_selection_clean"] == 60
        assert own.data.params["epochs"] == "2"
        assert own.data.params.keys().isdisjoint({"alpha", "beta", "seed"})
        client = MlflowClient(tracking_uri=uri)
        assert [file.path for file in client.list_artifacts(own.info.run_id)] == ["figures", "study.json", "table.md"]
        assert own.info.artifact_uri.startswith(str(folder.parent / "mlartifacts"))

    def test_the_records_of_a_trial_are_files_of_its_run(self, folder: Path, uri: str) -> None:
        study = done(folder)
        trial = study.plan[1]
        where = trial_folder(folder, trial.trial_id)
        (where / "samples.parquet").write_bytes(b"one row per image")
        record_study(folder, uri)
        client, run = MlflowClient(tracking_uri=uri), runs_at(uri)[trial.trial_id]
        assert [file.path for file in client.list_artifacts(run.info.run_id, "records")] == [
            "records/result.json", "records/samples.parquet",
        ]  # fmt: skip
        there = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id, artifact_path="records", tracking_uri=uri, dst_path=str(folder.parent / "got")
        )
        assert all(file.read_bytes() == (where / file.name).read_bytes() for file in Path(there).iterdir())

    def test_numbers_are_there_though_files_cannot_be_stored_and_the_run_is_not_whole_before_they_are(
        self, folder: Path, uri: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = done(folder)

        def full(*_: object) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_artifact", full)
            with pytest.raises(OSError, match="no space left"):
                record_study(folder, uri)
        trial = study.plan[0]
        assert runs_at(uri)[trial.trial_id].data.metrics["clean"] == 60
        assert record.SEAL not in runs_at(uri)[trial.trial_id].data.tags
        record_study(folder, uri)
        assert record.SEAL in runs_at(uri)[trial.trial_id].data.tags
        assert curve(uri, runs_at(uri)[trial.trial_id], "clean") == [(0, 60.0)]

    def test_the_study_links_to_the_comparison_of_its_cells_alone(self, folder: Path, uri: str) -> None:
        study = done(folder)
        record_study(folder, uri)
        runs = runs_at(uri)
        link = re.search(r"\]\((#/compare-runs\S+)\)", runs[""].data.tags["mlflow.note.content"])
        assert link is not None
        for trial in study.plan:
            assert (runs[trial.trial_id].info.run_id in link[1]) == (trial.role == "cell")

    def test_the_tuned_weights_of_the_final_choice_go_with_its_run_when_asked(self, folder: Path, uri: str) -> None:
        study = done(folder)
        best = study.plan[2]
        final = replace(best, role="final", overrides={**best.overrides, "eval_suite.split": "report"})
        final = replace(final, trial_id=study.config(final).trial_id, label="final", cell="final")
        write_study(folder, replace(study, plan=(*study.plan, final)))
        finish(folder, study, final)
        training = study.config(best).training_id
        assert training == study.config(final).training_id, "a final score is of the weights that were chosen"
        file = folder / "weights" / f"{training}-abcdef.safetensors"
        assert "tuned weights with 0" in str(record_study(folder, uri, weights=True)), "none are kept"
        write_text(file, "tensors")
        for _ in range(2):
            assert "tuned weights with 1" in str(record_study(folder, uri, weights=True))
        assert "tuned weights" not in str(record_study(folder, uri))
        client = MlflowClient(tracking_uri=uri)
        runs = {key: run.info.run_id for key, run in runs_at(uri).items()}
        logged = {key: [f.path for f in client.list_artifacts(run, "weights")] for key, run in runs.items()}
        assert {key: paths for key, paths in logged.items() if paths} == {final.trial_id: [f"weights/{file.name}"]}
        (version,) = client.search_model_versions("name = 'two_by_two'")
        assert version.run_id == runs[final.trial_id]
        expected = {
            "study": "two_by_two", "trial_id": final.trial_id, "weights_sha": "w" * 12, "config_hash": final.trial_id,
            "base_model": "miniature", "method": "TGA-ZSR", "seed": "0", "scale": "miniature",
            "clean": "60.00", "robust": "20.00", "harmonic": "30.00",
        }  # fmt: skip
        assert {name: version.tags[name] for name in expected} == expected
        assert f"zsr evaluate --model miniature --weights {file.name}\n" in version.description
        assert client.get_registered_model("two_by_two").description == study.question
        there = client.get_model_version_download_uri("two_by_two", version.version)
        assert mlflow.artifacts.download_artifacts(there, tracking_uri=uri, dst_path=str(folder.parent / "got"))
        assert (folder.parent / "got" / "weights" / file.name).read_text() == "tensors"
        write_text(file.with_name(f"{training}-123456.safetensors"), "others")
        assert "tuned weights with 0" in str(record_study(folder, uri, weights=True)), "which ones scored is not known"

    def test_new_files_bring_the_study_up_and_touch_no_trial(self, folder: Path, uri: str) -> None:
        done(folder)
        record_study(folder, uri)
        write_text(folder / "table.md", "new")
        report = record_study(folder, uri)
        assert (report.created, report.updated, report.already_there) == (0, 1, 5)

    def test_a_deleted_experiment_comes_back(self, folder: Path, uri: str) -> None:
        done(folder)
        record_study(folder, uri)
        client = MlflowClient(tracking_uri=uri)
        client.delete_experiment(client.get_experiment_by_name("two_by_two").experiment_id)
        record_study(folder, uri)
        assert len(runs_at(uri)) == 6

    def test_another_study_of_the_same_sweep_has_runs_of_its_own(self, folder: Path, uri: str) -> None:
        done(folder)
        record_study(folder, uri)
        other = folder.parent / "two_by_two-tpe"
        study = replace(new(), study=other.name, search="tpe", mode="search")
        write_study(other, study)
        finish(other, study, study.plan[0])
        assert record_study(other, uri).created == 2


class TestFailures:
    def test_a_failed_trial_is_a_failed_run_with_its_reason_and_fails_the_study(self, folder: Path, uri: str) -> None:
        study = done(folder)
        finish(folder, study, study.plan[2], error="step 7: larm is nan")
        record_study(folder, uri)
        runs = runs_at(uri)
        failed = runs[study.plan[2].trial_id]
        assert (failed.info.status, runs[""].info.status) == ("FAILED", "FAILED")
        assert failed.data.tags["error"] == "step 7: larm is nan"
        assert "larm is nan" in failed.data.tags["mlflow.note.content"]
        assert "clean" not in failed.data.metrics

    def test_a_trial_that_was_run_again_goes_on_in_the_same_run(self, folder: Path, uri: str) -> None:
        study = done(folder)
        finish(folder, study, study.plan[2], error="out of memory")
        record_study(folder, uri)
        before = runs_at(uri)[study.plan[2].trial_id].info.run_id
        finish(folder, study, study.plan[2])
        report = record_study(folder, uri)
        after = runs_at(uri)[study.plan[2].trial_id]
        assert report.updated == 2  # the trial and its study
        assert (after.info.run_id, after.info.status, after.data.tags["error"]) == (before, "FINISHED", "")

    def test_a_study_that_lacks_trials_is_killed(self, folder: Path, uri: str) -> None:
        study = new()
        finish(folder, study, study.plan[1])
        assert record_study(folder, uri).created == 2
        own = runs_at(uri)[""]
        assert own.info.status == "KILLED"
        assert own.data.metrics["trials_missing"] == 4

    def test_what_a_killed_sweep_left_running_is_ended(self, folder: Path, uri: str) -> None:
        study = new()
        mirror = record.Mirror.open(folder, uri)
        mirror.begin()
        mirror.progress(study.plan[1].trial_id, {"loss": 1.0}, 0, 1000)
        assert {run.info.status for run in runs_at(uri).values()} == {"RUNNING"}
        record_study(folder, uri)
        assert {run.info.status for run in runs_at(uri).values()} == {"KILLED"}

    def test_not_a_number_is_recorded_as_such(self, folder: Path, uri: str) -> None:
        study = done(folder)
        trial = study.plan[1]
        broken = finish(folder, study, trial, error="nan")
        points = entries.history_points(replace(broken, history=({"epoch": 0, "loss": float("nan")},)), 0)
        mirror = record.Mirror.open(folder, uri)
        mirror.trial(trial.trial_id)
        mirror._log(mirror.runs[trial.trial_id], points)
        run = runs_at(uri)[trial.trial_id]
        assert any(value != value for _, value in curve(uri, run, "train_loss"))

    def test_a_long_value_is_cut_and_stays_different_from_another(self) -> None:
        config = new().base
        sets = {
            c: [DataRef(source="imagefolder", name=f"{i}{c}", root="/d" * 99 + str(i)) for i in range(40)] for c in "ab"
        }
        suites = [replace(config.eval_suite, tasks=tuple(tasks)) for tasks in sets.values()]
        texts = [entries.params(replace(config, eval_suite=s))["config.eval_suite.tasks"] for s in suites]
        assert [len(text) <= 6000 for text in texts] == [True, True]
        assert texts[0] != texts[1]

    def test_an_axis_goes_by_its_last_name_unless_two_share_it(self) -> None:
        base = new().base
        alone = entries.params(base, {"train_attack.steps"})
        both = entries.params(base, {"batch_size", "eval_suite.batch_size"})
        assert alone["steps"] == "2"
        assert {"config.batch_size", "config.eval_suite.batch_size"} <= both.keys()
        assert "batch_size" not in both

    def test_a_list_is_one_line_and_a_name_that_looks_like_one_stays_a_name(self) -> None:
        config = new().base
        assert entries.params(config)["config.eval_suite.tasks"].startswith(
            "source=miniature name=source on_corrupt=fail, source=mini"
        )
        odd = replace(config, train_data=DataRef(source="imagefolder", name="[odd", root="/d"))
        assert entries.params(odd)["config.train_data.name"] == "[odd"

    def test_another_method_shows_its_own_fields_and_title(self) -> None:
        config = replace(new().base, method=TeCoA())
        shown = entries.params(config)
        assert shown["method"] == "TeCoA"
        assert "alpha" not in shown

    @pytest.mark.slow
    def test_a_store_that_two_processes_open_first_serves_both(self, tmp_path: Path) -> None:
        uri = f"sqlite:///{tmp_path}/new/mlflow.db"
        code = f"from sweeps.engine.record import connect; connect({uri!r}).search_experiments()"
        both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
        assert [process.wait(timeout=120) for process in both] == [0, 0]
        assert {path.name for path in (tmp_path / "new").iterdir()} == {"mlflow.db", ".mlflow.db.lock"}


class TestRecording:
    @pytest.fixture
    def said(self) -> list[str]:
        return []

    @pytest.fixture
    def recorder(self, folder: Path, uri: str, said: list[str]) -> Iterator[Recorder]:
        live = Recorder(folder, uri, said.append)
        yield live
        live.close([])

    def test_a_sweep_is_shown_as_it_goes(self, folder: Path, uri: str, recorder: Recorder, said: list[str]) -> None:
        study = new()
        trial = study.plan[1]
        recorder.start()
        recorder.trial_progress(trial.trial_id, {"epoch": 0, "loss": 2.0, "phase": 0, "done_share": 0.2}, 0)
        until(lambda: len(MlflowClient(tracking_uri=uri).search_experiments()) > 1 and trial.trial_id in runs_at(uri))
        until(lambda: "train_loss" in runs_at(uri)[trial.trial_id].data.metrics)
        run = runs_at(uri)[trial.trial_id]
        assert run.info.status == runs_at(uri)[""].info.status == "RUNNING"
        assert (run.data.params["alpha"], run.data.tags["cell"]) == ("0.003", trial.cell)
        assert run.data.metrics.keys() == {*OBJECTIVES, "train_loss"}
        assert all(math.isnan(run.data.metrics[name]) for name in OBJECTIVES), "what is not known yet is no number"
        finish(folder, study, trial)
        recorder.trial_finished(trial.trial_id)
        until(lambda: runs_at(uri)[trial.trial_id].info.status == "FINISHED")
        until(lambda: record.SEAL in runs_at(uri)[trial.trial_id].data.tags)
        ended = runs_at(uri)[trial.trial_id]
        assert ended.info.run_id == run.info.run_id
        assert [ended.data.metrics[name] for name in OBJECTIVES] == [60, 20, 30]
        assert said == []

    def test_the_scores_of_a_trial_that_was_watched_come_before_its_curves(self, folder: Path, uri: str) -> None:
        """The UI's parallel coordinates open on the first metric of the first run that all runs share."""
        study = new()
        mirror = record.Mirror.open(folder, uri)
        late = round(1000 * time.time()) + 10**9  # a driver whose clock is ahead of the worker's
        for epoch in (1, 2):
            mirror.progress(study.plan[1].trial_id, {"ce": 1.0, "loss": 2.0}, epoch, late)
        finish(folder, study, study.plan[1])
        mirror.trial(study.plan[1].trial_id)
        metrics = MlflowClient(tracking_uri=uri).get_run(mirror.runs[study.plan[1].trial_id].run_id).data.metrics
        assert list(metrics)[:3] == list(OBJECTIVES)
        assert not any(math.isnan(value) for value in metrics.values())

    def test_a_trial_that_fails_under_watch_has_no_score_that_is_not_a_number(self, folder: Path, uri: str) -> None:
        """The UI's contour plot leaves out a metric that any of its runs has as not a number."""
        study = new()
        mirror = record.Mirror.open(folder, uri)
        mirror.progress(study.plan[1].trial_id, {"loss": 2.0}, 1, 1000)
        finish(folder, study, study.plan[1], error="out of memory")
        mirror = record.Mirror.open(folder, uri)  # a launch later
        mirror.trial(study.plan[1].trial_id)
        run = runs_at(uri)[study.plan[1].trial_id]
        assert run.info.status == "FAILED"
        assert run.data.metrics.keys().isdisjoint(OBJECTIVES)
        assert curve(uri, run, "train_loss") == [(0, 2.0), (1, 1.0)], "its curves are those of its folder"
        assert record_study(folder, uri).already_there == 1

    def test_of_a_single_epoch_nothing_is_shown_before_the_scores(self, folder: Path, uri: str) -> None:
        base = replace(new().base, epochs=1)
        study = new_study(
            replace(SWEEP, base={"miniature": base}), preset="miniature", search=None, seeds=(0,),
            objectives=("clean", "robust"),
        )  # fmt: skip
        write_study(folder, study)
        mirror = record.Mirror.open(folder, uri)
        mirror.progress(study.plan[1].trial_id, {"loss": 2.0}, 1, 1000)
        run = runs_at(uri)[study.plan[1].trial_id]
        assert (run.info.status, run.data.metrics) == ("RUNNING", {})
        assert run.data.params["alpha"] == "0.003"

    def test_a_recorded_sweep_needs_no_mirroring_and_its_curves_are_drawn_once(
        self, folder: Path, uri: str, recorder: Recorder, said: list[str]
    ) -> None:
        study = new()
        recorder.start()
        for trial in study.plan:
            for epoch in range(2 if trial.role == "cell" else 0):
                recorder.trial_progress(trial.trial_id, {"loss": 2.0 - epoch, "ce": 1.5 - epoch}, epoch)
            finish(folder, study, trial)
            recorder.trial_finished(trial.trial_id)
        write_text(folder / "table.md", "the table")
        recorder.close(found_artifacts(folder))
        report = record_study(folder, uri)
        assert (report.created, report.updated, report.already_there) == (0, 0, 6)
        assert curve(uri, runs_at(uri)[study.plan[1].trial_id], "train_loss") == [(0, 2.0), (1, 1.0)]
        assert runs_at(uri)[""].info.status == "FINISHED"
        assert said == []
        assert Spool.of(folder, uri).read() == []

    def test_a_resumed_sweep_brings_up_what_the_last_one_left(self, folder: Path, uri: str, recorder: Recorder) -> None:
        study = new()
        finish(folder, study, study.plan[0])
        mirror = record.Mirror.open(folder, uri)
        mirror.progress(study.plan[1].trial_id, {"loss": 1.0}, 0, 1000)
        recorder.start()
        until(lambda: len(runs_at(uri)) == 3 and runs_at(uri)[study.plan[1].trial_id].info.status == "KILLED")
        until(lambda: runs_at(uri)[study.plan[0].trial_id].info.status == "FINISHED")

    def test_a_search_may_add_to_its_plan_as_it_goes(self, folder: Path, uri: str, recorder: Recorder) -> None:
        study = new()
        write_study(folder, replace(study, plan=study.plan[:1]))
        recorder.start()
        until(lambda: recorder._mirror is not None)
        write_study(folder, study)
        recorder.trial_progress(study.plan[3].trial_id, {"loss": 1.0}, 0)
        until(lambda: study.plan[3].trial_id in runs_at(uri))

    def test_a_store_that_comes_back_is_caught_up_with(self, folder: Path, tmp_path: Path, said: list[str]) -> None:
        blocked = tmp_path / "blocked"
        blocked.write_text("a file where a folder should be")
        uri = f"sqlite:///{blocked}/mlflow.db"
        study = done(folder)
        recorder = Recorder(folder, uri, said.append)
        recorder.start()
        recorder.trial_progress(study.plan[1].trial_id, {"loss": 2.0}, 0)
        until(lambda: said)
        recorder.trial_finished(study.plan[1].trial_id)
        until(lambda: len(Spool.of(folder, uri).read()) == 3)
        assert [event["event"] for event in Spool.of(folder, uri).read()] == ["start", "progress", "finished"]
        blocked.unlink()
        blocked.mkdir()
        shutil.copy(folder.parent / "mlflow.db", blocked)
        recorder.close([])
        assert len(runs_at(uri)) == 6
        assert Spool.of(folder, uri).read() == []
        assert len(said) == 2
        assert "cannot be used now" in said[0]
        assert "can be used again" in said[1]

    def test_what_a_dead_server_missed_waits_on_disk_and_is_sent_later(
        self, folder: Path, uri: str, said: list[str]
    ) -> None:
        study = done(folder)
        dead = "http://127.0.0.1:9"
        recorder = Recorder(folder, dead, said.append)
        recorder.start()
        for _ in range(50):
            recorder.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, 0)
        recorder.trial_finished(study.plan[1].trial_id)
        recorder.close([])
        assert len(said) == 2, "the silence is reported once, and what is left at the end"
        assert "127.0.0.1:9" in said[0]
        assert f"`zsr record --study {folder}`" in said[1]
        waiting = Spool.of(folder, dead)
        assert len(waiting.read()) == 53
        shutil.move(waiting.path, Spool.of(folder, uri).path)
        assert record_study(folder, uri).created == 6
        assert Spool.of(folder, uri).read() == []

    def test_a_server_that_takes_a_call_and_never_answers_holds_nobody_up(self, folder: Path, said: list[str]) -> None:
        study = new()
        with socket.create_server(("127.0.0.1", 0)) as silent:
            recorder = Recorder(folder, f"http://127.0.0.1:{silent.getsockname()[1]}", said.append)
            begun = time.monotonic()
            recorder.start()
            for epoch in range(200):
                recorder.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, epoch)
            assert time.monotonic() - begun < 0.5
            recorder.close([], wait_s=0.5)
            assert time.monotonic() - begun < 3
        assert "202 events have not reached" in said[-1]

    def test_an_event_that_is_refused_is_set_aside_and_the_rest_recorded(
        self, folder: Path, uri: str, said: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = new()
        takes = record.Mirror.progress

        def picky(mirror: record.Mirror, trial_id: str, metrics: dict[str, float], step: int, at: int) -> None:
            if step == 13:
                raise RuntimeError("not this one")
            takes(mirror, trial_id, metrics, step, at)

        monkeypatch.setattr(record.Mirror, "progress", picky)
        monkeypatch.setattr(record, "PAUSES_S", (0.01,))
        recorder = Recorder(folder, uri, said.append)
        recorder.start()
        recorder.trial_progress(study.plan[1].trial_id, {"loss": 1.0}, 13)
        recorder.trial_progress(study.plan[1].trial_id, {"loss": 0.5}, 14)
        recorder.close([])
        assert curve(uri, runs_at(uri)[study.plan[1].trial_id], "train_loss") == [(14, 0.5)]
        aside = next((folder / "mlflow_spool").glob("refused-*.jsonl")).read_text()
        assert json.loads(aside)["reason"] == "not this one"
        assert sum("refuses an event" in line for line in said) == 1

    def test_a_run_deleted_under_a_sweep_is_made_again(
        self, folder: Path, uri: str, recorder: Recorder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(record, "PAUSES_S", (0.01,))
        trial = new().plan[1]
        recorder.start()
        recorder.trial_progress(trial.trial_id, {"loss": 1.0}, 0)
        until(lambda: recorder._mirror is not None and trial.trial_id in recorder._mirror.runs)
        until(lambda: "train_loss" in runs_at(uri)[trial.trial_id].data.metrics)
        MlflowClient(tracking_uri=uri).delete_run(runs_at(uri)[trial.trial_id].info.run_id)
        recorder.trial_progress(trial.trial_id, {"loss": 0.5}, 1)
        until(lambda: trial.trial_id in runs_at(uri) and "train_loss" in runs_at(uri)[trial.trial_id].data.metrics)

    def test_one_process_at_a_time_records_a_study(self, folder: Path, uri: str, recorder: Recorder) -> None:
        recorder.start()
        until(lambda: recorder._mirror is not None)
        with pytest.raises(ConfigError, match="being recorded"):
            record_study(folder, uri)
        said: list[str] = []
        second = Recorder(folder, uri, said.append)
        second.start()
        second.trial_finished("x")
        second.close([])
        assert len(said) == 1
        assert "another process" in said[0]

    def test_a_spool_line_cut_short_by_a_kill_is_passed_over(self, folder: Path, uri: str) -> None:
        spool = Spool.of(folder, uri)
        spool.add([{"event": "finished", "trial_id": "a", "time": 1}])
        with spool.path.open("a") as file:
            file.write('{"event": "fin')
        assert [event["trial_id"] for event in spool.read()] == ["a"]

    def test_recording_leaves_no_trace_in_the_process(self, folder: Path, uri: str, recorder: Recorder) -> None:
        before = threading.active_count()
        recorder.start()
        recorder.close([])
        assert threading.active_count() == before
        assert not (Path.cwd() / "mlruns").exists()
