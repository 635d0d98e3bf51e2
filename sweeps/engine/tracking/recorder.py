"""Studies mirrored into MLflow: a run per study, a child per trial, from a sweep as it goes or from its folders alone.

The folders are the truth and a run is found again by its tags, so mirroring twice makes no second run, and whatever a
dead server missed can be brought up at any time. Every call names its address: no process-wide state is used or set.
"""

from __future__ import annotations

import errno
import fcntl
import gc
import hashlib
import json
import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException

from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, read_results, read_study, trial_folder
from sweeps.engine.study.objectives import TITLES
from sweeps.engine.tracking import entries, registry
from sweeps.engine.tracking.address import sqlite_file
from zsr_core.codec import ConfigError
from zsr_core.files import write_text, write_whole
from zsr_core.trial.result import TrialResult, read_result

__all__ = ["RecordReport", "Recorder", "record_study"]

TRAINING = "&workflowType=machine_learning"  # which of its two faces the UI shows
SEAL = "zsr.mirrored"
SCHEMA = 3  # of what a run shows: a change brings every mirrored run up to date
METRICS_PER_CALL = 800  # with the texts, no more than 1000 entries
AT_ONCE = 4  # trials on their way to a server, most of whose time is the way; a local database has one writer
TEXTS_PER_CALL = 99  # one less than servers take: the seal may come on top
PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # between attempts to reach a silent server
LAST_PAUSES_S = (0.5, 1.0)  # between attempts once the sweep is over
QUIET = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}
STRIKES = 3  # an event that a server refuses as often is set aside
ENDED = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}
RECORDS = ("result.json", "samples.parquet", "audit.json")  # of a trial's folder
ARTIFACTS = ("table.md", "study.parquet", "study.json", "figures/*")

LOG = logging.getLogger("zsr.record")

Event = dict[str, Any]  # as a line of the spool: "event", "time" in ms since 1970, and what belongs to it


@dataclass(frozen=True, kw_only=True)
class RecordReport:
    """What mirroring did, counted in runs: the study's own and one per trial that has a result."""

    uri: str
    created: int
    updated: int
    already_there: int
    weights: int | None = None  # runs that have their tuned weights as a file now; None where nobody asked

    def __str__(self) -> str:
        counts = f"{self.created} created, {self.updated} updated, {self.already_there} already there"
        weights = "" if self.weights is None else f"; tuned weights with {self.weights}"
        return f"recorded to {self.uri}: runs {counts}{weights}"


def record_study(folder: Path, uri: str, *, weights: bool = False) -> RecordReport:
    """Bring the runs of the study in ``folder`` up to date at ``uri``, from the folder alone.

    With ``weights``, the tuned weights of the final choice, one file per seed, go with their runs and are registered
    as versions of a model that is named after the study.

    Raises:
        ConfigError: if the folder holds no study, or a running sweep records it to ``uri`` itself.
    """
    with _only_writer(folder, uri) as alone:
        if not alone:
            raise ConfigError(f"study: {folder} is being recorded to {uri} by a running sweep; wait for it or stop it")
        mirror = Mirror.open(folder, uri)
        mirror.at_once = AT_ONCE if uri.startswith(("http://", "https://")) else 1
        spool = Spool.of(folder, uri)
        with _little_garbage():
            for event in spool.read():
                mirror.apply(event)
            changed = mirror.bring_up(found_artifacts(folder))
        kept = [mirror.weights(trial) for trial in mirror.study.plan] if weights else []
        spool.keep([])
    old = [change for key, change in changed.items() if key not in mirror.made]
    return RecordReport(
        uri=uri, created=len(mirror.made), updated=sum(old), already_there=len(old) - sum(old),
        weights=sum(kept) if weights else None,
    )  # fmt: skip


@contextmanager
def _little_garbage() -> Iterator[None]:
    """Within, the collector passes over what was there before: a store makes objects by the ten thousand."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def found_artifacts(folder: Path) -> list[Path]:
    """Return the study's derived files that are there, in reading order."""
    return [path for pattern in ARTIFACTS for path in sorted(folder.glob(pattern)) if path.is_file()]


# --- the address ------------------------------------------------------------------------------------------------


def connect(uri: str) -> MlflowClient:
    """Return a client of the store at ``uri``; a SQLite file that is not there is made first, whole or not at all."""
    _check_import()
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    file = sqlite_file(uri)
    if file is not None and not (file.is_file() and file.stat().st_size):
        _make_sqlite(file)
    return MlflowClient(tracking_uri=uri)


def _check_import() -> None:
    if not hasattr(mlflow, "__version__"):
        where = list(getattr(mlflow, "__path__", ["?"]))
        raise ConfigError(f"mlflow: {where} was imported, which is not the package; expected `pip install mlflow`")


def _make_sqlite(file: Path) -> None:
    """Make an empty store at ``file``. Its schema takes dozens of steps: two at once, or a kill, would ruin it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (file.is_file() and file.stat().st_size):
            write_whole(file, lambda part: MlflowClient(tracking_uri=f"sqlite:///{part}").search_experiments())


def _artifact_root(uri: str, folder: Path) -> str | None:
    """Return where this process puts artifacts: beside the database; None leaves it to the server."""
    if uri.startswith(("http://", "https://")):
        return None
    file = sqlite_file(uri)
    return str((file.parent if file else folder.resolve().parent) / "mlartifacts")


def _experiment(client: MlflowClient, study: Study, artifacts: str | None) -> str:
    found = client.get_experiment_by_name(study.name)
    if found is None:
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": study.question}
        try:
            return str(client.create_experiment(study.name, artifact_location=artifacts, tags=tags))
        except MlflowException:
            found = client.get_experiment_by_name(study.name)  # made by another sweep in between
            if found is None:
                raise
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def _only_writer(folder: Path, uri: str) -> Iterator[bool]:
    """Yield whether this process alone writes the study's runs at ``uri``: two would make every run twice.

    The kernel drops the lock when its holder dies. A file system without locks is taken at its word.
    """
    path = Spool.of(folder, uri).path.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        else:
            yield True


# --- the runs ---------------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Known:
    """A run that is there, as far as it matters for bringing it up to date."""

    run_id: str
    status: str
    params: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)  # as far as this process has seen them
    metrics: bool = False  # whether there are any
    waiting: bool = False  # whether its scores stand as not a number yet
    mirrored: str = ""  # digest of what it was last brought up to date from


@dataclass(kw_only=True)
class Mirror:
    """One study's runs at one address: found by their tags, made where absent, brought up to date from the folders."""

    folder: Path
    client: MlflowClient
    study: Study
    experiment: str
    runs: dict[str, Known]  # by trial id; the study's own run under ""
    at_once: int = 1  # trials brought up at the same time
    made: set[str] = field(default_factory=set)  # the runs that were not there before

    @classmethod
    def open(cls, folder: Path, uri: str) -> Mirror:
        """Return the mirror of the study in ``folder``; its own run is there afterwards."""
        study = read_study(folder)
        client = connect(uri)
        experiment = _experiment(client, study, _artifact_root(uri, folder))
        mirror = cls(folder=folder, client=client, study=study, experiment=experiment, runs={})
        mirror.runs = mirror._find()
        return mirror

    def _find(self) -> dict[str, Known]:
        wanted = self._identity("")
        clauses = [f"tags.`{name}` = '{wanted[name]}'" for name in ("zsr.study", "zsr.fingerprint")]
        found: dict[str, Known] = {}
        token: str | None = None
        while token != "":
            page = self.client.search_runs(
                [self.experiment], " and ".join(clauses), order_by=["attributes.start_time ASC"], page_token=token
            )
            for run in page:
                found.setdefault(run.data.tags.get("zsr.trial_id", ""), _known(run))
            token = page.token or ""
        return found

    def _identity(self, trial_id: str) -> dict[str, str]:
        """Return the tags that a run is found again by."""
        study = {"zsr.study": self.study.study, "zsr.fingerprint": self.study.fingerprint}
        if not trial_id:
            return {**study, "zsr.kind": "study"}
        parent = {"mlflow.parentRunId": self.own().run_id}
        return {**study, "zsr.kind": "trial", "zsr.trial_id": trial_id, **parent}

    def _create(self, trial_id: str, name: str, start: int, tags: Mapping[str, str] | None = None) -> Known:
        all_tags = {**(tags or {}), **self._identity(trial_id)}
        run = self.client.create_run(self.experiment, start, all_tags, run_name=name)
        self.runs[trial_id] = _known(run)
        self.made.add(trial_id)
        return self.runs[trial_id]

    def _read(self, results: Mapping[str, TrialResult]) -> StudyFolder:
        return StudyFolder(path=self.folder, study=self.study, results=results)

    def own(self) -> Known:
        """Return the study's own run, made if it is not there."""
        if "" in self.runs:
            return self.runs[""]
        return self._create("", self.study.study, entries.created_ms(self.study) or _now())

    def _planned(self, trial_id: str) -> PlannedTrial | None:
        """Return a trial of the plan. A search adds to its plan as it goes, so the file is read again for a new one."""
        plan = {trial.trial_id: trial for trial in self.study.plan}
        if trial_id not in plan:
            self.study = read_study(self.folder)
            plan = {trial.trial_id: trial for trial in self.study.plan}
        return plan.get(trial_id)

    def apply(self, event: Event) -> None:
        """Bring one event of a running sweep to the server; doing it twice changes nothing."""
        if event["event"] == "start":
            self.begin()
        elif event["event"] == "progress":
            self.progress(event["trial_id"], event["metrics"], event["step"], event["time"])
        elif event["event"] == "finished":
            self.trial(event["trial_id"])
        else:
            self.bring_up([Path(path) for path in event["artifacts"]])

    def begin(self) -> None:
        """Show the study as running, and bring up what earlier launches finished or left behind."""
        own, results = self.own(), read_results(self.folder, self.study)
        self.trials(results)
        link = self._comparison(results)
        self._log(own, tags=entries.study_tags(self._read(results), link=link))
        self._status(own, "RUNNING")

    def progress(self, trial_id: str, metrics: Mapping[str, float], step: int, at: int) -> None:
        """Show a trial as running, with what it says."""
        trial, result = self._planned(trial_id), read_result(trial_folder(self.folder, trial_id))
        if trial is None or (result is not None and result.status == "done"):
            return  # the plan has dropped it, or its result says it all
        config = self.study.config(trial)
        tags = entries.trial_tags(self.study, trial, config)
        known = self.runs.get(trial_id) or self._create(trial_id, trial.label, at, tags)
        # The last epoch comes with the result, after the scores: some databases list last what has changed last.
        points = entries.curve_points(metrics, step, at) if step != config.epochs else []
        if points and not known.metrics:
            points = entries.awaited(at) + points
        self._status(known, "RUNNING")
        self._log(known, points, entries.params(config, entries.swept(self.study)), tags)

    def trials(self, results: Mapping[str, TrialResult]) -> dict[str, bool]:
        """Bring up every trial with a result and say which changed; end the runs that a killed sweep left running."""
        finished = [trial for trial in self.study.plan if trial.trial_id in results]
        changes = _each(self.at_once, lambda trial: self._trial(trial, results[trial.trial_id]), finished)
        changed = {trial.trial_id: change for trial, change in zip(finished, changes, strict=True)}
        for trial_id, known in self.runs.items():
            if trial_id and trial_id not in results and known.status == "RUNNING":
                self._log(known, tags={"status": "killed"})
                self._status(known, "KILLED")
        return changed

    def trial(self, trial_id: str) -> None:
        """Bring up one trial, if it is planned and has a result."""
        trial = self._planned(trial_id)
        result = read_result(trial_folder(self.folder, trial_id))
        if trial is not None and result is not None:
            self._trial(trial, result)

    def _trial(self, trial: PlannedTrial, result: TrialResult) -> bool:
        """Bring up one trial and return whether there was something to bring."""
        file = trial_folder(self.folder, trial.trial_id) / "result.json"
        shown = (SCHEMA, trial.label, trial.cell, trial.role, self.study.study)
        digest = hashlib.sha256(repr(shown).encode() + file.read_bytes()).hexdigest()[:16]
        known = self.runs.get(trial.trial_id)
        if known is not None and known.mirrored == digest and known.status == ENDED[result.status]:
            return False
        start, end = entries.span(result, fallback=file.stat().st_mtime)
        points = entries.final_points(result, end, self.study.score_eps) + entries.history_points(result, start)
        tags = entries.result_tags(self.study, trial, result, self.folder)
        if known is not None and known.waiting and result.status != "done":
            # No score will come, and the contour plot leaves out a metric that any of its runs has as not a number.
            self.client.delete_run(known.run_id)
            known = None
        if known is None:
            known = self._create(trial.trial_id, trial.label, start, tags)
        else:
            points = self._without_drawn(known.run_id, points)
            if known.waiting:  # on their own and before all else, for the same databases
                self._log(known, [point for point in points if point.name in TITLES])
                points = [point for point in points if point.name not in TITLES]
            tags = {**({"error": ""} if known.tags.get("error") else {}), **tags}  # of an earlier attempt
        params = entries.params(result.config, entries.swept(self.study))
        self.client.log_inputs(known.run_id, datasets=_inputs(entries.datasets(result.config)))
        self._status(known, ENDED[result.status], end)
        self._log(known, points, params, tags)
        # After the numbers: files may have a store of their own, which may be down.
        for path in [file.with_name(name) for name in RECORDS]:
            if path.is_file():
                self.client.log_artifact(known.run_id, str(path), "records")
        self._log(known, seal=digest)
        return True

    def weights(self, trial: PlannedTrial) -> bool:
        """Log and register the tuned weights of a final trial, once, and return whether its run has them."""
        known, result = self.runs.get(trial.trial_id), read_result(trial_folder(self.folder, trial.trial_id))
        if trial.role != "final" or known is None or result is None or result.status != "done":
            return False
        kept = sorted((self.folder / "weights").glob(f"{result.config.training_id}-*.safetensors"))
        if len(kept) != 1:  # none, or trained anew since from other data: which ones made the numbers is not known
            return False
        if not self.client.list_artifacts(known.run_id, "weights"):
            self.client.log_artifact(known.run_id, str(kept[0]), "weights")
        registry.register(self.client, self.study, trial, result, run_id=known.run_id, file=kept[0].name)
        return True

    def _without_drawn(self, run_id: str, points: Iterable[entries.Point]) -> list[entries.Point]:
        """Return the points without those of the curves that were drawn while the trial ran, at other times."""
        curves = {point.name for point in points if point.name.startswith("train_")}
        there = (metric for name in curves for metric in self.client.get_metric_history(run_id, name))
        drawn = {(metric.key, metric.step, repr(metric.value)) for metric in there}
        return [point for point in points if (point.name, point.step, repr(point.value)) not in drawn]

    def bring_up(self, artifacts: Sequence[Path]) -> dict[str, bool]:
        """Bring everything to where the folders stand, every trial and then the study's own run; say what changed."""
        self.study = read_study(self.folder)
        results, _ = read_results(self.folder, self.study), self.own()
        return {**self.trials(results), "": self._ended(artifacts, results)}

    def _ended(self, artifacts: Sequence[Path], results: Mapping[str, TrialResult]) -> bool:
        """Bring up the study's own run: scores, note, files, and the status that its trials come to."""
        own = self.own()
        tags = entries.study_tags(self._read(results), link=self._comparison(results))
        values = entries.study_values(self._read(results))
        files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in artifacts if path.is_file()}
        status = _study_status(self.study, results)
        shown = (SCHEMA, status, tags, values, {str(path): sha for path, sha in files.items()})
        digest = hashlib.sha256(repr(shown).encode()).hexdigest()[:16]
        if own.mirrored == digest and own.status == status:
            return False
        ends = [entries.span(result, fallback=time.time())[1] for result in results.values()]
        at = max([*ends, entries.created_ms(self.study) or 0])
        points = [entries.Point(name=name, value=value, step=0, at=at) for name, value in values.items()]
        for path in files:
            inside = path.parent.name if path.parent != self.folder else None
            self.client.log_artifact(own.run_id, str(path), inside)
        self._status(own, status, at)
        self._log(own, points, entries.study_params(self.study), tags, seal=digest)
        return True

    def _comparison(self, results: Mapping[str, TrialResult]) -> str:
        """Return the address, within the tracker, that compares the cells that have scores, or nothing to compare."""
        done = {trial_id for trial_id, result in results.items() if result.status == "done"}
        cells = [t.trial_id for t in self.study.plan if t.role == "cell" and t.trial_id in self.runs.keys() & done]
        ids = [self.runs[trial_id].run_id for trial_id in cells[: entries.LINKED]]
        runs, experiments = (quote(json.dumps(x, separators=(",", ":"))) for x in (ids, [self.experiment]))
        return f"#/compare-runs?runs={runs}&experiments={experiments}{TRAINING}" if len(ids) > 1 else ""

    def _log(
        self,
        known: Known,
        points: Iterable[entries.Point] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        seal: str = "",
    ) -> None:
        """Log in batches of the size that servers take; a tag that says so already is not sent again.

        A parameter that is there stays: it cannot change.

        ``seal``, the digest of what a run was brought up from, goes with the last batch: a run with it is whole.
        """
        new = {name: value for name, value in (params or {}).items() if name not in known.params}
        all_metrics = [Metric(point.name, point.value, point.at, point.step) for point in points]
        all_params = [Param(name, value) for name, value in new.items()]
        said = {name: value for name, value in (tags or {}).items() if known.tags.get(name) != value}
        all_tags = [RunTag(name, value) for name, value in said.items()]
        texts = max(len(all_params), len(all_tags))
        calls = max(ceil(len(all_metrics) / METRICS_PER_CALL), ceil(texts / TEXTS_PER_CALL), 1 if seal else 0)
        for call in range(calls):
            metrics_part = slice(call * METRICS_PER_CALL, (call + 1) * METRICS_PER_CALL)
            texts_part = slice(call * TEXTS_PER_CALL, (call + 1) * TEXTS_PER_CALL)
            last = [RunTag(SEAL, seal)] if seal and call == calls - 1 else []
            self.client.log_batch(
                known.run_id, all_metrics[metrics_part], all_params[texts_part], [*all_tags[texts_part], *last]
            )
        known.params |= new.keys()
        known.tags = {**known.tags, **said}
        known.metrics |= bool(all_metrics)
        known.waiting |= any(point.step == entries.BEFORE for point in all_metrics)
        known.mirrored = seal or known.mirrored

    def _status(self, known: Known, status: str, at: int | None = None) -> None:
        if status == "RUNNING" and known.status != status:
            self.client.update_run(known.run_id, status=status)
        elif status != "RUNNING":
            self.client.set_terminated(known.run_id, status, at)
        known.status = status


def _known(run: Run) -> Known:
    return Known(
        run_id=run.info.run_id,
        status=run.info.status,
        params=frozenset(run.data.params),
        tags=dict(run.data.tags),
        metrics=bool(run.data.metrics),
        waiting=any(math.isnan(run.data.metrics.get(name, 0.0)) for name in TITLES),
        mirrored=run.data.tags.get(SEAL, ""),
    )


def _each(at_once: int, work: Callable[[PlannedTrial], bool], trials: Sequence[PlannedTrial]) -> list[bool]:
    """Return what ``work`` returns of each trial, ``at_once`` of them at the same time; the first error ends it."""
    if at_once == 1:
        return [work(trial) for trial in trials]
    pool = ThreadPoolExecutor(at_once)
    try:
        return list(pool.map(work, trials))
    finally:
        pool.shutdown(cancel_futures=True)


def _study_status(study: Study, results: Mapping[str, TrialResult]) -> str:
    states = {results[trial.trial_id].status if trial.trial_id in results else "missing" for trial in study.plan}
    if "missing" in states:
        return "KILLED"
    return "FAILED" if "failed" in states else "FINISHED"


def _inputs(data: Iterable[entries.Data]) -> list[DatasetInput]:
    return [
        DatasetInput(
            Dataset(name=d.name, digest=d.digest, source_type=d.source_type, source=d.source),
            [InputTag("mlflow.data.context", d.context)],
        )
        for d in data
    ]


def _now() -> int:
    return round(1000 * time.time())


# --- as a sweep goes --------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Spool:
    """Events on disk that a server has not taken yet, one JSON line each; one spool per study and address."""

    path: Path

    @classmethod
    def of(cls, folder: Path, uri: str) -> Spool:
        key = hashlib.sha256(uri.encode()).hexdigest()[:8]
        return cls(path=folder / "mlflow_spool" / f"events-{key}.jsonl")

    def read(self) -> list[Event]:
        """Return the events in order. A line that a kill cut short is no event: its trial's folder holds the truth."""
        if not self.path.is_file():
            return []
        lines = self.path.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1] if line]

    def add(self, events: Sequence[Event]) -> None:
        if not events:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(event) + "\n" for event in events)

    def keep(self, events: Sequence[Event]) -> None:
        """Hold these events alone; none leaves no file."""
        if events:
            write_text(self.path, "".join(json.dumps(event) + "\n" for event in events))
        else:
            self.path.unlink(missing_ok=True)

    def refuse(self, event: Event, reason: str) -> None:
        """Set an event aside, with the reason that the server gave."""
        Spool(path=self.path.with_name(self.path.name.replace("events", "refused"))).add([{**event, "reason": reason}])


class Recorder:
    """Mirrors a running sweep from one background thread: nothing here makes the sweep wait, or fail.

    What happens is queued, written to the spool, sent, and only then dropped. While the server is silent the spool
    grows and is sent when it answers again; what is left at the end, ``record_study`` or the next launch sends.
    """

    def __init__(self, folder: Path, uri: str, say: Callable[[str], None] = LOG.warning) -> None:
        self.folder, self.uri, self._say = folder, uri, say
        self._spool = Spool.of(folder, uri)
        self._spooling = threading.Lock()  # held for every change of the spool
        self._queue: queue.Queue[Event] = queue.Queue()
        self._backlog: list[Event] = []
        self._mirror: Mirror | None = None
        self._failures = 0  # attempts since the server last took everything
        self._strikes = 0  # of the first event of the backlog, each on a connection that stood
        self._try_at = 0.0
        self._alone = True  # no other process records this study to this address
        self._closing = False
        self._left = False  # the sweep has gone on without the thread
        self._thread = threading.Thread(target=self._work, name="zsr-record", daemon=True)

    def start(self) -> None:
        """Begin recording; a study that an earlier launch left half recorded is brought up first."""
        self._put("start")
        self._thread.start()

    def trial_progress(self, trial_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Note what a running trial says; ``step`` is its epoch."""
        self._put("progress", trial_id=trial_id, metrics={k: float(v) for k, v in metrics.items()}, step=int(step))

    def trial_finished(self, trial_id: str) -> None:
        """Note that a trial's folder holds its result."""
        self._put("finished", trial_id=trial_id)

    def close(self, artifacts: Iterable[Path], wait_s: float = 30.0) -> None:
        """Bring the study up with its files and stop, within ``wait_s``; say what is left to be sent, if any."""
        self._put("close", artifacts=[str(path) for path in artifacts])
        self._thread.join(wait_s)
        if not self._alone:
            return
        with self._spooling:
            self._left = True  # a thread that is stuck in a call leaves the spool alone from here on
            try:
                self._spool.add(self._queued())
                left = len(self._spool.read())
            except OSError as error:
                self._say(f"tracking: what is left to record cannot be kept ({error}); {self._by_hand}")
                return
        if left:
            self._say(f"tracking: {left} events have not reached {self.uri}; {self._by_hand}")

    @property
    def _by_hand(self) -> str:
        return f"`zsr record --study {self.folder}` brings its runs up to date"

    def _put(self, event: str, **facts: Any) -> None:
        self._queue.put({"event": event, "time": _now(), **facts})

    def _queued(self) -> list[Event]:
        """Take what is queued, without waiting."""
        taken = []
        while not self._queue.empty():
            taken.append(self._queue.get())
        return taken

    def _work(self) -> None:
        try:
            with _only_writer(self.folder, self.uri) as self._alone:
                if not self._alone:
                    self._say(f"tracking: another process records {self.folder} to {self.uri}; it is left to that one")
                    return
                self._backlog = self._spool.read()
                while not self._closing:
                    self._take()
                    if self._closing or time.monotonic() >= self._try_at:
                        self._attempt()
                for pause in LAST_PAUSES_S:
                    if self._backlog and not self._left:
                        time.sleep(pause)
                        self._attempt()
        except Exception as error:  # a thread has no caller to raise to
            self._say(f"tracking: recording has stopped ({_reason(error)}); {self._by_hand}")

    def _take(self) -> None:
        """Wait for the next event, or for the next attempt if there is one to make; what comes goes to the spool."""
        wait = max(0.0, self._try_at - time.monotonic()) if self._failures else None
        try:
            events = [self._queue.get(timeout=wait), *self._queued()]
        except queue.Empty:
            return
        self._closing = any(event["event"] == "close" for event in events)
        self._backlog += events
        with self._spooling:
            if not self._left:
                self._spool.add(events)

    def _attempt(self) -> None:
        try:
            self._send()
        except Exception as error:  # whatever the tracker does, the sweep goes on; the reason is told, once
            self._mirror = None
            self._try_at = time.monotonic() + PAUSES_S[min(self._failures, len(PAUSES_S) - 1)]
            self._failures += 1
            self._keep()
            if self._failures == 1 and not self._left:
                self._say(
                    f"tracking: {self.uri} cannot be used now ({_reason(error)}); the sweep goes on, "
                    f"what is to be recorded waits in {self._spool.path}"
                )

    def _send(self) -> None:
        """Send the backlog in order; an event refused as often as STRIKES is set aside, lest the rest wait for it."""
        sent = 0
        while self._backlog and not self._left:
            self._mirror = self._mirror or Mirror.open(self.folder, self.uri)
            try:
                self._mirror.apply(self._backlog[0])
            except Exception as error:
                self._mirror, self._strikes = None, self._strikes + 1
                if self._strikes < STRIKES:
                    raise
                self._spool.refuse(self._backlog[0], _reason(error))
                self._say(f"tracking: {self.uri} refuses an event ({_reason(error)}); {self._by_hand}")
            del self._backlog[0]
            self._strikes = 0
            sent += 1
        self._keep()
        if self._failures:
            self._say(f"tracking: {self.uri} can be used again; {sent} events that waited are recorded")
        self._failures = 0

    def _keep(self) -> None:
        with self._spooling:
            if not self._left:
                self._spool.keep(self._backlog)


def _reason(error: BaseException) -> str:
    """Return an error in one short line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
