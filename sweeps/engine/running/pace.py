"""How long trials are expected to take, which of them are slow, and the end of those that run too long."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from statistics import median
from types import FrameType

from zsr_core.codec import ConfigError, canonical
from zsr_core.duration import duration
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import Estimate, estimate
from zsr_core.trial.result import TrialResult

SLOW = 4.0  # times the expected seconds, after which a running trial is reported; trials that share a machine vary by 2
PATIENCE_SECONDS = 60.0  # no trial is reported before


class Pace:
    """The seconds of trials: measured on finished ones of this study, else estimated.

    ``seconds_of`` is what an estimate comes to; by default, on this machine.
    """

    def __init__(
        self, results: Iterable[TrialResult], seconds_of: Callable[[Estimate], float] = lambda cost: cost.seconds
    ) -> None:
        self._seconds_of = seconds_of
        self._measured: dict[str, list[float]] = {}
        self._estimates: dict[str, Estimate] = {}
        for result in results:
            self.add(result)

    def add(self, result: TrialResult) -> None:
        """Take in a result; one that is not done has no say."""
        seconds = result.cost.get("seconds_total")
        if result.status == "done" and seconds is not None:
            self._measured.setdefault(shape(result.config), []).append(seconds)

    def measured(self, config: TrialConfig) -> float | None:
        """Return the median seconds of finished trials of this shape; None if there are none."""
        seconds = self._measured.get(shape(config))
        return median(seconds) if seconds else None

    def estimate(self, config: TrialConfig) -> Estimate:
        """Return the estimate before any measurement, made once for each shape."""
        key = shape(config)
        if key not in self._estimates:
            cost = estimate(config)
            self._estimates[key] = replace(cost, seconds=self._seconds_of(cost))
        return self._estimates[key]

    def seconds(self, config: TrialConfig) -> float:
        """Return the measured seconds, or else the estimate."""
        measured = self.measured(config)
        return self.estimate(config).seconds if measured is None else measured

    @property
    def absent(self) -> list[str]:
        """The image sets that are not on this machine, as far as estimates have counted them."""
        return sorted({name for each in self._estimates.values() for name in each.absent})


def shape(config: TrialConfig) -> str:
    """Return a key of a trial's cost: trials that differ only in weights and seed cost the same."""
    sizes = [
        config.model, config.train_attack, config.train_data, config.epochs, config.eval_suite, config.perturbation,
        config.batch_size, config.precision, config.attack_precision,
    ]  # fmt: skip
    return f"{config.method.passes} {canonical(sizes)}"


def slow_text(pace: Pace, config: TrialConfig, elapsed: float, *, estimates: bool) -> str:
    """Return a sentence about a trial that has run for ``elapsed`` seconds; empty if that is no more than expected.

    Args:
        estimates: use the plan's estimate if no trial of this shape has finished.
    """
    if elapsed < PATIENCE_SECONDS:
        return ""
    expected = pace.measured(config)
    source = "finished trials of this study took"
    if expected is None and estimates:
        try:
            expected, source = pace.estimate(config).seconds, "the estimate was"
        except (ConfigError, OSError):  # the trial itself will say what is wrong
            return ""
    if expected is None or elapsed < SLOW * expected:
        return ""
    return f"has run for {duration(elapsed)}; {source} {duration(expected)}. --trial-timeout ends trials that hang"


class TimeLimit(BaseException):
    """A trial has run longer than ``seconds``. It is no ``Exception``, so that no code of a trial passes over it."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"ran longer than --trial-timeout allows: {duration(seconds)}")


@contextmanager
def time_limit(seconds: float | None) -> Iterator[None]:
    """Within, :class:`TimeLimit` is raised after ``seconds``, if given; a main thread alone can do so.

    It is raised between two steps of Python: a call into native code that never returns is not interrupted.
    """
    if seconds is None:
        yield
        return
    allowed = seconds

    def end(number: int, frame: FrameType | None) -> None:
        raise TimeLimit(allowed)

    before = signal.signal(signal.SIGALRM, end)
    signal.setitimer(signal.ITIMER_REAL, allowed)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
