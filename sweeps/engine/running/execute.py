"""Run the missing trials: the cells, the trials that --refine adds, then the chosen cell on the report split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.searching.certainty import Watch, certainty
from sweeps.engine.format import counted
from sweeps.engine.running.course import Course
from sweeps.engine.running.here import run_here
from sweeps.engine.running.jobs import Listed, Source, job, processes_of
from sweeps.engine.running.options import Options
from sweeps.engine.running.progress import display
from sweeps.engine.running.spending.limited import Limited
from sweeps.engine.running.spending.meter import Meter
from sweeps.engine.running.warm_start import transfers
from sweeps.engine.study.folder import PlannedTrial, read_results
from sweeps.engine.study.plan import closing
from zsr_core.codec import require
from zsr_core.space import Variant

if TYPE_CHECKING:
    from sweeps.engine.running.cluster.join import Cluster


def run_missing(course: Course, options: Options, running: ExitStack, own: frozenset[str]) -> None:
    """Run the cells and, after all of them have ended, the chosen cell on the report split.

    With --refine, trials between the sweep's ``own`` cells run before the choice.
    """

    def room() -> int | None:
        return None if options.limit is None else options.limit - course.begun

    with ExitStack() as shown:
        engine = Engine(course, options, running, shown)
        todo = course.folder.unfinished(trial for trial in course.study.plan if not trial.is_report)
        if course.study.search is None:
            engine.run_listed(todo[: room()])
        elif todo or course.to_come():
            engine.run_search(room())
        if options.refine and not course.ended_early:
            _refine(course, options.refine, own, lambda trials: engine.run_listed(trials[: room()]))
        if options.more_seeds and not course.ended_early:
            _race(course, (*options.seeds, *options.more_seeds), lambda trials: engine.run_listed(trials[: room()]))
        if course.cells_ended():
            choose(course, options.seeds, options.more_seeds)
            end = course.folder.unfinished(trial for trial in course.study.plan if trial.is_report)
            engine.run_listed(end[: room()], limited=False)
        course.notes += engine.spending_lines()


def _refine(course: Course, count: int, own: frozenset[str], run: Callable[[Sequence[PlannedTrial]], None]) -> None:
    """Run trials between neighbours whose scores are too far apart, in at most ``count`` rounds."""
    from sweeps.engine.analysis.cliffs import rounds  # noqa: PLC0415 - brings SciPy

    while course.cells_ended():
        grown, _ = rounds(course.folder, own, count)
        if grown == course.study:
            return
        course.grow(grown)
        run(course.folder.unfinished(trial for trial in grown.plan if trial.role == "cell"))


def _race(course: Course, seeds: Sequence[int], run: Callable[[Sequence[PlannedTrial]], None]) -> None:
    """Run further seeds of the cells that may still be the best, one seed at a time."""
    from sweeps.engine.running.race import next_round  # noqa: PLC0415 - brings the bootstrap

    while course.cells_ended() and not course.ended_early:
        grown = next_round(course.folder, seeds)
        if grown == course.study:
            return
        course.grow(grown)
        run(course.folder.unfinished(trial for trial in grown.plan if not trial.is_report))


def choose(course: Course, seeds: Sequence[int], more: Sequence[int] = ()) -> None:
    """Plan the final trials: the chosen cell and the untouched model on the report split.

    Those of seeds that are not among the launch's ``seeds`` stay planned where they have a result. Of ``more``
    those are planned that the chosen cell has run.
    """
    winner = chosen(course.folder)
    if winner is None or course.study.reproduces:  # a reproduction plans all rows on it
        return
    further = [t.seed for t in course.study.plan if t.cell == winner.cell and t.role == "cell" and t.seed in more]
    wanted = dict.fromkeys((*course.study.seeds, *further))
    end = closing(course.study, Variant(label=winner.cell, overrides=winner.overrides), tuple(wanted))
    known = read_results(course.path, replace(course.study, plan=end))
    course.end_with([t for t in end if t.seed in (*seeds, *further) or t.trial_id in known])


class Engine:
    """Runs trials in this process or on Ray, which starts with the first trial."""

    def __init__(self, course: Course, options: Options, running: ExitStack, shown: ExitStack) -> None:
        self._course, self._options, self._running, self._shown = course, options, running, shown
        self._cluster: Cluster | None = None
        self._started = False
        self._meter: Meter | None = None
        if options.budget is not None:
            self._meter = Meter(options.budget, course.pace, course.results.values())
            course.spending = self._meter.text

    def run_listed(self, trials: Sequence[PlannedTrial], *, limited: bool = True) -> None:
        """Run the trials in order; with a budget and ``limited`` only those that fit."""
        if not trials:
            return
        source = Listed(job(self._course.study, [trial]) for trial in trials)
        if limited and self._meter is not None:
            self._run_limited(source, search=False)
        else:
            self._run(source, search=False)

    def _run_limited(self, source: Source, *, search: bool) -> None:
        """Run the jobs of ``source`` until one would not fit the budget, or nothing better is expected."""
        self._start()
        course, options = self._course, self._options
        gpus = self._gpus()
        needs_gpus = options.budget is not None and options.budget.kind == "gpu_seconds"
        require(not needs_gpus or gpus > 0, "--budget", "GPU hours", "trials on GPUs: here they have none")
        if self._meter is not None:
            self._meter.use(gpus)
        watch = Watch()
        limit = Limited(
            source, meter=self._meter, closing=course.closing, result=course.results.get,
            ahead=[course.study.base.with_({"seed": seed}) for seed in options.seeds] if search else (),
            certain=(lambda: watch.look(course.folder, course.cells())) if options.until_certain else None,
            slots=1 if self._cluster is None else self._cluster.slots,
        )  # fmt: skip
        self._run(limit, search=True)
        if limit.reason:
            course.close(limit.reason, over_budget=limit.over)

    def _gpus(self) -> float:
        """Return how many GPUs a trial has, or its share of one."""
        if self._cluster is not None:
            return self._cluster.gpus_per_trial
        given = self._options.gpus_per_trial
        return float(torch.cuda.is_available()) if given is None else given

    def spending_lines(self) -> list[str]:
        """Return what was spent and why no further cell was run; empty without a budget."""
        course, lines = self._course, list[str]()
        if self._meter is not None:
            spent, budget = self._meter.total(course.results.values()), self._meter.budget
            lines.append(
                f"Budget of {budget.text()}: {budget.text(spent)} spent ({spent / budget.amount:.0%}), "
                f"{counted(course.begun, 'trial')} started by this launch."
            )
        if course.ended_early:
            lines.append(f"No further cell was run: {course.ended_early}.")
        elif self._options.until_certain:
            found = certainty(course.folder)
            lines.append(f"Not certain yet: {found.text}." if found else "Certainty is unknown: too few cells.")
        return lines

    def run_search(self, room: int | None) -> None:
        from sweeps.engine.running.search import Proposals  # noqa: PLC0415 - brings Optuna

        taken = transfers(self._course.study, self._options.warm_start)
        proposals = Proposals(
            self._course.path, self._course.study, samples=self._options.samples, seeds=self._options.seeds,
            publish=self._course.publish, limit=room,
            known=[point for each in taken for point in each.known],
            first=[start for each in taken for start in each.starts],
        )  # fmt: skip
        if self._meter is None and not self._options.until_certain:
            self._run(proposals, search=True)
        else:
            self._run_limited(proposals, search=True)

    def _run(self, source: Source, *, search: bool) -> None:
        self._start()
        study = self._course.study
        rungs = None if study.stop is None else study.stop.rungs(study.score_eps)
        if self._options.local:
            processes = processes_of(self._options.gpus_per_trial)
            device = "cpu" if self._options.gpus_per_trial == 0 else None
            run_here(
                source, self._course.path, self._course, processes, self._options.trial_timeout, rungs, device,
                deterministic=self._options.deterministic,
            )  # fmt: skip
            return
        from sweeps.engine.running.on_ray import run_on_ray  # noqa: PLC0415 - brings Ray

        assert self._cluster is not None
        run_on_ray(
            source, self._course.path, self._course, self._cluster, search=search, limit=self._options.trial_timeout,
            rungs=rungs, deterministic=self._options.deterministic,
        )  # fmt: skip

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        if not self._options.local:
            from sweeps.engine.running.cluster.join import cluster  # noqa: PLC0415 - brings Ray

            print("starting Ray ...", flush=True)
            self._cluster = self._running.enter_context(
                cluster(self._options.gpus_per_trial, self._options.max_concurrent)
            )
        self._course.show_on(self._shown.enter_context(display()))
