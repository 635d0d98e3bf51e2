"""The jobs of workers and how they run, the same in this process and in a Ray actor."""

from __future__ import annotations

import faulthandler
import json
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TextIO

from sweeps.engine.running.answers import answered
from sweeps.engine.running.pace import TimeLimit, time_limit
from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder
from zsr_core.audit.plan import Request
from zsr_core.events import Event, OnEvent, plain_numbers
from zsr_core.files import write_text
from zsr_core.trial.audited import audit_trial, keep_failure
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext, always
from zsr_core.trial.result import TrialResult, read_result, write_result
from zsr_core.trial.run import run_trial_together
from zsr_core.trial.rung_score import RungScore
from zsr_core.trial.rungs import Rungs


def processes_of(gpus_per_trial: float | None) -> int:
    """Return how many processes share a trial: one per GPU if it has several."""
    return max(1, int(gpus_per_trial or 1))


Report = Callable[[str, dict[str, float]], None]  # (trial id, metrics)
CUT_OFF_BY = "cut_off_by"  # in the provenance of a failed result: the launch that ended the trial
FATAL = "fatal.txt"  # in the folder of a running trial: the name and stack of a fatal signal
AtRung = Callable[[str, int], None]  # (trial id, rung)
REPORT_SECONDS = 2.0  # least time between two reports of a trial, except at the end of an epoch


class ClusterLost(RuntimeError):
    """A process of Ray that the sweep needs has died or did not start; the message says which one."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """The work of one worker: one trial, or the paired seeds of one proposal in turn."""

    trials: tuple[PlannedTrial, ...]
    configs: tuple[TrialConfig, ...]
    score_eps: float  # the budget at which trials on the report split are audited
    metrics: tuple[str, ...] = ()  # what is measured beside the metrics of every trial: the study's objectives

    @property
    def key(self) -> str:
        return "-".join(trial.trial_id for trial in self.trials)


def job(study: Study, trials: Iterable[PlannedTrial]) -> Job:
    """Return the job of running ``trials`` of ``study``."""
    chosen = tuple(trials)
    return Job(
        trials=chosen, configs=tuple(study.config(trial) for trial in chosen), score_eps=study.score_eps,
        metrics=study.objectives,
    )  # fmt: skip


class Waiting:
    """Instead of a job: there may be one once a running job has ended."""


WAIT = Waiting()


class Source(Protocol):
    """A source of jobs: a list, or a search that proposes the next job from finished ones."""

    def next(self) -> Job | Waiting | None:
        """Return the next job, None when there are no more, or WAIT, which only comes while a job is running."""
        ...

    def finished(self, job: Job) -> None:
        """Note that ``job`` has ended; its results are in the trial folders."""
        ...


class Watch(Protocol):
    """Receives the progress of jobs in the launching process."""

    def started(self, job: Job) -> None: ...
    def progress(self, trial_id: str, metrics: dict[str, float]) -> None: ...
    def at_rung(self, trial_id: str, rung: int) -> None:
        """Decide about a trial that was scored at a rung, and leave the answer in its folder."""
        ...

    def finished(self, job: Job) -> None: ...
    def look(self, now: float) -> None:
        """Look after the running trials, about once a second, at a time of the monotonic clock."""
        ...


class Listed:
    """Jobs known from the start, in order."""

    def __init__(self, jobs: Iterable[Job]) -> None:
        self._left = deque(jobs)

    def next(self) -> Job | None:
        return self._left.popleft() if self._left else None

    def finished(self, job: Job) -> None:
        """Do nothing, because the list does not depend on results."""


def perform(
    configs: Iterable[TrialConfig],
    folder: Path,
    report: Report,
    *,
    score_eps: float,
    device: str | None = None,
    processes: int = 1,
    limit: float | None = None,
    launch: str = "",
    rungs: Rungs | None = None,
    at_rung: AtRung | None = None,
    metrics: tuple[str, ...] = (),
    deterministic: bool = False,
) -> None:
    """Run the trials in turn, each into its folder under ``folder``; trials that are done are skipped.

    ``processes`` share each trial, one per GPU. ``score_eps``: the budget at which report trials are audited.
    ``limit``: the seconds after which a trial fails; only in a main thread. ``launch``: trials that this launch has
    cut off are skipped. ``rungs``: when trials of the selection are scored while they train; ``at_rung`` tells the
    launching process, which answers in the trial's folder. The seeds after a stopped one are not run.
    ``metrics``: names of those that are measured beside the metrics of every trial. ``deterministic``: as in
    :class:`RunContext`.
    """
    stopped = ""
    for i, config in enumerate(configs):
        place = trial_folder(folder, config.trial_id)
        earlier = read_result(place)
        if earlier is not None and earlier.provenance.get(CUT_OFF_BY, "") == launch != "":
            continue
        if stopped:
            write_stopped(place, config, stopped)
            continue
        if i:
            report(config.trial_id, {})
        if earlier is None or earlier.status != "done":
            place.mkdir(parents=True, exist_ok=True)
            with (place / "progress.jsonl").open("w", encoding="utf-8") as log, _fatal_errors_kept(place):
                scored = at_rung is not None and config.eval_suite.split == "selection"
                context = RunContext(
                    cache=folder, device=device, on_event=_reporter(config, report, log),
                    rungs=rungs if scored else None, goes_on=_asker(place, at_rung), metrics=metrics,
                    deterministic=deterministic,
                )  # fmt: skip
                _run(config, place, processes, context, limit)
            ended = read_result(place)
            if ended is not None and ended.status == "pruned":
                stopped = f"not run, because seed {config.seed} of its cell was stopped"
        if config.eval_suite.split == "report":
            _audit(place, folder, device, score_eps, limit)


def _asker(place: Path, at_rung: AtRung | None) -> Callable[[RungScore], str]:
    """Return a trial's ``goes_on``: it tells the launching process of a score and returns its answer."""
    if at_rung is None:
        return always

    def goes_on(score: RungScore) -> str:
        at_rung(score.trial_id, score.rung)
        return answered(place, score.rung)

    return goes_on


def write_stopped(place: Path, config: TrialConfig, why: str) -> None:
    """Write the result of a trial that is not run, because its cell was stopped at an earlier seed."""
    write_result(place, TrialResult(trial_id=config.trial_id, config=config, status="pruned", error=why))


def _run(config: TrialConfig, place: Path, processes: int, context: RunContext, limit: float | None) -> None:
    """Run one trial. Any error, also ``sys.exit``, becomes its failed result; only Ctrl-C is raised."""
    try:
        with time_limit(limit):
            run_trial_together(config, place, processes, context)
    except KeyboardInterrupt:
        raise
    except TimeLimit as error:
        write_text(place / "traceback.txt", traceback.format_exc())
        write_failure(place, config, str(error))
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}".rstrip(": ")
        write_text(place / "traceback.txt", traceback.format_exc())
        write_failure(place, config, f"{reason} (raised by the trial itself)")


@contextmanager
def _fatal_errors_kept(place: Path) -> Iterator[None]:
    """Within, a fatal signal (SIGSEGV, SIGABRT, ...) writes its name and the Python stack to ``fatal.txt``."""
    file = place / FATAL
    with file.open("w", encoding="utf-8") as out:
        faulthandler.enable(out, all_threads=False)
        try:
            yield
        finally:
            faulthandler.disable()
    file.unlink(missing_ok=True)


def _audit(place: Path, folder: Path, device: str | None, eps: float, limit: float | None) -> None:
    """Run the cheap audit on a trial of the report split; its failure is recorded and the result is kept."""
    result = read_result(place)
    if result is None or result.status != "done" or result.audit:
        return
    try:
        with time_limit(limit):
            audit_trial(result, place, folder, Request(tier="cheap", eps=eps), device=device)
    except (Exception, TimeLimit) as error:
        keep_failure(result, place, error, eps=eps)


def _reporter(config: TrialConfig, report: Report, log: TextIO) -> OnEvent:
    """Return a trial's ``on_event``: it logs every epoch and task, and reports every epoch and some tasks."""
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


def write_failure(place: Path, config: TrialConfig, error: str, **provenance: str) -> TrialResult:
    """Write a failed result into a trial's folder and return it."""
    result = TrialResult(
        trial_id=config.trial_id, config=config, status="failed", error=error, provenance=dict(provenance)
    )
    write_result(place, result)
    return result


def settle(folder: Path, job: Job, error: str, trace: str = "") -> None:
    """Write a failed result for every trial of ``job`` that is not done, because its worker broke with ``error``.

    ``trace`` is kept beside the result. If the worker has recorded a fatal signal, the signal is the reason.
    """
    for config in job.configs:
        place = trial_folder(folder, config.trial_id)
        earlier = read_result(place)
        if earlier is not None and earlier.status == "done":
            continue
        fatal = (place / FATAL).read_text(encoding="utf-8", errors="replace") if (place / FATAL).is_file() else ""
        reason = f"its worker broke: {fatal.splitlines()[0]}" if fatal.strip() else error
        if fatal or trace:
            write_text(place / "traceback.txt", f"{fatal}\n{trace}".strip() + "\n")
        write_failure(place, config, reason)


def cut_off(folder: Path, job: Job, trial_id: str, limit: float, launch: str) -> None:
    """Write that a trial of ``job`` ran longer than ``limit`` seconds; ``launch`` will not run it again.

    A trial that is done keeps its result: its audit failed.
    """
    config = next(config for config in job.configs if config.trial_id == trial_id)
    place = trial_folder(folder, trial_id)
    result = read_result(place)
    if result is None or result.status != "done":
        write_failure(place, config, str(TimeLimit(limit)), **{CUT_OFF_BY: launch})
    elif not result.audit:
        keep_failure(result, place, TimeLimit(limit), eps=job.score_eps)
