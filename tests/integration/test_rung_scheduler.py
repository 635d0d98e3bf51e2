"""Early stopping through Tune's scheduler interface."""

from __future__ import annotations

import pickle

import pytest
from ray.tune.schedulers import TrialScheduler

from sweeps.engine.running.jobs import Job
from sweeps.engine.running.on_ray import RungScheduler

pytestmark = pytest.mark.ray


class Noted:
    """A watch that notes who arrived at which rung."""

    def __init__(self) -> None:
        self.rungs: list[tuple[str, int]] = []

    def started(self, job: Job) -> None: ...
    def progress(self, trial_id: str, metrics: dict[str, float]) -> None: ...
    def finished(self, job: Job) -> None: ...
    def look(self, now: float) -> None: ...

    def at_rung(self, trial_id: str, rung: int) -> None:
        self.rungs.append((trial_id, rung))


def test_an_arrival_at_a_rung_is_decided_upon_before_tune_lets_the_worker_go_on() -> None:
    watch = Noted()
    scheduler = RungScheduler(watch)
    for result in ({"trial": "a", "metrics": {}}, {"trial": "a", "rung": 2}, {"ended": True}):
        assert scheduler.on_trial_result(None, None, result) == TrialScheduler.CONTINUE
    assert watch.rungs == [("a", 2)]


def test_the_scheduler_takes_no_open_file_into_tunes_own_state() -> None:
    assert pickle.loads(pickle.dumps(RungScheduler(Noted()))).__dict__ == {}
