"""A source of jobs that ends early: when the next job would not fit the budget, or when nothing better is expected."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from sweeps.engine.analysis.searching.certainty import Certainty
from sweeps.engine.running.jobs import WAIT, Job, Source, Waiting
from sweeps.engine.running.spending.meter import Meter, seconds_of
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

Check = Callable[[], Certainty | None]


class Limited:
    """Gives the jobs of ``source`` as long as each is sure to finish within the budget, in their order.

    The first trial of a shape runs alone, because it is the measurement that the others are planned by. ``closing``
    gives the configurations that are scored again at the end; their cost is kept back. ``ahead``: the configurations
    of the next job of a source that decides only when it is asked, as a search does.
    """

    def __init__(
        self,
        source: Source,
        *,
        meter: Meter | None = None,
        closing: Callable[[], Sequence[TrialConfig]] = tuple,
        ahead: Sequence[TrialConfig] = (),
        result: Callable[[str], TrialResult | None] = lambda trial_id: None,
        certain: Check | None = None,
        slots: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source, self._meter, self._closing, self._ahead = source, meter, closing, ahead
        self._result, self._certain, self._slots, self._clock = result, certain, slots, clock
        self._held: Job | None = None  # taken from a list, but not started yet
        self._running: dict[str, tuple[Job, float]] = {}
        self._overhead = 0.0  # seconds that a worker has taken to start, the longest so far
        self._looked_at = -1
        self._ended = 0
        self.reason = ""  # why it has ended early; empty while it has not
        self.over = False  # whether it has ended because the next job would not fit the budget

    def next(self) -> Job | Waiting | None:
        """Return the next job; :data:`WAIT` while a measurement runs that decides about it; None at the end."""
        if self.reason:
            return None
        if self._settled():
            return None
        if self._ahead and self._meter is not None:
            verdict = self._fits(self._ahead)
            if verdict is not None:
                return None if verdict == "over" else WAIT
        following = self._held or self._source.next()
        if following is None or isinstance(following, Waiting):
            return following
        verdict = None if self._meter is None or self._ahead else self._fits(following.configs)
        if verdict is not None:
            self._held = following
            return None if verdict == "over" else WAIT
        self._held = None
        self._running[following.key] = (following, self._clock())
        return following

    def finished(self, job: Job) -> None:
        _, began = self._running.pop(job.key, (job, self._clock()))
        self._ended += 1
        results = [result for trial in job.trials if (result := self._result(trial.trial_id)) is not None]
        self._overhead = max(self._overhead, self._clock() - began - sum(map(seconds_of, results)))
        if self._meter is not None:
            for result in results:
                self._meter.add(result)
        self._source.finished(job)

    def _settled(self) -> bool:
        """Return whether nothing better is expected; looks once after each job that has ended."""
        if self._certain is None or self._looked_at == self._ended:
            return False
        self._looked_at = self._ended
        found = self._certain()
        if found is not None and found.certain:
            self.reason = found.text
        return bool(self.reason)

    def _fits(self, configs: Sequence[TrialConfig]) -> str | None:
        """Return None if a job of ``configs`` fits, "wait" if a measurement that decides is running, else "over"."""
        assert self._meter is not None
        meter = self._meter
        if self._running and not all(meter.measured(config) for config in configs):
            return "wait"
        running = {
            trial.trial_id: (config, began)
            for job, began in self._running.values()
            for trial, config in zip(job.trials, job.configs, strict=True)
        }
        to_score = self._closing()
        costs = {config: meter.scoring(config) for config in set(to_score)}  # nearly all are the study's base
        closing = [costs[config] for config in to_score]
        on_clock = meter.budget.kind == "seconds"
        kept_back = sum(closing)
        if on_clock and closing:  # scoring starts workers anew
            kept_back = self._overhead + math.ceil(len(closing) / self._slots) * max(closing)
        needs = sum(meter.expected(config) for config in configs)
        if needs + kept_back <= meter.left(running):
            return None
        text = meter.budget.text
        self.over = True
        self.reason = (
            f"the next trial would take about {text(needs)} and scoring the choice again about {text(kept_back)}, of "
            f"{text(max(0.0, meter.left(running)))} left"
        )
        return "over"
