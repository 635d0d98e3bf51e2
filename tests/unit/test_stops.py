"""Early stopping in a study, without training: the log, the answers, a kill at any moment, and what others are told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from sweeps.engine import Sweep
from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.curves import columns, learning_curves
from sweeps.engine.analysis.scores import scores
from sweeps.engine.documents.parquet import study_table
from sweeps.engine.running.answers import answered
from sweeps.engine.running.course import Course
from sweeps.engine.running.jobs import Job, perform
from sweeps.engine.running.options import read_options
from sweeps.engine.running.progress import Tally
from sweeps.engine.running.search import Proposals
from sweeps.engine.running.stops import LOG, Stops, read_log, stop_lines, taken_up, to_resume
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, open_study, trial_folder, write_study
from sweeps.engine.study.plan import continued, new_study
from sweeps.engine.study.stopping import Stopping
from sweeps.engine.tracking.points import final_points, history_points, study_values
from sweeps.engine.tracking.updates import STATUS, study_status
from sweeps.engine.wording.answer import shortfall
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.records import SampleRecord, write_samples
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult, read_result, write_result
from zsr_core.trial.rung_score import RungScore, rung_records

RULE = Stopping(shares=(0.5,))
SWEEP = Sweep(
    name="s", question="?", base={"miniature": TrialConfig(method=TgaZsr())},
    space={"method.alpha": Real(low=0.01, high=1.0, log=True)}, levels=6, objectives=("clean",), stop=RULE,
)  # fmt: skip
ACCURACY = (0.80, 0.78, 0.79, 0.77, 0.81, 0.10)  # of the six cells; the last one is clearly worse
IMAGES = 60


def begin(folder: Path, **changes: Any) -> Study:
    values: dict[str, Any] = {"search": None, "seeds": (0,), "objectives": ("clean",), **changes}
    study = new_study(SWEEP, preset="miniature", **values)
    study = replace(study, stop=RULE)
    write_study(folder, study)
    return study


def cells(study: Study) -> list[PlannedTrial]:
    return [trial for trial in study.plan if trial.role == "cell"]


def score_at_rung(folder: Path, trial_id: str, accuracy: float) -> RungScore:
    """Leave what a trial leaves at its rung."""
    place = trial_folder(folder, trial_id)
    right = [i < round(accuracy * IMAGES) for i in range(IMAGES)]
    conditions = (("none", 0.0), ("pgd3", 1 / 255))
    records = [
        SampleRecord(
            trial_id=trial_id, weights_sha="w", task="sport", split="selection", sample_id=f"{i:03d}",
            condition=condition, attack_id="", ran="", stage="", norm="linf", threat_space="model_input", eps=eps,
            label=1, pred=int(ok), correct=ok, p_max=0.5, entropy=0.1, margin=0.1, linf=eps, l2=eps, queries=1,
        )
        for condition, eps in conditions
        for i, ok in enumerate(right)
    ]  # fmt: skip
    place.mkdir(parents=True, exist_ok=True)
    write_samples(rung_records(place, 1), records)
    shares = dict.fromkeys(("clean", "robust", "harmonic"), 100 * sum(right) / IMAGES)
    score = RungScore(
        trial_id=trial_id, weights_sha="w", rung=1, rungs=1, step=5, share=0.5, epoch=5.0, images=IMAGES,
        scores=shares, seconds=1.0,
    )  # fmt: skip
    write_text(place / "rung-1.json", json.dumps(to_plain(score)))
    return score


def finish(folder: Path, study: Study, trial: PlannedTrial, accuracy: float, score: RungScore | None) -> TrialResult:
    rows = tuple(
        Measurement(
            trial_id=trial.trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split="selection", attack=attack, eps=eps,
            metric=metric, value=100 * accuracy, n=10, low=None, high=None,
        )
        for metric, attack, eps in (("clean", "none", 0.0), ("robust", WORST, 1 / 255))
    )  # fmt: skip
    result = TrialResult(
        trial_id=trial.trial_id, config=study.config(trial), status="done", measurements=rows,
        history=({"epoch": 10.0, "loss": 1.0},), rungs=() if score is None else (score,),
    )  # fmt: skip
    write_result(trial_folder(folder, trial.trial_id), result)
    return result


def stop(folder: Path, study: Study, trial: PlannedTrial, score: RungScore, why: str) -> None:
    result = TrialResult(
        trial_id=trial.trial_id, config=study.config(trial), status="pruned", error=why, rungs=(score,)
    )  # fmt: skip
    write_result(trial_folder(folder, trial.trial_id), result)


def run(folder: Path, study: Study, again: Callable[[Stops], Stops] = lambda stops: stops) -> list[dict[str, Any]]:
    """Run the grid: every cell arrives, is decided upon, and ends. ``again`` may replace the driver's side."""
    stops = Stops(folder, lambda: study, RULE)
    for trial, accuracy in zip(cells(study), ACCURACY, strict=True):
        score = score_at_rung(folder, trial.trial_id, accuracy)
        stops = again(stops)
        stops.arrived(trial.trial_id, 1)
        why = answered(trial_folder(folder, trial.trial_id), 1)
        if why:
            stop(folder, study, trial, score, why)
            continue
        result = finish(folder, study, trial, accuracy + 0.05, score)
        stops = again(stops)
        stops.ended(trial.trial_id, result)
    return read_log(folder / LOG)


@pytest.fixture
def study(tmp_path: Path) -> Study:
    study = begin(tmp_path)
    run(tmp_path, study)
    finish(tmp_path, study, study.plan[0], 0.5, None)
    return study


def test_a_clearly_worse_trial_is_stopped_and_the_log_says_why(tmp_path: Path, study: Study) -> None:
    events = [event for event in read_log(tmp_path / LOG) if event["event"] == "rung"]
    assert [event["decision"] for event in events] == ["go on"] * 5 + ["stop"]
    assert "fewer than 3 trials have finished" in events[1]["why"]
    assert events[-1]["why"].startswith("rung 1 of 1 (50% of the steps), rank 6 of 6, 'alpha=")
    assert "Stopped early: 1 of 6 trials, which saved 8% of their training steps." in stop_lines(tmp_path)[0]


def test_a_kill_at_any_moment_changes_no_decision(tmp_path: Path, study: Study) -> None:
    other = begin(tmp_path / "killed")

    def killed(stops: Stops) -> Stops:
        file = tmp_path / "killed" / LOG
        if file.exists():
            file.write_text(file.read_text(encoding="utf-8") + '{"event": "ru', encoding="utf-8")
        return Stops(tmp_path / "killed", lambda: other, RULE)

    assert run(tmp_path / "killed", other, killed) == read_log(tmp_path / LOG)


class Killed(BaseException):
    """The end of the process."""


def test_a_kill_after_any_write_of_the_log_repeats_nothing_and_decides_the_same(
    tmp_path: Path, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_log(tmp_path / LOG)
    assert [event["event"] for event in whole].count("done") == 5
    for cut in range(1, len(whole) + 1):
        folder = tmp_path / f"cut{cut}"
        other = begin(folder)
        cut_after(monkeypatch, cut, torn=cut % 2 == 0)
        with pytest.raises(Killed):
            resume(folder, other)
        monkeypatch.undo()
        left = {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}
        trained = resume(folder, other)
        assert read_log(folder / LOG) == whole, f"cut after {cut} writes"
        assert not any(trial_folder(folder, trial_id) / "result.json" in left for trial_id in trained)
        assert left.items() <= {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json")}.items()
        assert {p.parent.name: read_result(p.parent).status for p in folder.glob("trials/*/result.json")} == {  # type: ignore[union-attr]
            trial.trial_id: "pruned" if trial == cells(other)[-1] else "done" for trial in cells(other)
        }


def test_the_live_table_is_told_of_rungs_stops_and_the_budget(tmp_path: Path) -> None:
    shown: list[tuple[Tally, str]] = []

    class Kept:
        def show(self, tally: Tally, event: str) -> None:
            shown.append((tally, event))

    study = begin(tmp_path)
    course = Course(open_study(tmp_path), samples=0, seeds=1)
    course.spending = lambda: "1 h of 2 h spent"
    course.show_on(Kept())
    for trial, accuracy in zip(cells(study), ACCURACY, strict=True):
        ends(tmp_path, study, trial, accuracy, course)
    assert {each.rung for tally, _ in shown for each in tally.running.values()} == {"", "rung 1 of 1"}
    last, event = shown[-1]
    assert (last.done, last.stopped, last.spent) == (6, 1, "1 h of 2 h spent")
    assert ": pruned: rung 1 of 1" in event
    assert Course(open_study(tmp_path), samples=0, seeds=1).tally.stopped == 1, "those of earlier launches too"


def cut_after(monkeypatch: pytest.MonkeyPatch, writes: int, *, torn: bool) -> None:
    """End the process after so many writes of the log; ``torn``: within the last of them."""
    note, seen = Stops._note, [0]

    def cut(self: Stops, event: dict[str, Any]) -> None:
        seen[0] += 1
        if seen[0] == writes and torn:
            with self._file.open("a", encoding="utf-8") as log:
                log.write(json.dumps(event)[:40])
            raise Killed
        note(self, event)
        if seen[0] == writes:
            raise Killed

    monkeypatch.setattr(Stops, "_note", cut)


def resume(folder: Path, study: Study) -> list[str]:
    """Run what is missing of the grid as a launch does, and return the trials that were trained."""
    course = Course(open_study(folder), samples=0, seeds=1)
    trained = []
    for trial, accuracy in zip(cells(study), ACCURACY, strict=True):
        if course.folder.status(trial) != "missing":
            continue
        trained.append(trial.trial_id)
        ends(folder, study, trial, accuracy, course)
    return trained


def ends(folder: Path, study: Study, trial: PlannedTrial, accuracy: float, course: Course) -> None:
    """Run a trial to its end, or to its rung if it is stopped there."""
    score = score_at_rung(folder, trial.trial_id, accuracy)
    job = Job(trials=(trial,), configs=(study.config(trial),), score_eps=1 / 255)
    course.started(job)
    course.at_rung(trial.trial_id, 1)
    why = answered(trial_folder(folder, trial.trial_id), 1)
    if why:
        stop(folder, study, trial, score, why)
    else:
        finish(folder, study, trial, accuracy + 0.05, score)
    course.finished(job)


def test_a_decision_in_the_log_stands_when_the_trial_arrives_again(tmp_path: Path, study: Study) -> None:
    before = read_log(tmp_path / LOG)
    stops = Stops(tmp_path, lambda: study, RULE)
    for trial in cells(study):
        stops.arrived(trial.trial_id, 1)
    assert read_log(tmp_path / LOG) == before
    assert answered(trial_folder(tmp_path, cells(study)[-1].trial_id), 1).endswith("points")


def test_a_stopped_trial_is_ended_is_not_chosen_and_is_taken_up_only_on_request(tmp_path: Path, study: Study) -> None:
    folder = open_study(tmp_path)
    assert folder.unfinished() == ()
    assert shortfall(folder) == []
    last = scores(folder)[-1]
    assert (last.stopped, last.missing, last.failed, last.n) == (1, 0, 0, 0)
    assert "rank 6 of 6" in last.reason
    best = chosen(folder)
    assert best is not None
    assert best.cell == cells(study)[4].cell
    assert [trial.trial_id for trial in to_resume(folder, 3)] == [cells(study)[-1].trial_id]
    resumed = taken_up(folder, 1)
    assert [trial.trial_id for trial in resumed.unfinished()] == [cells(study)[-1].trial_id]
    stops = Stops(tmp_path, lambda: study, RULE)
    stops.arrived(cells(study)[-1].trial_id, 1)
    assert answered(trial_folder(tmp_path, cells(study)[-1].trial_id), 1) == "", "nothing stops it again"
    with pytest.raises(ConfigError, match="--resume-pruned: got 1"):
        taken_up(open_study(tmp_path), 1)


def test_a_stopped_trial_stands_in_curves_parquet_and_tracking(tmp_path: Path, study: Study) -> None:
    folder, trial = open_study(tmp_path), cells(study)[-1]
    assert "rung_clean" in columns(folder)
    curves = {curve.label: curve for curve in learning_curves(folder, "rung_clean")}
    assert (curves[trial.cell].x, curves[trial.cell].mean) == ((5.0,), (10.0,))
    (row,) = [row for row in study_table(folder).to_pylist() if row["trial_id"] == trial.trial_id]
    assert (row["status"], row["rung.number"], row["rung.clean"], row["value"]) == ("pruned", 1.0, 10.0, None)
    result = folder.results[trial.trial_id]
    assert STATUS[result.status] == "KILLED"
    assert next((p.name, p.value, p.step) for p in history_points(result, 0)) == ("rung_clean", 10.0, 5)
    assert not any(point.name == "clean" for point in final_points(result, 0, 1 / 255))
    assert study_values(folder)["trials_stopped"] == 1
    assert study_status(folder) == "FINISHED"


def test_a_search_tells_optuna_that_a_stopped_proposal_is_pruned_with_its_score(tmp_path: Path) -> None:
    verbosity = optuna.logging.get_verbosity()
    study = begin(tmp_path, search="random")
    proposals = Proposals(tmp_path, study, samples=1, seeds=(0,), publish=lambda study: write_study(tmp_path, study))
    baseline, job = proposals.next(), proposals.next()
    assert baseline is not None
    assert job is not None
    (trial,) = job.trials
    stop(tmp_path, proposals.study, trial, score_at_rung(tmp_path, trial.trial_id, 0.1), "worse")
    proposals.finished(job)
    (told,) = proposals._journal.trials
    assert told.state == TrialState.PRUNED
    assert told.intermediate_values == {1: 10.0}
    assert told.user_attrs["rung_1"]["clean"] == 10.0
    optuna.logging.set_verbosity(verbosity)


def test_the_seeds_after_a_stopped_one_are_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = begin(tmp_path, seeds=(0, 1))
    trials = tuple(trial for trial in cells(study) if trial.cell == cells(study)[0].cell)
    job = Job(trials=trials, configs=tuple(study.config(trial) for trial in trials), score_eps=1 / 255)

    def stopped(config: TrialConfig, place: Path, processes: int, context: Any) -> None:
        result = TrialResult(trial_id=config.trial_id, config=config, status="pruned", error="worse")
        write_result(place, result)

    monkeypatch.setattr("sweeps.engine.running.jobs.run_trial_together", stopped)
    perform(job.configs, tmp_path, lambda *_: None, score_eps=1 / 255)
    second = read_result(trial_folder(tmp_path, trials[1].trial_id))
    assert second is not None
    assert (second.status, second.error) == ("pruned", "not run, because seed 0 of its cell was stopped")


def test_the_flag_and_the_sweep_name_the_rule_and_the_rungs_of_a_study_do_not_change(tmp_path: Path) -> None:
    assert read_options(SWEEP, []).stop == RULE
    assert read_options(SWEEP, ["--stop", "asha"]).stop == RULE, "the sweep's own values"
    assert read_options(SWEEP, ["--stop", "hyperband"]).stop == Stopping(rule="hyperband")
    assert read_options(SWEEP, ["--stop", "none"]).stop is None
    for flags, message in (
        (["--stop", "halving"], "--stop: unknown value 'halving'"),
        (["--stop", "asha", "--gpus-per-trial", "2"], "--gpus-per-trial: got 2"),
        (["--resume-pruned", "0"], "--resume-pruned: got '0'"),
    ):
        with pytest.raises(ConfigError, match=message):
            read_options(SWEEP, flags)
    earlier = begin(tmp_path)
    with pytest.raises(ConfigError, match="stop: got"):
        continued(earlier, replace(earlier, stop=Stopping()), [], "here")


def test_a_study_of_an_earlier_version_stops_nothing(tmp_path: Path) -> None:
    begin(tmp_path)
    plain = json.loads((tmp_path / "study.json").read_text(encoding="utf-8"))
    del plain["stop"]
    (tmp_path / "study.json").write_text(json.dumps(plain))
    assert open_study(tmp_path).study.stop is None


def test_trial_ids_do_not_depend_on_early_stopping(tmp_path: Path) -> None:
    plain = Sweep(name="s", question="?", base=SWEEP.base, space=SWEEP.space, levels=6, objectives=("clean",))
    without = new_study(plain, preset="miniature", search=None, seeds=(0,), objectives=("clean",))
    assert [trial.trial_id for trial in begin(tmp_path).plan] == [trial.trial_id for trial in without.plan]
    assert isinstance(open_study(tmp_path), StudyFolder)
