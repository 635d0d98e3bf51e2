"""A launch under way: the plan as it grows, the results as they come in, and who is told of them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sweeps.engine.analysis.scores import best, headline, scores
from sweeps.engine.format import leaf
from sweeps.engine.running.jobs import Job
from sweeps.engine.running.progress import Display, Tally
from sweeps.engine.study.folder import PlannedTrial, Study, read_results, trial_folder, write_study
from sweeps.engine.study.objectives import OBJECTIVES
from sweeps.engine.study.plan import is_report, missing, to_come, with_closing
from zsr_core.duration import duration
from zsr_core.space import short
from zsr_core.trial.result import TrialResult, read_result

if TYPE_CHECKING:
    from sweeps.engine.tracking.recorder import Recorder


class Course:
    """What the launching process knows: it watches jobs and passes on what they say."""

    def __init__(
        self,
        folder: Path,
        study: Study,
        results: Mapping[str, TrialResult],
        *,
        samples: int,
        seeds: int,
        recorder: Recorder | None = None,
    ) -> None:
        self.folder, self.study, self.results = folder, study, dict(results)
        self._samples, self._seeds, self._recorder = samples, seeds, recorder
        self._display: Display | None = None
        self._jobs: dict[str, Job] = {}  # trial id -> the job under way that holds it
        self.begun = 0  # trials handed out by this launch
        done = len(study.plan) - len(missing(study.plan, results))
        self.tally = Tally(title=study.study, planned=self._planned(), done=done, began=time.monotonic())

    def _planned(self) -> int:
        closing = 0 if any(is_report(trial) for trial in self.study.plan) else 2 * self._seeds
        return len(self.study.plan) + closing + self.to_come()

    def to_come(self) -> int:
        """Return how many trials a search has yet to propose."""
        return to_come(self.study, self._samples, self._seeds)

    def cells_ended(self) -> bool:
        """Return whether every trial of the selection has had its turn, done or failed."""
        here = all(trial.trial_id in self.results for trial in self.study.plan if not is_report(trial))
        return here and not self.to_come()

    def show_on(self, display: Display) -> None:
        self._display = display
        self._show("")

    def publish(self, study: Study) -> None:
        """Write a plan that has grown."""
        self.study = study
        write_study(self.folder, study)

    def grow(self, study: Study) -> None:
        """Plan further cells."""
        self.publish(study)
        self.tally = replace(self.tally, planned=self._planned())

    def end_with(self, closing: Sequence[PlannedTrial]) -> None:
        """Plan the end of the study, in place of an earlier one."""
        self.publish(with_closing(self.study, closing))
        self.results = read_results(self.folder, self.study)
        done = len(self.study.plan) - len(missing(self.study.plan, self.results))
        self.tally = replace(self.tally, planned=len(self.study.plan), done=done)

    def started(self, job: Job) -> None:
        self.begun += len(job.trials)
        self._jobs.update({trial.trial_id: job for trial in job.trials})
        self._begin(job.trials[0].trial_id)
        self._show("")

    def progress(self, trial_id: str, metrics: dict[str, float]) -> None:
        if trial_id not in self.tally.running:  # a job's next seed has begun: those before it are done
            self._collect(self._jobs[trial_id])
            self._begin(trial_id)
        self.tally = self.tally.reported(trial_id, metrics)
        if self._recorder is not None and "epoch" in metrics:
            self._recorder.trial_progress(trial_id, metrics, int(metrics["epoch"]))
        self._show("")

    def finished(self, job: Job) -> None:
        self._collect(job)
        for trial in job.trials:
            self._jobs.pop(trial.trial_id, None)

    def _begin(self, trial_id: str) -> None:
        label = next(t.label for t in self._jobs[trial_id].trials if t.trial_id == trial_id)
        self.tally = self.tally.started(trial_id, label, time.monotonic())

    def _collect(self, job: Job) -> None:
        """Take in the results of the job's trials that have newly ended."""
        for trial in job.trials:
            result = read_result(trial_folder(self.folder, trial.trial_id))
            known = self.results.get(trial.trial_id)
            if result is None or (known is not None and known.provenance == result.provenance != {}):
                continue
            self.results[trial.trial_id] = result
            if self._recorder is not None:
                self._recorder.trial_finished(trial.trial_id)
            error = None if result.status == "done" else result.error or result.status
            self.tally = self.tally.ended(trial.trial_id, trial.label, error, self._best())
            self._show(event(trial.label, result))

    def _best(self) -> str:
        found = best(scores(self.study, self.results))
        if found is None:
            return ""
        where = " ".join(f"{leaf(path)}={short(value)}" for path, value in found.overrides.items()) or found.cell
        return f"{where}, harmonic {found.harmonic:.1f}"

    def _show(self, event: str) -> None:
        if self._display is not None:
            self._display.show(self.tally, event)


def event(label: str, result: TrialResult) -> str:
    """Return a trial's end as a line."""
    if result.status != "done":
        return f"{label}: {result.status}: {result.error}"
    found = headline(result)
    figures = ", ".join(f"{name} {found[name].value:.1f}" for name in OBJECTIVES if name in found)
    return f"{label}: {figures} ({duration(result.cost.get('seconds_total', 0.0))})"
