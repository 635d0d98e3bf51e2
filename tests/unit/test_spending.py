"""Budgets on simulated workers and clocks: nothing starts that cannot finish, and the budget is met."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweeps.engine.analysis.scores import scores
from sweeps.engine.analysis.searching import certainty as certainty_module
from sweeps.engine.analysis.searching.certainty import Certainty, Watch, certainty, expected_gain
from sweeps.engine.analysis.stats import Interval
from sweeps.engine.running.course import Course
from sweeps.engine.running.jobs import Job, Listed, Waiting
from sweeps.engine.running.options import read_options
from sweeps.engine.running.pace import Pace
from sweeps.engine.running.preview import budget_lines
from sweeps.engine.running.spending.budget import Budget, read_budget
from sweeps.engine.running.spending.limited import Limited
from sweeps.engine.running.spending.meter import REPORT_SPARE, Meter
from sweeps.engine.study.folder import PlannedTrial, Study, open_study
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.codec import ConfigError
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]
BASE = TrialConfig(method=TgaZsr())


class Known(Pace):
    """A pace whose estimate is wrong by ten times, as on a GPU."""

    def seconds(self, config: TrialConfig) -> float:
        return 1.0


@cache
def jobs(count: int) -> list[Job]:
    configs = [BASE.with_({"method.alpha": 0.001 * (i + 1)}) for i in range(count)]
    return [
        Job(trials=(PlannedTrial(trial_id=c.trial_id, label=f"{i}", cell=f"{i}", overrides={}, seed=0),), configs=(c,),
            score_eps=1 / 255)
        for i, c in enumerate(configs)
    ]  # fmt: skip


class Simulation:
    """Workers on a clock of their own: runs a source to its end and notes when each job ended."""

    def __init__(
        self, budget: Budget, workers: int, seed: int, *, seconds: float = 10.0, spread: float = 0.05,
        starts: float = 0.0,
    ) -> None:  # fmt: skip
        self.now, self.workers, self.most_at_once, self._starts = 0.0, workers, 0, starts
        self._random, self._seconds, self._spread = random.Random(seed), seconds, spread
        self.results: dict[str, TrialResult] = {}
        self.meter = Meter(budget, Known(()), clock=lambda: self.now)

    def cost(self) -> float:
        return self._seconds * (1 + self._random.uniform(-self._spread, self._spread))

    def run(self, source: Limited) -> None:
        running: list[tuple[float, str, Job, float]] = []
        while True:
            while len(running) < self.workers:
                job = source.next()
                if isinstance(job, Waiting):
                    assert running, "there is something to wait for"
                    break
                if job is None:
                    break
                took = self.cost()
                late = 0.0 if self.results else self._starts  # the first worker has to start
                heapq.heappush(running, (self.now + late + took, job.key, job, took))
            self.most_at_once = max(self.most_at_once, len(running))
            if not running:
                return
            self.now, _, job, took = heapq.heappop(running)
            self.results[job.key] = TrialResult(
                trial_id=job.key, config=job.configs[0], status="done",
                cost={"seconds_total": took, "seconds_eval": took / 5, "gpu_seconds": took},
            )  # fmt: skip
            source.finished(job)


def simulated(budget: Budget, workers: int, seed: int, closing: int = 0, starts: float = 0.0) -> Simulation:
    simulation = Simulation(budget, workers, seed, starts=starts)
    limited = Limited(
        Listed(jobs(420)), meter=simulation.meter, closing=lambda: [BASE] * closing, slots=workers,
        result=simulation.results.get, clock=lambda: simulation.now,
    )  # fmt: skip
    simulation.run(limited)
    assert "the next trial would take about" in limited.reason
    return simulation


@pytest.mark.parametrize(
    ("text", "kind", "amount"),
    [("20gpu-hours", "gpu_seconds", 72_000), ("1.5 gpuh", "gpu_seconds", 5400), ("2h", "seconds", 7200),
     ("90 min", "seconds", 5400), ("5e15flops", "flops", 5e15), ("1FLOP", "flops", 1)],
)  # fmt: skip
def test_a_budget_is_an_amount_with_its_unit(text: str, kind: str, amount: float) -> None:
    assert read_budget(text) == Budget(kind=kind, amount=amount)  # type: ignore[arg-type]


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "0h", "2 weeks", "nan flops", "5e15"])
def test_anything_else_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--budget: got .*, expected an amount such as 2h"):
        read_budget(text)


@pytest.mark.parametrize("kind", ["gpu_seconds", "seconds"])
@pytest.mark.parametrize("workers", [1, 4])
def test_twenty_of_twenty_budgets_are_met_within_five_percent(kind: str, workers: int) -> None:
    amount = 1000.0
    for seed in range(20):
        simulation = simulated(Budget(kind=kind, amount=amount), workers, seed)  # type: ignore[arg-type]
        spent = simulation.now if kind == "seconds" else sum(r.cost["gpu_seconds"] for r in simulation.results.values())
        assert 0.95 * amount <= spent <= 1.0 * amount + 1, (seed, spent)


def test_the_first_trial_of_a_kind_runs_alone_because_the_estimate_is_not_trusted() -> None:
    simulation = simulated(Budget(kind="gpu_seconds", amount=25.0), 8, seed=0)
    assert len(simulation.results) == 2, "eight at once would have spent three times the budget"
    assert simulation.most_at_once == 1


def test_scoring_the_choice_again_is_kept_back() -> None:
    plain, kept = (simulated(Budget(kind="gpu_seconds", amount=300.0), 1, 3, closing=n) for n in (0, 4))
    saved = 300.0 - sum(result.cost["gpu_seconds"] for result in kept.results.values())
    assert len(kept.results) < len(plain.results)
    assert saved >= 4 * REPORT_SPARE * 2.0 * 0.95  # four evaluations of a fifth of ten seconds


def test_on_the_clock_the_start_of_workers_is_kept_back_too() -> None:
    budget = Budget(kind="seconds", amount=300.0)
    slow = simulated(budget, 2, 1, closing=2, starts=30.0)
    assert 300.0 - slow.now >= 30.0 + REPORT_SPARE * 2.0 * 0.95


def test_earlier_launches_count_in_gpu_hours_and_not_on_the_clock() -> None:
    earlier = TrialResult(trial_id=BASE.trial_id, config=BASE, status="failed", cost={"gpu_seconds": 7.0})
    spent = [Meter(Budget(kind=kind, amount=10), Known(()), [earlier], clock=lambda: 5.0).spent
             for kind in ("gpu_seconds", "seconds")]  # type: ignore[arg-type]  # fmt: skip
    assert spent == [7.0, 0.0]


def test_trials_that_share_a_gpu_are_counted_by_their_share() -> None:
    meter = Meter(Budget(kind="gpu_seconds", amount=10), Known(()))
    meter.use(0.25)
    meter.add(TrialResult(trial_id="a", config=BASE, status="done", cost={"gpu_seconds": 8.0, "seconds_total": 8.0}))
    assert meter.spent == 2.0


def test_operations_are_counted_before_anything_has_run(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    folder = open_study(tmp_path)
    pace = Pace(())
    meter = Meter(Budget(kind="flops", amount=1e15), pace)
    estimate = pace.estimate(folder.study.base)
    assert meter.measured(folder.study.base)
    assert meter.expected(folder.study.base) == estimate.forwards * estimate.gflop_per_forward * 1e9


def test_a_search_whose_budget_is_used_up_has_made_all_of_its_proposals(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, points=[(0.1, 0.1), (0.2, 0.2)], report=False)
    course = Course(open_study(tmp_path), samples=50, seeds=1)
    assert not course.cells_ended()
    assert len(course.closing()) == 2
    course.close("the budget is used up")
    assert course.cells_ended()
    assert course.to_come() == 0


def test_certainty_ends_a_search_with_both_numbers() -> None:
    found = Certainty(score="robust accuracy", gain=0.2, noise=0.9, n=12)
    asked: list[int] = []

    def check() -> Certainty:
        asked.append(1)
        return found if len(asked) > 3 else replace(found, gain=1.0)

    limited = Limited(Listed(jobs(9)), certain=check)
    started = []
    while isinstance(job := limited.next(), Job):
        started.append(job)
        limited.finished(job)
    assert len(started) == 3
    assert limited.reason == (
        "after 12 cells the expected further gain of a trial in robust accuracy is 0.20 points, below the noise of the "
        "best score, 0.90 points"
    )


def test_the_expected_gain_falls_as_the_optimum_is_sampled() -> None:
    def score(
        points: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    ) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        return -100 * ((points - 0.7) ** 2).sum(axis=1)

    draw = np.random.default_rng(0)
    away, around = 0.45 * draw.random((14, 2)), draw.random((40, 2))
    assert expected_gain(away, score(away), 0.05, [1, 1]) > 3
    assert expected_gain(around, score(around), 0.05, [1, 1]) < 1
    assert expected_gain(away, np.ones(14), 0.05, [1, 1]) == 0.0


def test_certainty_needs_enough_cells_and_uses_the_interval_of_the_best(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "few")
    assert certainty(open_study(tmp_path / "few")) is None
    points = [(10 ** (-2 + 0.45 * i), 10 ** (-2 + 0.6 * j)) for i in range(4) for j in range(3)]
    make_study(tmp_path / "many", points=points, report=False)
    found = certainty(open_study(tmp_path / "many"))
    assert found is not None
    assert found.n == 12
    assert found.noise > 1


def test_a_search_fits_its_model_only_where_the_answer_can_have_changed(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = [(10 ** (-2 + 0.45 * i), 10 ** (-2 + 0.6 * j)) for i in range(4) for j in range(3)]
    make_study(tmp_path, points=points, report=False)
    folder = open_study(tmp_path)
    cells = scores(folder)
    asked: list[str] = []
    real = certainty_module._gain

    def counted(*args: Any) -> Any:
        asked.append("fitted" if args[-1] is None else "taken in")
        return real(*args)

    monkeypatch.setattr(certainty_module, "_gain", counted)
    watch = Watch()
    assert watch.look(folder, cells[:9]) is None, "too few cells to model"
    first = watch.look(folder, cells[:11])
    assert first is not None
    assert watch.look(folder, cells[:11]) is first, "nothing new has ended"
    assert watch.look(folder, [*cells[:11], replace(cells[11], failed=1)]) is first, "a cell has failed"
    assert asked == ["fitted"]
    assert watch.look(folder, cells) == certainty(folder), "what looks certain is fitted anew before it is said"
    assert asked == ["fitted", "taken in", "fitted", "fitted"]
    asked.clear()
    narrow = Interval(value=0.0, low=0.0, high=0.0, se=0.001, seeds=1, images=1)
    monkeypatch.setattr(certainty_module, "row_interval", lambda folder, cell: {"harmonic": narrow})
    watch = Watch()
    watch.look(folder, cells[:11])
    second = watch.look(folder, cells)
    assert second is not None
    assert (second.n, second.certain, asked) == (12, False, ["fitted", "taken in"])


def test_the_flags_are_read_and_belong_to_searches() -> None:
    options = read_options(SWEEP, ["--search", "tpe", "--budget", "2h", "--until-certain"])
    assert options.budget == Budget(kind="seconds", amount=7200)
    assert options.until_certain
    with pytest.raises(ConfigError, match="--until-certain: got True, expected --search with it"):
        read_options(SWEEP, ["--until-certain"])


def test_the_plan_says_how_far_the_budget_goes_and_what_is_kept_back(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, missing=lambda t: t.is_report or t.cell == "alpha=1 beta=1")
    folder = open_study(tmp_path)
    options = read_options(SWEEP, ["--budget", "1h", "--results", str(tmp_path)])
    (line,) = budget_lines(folder, options, Pace(folder.done().values()), slots=2)
    assert line == (
        "Budget of 60 min: enough for about 1 of the 1 trials of cells, at 2 s each (as trials of this study took); "
        "2 s are kept back to score the choice again."
    )
    tight = replace(options, budget=Budget(kind="seconds", amount=1.0))
    (line,) = budget_lines(folder, tight, Pace(folder.done().values()), slots=2)
    assert "enough for about 0 of the 1 trials" in line
    assert budget_lines(folder, replace(options, budget=None), Pace(()), slots=2) == []
