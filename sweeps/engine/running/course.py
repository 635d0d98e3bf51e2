"""The state of a running launch: its plan, its results so far, and the reports to display and recorder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from sweeps.engine.analysis.scores import CellScore, best, row_score
from sweeps.engine.analysis.searching.keeping import keeping
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.notify import Standing
from sweeps.engine.running.pace import Pace, slow_text
from sweeps.engine.running.progress import Display, Tally
from sweeps.engine.running.stops import Stops
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, read_results, trial_folder, write_study
from sweeps.engine.study.objectives import deciding_score, headline, shown_scores
from sweeps.engine.study.plan import closing_to_come, suggestions, to_come, with_closing
from sweeps.engine.wording.answer import where
from zsr_core.duration import duration
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult, read_result

if TYPE_CHECKING:
    from sweeps.engine.tracking.recorder import Recorder


class Course:
    """The plan and the results in the launching process; updates display and recorder on every event of a job."""

    def __init__(
        self,
        folder: StudyFolder,
        *,
        samples: int,
        seeds: int,
        limit: int | None = None,
        recorder: Recorder | None = None,
        estimates: bool = False,
    ) -> None:
        self.path, self.study, self.results = folder.path, folder.study, dict(folder.results)
        self._samples, self._seeds, self._limit, self._recorder = samples, seeds, limit, recorder
        self._display: Display | None = None
        self._jobs: dict[str, Job] = {}  # trial id -> the running job that contains it
        self._scores: dict[str, CellScore] = {}  # by cell, because scoring all cells after each trial takes seconds
        self.pace, self._estimates = Pace(folder.done().values()), estimates
        self.notes: list[str] = []  # lines for the end of the launch
        self.ended_early = ""  # why no further cell is run; empty while all are
        self.spending: Callable[[], str] = str  # what is spent of a budget, in words; empty without one
        self.over_budget = False  # whether that is because the budget is used up
        rule = self.study.stop
        self._stops = None if rule is None else Stops(self.path, lambda: self.study, rule)
        if self._stops is not None:  # a launch may have been killed before it noted them
            for trial_id, result in folder.done().items():
                self._stops.ended(trial_id, result)
        self._lock = threading.RLock()  # `look` may be called from another thread than the rest
        self.begun = 0  # trials started by this launch
        self._ended_before = _ended(folder)  # trials that ended before this launch
        stopped = sum(folder.status(trial) == "pruned" for trial in folder.study.plan)
        self.tally = Tally(
            title=self.study.study, planned=self._planned(), done=self._ended_before, stopped=stopped,
            began=time.monotonic(),
        )  # fmt: skip

    @property
    def folder(self) -> StudyFolder:
        """The study with the results so far."""
        return StudyFolder(path=self.path, study=self.study, results=dict(self.results))

    def _planned(self) -> int:
        """Return how many trials will have ended at the end of this launch if none fails."""
        whole = self._of_the_study()
        return whole if self._limit is None else min(whole, self._ended_before + self._limit)

    def _of_the_study(self) -> int:
        """Return how many trials the whole study has, those to come too."""
        return len(self.study.plan) + closing_to_come(self.study, self._samples, self._seeds) + self.to_come()

    def to_come(self) -> int:
        """Return how many trials a search has yet to propose."""
        return to_come(self.study, self._samples, self._seeds)

    def close(self, reason: str, *, over_budget: bool = False) -> None:
        """Run no further cell, for this reason; a search has then made all of its proposals."""
        self.ended_early, self.over_budget = reason, over_budget
        self._samples = len(suggestions(self.study))
        self.tally = replace(self.tally, planned=self._planned())

    def closing(self) -> list[TrialConfig]:
        """Return the configurations that are left to score on the report split; the base for those not chosen yet."""
        planned = [self.study.config(t) for t in self.folder.unfinished(t for t in self.study.plan if t.is_report)]
        return planned + [self.study.base] * closing_to_come(self.study, self._samples, self._seeds)

    def cells_ended(self) -> bool:
        """Return whether every trial of the selection has ended, done or failed, or no further one is run."""
        if self.ended_early:
            return True
        ended = all(trial.trial_id in self.results for trial in self.study.plan if not trial.is_report)
        return ended and not self.to_come()

    def show_on(self, display: Display) -> None:
        self._display = display
        self._show("")

    def publish(self, study: Study) -> None:
        """Store the plan and write it to the study's folder."""
        self.study = study
        write_study(self.path, study)

    def grow(self, study: Study) -> None:
        """Store a plan with further cells."""
        self.publish(study)
        self.tally = replace(self.tally, planned=self._planned())

    def end_with(self, closing: Sequence[PlannedTrial]) -> None:
        """Plan the trials on the report split, in place of earlier ones."""
        self.publish(with_closing(self.study, closing))
        self.results = read_results(self.path, self.study)
        done = _ended(self.folder)
        self._ended_before += done - self.tally.done  # scores of the chosen cell that an earlier launch has left
        self.tally = replace(self.tally, planned=self._planned(), done=done)

    def started(self, job: Job) -> None:
        with self._lock:
            self.begun += len(job.trials)
            self._jobs.update({trial.trial_id: job for trial in job.trials})
            self._begin(job.trials[0].trial_id)
            self._show("")

    def progress(self, trial_id: str, metrics: dict[str, float]) -> None:
        with self._lock:
            if trial_id not in self.tally.running:  # the job is at its next seed, so the seeds before it have ended
                self._collect(self._jobs[trial_id])
                self._begin(trial_id)
            self.tally = self.tally.reported(trial_id, metrics)
            if self._recorder is not None and "epoch" in metrics:
                self._recorder.trial_progress(trial_id, metrics, int(metrics["epoch"]))
            self._show("")

    def at_rung(self, trial_id: str, rung: int) -> None:
        """Decide about a trial that was scored at a rung; the answer is in its folder afterwards."""
        with self._lock:
            if self._stops is None or self._stops.arrived(trial_id, rung):
                return
            if trial_id in self.tally.running and self.study.stop is not None:
                self.tally = self.tally.passed(trial_id, f"rung {rung} of {len(self.study.stop.shares)}")
                self._show("")

    def finished(self, job: Job) -> None:
        with self._lock:
            self._collect(job)
            for trial in job.trials:
                self._jobs.pop(trial.trial_id, None)

    def look(self, now: float) -> None:
        """Report each running trial once that takes several times as long as expected."""
        with self._lock:
            for trial_id, running in self.tally.running.items():
                if running.slow:
                    continue
                config = next(c for c in self._jobs[trial_id].configs if c.trial_id == trial_id)
                slow = slow_text(self.pace, config, now - running.since, estimates=self._estimates)
                if slow:
                    self.tally = self.tally.slowed(trial_id)
                    self._show(f"{running.label}: {slow}")

    def _begin(self, trial_id: str) -> None:
        label = next(t.label for t in self._jobs[trial_id].trials if t.trial_id == trial_id)
        self.tally = self.tally.started(trial_id, label, time.monotonic())

    def _collect(self, job: Job) -> None:
        """Read the results of the job's trials that have ended since the last call."""
        for trial in job.trials:
            result = read_result(trial_folder(self.path, trial.trial_id))
            known = self.results.get(trial.trial_id)
            if result is None or (known is not None and known.provenance == result.provenance != {}):
                continue
            self.results[trial.trial_id] = result
            self.pace.add(result)
            self._scores.pop(trial.cell, None)
            if self._stops is not None:
                self._stops.ended(trial.trial_id, result)
            if self._recorder is not None:
                self._recorder.trial_finished(trial.trial_id)
            error = result.error or result.status if result.status == "failed" else None
            stopped = result.status == "pruned"
            self.tally = self.tally.ended(trial.trial_id, trial.label, error, self._best(), stopped=stopped)
            self._show(event(trial.label, result, self.study))

    def standing(self) -> Standing:
        """Return how far the study has come."""
        failed = sum(result.status == "failed" for result in self.results.values())
        return Standing(
            study=self.study.study, folder=str(self.path), done=self.tally.done, planned=self._of_the_study(),
            failed=failed, best=self.tally.best,
        )  # fmt: skip

    def cells(self) -> list[CellScore]:
        """Return the scores of all cells so far, in plan order; only those of changed cells are computed."""
        folder, rows = self.folder, self.study.rows(role="cell")
        for row in rows:
            if row.cell not in self._scores:
                self._scores[row.cell] = row_score(folder, row)
        return [self._scores[row.cell] for row in rows]

    def _best(self) -> str:
        decides = deciding_score(self.study.objectives).name
        top = best(keeping(self.folder, self.cells()), decides)
        if top is None:
            return ""
        return f"{where(top)}, {decides} {top.value(decides):.1f}"

    def _show(self, event: str) -> None:
        if self._display is not None:
            self._display.show(replace(self.tally, spent=self.spending()), event)


def _ended(folder: StudyFolder) -> int:
    """Return how many trials are not to run: those that are done, and those that were stopped early."""
    return len(folder.study.plan) - len(folder.unfinished())


def event(label: str, result: TrialResult, study: Study) -> str:
    """Return the result of a trial as a line of text."""
    if result.status != "done":
        return f"{label}: {result.status}: {result.error}"
    means = headline(result, study.score_eps)
    values = [(score.name, m.value) for score in shown_scores(study.objectives) if (m := means.get(score.name))]
    figures = ", ".join(f"{name} {value:.1f}" for name, value in values if value is not None)
    return f"{label}: {figures} ({duration(result.cost.get('seconds_total', 0.0))})"
