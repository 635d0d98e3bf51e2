"""The events of a trial, and the lines that a study's log keeps of them."""

from __future__ import annotations

import io
import json

from sweeps.engine.running.jobs import _reporter
from zsr_core.events import BatchJudged, EpochEnded, TaskEnded, plain_numbers
from zsr_core.trial.config import TrialConfig

EPOCH = EpochEnded(row={"epoch": 1, "loss": 2.5})
TASK = TaskEnded(task="cats", done=1, of=4)
BATCH = BatchJudged(task="cats", condition="none", eps=0.0, stage="", done=8, of=8, recalled=False)


def test_a_log_keeps_epochs_and_tasks_and_no_batch() -> None:
    assert plain_numbers(EPOCH) == {"epoch": 1, "loss": 2.5}
    assert plain_numbers(TASK) == {"task": 1, "tasks": 4}
    assert plain_numbers(BATCH) is None


def test_a_trials_log_has_a_line_per_epoch_and_task_and_its_report_the_share_that_is_done() -> None:
    log, reports = io.StringIO(), []
    on_event = _reporter(TrialConfig(epochs=1), lambda trial_id, metrics: reports.append(metrics), log)
    for event in (EPOCH, BATCH, TASK):
        on_event(event)
    lines = [json.loads(line) for line in log.getvalue().splitlines()]
    assert all(line.pop("time") > 0 for line in lines)
    assert lines == [{"epoch": 1, "loss": 2.5}, {"task": 1, "tasks": 4}]
    assert reports == [{"epoch": 1, "loss": 2.5, "epochs": 1, "done_share": 0.5}]  # the task came too soon after it
