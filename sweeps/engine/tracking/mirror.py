"""A study's runs at a tracker, made and brought up to date from the study's folders.

A run is found again by its tags, so recording a study twice makes no second run. Every call names its address: no
process-wide state of MLflow is used or set. What a run lacks is decided in ``updates``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag

from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, read_results, read_study, trial_folder
from sweeps.engine.study.objectives import AWAITED
from sweeps.engine.tracking import registry, updates
from sweeps.engine.tracking.entries import Data, params, study_tags, swept, trial_tags
from sweeps.engine.tracking.points import created_ms
from sweeps.engine.tracking.spool import Event
from sweeps.engine.tracking.store import artifact_root, connect, experiment_id
from sweeps.engine.tracking.updates import STATUS, KnownRun, Target, Update
from zsr_core.trial.result import TrialResult, read_result

OWN = ""  # the key of the study's own run among the runs, which have trial ids as keys


@dataclass(kw_only=True)
class Mirror:
    """The runs of one study at one address. ``runs`` follows the calls; a search may add to the plan in ``study``."""

    folder: Path
    client: MlflowClient
    study: Study
    experiment: str
    runs: dict[str, KnownRun]  # by trial id; the study's own run under OWN
    at_once: int = 1  # trials brought up to date at the same time
    made: set[str] = field(default_factory=set)  # keys of the runs that this mirror has made

    @classmethod
    def open(cls, folder: Path, uri: str, *, at_once: int = 1) -> Mirror:
        """Return the mirror of the study in ``folder``, with the runs that exist at ``uri``."""
        study = read_study(folder)
        client = connect(uri)
        experiment = experiment_id(client, study, artifact_root(uri, folder))
        runs = find_runs(client, experiment, study)
        return cls(folder=folder, client=client, study=study, experiment=experiment, runs=runs, at_once=at_once)

    # --- events of a running sweep ---

    def apply(self, event: Event) -> None:
        """Record one event of a running sweep. Recording it twice changes nothing."""
        if event.kind == "start":
            self.begin()
        elif event.kind == "progress":
            self.progress(event.trial_id, event.metrics, event.step, event.time)
        elif event.kind == "finished":
            self.trial(event.trial_id)
        else:
            self.bring_up([Path(path) for path in event.artifacts if self._holds(Path(path))])

    def begin(self) -> None:
        """Show the study as running, and record the trials that earlier launches have finished or left running."""
        self._own()
        results = read_results(self.folder, self.study)
        self._trials(results)
        tags = study_tags(self._read(results), link=self._link(results))
        self._send(OWN, Update(tags=tags))
        self._set_status(OWN, "RUNNING")

    def _holds(self, path: Path) -> bool:
        """Return whether a file is inside the study, as those are that a launch writes."""
        return path.resolve().is_relative_to(self.folder.resolve())

    def progress(self, trial_id: str, report: Mapping[str, float], step: int, at: int) -> None:
        """Show a trial as running, with the metrics that it reports."""
        trial, result = self._planned(trial_id), read_result(trial_folder(self.folder, trial_id))
        if trial is None or (result is not None and result.status == "done"):
            return  # the plan holds it no longer, or its result holds all that the report says
        config = self.study.config(trial)
        tags = trial_tags(self.study, trial, config)
        if trial_id not in self.runs:
            self._create(trial_id, trial.label, at, tags)
        points = updates.progress_points(self.runs[trial_id], config, report, step, at)
        self._set_status(trial_id, "RUNNING")
        self._send(trial_id, Update(points=points, params=params(config, swept(self.study)), tags=tags))

    def trial(self, trial_id: str) -> None:
        """Bring one trial's run up to date, if the trial is planned and has a result."""
        trial = self._planned(trial_id)
        result = read_result(trial_folder(self.folder, trial_id))
        if trial is not None and result is not None:
            self._trial(trial, result)

    def _read(self, results: Mapping[str, TrialResult]) -> StudyFolder:
        return StudyFolder(path=self.folder, study=self.study, results=results)

    def _planned(self, trial_id: str) -> PlannedTrial | None:
        """Return a trial of the plan. The plan is read again for an unknown one, because a search adds to it."""
        plan = {trial.trial_id: trial for trial in self.study.plan}
        if trial_id not in plan:
            self.study = read_study(self.folder)
            plan = {trial.trial_id: trial for trial in self.study.plan}
        return plan.get(trial_id)

    # --- from the folders ---

    def bring_up(self, artifacts: Sequence[Path]) -> dict[str, bool]:
        """Bring every trial's run and then the study's own run up to date; return by key which have changed."""
        self.study = read_study(self.folder)
        self._own()
        results = read_results(self.folder, self.study)
        changed = self._trials(results)
        target = updates.study_target(self._read(results), artifacts=artifacts, link=self._link(results))
        return {**changed, OWN: self._end(target)}

    def weights(self, trial: PlannedTrial) -> bool:
        """Log and register the tuned weights of a final trial, once, and return whether its run has them."""
        run, result = self.runs.get(trial.trial_id), read_result(trial_folder(self.folder, trial.trial_id))
        finals = self.study.rows(role="final")  # the chosen cell's row comes first
        other = not self.study.reproduces and bool(finals) and trial.cell != finals[0].cell
        if trial.role != "final" or other or run is None or result is None or result.status != "done":
            return False
        kept = sorted((self.folder / "weights").glob(f"{result.config.training_id}-*.safetensors"))
        if len(kept) != 1:  # none, or several trainings on different data: which of them was scored is not known
            return False
        if not self.client.list_artifacts(run.run_id, "weights"):
            self.client.log_artifact(run.run_id, str(kept[0]), "weights")
        registry.register(self.client, self.study, trial, result, run_id=run.run_id, file=kept[0].name)
        return True

    def _trials(self, results: Mapping[str, TrialResult]) -> dict[str, bool]:
        """Record every trial with a result and return which have changed; end the runs that a killed sweep left."""
        finished = [trial for trial in self.study.plan if trial.trial_id in results]
        changes = _each(self.at_once, lambda trial: self._trial(trial, results[trial.trial_id]), finished)
        for trial_id, run in list(self.runs.items()):
            if trial_id != OWN and trial_id not in results and run.status == "RUNNING":
                self._send(trial_id, Update(tags={"status": "killed"}))
                self._set_status(trial_id, "KILLED")
        return {trial.trial_id: change for trial, change in zip(finished, changes, strict=True)}

    def _trial(self, trial: PlannedTrial, result: TrialResult) -> bool:
        """Bring one trial's run up to date and return whether it has changed."""
        key, status = trial.trial_id, STATUS[result.status]
        digest = updates.trial_digest(self.study, trial, self.folder)
        if updates.is_current(self.runs.get(key), digest, status):
            return False
        target = updates.trial_target(self.study, trial, result, self.folder)
        if key in self.runs and updates.must_be_replaced(self.runs[key], target.update):
            self.client.delete_run(self.runs.pop(key).run_id)
        if key in self.runs:
            update = self._continued(key, target.update)
        else:
            update = target.update
            self._create(key, trial.label, target.start, update.tags)
        self.client.log_inputs(self.runs[key].run_id, datasets=[_input(data) for data in target.data])
        self._set_status(key, status, target.end)
        self._send(key, update)
        self._log_files(key, target)  # after the numbers, because the store of the files may be another one, and down
        self._send(key, Update(digest=digest))
        return True

    def _continued(self, key: str, update: Update) -> Update:
        """Return the update for a run that exists, after its scores were sent if it awaits them.

        Scores go on their own and first, because some databases list the latest metric last. A reason of an earlier
        failure is cleared.
        """
        run = self.runs[key]
        points = updates.without_sent(update.points, self._history(run, updates.curve_names(update.points)))
        if run.awaits_scores:
            scores, points = updates.split_scores(points)
            self._send(key, Update(points=scores))
        cleared = {"error": ""} if run.tags.get("error") else {}
        return replace(update, points=points, tags={**cleared, **update.tags})

    def _history(self, run: KnownRun, names: Iterable[str]) -> list[tuple[str, int, float]]:
        """Return name, step and value of every point that the run's metrics of these names hold."""
        points = (point for name in names for point in self.client.get_metric_history(run.run_id, name))
        return [(point.key, point.step, point.value) for point in points]

    def _end(self, target: Target) -> bool:
        """Bring the study's own run up to date and return whether it has changed."""
        if updates.is_current(self.runs[OWN], target.update.digest, target.status):
            return False
        self._log_files(OWN, target)
        self._set_status(OWN, target.status, target.end)
        self._send(OWN, target.update)
        return True

    # --- calls ---

    def _own(self) -> KnownRun:
        """Return the study's own run, which is made if it does not exist."""
        if OWN not in self.runs:
            self._create(OWN, self.study.study, created_ms(self.study) or round(1000 * time.time()))
        return self.runs[OWN]

    def _create(self, key: str, name: str, start: int, tags: Mapping[str, str] | None = None) -> None:
        identity = _identity(self.study, key, parent=self._own().run_id if key != OWN else "")
        run = self.client.create_run(self.experiment, start, {**(tags or {}), **identity}, run_name=name)
        self.runs[key] = _known(run)
        self.made.add(key)

    def _send(self, key: str, update: Update) -> None:
        """Send what the run does not show yet."""
        update = updates.unsent(self.runs[key], update)
        for part in updates.batches(update):
            self.client.log_batch(
                self.runs[key].run_id,
                [Metric(point.name, point.value, point.at, point.step) for point in part.points],
                [Param(name, value) for name, value in part.params.items()],
                [RunTag(name, value) for name, value in part.tags.items()],
            )
        self.runs[key] = updates.after(self.runs[key], update)

    def _set_status(self, key: str, status: str, at: int | None = None) -> None:
        run = self.runs[key]
        if status != "RUNNING":
            self.client.set_terminated(run.run_id, status, at)
        elif run.status != status:
            self.client.update_run(run.run_id, status=status)
        self.runs[key] = replace(run, status=status)

    def _log_files(self, key: str, target: Target) -> None:
        for path, inside in target.files:
            self.client.log_artifact(self.runs[key].run_id, str(path), inside)

    def _link(self, results: Mapping[str, TrialResult]) -> str:
        """Return the address within the UI that compares the cells with scores."""
        done = {trial_id for trial_id, result in results.items() if result.status == "done"}
        cells = [trial.trial_id for trial in self.study.plan if trial.role == "cell"]
        scored = [self.runs[trial_id].run_id for trial_id in cells if trial_id in self.runs.keys() & done]
        return updates.comparison_link(scored, self.experiment)


def find_runs(client: MlflowClient, experiment: str, study: Study) -> dict[str, KnownRun]:
    """Return the study's runs by trial id, its own run under OWN; of two with one key the older."""
    identity = _identity(study, OWN)
    clauses = [f"tags.`{name}` = '{identity[name]}'" for name in ("zsr.study", "zsr.fingerprint")]
    runs: dict[str, KnownRun] = {}
    token: str | None = None
    while token != "":
        page = client.search_runs(
            [experiment], " and ".join(clauses), order_by=["attributes.start_time ASC"], page_token=token
        )
        for run in page:
            runs.setdefault(run.data.tags.get("zsr.trial_id", OWN), _known(run))
        token = page.token or ""
    return runs


def _identity(study: Study, key: str, *, parent: str = "") -> dict[str, str]:
    """Return the tags by which a run is found again."""
    tags = {"zsr.study": study.study, "zsr.fingerprint": study.fingerprint}
    if key == OWN:
        return {**tags, "zsr.kind": "study"}
    return {**tags, "zsr.kind": "trial", "zsr.trial_id": key, "mlflow.parentRunId": parent}


def _known(run: Run) -> KnownRun:
    return KnownRun(
        run_id=run.info.run_id,
        status=run.info.status,
        params=frozenset(run.data.params),
        tags=dict(run.data.tags),
        has_metrics=bool(run.data.metrics),
        awaits_scores=any(math.isnan(run.data.metrics.get(name, 0.0)) for name in AWAITED),
        digest=run.data.tags.get(updates.SEAL, ""),
    )


def _input(data: Data) -> DatasetInput:
    return DatasetInput(
        Dataset(name=data.name, digest=data.digest, source_type=data.source_type, source=data.source),
        [InputTag("mlflow.data.context", data.context)],
    )


def _each(at_once: int, work: Callable[[PlannedTrial], bool], trials: Sequence[PlannedTrial]) -> list[bool]:
    """Return what ``work`` returns for each trial, with ``at_once`` at the same time. The first error ends it."""
    if at_once == 1:
        return [work(trial) for trial in trials]
    pool = ThreadPoolExecutor(at_once)
    try:
        return list(pool.map(work, trials))
    finally:
        pool.shutdown(cancel_futures=True)
