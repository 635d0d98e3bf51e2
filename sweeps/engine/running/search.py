"""Search mode: Optuna proposes trials, the trial folders hold the results, and a resumed search repeats nothing.

Only this process writes the journal in the study's folder. At the start, results that the journal lacks are added to
it, and interrupted proposals run again with the same values.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweeps.engine.analysis.scores import CellScore, row_score
from sweeps.engine.analysis.searching.duplicates import near, placed
from sweeps.engine.analysis.searching.keeping import violations
from sweeps.engine.running.jobs import Job, job
from sweeps.engine.running.warm_start import KnownPoint, Start
from sweeps.engine.study.branches import overrides_of, parameters, point_of, recipes, spaces
from sweeps.engine.study.folder import JOURNAL, PlannedTrial, Study, StudyFolder, trial_folder
from sweeps.engine.study.objectives import score_named
from sweeps.engine.study.optuna_space import ask, distributions, whole
from sweeps.engine.study.plan import suggested, suggestions, to_come
from sweeps.engine.study.samplers import ONE_SEED, sampler
from sweeps.engine.study.sweep import axis_levels
from zsr_core.codec import require, unknown
from zsr_core.rng import seed_for
from zsr_core.trial.result import TrialResult, read_result

CELL = "cell"  # the attribute of a proposal that names its cell in the plan
ORIGIN = "warm_start"  # the attribute of a point from an earlier study: its folder and cell
PRIOR = "prior"  # the same of a proposal that was made because an earlier study of something else was good there
REPEATS = 20  # after so many repeated proposals in a row, an unplanned point is enqueued instead


class Proposals:
    """The jobs of a search: interrupted proposals, then new ones until the study has ``samples`` of them."""

    def __init__(
        self,
        folder: Path,
        study: Study,
        *,
        samples: int,
        seeds: Sequence[int],
        publish: Callable[[Study], object],
        limit: int | None = None,
        known: Sequence[KnownPoint] = (),
        first: Sequence[Start] = (),
    ) -> None:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = study
        self._folder, self._samples, self._seeds, self._publish = folder, samples, seeds, publish
        self._space = parameters(study)
        self._distributions = distributions(self._space)
        self._room = math.inf if limit is None else limit
        self._partial = ""  # the cell that lacks seeds because of --limit
        self._open: dict[str, list[int]] = {}  # cell -> numbers of the proposals that wait for its result
        self._journal = _journal(folder / JOURNAL, study)
        self._adopt()
        # Without the offset a resumed sampler would draw the first points again.
        offset = 0 if study.search in ONE_SEED else len(self._journal.get_trials(deepcopy=False))
        self._journal.sampler = sampler(
            study.search or "", seed_for(study.base.seed, "search", offset) % 2**32, conditional=bool(study.branches)
        )
        self._unfinished = self._cut_off()
        if not self._journal.trials:
            for point in starts(study):
                enqueue(self._journal, study, point)
        self._learn(known)
        self._look_first_at(first)

    def next(self) -> Job | None:
        """Return the next job; the last job within ``limit`` may lack seeds, which the next launch runs."""
        if self._room < 1:
            return None
        following = self._unfinished.popleft() if self._unfinished else self._propose()
        if following is None:
            return None
        if len(following.trials) > self._room:
            self._partial = following.trials[0].cell
            following = job(self.study, following.trials[: int(self._room)])
        self._room -= len(following.trials)
        return following

    def finished(self, job: Job) -> None:
        cell = job.trials[0].cell
        if job.trials[0].role == "cell" and cell != self._partial:
            self._tell(cell)

    def _learn(self, known: Sequence[KnownPoint]) -> None:
        """Add the points of earlier studies to the journal, each once. They are not trials of this study."""
        known_origins = {trial.user_attrs.get(ORIGIN) for trial in self._journal.get_trials(deepcopy=False)}
        trials = [
            create_trial(
                values=list(point.values), params=dict(point.params),
                distributions=self._distributions_of(point.params),
                user_attrs={ORIGIN: point.origin},
            )
            for point in known
            if point.origin not in known_origins
        ]  # fmt: skip
        self._journal.add_trials(trials)

    def _look_first_at(self, first: Sequence[Start]) -> None:
        """Enqueue the starts that earlier studies give, each once. Their scores there are not told."""
        known_origins = {trial.user_attrs.get(PRIOR) for trial in self._journal.get_trials(deepcopy=False)}
        for start in first:
            if start.origin not in known_origins:
                enqueue(self._journal, self.study, start.params, {PRIOR: start.origin})

    def _propose(self) -> Job | None:
        """Return the job of a new proposal, after adding it to the published plan."""
        for attempt in itertools.count():
            if not to_come(self.study, self._samples, len(self._seeds)):
                return None
            if attempt == REPEATS:
                self._journal.enqueue_trial(self._unplanned())
            trial = ask(self._journal, self.study)
            trials = suggested(self.study, overrides_of(self.study, trial.params), self._seeds)
            planned = {t.trial_id: t.cell for t in self.study.plan}
            same = planned.get(trials[0].trial_id) or self._nearly(trial.params)
            if same is None:
                break
            self._repeat(same, trial.number)
        trial.set_user_attr(CELL, trials[0].cell)
        self._open[trials[0].cell] = [trial.number]
        self._grow(replace(self.study, plan=(*self.study.plan, *trials)))
        return job(self.study, trials)

    def _nearly(self, point: Mapping[str, Any]) -> str | None:
        """Return the running proposal that ``point`` nearly repeats, because its score will tell of both; else None."""
        at, known = placed(point, self._space), suggestions(self.study)
        running = ((cell, point_of(self.study, known[cell])) for cell in self._open if cell in known)
        return next((cell for cell, other in running if near(at, placed(other, self._space))), None)

    def _unplanned(self) -> dict[str, Any]:
        """Return the first point without a proposal, from grids of increasing resolution."""
        taken = [point_of(self.study, known) for known in suggestions(self.study).values()]
        for n in itertools.count(5):
            for _, space in spaces(self.study):
                for values in itertools.product(*(axis_levels(domain, n) for domain in space.values())):
                    point = dict(zip(space, values, strict=True))
                    if point not in taken:
                        return point
        raise AssertionError("the space has an unplanned point")

    def _distributions_of(self, point: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._distributions[name] for name in point}

    def _grow(self, study: Study) -> None:
        self.study = study
        self._publish(study)

    def _repeat(self, cell: str, number: int) -> None:
        """Give a proposal of a planned cell that cell's scores, now or when it ends; nothing runs twice."""
        waiting = cell in self._open
        self._open.setdefault(cell, []).append(number)
        if not waiting:
            self._tell(cell)

    def _tell(self, cell: str) -> None:
        """Add a cell's scores to the journal: for the proposals that wait for it, otherwise as a trial of its own."""
        row = next(row for row in self.study.rows(role="cell") if row.cell == cell)
        reference = [t for t in self.study.plan if t.role == "baseline"] if self.study.keep else []
        folder = self._read([*reference, *row.trials])
        score = row_score(folder, row)
        broken = violations(folder, score) if self.study.keep else {}
        state, values = self._outcome(score)
        for number in self._open.get(cell, []):
            trial = optuna.Trial(self._journal, self._journal.get_trials(deepcopy=False)[number]._trial_id)
            self._tell_rungs(trial, [folder.results[t.trial_id] for t in row.trials if t.trial_id in folder.results])
            for name, value in broken.items():  # samplers prefer cells that keep the study's conditions
                trial.set_constraint(name, value)
            self._journal.tell(number, values, state=state)
        if cell not in self._open and cell not in self._complete() and state == TrialState.COMPLETE:
            params, attrs = point_of(self.study, suggestions(self.study)[cell]), {CELL: cell}
            known = create_trial(
                state=state, values=values, params=params, distributions=self._distributions_of(params),
                user_attrs=attrs, constraints=broken,
            )  # fmt: skip
            self._journal.add_trial(known)
        self._open.pop(cell, None)

    def _tell_rungs(self, trial: optuna.Trial, results: Sequence[TrialResult]) -> None:
        """Add the rung scores of a cell that was stopped to its proposal.

        With one objective they are Optuna's intermediate values, which TPE reads. Optuna keeps none with several, so
        they are attributes.
        """
        stopped = [result for result in results if result.status == "pruned"]
        for score in next((result.rungs for result in stopped if result.rungs), ()):
            values = [score.scores[name] for name in self.study.objectives if name in score.scores]
            if len(values) == len(self.study.objectives) == 1:
                trial.report(values[0], score.rung)
            trial.set_user_attr(f"rung_{score.rung}", dict(score.scores))

    def _complete(self) -> set[str | None]:
        complete = self._journal.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return {trial.user_attrs.get(CELL) for trial in complete}

    def _outcome(self, score: CellScore) -> tuple[TrialState, list[float] | None]:
        """Return a cell's state and its means over seeds; without means if it failed or lacks seeds."""
        values = [score.value(name) for name in self.study.objectives]
        sound = [value for value in values if value is not None and math.isfinite(value)]
        if score.failed:
            return TrialState.FAIL, None
        if score.missing or score.stopped:
            return TrialState.PRUNED, None
        return (TrialState.COMPLETE, sound) if len(sound) == len(values) else (TrialState.FAIL, None)

    def _read(self, trials: Sequence[PlannedTrial]) -> StudyFolder:
        """Return the study with the current results of ``trials``."""
        read = {trial.trial_id: read_result(trial_folder(self._folder, trial.trial_id)) for trial in trials}
        results = {trial_id: result for trial_id, result in read.items() if result is not None}
        return StudyFolder(path=self._folder, study=self.study, results=results)

    def _adopt(self) -> None:
        """Synchronise the plan and the journal: each may have proposals that the other lacks."""
        for trial in self._journal.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            self._take_up(trial)
        known = {t.user_attrs.get(CELL) for t in self._journal.get_trials(deepcopy=False)}
        todo = {trial.cell for trial in self._read(self.study.plan).unfinished()}
        for cell in suggestions(self.study):
            if cell not in todo and (cell in self._open or cell not in known):
                self._tell(cell)

    def _take_up(self, trial: FrozenTrial) -> None:
        """Resume a proposal whose launch was killed; it is added to the plan if it is not in it yet."""
        if not whole(self.study, trial.params):  # killed before the values were drawn, so nothing is repeated
            self._journal.tell(trial.number, state=TrialState.FAIL)
            return
        planned = {t.trial_id: t.cell for t in self.study.plan}
        trials = suggested(self.study, overrides_of(self.study, trial.params), self._seeds)
        cell = planned.get(trials[0].trial_id)
        if cell is None:
            cell = trials[0].cell
            self._grow(replace(self.study, plan=(*self.study.plan, *trials)))
        self._open.setdefault(cell, []).append(trial.number)

    def _cut_off(self) -> deque[Job]:
        """Return the unfinished planned trials as jobs: the untouched model's, then the proposals', in order."""
        todo = self._read(self.study.plan).unfinished()
        groups = itertools.groupby(todo, key=lambda t: (t.role, t.cell))
        return deque(job(self.study, trials) for _, trials in groups)


def starts(study: Study) -> list[dict[str, Any]]:
    """Return the first proposals: the published optimum of a whole space, or each branch's own recipe."""
    whole_optimum = not study.branches and study.published.keys() == study.space.keys()
    return [dict(study.published)] if whole_optimum else recipes(study)


def enqueue(
    journal: optuna.Study, study: Study, point: Mapping[str, Any], attributes: Mapping[str, str] | None = None
) -> None:
    """Enqueue ``point`` as the next proposal, with attributes.

    Raises:
        ConfigError: if it is outside the space, because Optuna would run it anyway.
    """
    space = parameters(study)
    for path, value in point.items():
        if path not in space:
            raise unknown("point", path, space)
        require(space[path].contains(value), path, value, f"a value inside {space[path]}")
    journal.enqueue_trial(dict(point), user_attrs=dict(attributes or {}))


def _journal(path: Path, study: Study) -> optuna.Study:
    """Return the study's journal. This process is its only writer, so a lock of a killed process is deleted."""
    Path(f"{path}.lock").unlink(missing_ok=True)
    mend_journal(path)
    journal = optuna.create_study(
        study_name=study.study,
        storage=JournalStorage(JournalFileBackend(str(path))),
        directions=["maximize" if score_named(name).higher_is_better else "minimize" for name in study.objectives],
        load_if_exists=True,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        journal.set_metric_names(list(study.objectives))
    return journal


def mend_journal(path: Path) -> None:
    """Drop an incomplete last line, which a killed process leaves; rename a journal that is broken elsewhere.

    A new journal is filled from the study's folder, which has every proposal and its result.
    """
    if not path.is_file():
        return
    complete, newline, tail = path.read_bytes().rpartition(b"\n")
    if all(_is_json(line) for line in complete.split(b"\n")) or not complete:
        if tail:
            path.write_bytes(complete + newline)
        return
    aside = path.with_name(f"{path.name}.torn")
    path.rename(aside)
    print(f"{path} is broken and was set aside as {aside.name}; a new one is filled from the trials.", file=sys.stderr)


def _is_json(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
