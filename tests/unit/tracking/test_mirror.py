"""The runs of a study: made from its folders, found again, never made twice."""

from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient

from sweeps.engine.study.folder import trial_folder, write_study
from sweeps.engine.study.objectives import TITLES
from sweeps.engine.tracking.mirror import Mirror
from sweeps.engine.tracking.recorder import record_study
from sweeps.engine.tracking.updates import SEAL
from zsr_core.files import write_text

# MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


class TestMirroring:
    @pytest.mark.slow
    def test_mirroring_twice_makes_no_second_run(self, case: Any) -> None:
        study = case.finish_all()
        first, second = record_study(case.folder, case.uri), record_study(case.folder, case.uri)
        assert (first.created, first.updated, first.already_there) == (6, 0, 0)
        assert (second.created, second.updated, second.already_there) == (0, 0, 6)
        assert set(case.runs()) == {"", *(trial.trial_id for trial in study.plan)}
        assert "6 created" in str(first)

    def test_trials_are_children_of_their_study_and_all_are_finished(self, recorded: Any) -> None:
        runs = recorded.runs()
        own = runs.pop("")
        assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {own.info.run_id}
        assert {run.info.status for run in (own, *runs.values())} == {"FINISHED"}

    def test_every_cell_has_alpha_and_beta_as_numbers_and_eps_as_both(self, recorded: Any) -> None:
        study = recorded.planned()
        runs = recorded.runs()
        cells = [runs[trial.trial_id].data.params for trial in study.plan if trial.role == "cell"]
        assert {(float(p["alpha"]), float(p["beta"])) for p in cells} == {
            (a, b) for a in (0.003, 0.3) for b in (0.003, 0.3)
        }
        assert {float(p["eps"]) for p in cells} == {4 / 255}
        assert {(p["eps_text"], p["method"], p["trained_on"]) for p in cells} == {("4/255", "TGA-ZSR", "source")}
        assert float(cells[0]["lr"]) == study.base.optim.lr
        assert int(cells[0]["config.batch_size"]) == study.base.batch_size

    def test_the_untouched_model_has_no_weights_of_a_method(self, recorded: Any) -> None:
        study = recorded.planned()
        baseline = next(trial for trial in study.plan if trial.role == "baseline")
        run = recorded.runs()[baseline.trial_id]
        assert run.data.params["method"] == run.data.tags["method"] == "untouched"
        assert run.data.params.keys().isdisjoint({"alpha", "beta", "eps", "lr", "eps_text"})
        assert run.data.metrics["clean"] == 60

    def test_metrics_name_task_attack_and_budget_and_the_headline_stands_alone(self, recorded: Any) -> None:
        study = recorded.planned()
        metrics = recorded.runs()[study.plan[1].trial_id].data.metrics
        assert metrics["clean_dishes"] == metrics["clean"] == 61
        assert metrics["robust_pgd10_eps1_dishes"] == metrics["robust_worst_eps4_source"] == metrics["robust"] == 21
        assert metrics["harmonic_worst_eps4_zero_shot_mean"] == metrics["harmonic"] == 31
        assert metrics["cost_passes_forward"] == 1234
        assert all(re.fullmatch(r"[\w.]+", name) for name in metrics)

    def test_training_curves_have_one_point_per_epoch_at_the_time_it_ended(self, recorded: Any) -> None:
        study = recorded.planned()
        run = recorded.runs()[study.plan[1].trial_id]
        assert recorded.curve(run, "train_loss") == [(0, 2.0), (1, 1.0)]
        points = MlflowClient(tracking_uri=recorded.uri).get_metric_history(run.info.run_id, "train_ce")
        assert [point.timestamp - run.info.start_time for point in points] == [4000, 8000]
        assert run.info.end_time - run.info.start_time == 20000

    def test_tags_say_with_what_a_number_was_made(self, recorded: Any) -> None:
        study = recorded.planned()
        trial = study.plan[1]
        tags = recorded.runs()[trial.trial_id].data.tags
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

    def test_data_is_logged_with_a_digest_that_differs_by_set_and_split(self, recorded: Any) -> None:
        study = recorded.planned()
        run = MlflowClient(tracking_uri=recorded.uri).get_run(recorded.runs()[study.plan[1].trial_id].info.run_id)
        seen = {(item.dataset.name, item.tags[0].value): item.dataset.digest for item in run.inputs.dataset_inputs}
        assert seen.keys() == {("source", "training"), ("source", "evaluation"), ("dishes", "evaluation")}
        assert len(set(seen.values())) == 3

    def test_the_study_shows_question_answer_scores_and_files(self, recorded: Any) -> None:
        study = recorded.planned()
        own = recorded.runs()[""]
        note = own.data.tags["mlflow.note.content"]
        assert study.question in note
        assert study.plan[-1].cell in note
        assert "| one | 61.0 |" in note
        assert "miniature" in note
        assert own.data.metrics["best_harmonic"] == 34
        assert own.data.metrics["baseline_selection_clean"] == 60
        assert own.data.params["epochs"] == "2"
        assert own.data.params.keys().isdisjoint({"alpha", "beta", "seed"})
        client = MlflowClient(tracking_uri=recorded.uri)
        assert [file.path for file in client.list_artifacts(own.info.run_id)] == ["figures", "study.json", "table.md"]
        assert own.info.artifact_uri.startswith(str(recorded.folder.parent / "mlartifacts"))

    def test_the_records_of_a_trial_are_files_of_its_run(self, recorded: Any, tmp_path: Path) -> None:
        study = recorded.planned()
        trial = study.plan[1]
        where = trial_folder(recorded.folder, trial.trial_id)
        client, run = MlflowClient(tracking_uri=recorded.uri), recorded.runs()[trial.trial_id]
        assert [file.path for file in client.list_artifacts(run.info.run_id, "records")] == [
            "records/result.json", "records/samples.parquet",
        ]  # fmt: skip
        there = mlflow.artifacts.download_artifacts(
            run_id=run.info.run_id,
            artifact_path="records",
            tracking_uri=recorded.uri,
            dst_path=str(tmp_path / "got"),
        )
        assert all(file.read_bytes() == (where / file.name).read_bytes() for file in Path(there).iterdir())

    def test_numbers_are_there_though_files_cannot_be_stored_and_the_run_is_not_whole_before_they_are(
        self, case: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        study = case.finish_all()

        def full(*_: object) -> None:
            raise OSError("no space left")

        with monkeypatch.context() as broken:
            broken.setattr(MlflowClient, "log_artifact", full)
            with pytest.raises(OSError, match="no space left"):
                record_study(case.folder, case.uri)
        trial = study.plan[0]
        assert case.runs()[trial.trial_id].data.metrics["clean"] == 60
        assert SEAL not in case.runs()[trial.trial_id].data.tags
        record_study(case.folder, case.uri)
        assert SEAL in case.runs()[trial.trial_id].data.tags
        assert case.curve(case.runs()[trial.trial_id], "clean") == [(0, 60.0)]

    def test_the_study_links_to_the_comparison_of_its_cells_alone(self, recorded: Any) -> None:
        study = recorded.planned()
        runs = recorded.runs()
        link = re.search(r"\]\((#/compare-runs\S+)\)", runs[""].data.tags["mlflow.note.content"])
        assert link is not None
        for trial in study.plan:
            assert (runs[trial.trial_id].info.run_id in link[1]) == (trial.role == "cell")

    @pytest.mark.slow
    def test_the_tuned_weights_of_the_final_choice_go_with_its_run_when_asked(self, case: Any) -> None:
        study = case.finish_all()
        best = study.plan[2]
        final = replace(best, role="final", overrides={**best.overrides, "eval_suite.split": "report"})
        final = replace(final, trial_id=study.config(final).trial_id, label="final", cell="final")
        write_study(case.folder, replace(study, plan=(*study.plan, final)))
        case.finish(study, final)
        training = study.config(best).training_id
        assert training == study.config(final).training_id, "a final score is of the weights that were chosen"
        file = case.folder / "weights" / f"{training}-abcdef.safetensors"
        assert "tuned weights with 0" in str(record_study(case.folder, case.uri, weights=True)), "none are kept"
        write_text(file, "tensors")
        for _ in range(2):
            assert "tuned weights with 1" in str(record_study(case.folder, case.uri, weights=True))
        assert "tuned weights" not in str(record_study(case.folder, case.uri))
        client = MlflowClient(tracking_uri=case.uri)
        runs = {key: run.info.run_id for key, run in case.runs().items()}
        logged = {key: [f.path for f in client.list_artifacts(run, "weights")] for key, run in runs.items()}
        assert {key: paths for key, paths in logged.items() if paths} == {final.trial_id: [f"weights/{file.name}"]}
        (version,) = client.search_model_versions("name = 'two_by_two'")
        assert version.run_id == runs[final.trial_id]
        expected = {
            "study": "two_by_two", "trial_id": final.trial_id, "weights_sha": "w" * 12, "config_hash": final.trial_id,
            "base_model": "miniature-96", "method": "TGA-ZSR", "seed": "0", "scale": "miniature",
            "clean": "60.00", "robust": "20.00", "harmonic": "30.00",
        }  # fmt: skip
        assert {name: version.tags[name] for name in expected} == expected
        assert f"zsr evaluate --model miniature-96 --weights {file.name}\n" in version.description
        assert client.get_registered_model("two_by_two").description == study.question
        there = client.get_model_version_download_uri("two_by_two", version.version)
        assert mlflow.artifacts.download_artifacts(
            there, tracking_uri=case.uri, dst_path=str(case.folder.parent / "got")
        )
        assert (case.folder.parent / "got" / "weights" / file.name).read_text() == "tensors"
        write_text(file.with_name(f"{training}-123456.safetensors"), "others")
        assert "tuned weights with 0" in str(record_study(case.folder, case.uri, weights=True)), (
            "which ones scored is not known"
        )

    def test_new_files_bring_the_study_up_and_touch_no_trial(self, case: Any) -> None:
        case.finish_all()
        record_study(case.folder, case.uri)
        write_text(case.folder / "table.md", "new")
        report = record_study(case.folder, case.uri)
        assert (report.created, report.updated, report.already_there) == (0, 1, 5)

    @pytest.mark.slow
    def test_a_deleted_experiment_comes_back(self, case: Any) -> None:
        case.finish_all()
        record_study(case.folder, case.uri)
        client = MlflowClient(tracking_uri=case.uri)
        client.delete_experiment(client.get_experiment_by_name("two_by_two").experiment_id)
        record_study(case.folder, case.uri)
        assert len(case.runs()) == 6

    @pytest.mark.slow
    def test_another_study_of_the_same_sweep_has_runs_of_its_own(self, case: Any) -> None:
        case.finish_all()
        record_study(case.folder, case.uri)
        other = case.beside("two_by_two-tpe")
        study = replace(case.planned(), study=other.folder.name, search="tpe", mode="search")
        write_study(other.folder, study)
        other.finish(study, study.plan[0])
        assert record_study(other.folder, case.uri).created == 2


class TestFailures:
    def test_a_failed_trial_is_a_failed_run_with_its_reason_and_fails_the_study(self, case: Any) -> None:
        study = case.finish_all()
        case.finish(study, study.plan[2], error="step 7: larm is nan")
        record_study(case.folder, case.uri)
        runs = case.runs()
        failed = runs[study.plan[2].trial_id]
        assert (failed.info.status, runs[""].info.status) == ("FAILED", "FAILED")
        assert failed.data.tags["error"] == "step 7: larm is nan"
        assert "larm is nan" in failed.data.tags["mlflow.note.content"]
        assert "clean" not in failed.data.metrics

    @pytest.mark.slow
    def test_a_trial_that_was_run_again_goes_on_in_the_same_run(self, case: Any) -> None:
        study = case.finish_all()
        case.finish(study, study.plan[2], error="out of memory")
        record_study(case.folder, case.uri)
        before = case.runs()[study.plan[2].trial_id].info.run_id
        case.finish(study, study.plan[2])
        report = record_study(case.folder, case.uri)
        after = case.runs()[study.plan[2].trial_id]
        assert report.updated == 2  # the trial and its study
        assert (after.info.run_id, after.info.status, after.data.tags["error"]) == (before, "FINISHED", "")

    def test_a_study_that_lacks_trials_is_killed(self, case: Any) -> None:
        study = case.planned()
        case.finish(study, study.plan[1])
        assert record_study(case.folder, case.uri).created == 2
        own = case.runs()[""]
        assert own.info.status == "KILLED"
        assert own.data.metrics["trials_missing"] == 4

    def test_what_a_killed_sweep_left_running_is_ended(self, case: Any) -> None:
        study = case.planned()
        mirror = Mirror.open(case.folder, case.uri)
        mirror.begin()
        mirror.progress(study.plan[1].trial_id, {"loss": 1.0}, 0, 1000)
        assert {run.info.status for run in case.runs().values()} == {"RUNNING"}
        record_study(case.folder, case.uri)
        assert {run.info.status for run in case.runs().values()} == {"KILLED"}


class TestWatching:
    def test_the_scores_of_a_trial_that_was_watched_come_before_its_curves(self, case: Any) -> None:
        """The UI's parallel coordinates open on the first metric of the first run that all runs share."""
        study = case.planned()
        mirror = Mirror.open(case.folder, case.uri)
        late = round(1000 * time.time()) + 10**9  # a driver whose clock is ahead of the worker's
        for epoch in (1, 2):
            mirror.progress(study.plan[1].trial_id, {"ce": 1.0, "loss": 2.0}, epoch, late)
        case.finish(study, study.plan[1])
        mirror.trial(study.plan[1].trial_id)
        metrics = MlflowClient(tracking_uri=case.uri).get_run(mirror.runs[study.plan[1].trial_id].run_id).data.metrics
        assert list(metrics)[:3] == ["clean", "robust", "harmonic"]
        assert not any(math.isnan(value) for value in metrics.values())

    def test_a_trial_that_fails_under_watch_has_no_score_that_is_not_a_number(self, case: Any) -> None:
        """The UI's contour plot leaves out a metric that any of its runs has as not a number."""
        study = case.planned()
        mirror = Mirror.open(case.folder, case.uri)
        mirror.progress(study.plan[1].trial_id, {"loss": 2.0}, 1, 1000)
        case.finish(study, study.plan[1], error="out of memory")
        mirror = Mirror.open(case.folder, case.uri)  # a launch later
        mirror.trial(study.plan[1].trial_id)
        run = case.runs()[study.plan[1].trial_id]
        assert run.info.status == "FAILED"
        assert run.data.metrics.keys().isdisjoint(TITLES)
        assert case.curve(run, "train_loss") == [(0, 2.0), (1, 1.0)], "its curves are those of its folder"
        assert record_study(case.folder, case.uri).already_there == 1

    def test_of_a_single_epoch_nothing_is_shown_before_the_scores(self, case: Any) -> None:
        study = case.planned(epochs=1)
        write_study(case.folder, study)
        mirror = Mirror.open(case.folder, case.uri)
        mirror.progress(study.plan[1].trial_id, {"loss": 2.0}, 1, 1000)
        run = case.runs()[study.plan[1].trial_id]
        assert (run.info.status, run.data.metrics) == ("RUNNING", {})
        assert run.data.params["alpha"] == "0.003"
