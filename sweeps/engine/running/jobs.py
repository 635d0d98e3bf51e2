"""What a worker is handed and how it runs it, the same in this process and in a Ray actor."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder
from zsr_core.codec import to_plain
from zsr_core.events import Event, OnEvent, plain_numbers
from zsr_core.files import write_text
from zsr_core.trial.audited import audit_trial, keep_failure
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.result import TrialResult, read_result
from zsr_core.trial.run import run_trial_together


def processes_of(gpus_per_trial: float | None) -> int:
    """Return how many processes share a trial: one a GPU where it has several."""
    return max(1, int(gpus_per_trial or 1))


Report = Callable[[str, dict[str, float]], None]  # (trial id, what the trial says)
REPORT_SECONDS = 2.0  # the least time between two reports of one trial that are not the end of an epoch


@dataclass(frozen=True, kw_only=True)
class Job:
    """What one worker runs in one go: one trial, or the paired seeds of one proposal, one after the other."""

    trials: tuple[PlannedTrial, ...]
    configs: tuple[TrialConfig, ...]

    @property
    def key(self) -> str:
        return "-".join(trial.trial_id for trial in self.trials)


def job(study: Study, trials: Iterable[PlannedTrial]) -> Job:
    """Return the job of running ``trials`` of ``study``."""
    chosen = tuple(trials)
    return Job(trials=chosen, configs=tuple(study.config(trial) for trial in chosen))


class Source(Protocol):
    """Where jobs come from: a list, or a search that proposes the next from what has finished."""

    def next(self) -> Job | None:
        """Return the next job, or None when there are no more."""
        ...

    def finished(self, job: Job) -> None:
        """Take note that ``job`` has ended; its results lie in their folders."""
        ...


class Watch(Protocol):
    """Who is told how it goes, in the launching process."""

    def started(self, job: Job) -> None: ...
    def progress(self, trial_id: str, metrics: dict[str, float]) -> None: ...
    def finished(self, job: Job) -> None: ...


class Listed:
    """Jobs known from the start, in order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left = deque(jobs)

    def next(self) -> Job | None:
        return self._left.popleft() if self._left else None

    def finished(self, job: Job) -> None:
        """Nothing to note: the list does not depend on results."""


def perform(
    configs: Iterable[TrialConfig], folder: Path, report: Report, device: str | None = None, processes: int = 1
) -> None:
    """Run the trials one after the other, each into its folder under ``folder``; what is done already is left alone.

    ``processes`` share each trial: one a GPU.
    """
    for config in configs:
        place = trial_folder(folder, config.trial_id)
        earlier = read_result(place)
        if earlier is None or earlier.status != "done":
            place.mkdir(parents=True, exist_ok=True)
            with (place / "progress.jsonl").open("w", encoding="utf-8") as log:
                context = RunContext(cache=folder, device=device, on_event=_reporter(config, report, log))
                run_trial_together(config, place, processes, context)
        if config.eval_suite.split == "report":
            _audit(place, folder, device)


def _audit(place: Path, folder: Path, device: str | None) -> None:
    """Audit, in the cheap tier, what a study ends with; an audit that breaks costs no result, and says so."""
    result = read_result(place)
    if result is None or result.status != "done" or result.audit:
        return
    try:
        audit_trial(result, place, folder, tier="cheap", device=device)
    except Exception as error:
        keep_failure(result, place, error)


def _reporter(config: TrialConfig, report: Report, log: TextIO) -> OnEvent:
    """Return a trial's ``on_event``: it logs epochs and tasks, and reports epochs, and tasks every few seconds."""
    epochs, trial_id = config.epochs, config.trial_id
    last = {"time": -REPORT_SECONDS, "epoch": 0.0}

    def on_event(event: Event) -> None:
        metrics = plain_numbers(event)
        if metrics is None:
            return
        now, epoch = time.monotonic(), metrics.get("epoch")
        print(json.dumps({"time": round(time.time(), 2), **metrics}), file=log, flush=True)
        last["epoch"] = last["epoch"] if epoch is None else epoch
        if epoch is not None or now - last["time"] >= REPORT_SECONDS:
            last["time"] = now
            share = (last["epoch"] + metrics.get("task", 0) / metrics.get("tasks", 1)) / (epochs + 1)
            report(trial_id, {**metrics, "epochs": epochs, "done_share": share})

    return on_event


def record_failure(folder: Path, config: TrialConfig, error: str) -> TrialResult:
    """Write and return a failed result that says why there is no other."""
    result = TrialResult(trial_id=config.trial_id, config=config, status="failed", error=error)
    write_text(trial_folder(folder, config.trial_id) / "result.json", json.dumps(to_plain(result), indent=1) + "\n")
    return result


def settle(folder: Path, job: Job, error: str) -> None:
    """Write a failed result for every trial of ``job`` that is not done, because its worker broke with ``error``."""
    for config in job.configs:
        earlier = read_result(trial_folder(folder, config.trial_id))
        if earlier is None or earlier.status != "done":
            record_failure(folder, config, error)
