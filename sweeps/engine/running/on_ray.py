"""Jobs on Ray Tune, on this machine or on the cluster that RAY_ADDRESS names.

Ray Tune schedules the jobs and restarts dead workers. Finished and missing trials are read from the trial folders,
never from Tune's own state, so its storage is deleted after each attempt.

A trial with several GPUs gets them on one machine, and its worker starts a process for each. Ray Train, within Tune at
2.60, reserves its workers outside of the trial's own resources, hands no metric back without a checkpoint, and took 40
seconds a trial of two idle workers (on two CPU cores), most of it waiting for its own processes to stop.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import time
import warnings
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from sweeps.engine.running.cluster.health import Health, watched
from sweeps.engine.running.cluster.join import Cluster
from sweeps.engine.running.jobs import Job, Source, Waiting, Watch, cut_off, perform, settle
from zsr_core.codec import from_plain, to_plain
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.rungs import Rungs

# The sentence in which Ray says how a process ended, without its list of common causes.
EXIT_DETAIL = re.compile(r"Worker exit detail: (.*?)(?: There are some potential root causes.*)?(?: \(1\).*)?$")
LOOK_SECONDS = 1.0


def run_on_ray(
    source: Source,
    folder: Path,
    watch: Watch,
    on: Cluster,
    *,
    search: bool,
    limit: float | None = None,
    rungs: Rungs | None = None,
    deterministic: bool = False,
) -> None:
    """Run every job of ``source`` into ``folder`` and report to ``watch``.

    Without a search all jobs are known, and Tune gets them as one grid axis. In a search, ``source`` proposes each job
    when a worker is free. With ``rungs`` trials are scored while they train. A trial that runs longer than ``limit``
    seconds is ended and fails. ``deterministic``: the same sums in every run on a GPU.

    Raises:
        ClusterLost: within seconds, if a process of Ray that the sweep needs has died.
    """
    jobs = [] if search else [job for job in iter(source.next, None) if isinstance(job, Job)]
    searcher = _Proposer(source) if search else None
    if not jobs and searcher is None:
        return
    launch = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    resources = {"cpu": on.cpus_per_trial, "gpu": on.gpus_per_trial}
    place, threads, gpu, processes = str(folder), int(on.cpus_per_trial), on.gpus_per_trial > 0, on.processes

    def worker(config: dict[str, Any]) -> None:
        _work(config, folder=place, threads=threads, gpu=gpu, processes=processes, launch=launch, rungs=rungs,
              deterministic=deterministic)  # fmt: skip

    def fit(go_on: Callable[[], None]) -> None:
        follower = _Follower(
            source, watch, folder, {job.key: job for job in jobs} if searcher is None else searcher.jobs,
            go_on=go_on, limit=limit, launch=launch,
        )  # fmt: skip
        tuner = Tuner(
            tune.with_resources(worker, resources),
            param_space={} if search else {"job": tune.grid_search([_packed(job) for job in jobs])},
            tune_config=TuneConfig(
                search_alg=searcher,
                scheduler=RungScheduler(watch),
                num_samples=-1 if search else 1,
                max_concurrent_trials=on.slots,
                reuse_actors=True,
                trial_name_creator=_short_name,
                trial_dirname_creator=_short_name,
            ),
            run_config=RunConfig(
                name=launch,
                storage_path=str(folder / "ray"),
                failure_config=FailureConfig(max_failures=1),
                callbacks=[follower],
                verbose=0,
            ),
        )
        tuner.fit()

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            watched(fit)
    finally:
        shutil.rmtree(folder / "ray", ignore_errors=True)


def _packed(job: Job) -> str:
    """Return a job as text, because Tune would search a mapping for domains."""
    configs = [to_plain(config) for config in job.configs]
    return json.dumps({"key": job.key, "configs": configs, "score_eps": job.score_eps, "metrics": job.metrics})


def _key(trial: Trial) -> str:
    return str(json.loads(trial.config["job"])["key"])


def _short_name(trial: Trial) -> str:
    return f"{_key(trial)[:12]}-{trial.trial_id}"


def _work(
    config: dict[str, Any],
    folder: str,
    threads: int,
    gpu: bool,
    processes: int,
    launch: str,
    rungs: Rungs | None,
    deterministic: bool,
) -> None:
    """Run one job in a Ray worker."""
    torch.set_num_threads(threads)
    packed = json.loads(config["job"])
    configs = [from_plain(TrialConfig, plain) for plain in packed["configs"]]

    def report(trial_id: str, metrics: dict[str, float]) -> None:
        tune.report({"trial": trial_id, "metrics": metrics})

    def at_rung(trial_id: str, rung: int) -> None:
        tune.report({"trial": trial_id, "rung": rung})  # returns after the scheduler has seen it

    perform(
        configs, Path(folder), report, score_eps=packed["score_eps"], device="cuda" if gpu else "cpu",
        processes=processes, launch=launch, rungs=rungs, at_rung=None if rungs is None else at_rung,
        metrics=tuple(packed["metrics"]), deterministic=deterministic,
    )  # fmt: skip
    tune.report({"ended": True})


class RungScheduler(FIFOScheduler):
    """Lets every trial go on for Tune, and has those that arrive at a rung decided upon.

    Tune's own ASHA knows neither noise nor several objectives, tells Optuna that a stopped trial is complete, and
    begins with empty rungs after a resume. A stopped trial ends itself, because a decision to STOP would end the
    worker's thread while it writes, and a job may hold further seeds.
    """

    def __init__(self, watch: Watch) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watch = watch

    def __getstate__(self) -> dict[str, Any]:
        return {}  # what is known at rungs is in the study's log, not in Tune's state

    def on_trial_result(self, tune_controller: Any, trial: Trial, result: dict[str, Any]) -> str:
        if "rung" in result:
            self._watch.at_rung(result["trial"], result["rung"])
        return str(TrialScheduler.CONTINUE)


class _Proposer(Searcher):
    """Gives Tune the jobs of ``source``. The callback reports results to the source after they are on disk."""

    def __init__(self, source: Source) -> None:
        super().__init__()
        self._source = source
        self.jobs: dict[str, Job] = {}

    def suggest(self, trial_id: str) -> Any:
        job = self._source.next()
        if job is None:
            return Searcher.FINISHED
        if isinstance(job, Waiting):
            return None  # Tune asks again
        self.jobs[job.key] = job
        return {"job": _packed(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing, because the callback reports results."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the study's journal holds the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its tuner; the source has open files and is never restored from the pickle


class _Follower(Callback):
    """Follows Tune step by step, in the thread that Tune runs in.

    Reports progress to ``watch``, ends trials that run longer than ``limit``, and makes sure that each trial of a job
    has a result when the job ends.
    """

    def __init__(
        self,
        source: Source,
        watch: Watch,
        folder: Path,
        jobs: Mapping[str, Job],
        *,
        go_on: Callable[[], None],
        limit: float | None,
        launch: str,
    ) -> None:
        self._source, self._watch, self._folder, self._jobs = source, watch, folder, jobs
        self._go_on, self._limit, self._launch = go_on, limit, launch
        self._began: dict[str, tuple[str, float]] = {}  # by the key of a running job: its trial and when that began
        self._looked = time.monotonic()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_begin(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """Look after the running trials, once a second; Tune takes ten steps a second."""
        self._go_on()
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        self._watch.look(now)
        limit = math.inf if self._limit is None else self._limit
        for trial in trials:
            _, began = self._began.get(_key(trial), ("", now))
            if trial.status == Trial.RUNNING and now - began > limit:
                self._end_early(trial, now)

    def _end_early(self, trial: Trial, now: float) -> None:
        """Write the failed result of a job's trial and end its worker; Tune goes on with the job in another one."""
        job = self._jobs[_key(trial)]
        trial_id, _ = self._began[job.key]
        cut_off(self._folder, job, trial_id, self._limit or 0.0, self._launch)
        self._began[job.key] = (trial_id, now)
        trial.max_failures += 1
        actor = trial.temporary_state.ray_actor
        if actor is not None:
            ray.kill(actor)

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        job = self._jobs[_key(trial)]
        self._began[job.key] = (job.trials[0].trial_id, time.monotonic())
        self._watch.started(job)

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "metrics" not in result:
            return
        key = _key(trial)
        if self._began[key][0] != result["trial"]:  # the job has moved on to its next seed
            self._began[key] = (result["trial"], time.monotonic())
        self._watch.progress(result["trial"], result["metrics"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(self._jobs[_key(trial)])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        Health().check()  # otherwise the trials of a dead raylet would count as failed
        job = self._jobs[_key(trial)]
        settle(self._folder, job, *_reason(trial))
        self._end(job)

    def _end(self, job: Job) -> None:
        self._began.pop(job.key, None)
        self._watch.finished(job)
        self._source.finished(job)


def _reason(trial: Trial) -> tuple[str, str]:
    """Return the cause of a worker's failure in a line, and the full text of Ray's error file.

    Ray keeps the error as text in the trial's local folder. The pickle beside it is never loaded.
    """
    file = trial.error_file
    text = Path(file).read_text(encoding="utf-8", errors="replace") if file and Path(file).is_file() else ""
    return worker_error(text), text


def worker_error(text: str) -> str:
    """Return the cause of a worker's failure in a line, from the text of Ray's error file."""
    last = text.rpartition("Failure # ")[2]
    lines = [line.strip() for line in last.splitlines()[1:] if line.strip()]
    detail = EXIT_DETAIL.search(" ".join(lines))
    if detail:
        return f"its worker process ended twice: {detail[1].strip()}"
    return f"its worker broke twice: {lines[-1] if lines else 'Ray gave no reason'}"
