"""``launch``: from a sweep and its flags to results, an answer and an honest exit code."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from statistics import median
from types import FrameType
from typing import TYPE_CHECKING, TypeVar

import torch

from sweeps.engine.analysis.choice import chosen, selection
from sweeps.engine.analysis.matrix import Matrix, read_ablation
from sweeps.engine.documents.forms.terminal import terminal
from sweeps.engine.documents.table import write_table
from sweeps.engine.format import MINIATURES
from sweeps.engine.running.course import Course
from sweeps.engine.running.here import check_gpus, run_here
from sweeps.engine.running.jobs import Listed, Source, job, processes_of
from sweeps.engine.running.options import Options, command_again, read_options
from sweeps.engine.running.progress import display
from sweeps.engine.running.warm_start import known_points
from sweeps.engine.study.folder import PlannedTrial, Study, read_results, read_study, write_study
from sweeps.engine.study.lock import only_launch
from sweeps.engine.study.plan import closing, continued, is_report, missing, new_study, suggestions, to_come
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.study.workload import Gpu, listing
from sweeps.engine.tracking.address import check_tracking, resolve_tracking
from sweeps.engine.wording.answer import answer, places, shortfall
from sweeps.engine.wording.matrix import described
from zsr_core.codec import ConfigError, canonical
from zsr_core.space import Variant
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.cost import Estimate, estimate
from zsr_core.trial.result import TrialResult

if TYPE_CHECKING:
    from sweeps.engine.running.on_ray import Cluster
    from sweeps.engine.tracking.recorder import Recorder

# The card that the papers trained on (Comp-TGA, section V), at its maker's fp32 rate.
REFERENCE_GPU, REFERENCE_GFLOPS = "an RTX 3090", 35_600.0
Found = TypeVar("Found")
DONE, INCOMPLETE, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def launch(sweep: Sweep, argv: Sequence[str] | None = None) -> int:
    """Run what is missing of ``sweep`` and return the exit code.

    0: every planned trial is done. 1: one is missing or failed, or a table or figure could not be made. 2: the input
    cannot be used, and nothing was started. 130: stopped by Ctrl-C or SIGTERM.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    again = command_again(shlex.quote(sys.argv[0]), [shlex.quote(text) for text in given])
    return _in_order(lambda: _launch(sweep, read_options(sweep, given)), again)


def _in_order(run: Callable[[], int], again: str) -> int:
    """Return ``run``'s exit code, or that of input it cannot use or of a stop, each said in a line or two."""
    try:
        with stoppable():
            return run()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nStopped. What has finished is kept. To go on:\n  {again}", file=sys.stderr)
        return INTERRUPTED


def go_on(folder: Path, grown: Callable[[Study], Study], *, local: bool = False, tracking: str | None = None) -> int:
    """Run a study on with the plan that ``grown`` gives it, choose and score anew, and return :func:`launch`'s code."""
    return _in_order(lambda: _go_on(folder.absolute(), grown, local, tracking), f"zsr refine --study {folder} --run")


def _go_on(folder: Path, grown: Callable[[Study], Study], local: bool, tracking: str | None) -> int:
    uri = resolve_tracking(tracking, folder.parent)
    if uri is not None:
        check_tracking(uri)
    _check_writable(folder.parent)
    with only_launch(folder):
        study = grown(read_study(folder))
        check_world(study)
        write_study(folder, study)
        options = Options(
            plan=False, preset=study.preset, search=study.search, samples=len(suggestions(study)), seeds=study.seeds,
            objectives=study.objectives, results=folder.parent, tracking=tracking, local=local, limit=None, fresh=False,
            gpus_per_trial=None, max_concurrent=None,
        )  # fmt: skip
        return _conduct(folder, study, read_results(folder, study), options, uri)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM stop in order; a second one ends the process at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: os._exit(INTERRUPTED))
        raise KeyboardInterrupt

    before = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _launch(sweep: Sweep, options: Options) -> int:
    study, results = _open(sweep, options)
    known = known_points(study, options.warm_start)
    if options.warm_start:
        print(f"Earlier studies know {len(known)} points of this space.", flush=True)
    if options.plan:
        print("\n".join([*_plan_lines(study, results, options), *_refine_lines(sweep, study, results, options)]))
        return DONE
    check_world(study)
    if options.local:
        check_gpus(processes_of(options.gpus_per_trial))
    tracking = resolve_tracking(options.tracking, options.results)
    if tracking is not None:
        check_tracking(tracking)
    _check_writable(options.results)
    folder = options.results / study.study
    with only_launch(folder):
        if options.fresh:
            _set_aside(folder)
        study, results = _open(sweep, options)  # again: another launch may have ended since
        write_study(folder, study)
        return _conduct(folder, study, results, options, tracking, _own_cells(sweep, options))


def _own_cells(sweep: Sweep, options: Options) -> frozenset[str]:
    """Return the cells that the sweep itself lists, without what refining added."""
    return frozenset(cell.label for cell in sweep.cells(options.preset))


def _open(sweep: Sweep, options: Options) -> tuple[Study, dict[str, TrialResult]]:
    """Return the study that is asked for, joined with what its folder already holds, and the results there are."""
    asked = new_study(
        sweep, preset=options.preset, search=options.search, seeds=options.seeds, objectives=options.objectives
    )
    folder = options.results / asked.study
    if options.fresh or not folder.exists():
        return asked, {}
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / "study.json").exists()):
        raise ConfigError(f"--results: {folder} holds something else; expected a study, an empty folder or nothing")
    if not (folder / "study.json").exists():
        return asked, {}
    earlier = read_study(folder)
    study = continued(earlier, asked, read_results(folder, earlier), str(folder))
    return study, read_results(folder, study)


def check_world(study: Study) -> None:
    """Check model, weights and data, once for each that differs, before the first trial starts.

    Raises:
        ConfigError: naming the field that cannot be used here.
    """
    configs = [study.base, *(study.config(trial) for trial in study.plan)]
    used = {canonical([c.model, c.train_data, c.eval_suite]): c for c in configs}
    for config in used.values():
        check(config)


def _check_writable(results: Path) -> None:
    try:
        results.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=results):
            pass
    except OSError as error:
        expected = f"expected a folder to write to ({error.strerror})"
        raise ConfigError(f"--results: got {str(results)!r}, {expected}") from None


def _set_aside(folder: Path) -> None:
    if folder.exists():
        folder.rename(folder.with_name(f"{folder.name}.old-{time.strftime('%Y%m%d-%H%M%S')}"))


def _plan_lines(study: Study, results: dict[str, TrialResult], options: Options) -> list[str]:
    def shape(config: TrialConfig) -> str:
        """Trials that differ in weights and seed alone cost the same."""
        sizes = [config.model, config.train_attack, config.train_data, config.epochs, config.eval_suite]
        return f"{config.method.passes} {canonical(sizes)}"

    measured: dict[str, list[float]] = {}
    for result in results.values():
        if result.status == "done":
            measured.setdefault(shape(result.config), []).append(result.cost["seconds_total"])
    kept = {name: median(found) for name, found in measured.items()}
    counted: dict[str, Estimate] = {}

    def estimated(config: TrialConfig) -> Estimate:
        return (
            counted[shape(config)] if shape(config) in counted else counted.setdefault(shape(config), estimate(config))
        )

    def seconds(config: TrialConfig) -> float:
        """What such trials took in this study, or else what the estimate says."""
        return kept[shape(config)] if shape(config) in kept else estimated(config).seconds

    cores = 1 if options.local else len(os.sched_getaffinity(0))
    slots = min(cores, options.max_concurrent or cores)
    coming = to_come(study, options.samples, len(options.seeds))
    elsewhere = study.base.model.name not in MINIATURES and not torch.cuda.is_available()
    gpu = Gpu(name=REFERENCE_GPU, seconds=lambda config: estimated(config).seconds_at(REFERENCE_GFLOPS))
    lines = listing(study, results, seconds, slots=slots, to_come=coming, gpu=gpu if elsewhere else None)
    absent = sorted({name for found in counted.values() for name in found.absent})
    return [*lines, f"Not here, and counted by their published sizes: {', '.join(absent)}."] if absent else lines


def _refine_lines(sweep: Sweep, study: Study, results: dict[str, TrialResult], options: Options) -> list[str]:
    """Return which trials --refine would add, or that it is too early to say."""
    if not options.refine:
        return []
    from sweeps.engine.analysis.cliffs import rounds  # noqa: PLC0415
    from sweeps.engine.analysis.interpolation import CLIFF  # noqa: PLC0415 - brings SciPy
    from sweeps.engine.analysis.score_query import OBJECTIVE_SCORES  # noqa: PLC0415
    from sweeps.engine.wording.cliffs import proposal_lines  # noqa: PLC0415

    if any(t.trial_id not in results for t in study.plan if t.role == "cell"):
        return ["--refine looks between these cells once all of them have a score."]
    grown, found = rounds(study, results, _own_cells(sweep, options), options.refine)
    new = {trial.cell for trial in grown.plan} - {trial.cell for trial in study.plan}
    open_ones = [proposal for proposal in found if proposal.label in new]
    return ["", *proposal_lines(study, open_ones, OBJECTIVE_SCORES, CLIFF)]


def _conduct(
    folder: Path,
    study: Study,
    results: dict[str, TrialResult],
    options: Options,
    tracking: str | None,
    own: frozenset[str] = frozenset(),
) -> int:
    """Run what is missing, make the tables and figures, say the answer, and return the exit code."""
    troubles: list[str] = []
    recorder = None if tracking is None else _started(folder, tracking, troubles)
    course = Course(folder, study, results, samples=options.samples, seeds=len(options.seeds), recorder=recorder)
    made: list[Path] = []
    with ExitStack() as running:  # what the trials run on is let go last: the answer does not wait for it
        try:
            if not missing(study.plan, results) and course.cells_ended() and not options.refine:
                print(f"All {len(study.plan)} trials of {study.study} are done: nothing to run.", flush=True)
            _run_missing(course, options, running, own)
            ablation = cache(read_ablation)  # for the table and for the screen
            made = _derive(folder, troubles, ablation, reproduces=bool(course.study.reproduces))
        finally:
            if recorder is not None:
                recorder.close(made)
        lacking = shortfall(course.study, course.results, course.to_come())
        curse = _read("winner's curse", lambda: selection(folder, course.study, course.results), troubles)
        told = [*answer(course.study, course.results, curse), ""]
        found = _read("matrix", lambda: ablation(folder), troubles)
        if found is not None:
            text = terminal(described(course.study, course.results, found), color=sys.stdout.isatty())
            told += [*text.splitlines(), ""]
        print("\n".join(["", *told, *places(folder, made, tracking)]), flush=True)
        for line in (*lacking, *troubles):
            print(line, file=sys.stderr)
    return INCOMPLETE if lacking or troubles else DONE


def _started(folder: Path, tracking: str, troubles: list[str]) -> Recorder | None:
    """Return the recorder at work, or None if it cannot start: runs can be recorded later, from the folders."""
    try:
        from sweeps.engine.tracking.recorder import Recorder  # noqa: PLC0415 - brings MLflow

        recorder = Recorder(folder, tracking)
        recorder.start()
    except Exception as error:
        troubles.append(f"tracking: no run was recorded at {tracking} ({type(error).__name__}: {error})")
        return None
    return recorder


def _derive(
    folder: Path, troubles: list[str], ablation: Callable[[Path], Matrix | None], *, reproduces: bool
) -> list[Path]:
    """Make Parquet, table and figures; what cannot be made is said and can be made later, from the folders."""

    def export() -> list[Path]:
        from sweeps.engine.documents.parquet import export_study  # noqa: PLC0415 - brings pandas

        return [export_study(folder)]

    def table() -> list[Path]:
        return [write_table(folder, ablation)]

    def plot() -> list[Path]:
        from sweeps.engine.figures.kinds import plot_study  # noqa: PLC0415 - brings matplotlib

        return plot_study(folder)

    def published() -> list[Path]:
        from sweeps.engine.documents.published import write_beside  # noqa: PLC0415 - one with its neighbours

        return [write_beside(folder)]

    made: list[Path] = []
    makers = [("figures", plot), ("table", table), ("Parquet", export)]
    makers += [("published numbers", published)] if reproduces else []
    for name, make in makers:
        try:
            made += make()
        except Exception as error:
            troubles.append(f"{name}: could not be made ({type(error).__name__}: {error}); the results are whole")
    return made


def _read(name: str, read: Callable[[], Found], troubles: list[str]) -> Found | None:
    """Return what is read from the trial folders to be said at the end; what cannot be read does not end the launch."""
    try:
        return read()
    except Exception as error:
        troubles.append(f"{name}: could not be made ({type(error).__name__}: {error}); the results are whole")
    return None


def _run_missing(course: Course, options: Options, running: ExitStack, own: frozenset[str]) -> None:
    """Run the cells and, once all of them have had their turn, the chosen one on the reporting split.

    With --refine, what lies between the sweep's ``own`` cells has its turn before the choice.
    """

    def room() -> int | None:
        return None if options.limit is None else options.limit - course.begun

    with ExitStack() as shown:
        engine = _Engine(course, options, running, shown)
        cells = [trial for trial in course.study.plan if not is_report(trial)]
        todo = missing(cells, course.results)
        if course.study.search is None:
            engine.run_listed(todo[: room()])
        elif todo or course.to_come():
            engine.run_search(room())
        if options.refine:
            _refine(course, options.refine, own, lambda trials: engine.run_listed(trials[: room()]))
        if course.cells_ended():
            _choose(course, options)
            end = [trial for trial in course.study.plan if is_report(trial)]
            engine.run_listed(missing(end, course.results)[: room()])


def _refine(course: Course, count: int, own: frozenset[str], run: Callable[[Sequence[PlannedTrial]], None]) -> None:
    """Run what lies between neighbours that are too far apart, ``count`` times over."""
    from sweeps.engine.analysis.cliffs import rounds  # noqa: PLC0415 - brings SciPy

    while course.cells_ended():
        grown, _ = rounds(course.study, course.results, own, count)
        if grown == course.study:
            return
        course.grow(grown)
        run(missing([trial for trial in grown.plan if trial.role == "cell"], course.results))


def _choose(course: Course, options: Options) -> None:
    """Plan the end of the study: the chosen cell and the untouched model, scored on the reporting split."""
    winner = chosen(course.study, course.results)
    if winner is not None and not course.study.reproduces:  # a reproduction has every row there, planned from the start
        course.end_with(closing(course.study, Variant(label=winner.cell, overrides=winner.overrides), options.seeds))


class _Engine:
    """What trials run on, started when the first one needs it."""

    def __init__(self, course: Course, options: Options, running: ExitStack, shown: ExitStack) -> None:
        self._course, self._options, self._running, self._shown = course, options, running, shown
        self._cluster: Cluster | None = None
        self._started = False

    def run_listed(self, trials: Sequence[PlannedTrial]) -> None:
        if trials:
            self._run(Listed(job(self._course.study, [trial]) for trial in trials), search=False)

    def run_search(self, room: int | None) -> None:
        from sweeps.engine.running.search import Proposals  # noqa: PLC0415 - brings Optuna

        proposals = Proposals(
            self._course.folder, self._course.study, samples=self._options.samples, seeds=self._options.seeds,
            publish=self._course.publish, limit=room,
            known=known_points(self._course.study, self._options.warm_start),
        )  # fmt: skip
        self._run(proposals, search=True)

    def _run(self, source: Source, *, search: bool) -> None:
        self._start()
        if self._options.local:
            run_here(source, self._course.folder, self._course, processes_of(self._options.gpus_per_trial))
            return
        from sweeps.engine.running.on_ray import run_on_ray  # noqa: PLC0415 - brings Ray

        assert self._cluster is not None
        run_on_ray(source, self._course.folder, self._course, self._cluster, search=search)

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        if not self._options.local:
            from sweeps.engine.running.on_ray import cluster  # noqa: PLC0415 - brings Ray

            print("starting Ray ...", flush=True)
            self._cluster = self._running.enter_context(
                cluster(self._options.gpus_per_trial, self._options.max_concurrent)
            )
        self._course.show_on(self._shown.enter_context(display()))
