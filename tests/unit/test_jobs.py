"""What stops a trial becomes its row, and a broken worker's reason is found in its text."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.running import jobs
from sweeps.engine.running.on_ray import worker_error
from sweeps.engine.study.folder import trial_folder
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import read_result

CONFIG = TrialConfig(method=TgaZsr(), epochs=0)


@pytest.mark.parametrize("error", [SystemExit(3), RuntimeError("loss is not a number"), MemoryError()])
def test_whatever_stops_a_trial_is_a_failed_row_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    tried: list[str] = []

    def stop(config: TrialConfig, *_: object) -> None:
        tried.append(config.trial_id)
        raise error

    monkeypatch.setattr(jobs, "run_trial_together", stop)
    both = [CONFIG, replace(CONFIG, seed=1)]
    jobs.perform(both, tmp_path, lambda *_: None, score_eps=1 / 255, device="cpu")
    assert tried == [config.trial_id for config in both], "the trial after it runs all the same"
    for config in both:
        result = read_result(trial_folder(tmp_path, config.trial_id))
        assert result is not None
        assert result.status == "failed"
        assert type(error).__name__ in result.error
        assert "Traceback" in (trial_folder(tmp_path, config.trial_id) / "traceback.txt").read_text()


def test_ctrl_c_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(jobs, "run_trial_together", stop)
    with pytest.raises(KeyboardInterrupt):
        jobs.perform([CONFIG], tmp_path, lambda *_: None, score_eps=1 / 255, device="cpu")
    assert read_result(trial_folder(tmp_path, CONFIG.trial_id)) is None


def test_the_reason_of_a_broken_worker_is_the_last_failures_last_line() -> None:
    text = (
        "Failure # 1 (occurred at a)\nValueError: first\nFailure # 2 (occurred at b)\nTraceback\n  x\nKeyError: 'y'\n"
    )
    assert worker_error(text) == "its worker broke twice: KeyError: 'y'"
    assert worker_error("") == "its worker broke twice: Ray gave no reason"
