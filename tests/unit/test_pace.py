"""Slow trials are reported, trials that hang fail, and lengths of time are read strictly."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.running import jobs
from sweeps.engine.running.course import Course
from sweeps.engine.running.flags import read_duration
from sweeps.engine.running.here import check_limit
from sweeps.engine.running.launch import stoppable
from sweeps.engine.running.pace import Pace, TimeLimit, slow_text, time_limit
from sweeps.engine.running.progress import Tally
from sweeps.engine.study.folder import Study, open_study, trial_folder
from zsr_core.codec import ConfigError
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult, read_result

MakeStudy = Callable[..., Study]
CONFIG = TrialConfig(method=TgaZsr(), epochs=0)


def done(seconds: float, config: TrialConfig = CONFIG) -> TrialResult:
    return TrialResult(trial_id="t", config=config, status="done", cost={"seconds_total": seconds})


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30min", 1800), ("30 m", 1800), ("2h", 7200), ("1.5 h", 5400), ("1d", 86400)]
)
def test_a_length_of_time_has_a_unit(text: str, seconds: float) -> None:
    assert read_duration("--trial-timeout", text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-1h", "0s", "0.5s", "nanh", "1e3s", "2 hours", "367d", "9" * 20 + "s"])
def test_a_length_of_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--trial-timeout: got .* a length of time such as 90s, 30min or 2h"):
        read_duration("--trial-timeout", text)


def test_a_trial_is_slow_after_several_times_what_its_like_has_taken() -> None:
    pace = Pace([done(30.0), done(40.0), done(900.0, replace(CONFIG, epochs=50))])
    other_seed = replace(CONFIG, seed=7)
    assert slow_text(pace, other_seed, 139.0, estimates=False) == ""
    said = slow_text(pace, other_seed, 141.0, estimates=False)
    assert said.startswith("has run for 2 min; finished trials of this study took 35 s.")
    assert slow_text(Pace([done(1.0)]), CONFIG, 59.0, estimates=False) == "", "short trials vary most"
    assert slow_text(Pace([]), CONFIG, 1e6, estimates=False) == ""


def test_without_a_finished_trial_the_estimate_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pace = Pace([])
    seconds = pace.estimate(CONFIG).seconds
    said = slow_text(pace, CONFIG, 1000 * seconds + 1000, estimates=True)
    assert "; the estimate was " in said


def test_a_slow_trial_is_reported_once(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    folder = open_study(tmp_path)
    course = Course(folder, samples=0, seeds=1)
    for result in folder.results.values():
        course.pace.add(replace(result, cost={"seconds_total": 20.0}))
    shown: list[str] = []

    class Kept:
        def show(self, tally: Tally, event: str) -> None:
            shown.append(event)

    course.show_on(Kept())
    trial = study.plan[1]
    course.started(jobs.job(study, [trial]))
    now = time.monotonic()
    for later in (10.0, 100.0, 200.0):
        course.look(now + later)
    events = [event for event in shown if event]
    assert len(events) == 1
    assert events[0].startswith(f"{trial.label}: has run for 2 min; finished trials of this study took 20 s")
    assert course.tally.running[trial.trial_id].slow


def test_a_trial_beyond_its_limit_is_a_failed_row_and_the_next_one_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(config: TrialConfig, *_: object) -> None:
        while config.seed == 0:
            try:
                time.sleep(60)
            except Exception:  # the code of a trial may pass over any error
                continue

    monkeypatch.setattr(jobs, "run_trial_together", hang)
    both = [CONFIG, replace(CONFIG, seed=1)]
    reports: list[str] = []
    jobs.perform(both, tmp_path, lambda trial_id, _: reports.append(trial_id), score_eps=1 / 255, limit=0.1)
    result = read_result(trial_folder(tmp_path, both[0].trial_id))
    assert result is not None
    assert (result.status, result.error) == ("failed", "ran longer than --trial-timeout allows: 0 s")
    assert reports == [both[1].trial_id]


def test_a_limit_ends_with_its_block() -> None:
    with pytest.raises(TimeLimit), time_limit(0.05):
        time.sleep(5)
    with time_limit(0.05):
        pass
    time.sleep(0.1)
    with time_limit(None):
        pass


def test_a_launch_does_not_run_again_what_it_has_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    monkeypatch.setattr(jobs, "run_trial_together", lambda config, *_: ran.append(config.seed))
    study_job = jobs.Job(trials=(), configs=(CONFIG, replace(CONFIG, seed=1)), score_eps=1 / 255)
    jobs.cut_off(tmp_path, study_job, CONFIG.trial_id, 7200.0, "launch-1")
    result = read_result(trial_folder(tmp_path, CONFIG.trial_id))
    assert result is not None
    assert (result.status, result.error) == ("failed", "ran longer than --trial-timeout allows: 2.0 h")
    jobs.perform(study_job.configs, tmp_path, lambda *_: None, score_eps=1 / 255, launch="launch-1")
    assert ran == [1]
    jobs.perform(study_job.configs, tmp_path, lambda *_: None, score_eps=1 / 255, launch="launch-2")
    assert ran == [1, 0, 1]


def in_a_thread(work: Callable[[], None]) -> BaseException | None:
    """Return the error of ``work`` in a thread other than the main one."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return errors[0] if errors else None


def test_a_sweep_can_be_launched_from_any_thread() -> None:
    def launch() -> None:
        with stoppable():
            pass

    assert in_a_thread(launch) is None


def test_a_limit_that_no_signal_can_enforce_is_refused() -> None:
    check_limit(60.0)
    assert in_a_thread(lambda: check_limit(None)) is None
    assert "--trial-timeout" in str(in_a_thread(lambda: check_limit(60.0)))
