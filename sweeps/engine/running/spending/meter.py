"""What trials have cost and will cost, in the unit of a budget."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from sweeps.engine.running.pace import Pace, shape
from sweeps.engine.running.spending.budget import Budget
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

HIGH = 0.9  # quantile of the measured costs of a shape that a trial is expected not to exceed
LATEST = 50  # measured costs that are looked at, because a cluster may become slower or faster
REPORT_SPARE = 1.5  # times an evaluation that scoring the choice again may take, because its trials are audited too


class Meter:
    """The costs of a study's trials in the unit of ``budget``, measured where a trial of the same shape has ended.

    Before that they are estimated; operations are always counted.
    """

    def __init__(
        self, budget: Budget, pace: Pace, results: Iterable[TrialResult] = (), *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.budget, self._pace, self._clock, self._gpus = budget, pace, clock, 1.0
        self._began = clock()
        self._shapes: dict[TrialConfig, str] = {}
        self._costs: dict[str, list[float]] = {}  # by shape
        self._evaluations: dict[str, list[float]] = {}
        self._ended: dict[str, float] = {}  # by trial id: what it has cost, stopped and failed ones too
        for result in results:
            self.add(result)

    def use(self, gpus: float) -> None:
        """Count each trial with so many GPUs, or such a share of one."""
        self._gpus = gpus

    def total(self, results: Iterable[TrialResult]) -> float:
        """Return what has been spent, with all ``results``, those on the report split too."""
        for result in results:
            if result.trial_id not in self._ended:
                self.add(result)
        return self.spent

    def add(self, result: TrialResult) -> None:
        """Take in a result."""
        cost = self._cost(result)
        self._ended[result.trial_id] = cost
        if result.status == "done":
            self._costs.setdefault(self._shape(result.config), []).append(cost)
            whole = seconds_of(result)
            share = result.cost.get("seconds_eval", 0.0) / whole if whole else 1.0
            self._evaluations.setdefault(self._evaluation(result.config), []).append(cost * share)

    def _cost(self, result: TrialResult) -> float:
        if self.budget.kind == "flops":
            share = 1.0 if result.status == "done" or not result.rungs else result.rungs[-1].share
            return share * self._operations(result.config) if result.cost else 0.0
        if self.budget.kind == "gpu_seconds":
            return min(1.0, self._gpus) * result.cost.get("gpu_seconds", 0.0)
        return seconds_of(result)

    def _operations(self, config: TrialConfig) -> float:
        estimate = self._pace.estimate(config)
        return estimate.forwards * estimate.gflop_per_forward * 1e9

    @property
    def spent(self) -> float:
        """What has been spent: the time of this launch, or the cost of all trials that have ended."""
        return self._clock() - self._began if self.budget.kind == "seconds" else sum(self._ended.values())

    def text(self) -> str:
        """Return what has been spent of the budget by trials that have ended, in words."""
        return f"{self.budget.text(self.spent)} of {self.budget.text()} spent"

    def measured(self, config: TrialConfig) -> bool:
        """Return whether the cost of trials of this shape is known, so that nothing rests on an estimate."""
        return self.budget.kind == "flops" or self._shape(config) in self._costs

    def expected(self, config: TrialConfig) -> float:
        """Return the cost that a trial is not expected to exceed."""
        known = self._costs.get(self._shape(config))
        if self.budget.kind == "flops":
            return self._operations(config)
        if known:
            return _high(known)
        seconds = self._pace.seconds(config)
        return seconds * self._gpus if self.budget.kind == "gpu_seconds" else seconds

    def scoring(self, config: TrialConfig) -> float:
        """Return the expected cost of scoring ``config`` on the report split, where its weights are kept."""
        report = config.with_({"eval_suite.split": "report"})
        again = report.with_({"epochs": 0})
        own, others = (self._evaluations.get(self._evaluation(each), []) for each in (report, config))
        if self.budget.kind == "flops" or not (own or others):
            return REPORT_SPARE * self.expected(again)
        larger = 1.0 if own else self._operations(again) / self._operations(config.with_({"epochs": 0}))
        return REPORT_SPARE * larger * _high(own or others)

    def left(self, running: Mapping[str, tuple[TrialConfig, float]]) -> float:
        """Return what is left of the budget after the running trials, given as id -> (configuration, when it began).

        On the clock running trials take no time of their own, because others run beside them.
        """
        if self.budget.kind == "seconds":
            return self.budget.amount - self.spent
        now = self._clock()
        more = (max(self.expected(config), self._so_far(now - began)) for config, began in running.values())
        return self.budget.amount - self.spent - sum(more)

    def _so_far(self, seconds: float) -> float:
        return seconds * self._gpus if self.budget.kind == "gpu_seconds" else 0.0

    def _shape(self, config: TrialConfig) -> str:
        """Return the key of a trial's cost, made once for each configuration, because it is asked for often."""
        if config not in self._shapes:
            self._shapes[config] = shape(config)
        return self._shapes[config]

    def _evaluation(self, config: TrialConfig) -> str:
        """Return a key of the cost of an evaluation alone, whatever was trained before."""
        return self._shape(replace(config, epochs=0))


def seconds_of(result: TrialResult) -> float:
    """Return the seconds that a trial has taken, without its audit."""
    parts = result.cost.get("seconds_train", 0.0) + result.cost.get("seconds_eval", 0.0)
    return result.cost.get("seconds_total", parts)


def _high(known: Sequence[float]) -> float:
    """Return the quantile of the latest measured costs that a trial is not expected to exceed."""
    return float(np.quantile(known[-LATEST:], HIGH))
