"""Jobs on Ray Tune, on this machine or on the cluster that RAY_ADDRESS names.

Ray Tune schedules the jobs and restarts dead workers. Finished and missing trials are read from the trial folders,
never from Tune's own state, so its storage is deleted after each attempt.

A trial with several GPUs gets them on one machine, and its worker starts a process for each. Ray Train, within Tune at
2.60, reserves its workers outside of the trial's own resources, hands no metric back without a checkpoint, and took 40
seconds a trial of two idle workers (on two CPU cores), most of it waiting for its own processes to stop.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import re
import shutil
import socket
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import ray
import torch
from ray import tune
from ray.tune import Callback, FailureConfig, RunConfig, TuneConfig, Tuner
from ray.tune.experiment import Trial
from ray.tune.search import Searcher

from sweeps.engine.running.jobs import Job, Source, Watch, perform, processes_of, settle
from zsr_core.codec import ConfigError, from_plain, require, to_plain
from zsr_core.trial.config import TrialConfig

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",  # the newer output prints boxes at any verbosity
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # results are in the trial folders; no second copy as csv, json, events
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # the launch handles Ctrl-C
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # nothing is ever restored from Tune's own state
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
# The sentence in which Ray says how a process ended, without its list of common causes.
EXIT_DETAIL = re.compile(r"Worker exit detail: (.*?)(?: There are some potential root causes.*)?(?: \(1\).*)?$")
OBJECT_STORE_BYTES = 128 * 2**20  # it carries only the trials' configurations


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The resources of one trial, and how many trials run at a time."""

    cpus_per_trial: float
    gpus_per_trial: float
    slots: int  # trials at a time
    processes: int = 1  # that share a trial, one per GPU


def shares(
    resources: Mapping[str, float],
    gpus_per_trial: float | None,
    max_concurrent: int | None,
    largest: float | None = None,
) -> Cluster:
    """Return the share of ``resources`` that a trial gets.

    Without GPUs a trial has one CPU. With GPUs a trial has one, or ``gpus_per_trial``, and its part of the CPUs.
    Several GPUs must be on one machine, with a process for each; ``largest`` is the most GPUs of any machine.

    Raises:
        ConfigError: if a trial needs more GPUs than there are.
    """
    cpus, gpus = int(resources.get("CPU", 1)), resources.get("GPU", 0.0)
    share = gpus_per_trial if gpus_per_trial is not None else float(gpus > 0)
    require(share <= gpus, "--gpus-per-trial", share, f"at most the {gpus:g} GPUs there are")
    most = gpus if largest is None else largest
    require(share <= max(1, most), "--gpus-per-trial", share, f"at most the {most:g} GPUs of one machine")
    slots = min(int(gpus / share + 1e-9), cpus) if share else cpus
    slots = max(1, min(slots, max_concurrent or slots))
    return Cluster(
        cpus_per_trial=max(1, cpus // slots) if share else 1, gpus_per_trial=share, slots=slots,
        processes=processes_of(share),
    )  # fmt: skip


def check_address(address: str) -> None:
    """Raise ``ConfigError`` unless a cluster's head answers at ``address``; Ray itself would try for minutes."""
    host, separator, port = address.rpartition(":")
    sound = bool(separator) and port.isdigit() and "//" not in host
    require(sound or address == "auto", "RAY_ADDRESS", address, "host:port of a cluster's head; or submit a job")
    if sound:
        try:
            socket.create_connection((host, int(port)), timeout=10).close()
        except OSError as error:
            raise ConfigError(f"RAY_ADDRESS: got {address!r}, expected a head that answers ({error})") from None


def check_cluster() -> None:
    """Raise ``ConfigError`` unless the cluster that RAY_ADDRESS names can be joined; without RAY_ADDRESS none is."""
    address = os.environ.get("RAY_ADDRESS")
    if address is None:
        return
    check_address(address)
    if address == "auto":  # only Ray knows where to look for a cluster
        try:
            with cluster(None, None):
                pass
        except ConnectionError as error:
            reason = str(error).split(". ")[0]
            raise ConfigError(f"RAY_ADDRESS: got 'auto', expected a cluster on this machine ({reason})") from None


@contextmanager
def cluster(gpus_per_trial: float | None, max_concurrent: int | None) -> Iterator[Cluster]:
    """Join the cluster that RAY_ADDRESS names, or start Ray on this machine; leave or stop it at the end."""
    os.environ.update({name: value for name, value in QUIET.items() if name not in os.environ})
    for name in ("ray", "ray.tune", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if "RAY_ADDRESS" in os.environ:
            check_address(os.environ["RAY_ADDRESS"])
            ray.init(**common)
        else:
            ray.init(address="local", include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **common)
    try:
        resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        largest = max((node["Resources"].get("GPU", 0.0) for node in nodes if node["Alive"]), default=0.0)
        yield shares(resources, gpus_per_trial, max_concurrent, largest)
    finally:
        _leave()


def _leave() -> None:
    """Stop Ray after collecting its objects.

    Handles of finished workers are in reference cycles. If one is collected after the shutdown, in any thread, Ray's
    core aborts the process.
    """
    gc.collect()
    gc.disable()
    try:
        ray.shutdown()
    finally:
        gc.enable()


def run_on_ray(source: Source, folder: Path, watch: Watch, on: Cluster, *, search: bool) -> None:
    """Run every job of ``source`` into ``folder`` and report to ``watch``.

    Without a search all jobs are known, and Tune gets them as one grid axis. In a search, ``source`` proposes each job
    when a worker is free.
    """
    jobs = [] if search else list(iter(source.next, None))
    searcher = _Proposer(source) if search else None
    if not jobs and searcher is None:
        return
    ended = _Ended(source, watch, folder, jobs, searcher)
    attempt = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{os.getpid()}"
    resources = {"cpu": on.cpus_per_trial, "gpu": on.gpus_per_trial}
    place, threads, gpu, processes = str(folder), int(on.cpus_per_trial), on.gpus_per_trial > 0, on.processes

    def worker(config: dict[str, Any]) -> None:
        _work(config, folder=place, threads=threads, gpu=gpu, processes=processes)

    tuner = Tuner(
        tune.with_resources(worker, resources),
        param_space={} if search else {"job": tune.grid_search([_packed(job) for job in jobs])},
        tune_config=TuneConfig(
            search_alg=searcher,
            num_samples=-1 if search else 1,
            max_concurrent_trials=on.slots,
            reuse_actors=True,
            trial_name_creator=_short_name,
            trial_dirname_creator=_short_name,
        ),
        run_config=RunConfig(
            name=attempt,
            storage_path=str(folder / "ray"),
            failure_config=FailureConfig(max_failures=1),
            callbacks=[ended],
            verbose=0,
        ),
    )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tuner.fit()
    finally:
        shutil.rmtree(folder / "ray", ignore_errors=True)


def _packed(job: Job) -> str:
    """Return a job as text, because Tune would search a mapping for domains."""
    configs = [to_plain(config) for config in job.configs]
    return json.dumps({"key": job.key, "configs": configs, "score_eps": job.score_eps})


def _key(trial: Trial) -> str:
    return str(json.loads(trial.config["job"])["key"])


def _short_name(trial: Trial) -> str:
    return f"{_key(trial)[:12]}-{trial.trial_id}"


def _work(config: dict[str, Any], folder: str, threads: int, gpu: bool, processes: int) -> None:
    """Run one job in a Ray worker."""
    torch.set_num_threads(threads)
    packed = json.loads(config["job"])
    configs = [from_plain(TrialConfig, plain) for plain in packed["configs"]]

    def report(trial_id: str, metrics: dict[str, float]) -> None:
        tune.report({"trial": trial_id, "metrics": metrics})

    perform(
        configs, Path(folder), report, score_eps=packed["score_eps"], device="cuda" if gpu else "cpu",
        processes=processes,
    )  # fmt: skip
    tune.report({"ended": True})


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
        self.jobs[job.key] = job
        return {"job": _packed(job)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Do nothing, because the callback reports results."""

    def save(self, checkpoint_path: str) -> None:
        """Save nothing, because the study's journal holds the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles its tuner; the source has open files and is never restored from the pickle


class _Ended(Callback):
    """Reports progress to ``watch`` and, when a job ends, makes sure that each of its trials has a result."""

    def __init__(self, source: Source, watch: Watch, folder: Path, jobs: list[Job], searcher: _Proposer | None) -> None:
        self._source, self._watch, self._folder = source, watch, folder
        self._jobs = searcher.jobs if searcher is not None else {job.key: job for job in jobs}

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._watch.started(self._jobs[_key(trial)])

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        if "metrics" in result:
            self._watch.progress(result["trial"], result["metrics"])

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        self._end(self._jobs[_key(trial)])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        job = self._jobs[_key(trial)]
        settle(self._folder, job, *_reason(trial))
        self._end(job)

    def _end(self, job: Job) -> None:
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
