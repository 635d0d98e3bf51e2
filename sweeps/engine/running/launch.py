"""``launch``: run a sweep with its flags, print the answer, and return the exit code."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

import torch

from sweeps.engine.running.course import Course
from sweeps.engine.running.ending import answer_lines, derive
from sweeps.engine.running.execute import run_missing
from sweeps.engine.running.exit_codes import BAD_INPUT, DONE, INCOMPLETE, INTERRUPTED
from sweeps.engine.running.here import check_gpus, check_limit
from sweeps.engine.running.jobs import ClusterLost, processes_of
from sweeps.engine.running.notify import notice_of_break, notice_of_end, read_notify, tell
from sweeps.engine.running.options import Options, command_again, read_options
from sweeps.engine.running.output import encodable_output
from sweeps.engine.running.preview import earlier_lines, note_lines, own_cells, plan_lines, refine_lines
from sweeps.engine.running.stops import stop_lines, taken_up
from sweeps.engine.running.warm_start import transfers
from sweeps.engine.study.folder import JOURNAL, Study, StudyFolder, open_study, read_plan, read_results, write_study
from sweeps.engine.study.lock import only_launch
from sweeps.engine.study.plan import continued, new_study, recovered, suggestions, to_come, with_reported
from sweeps.engine.study.rebuilt import begun_trials
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.tracking.address import check_tracking, resolve_tracking, shown
from sweeps.engine.wording.answer import places, shortfall
from zsr_core.codec import ConfigError, canonical, require
from zsr_core.files import remove_stale
from zsr_core.trial.check import check
from zsr_core.trial.content import changed_since
from zsr_core.trial.deploy import remove_stale_caches
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import PARTS

if TYPE_CHECKING:
    from sweeps.engine.tracking.recorder import Recorder


def launch(sweep: Sweep, argv: Sequence[str] | None = None) -> int:
    """Run the missing trials of ``sweep`` and return the exit code.

    0: every planned trial is done. 1: one is missing or failed, or a table, a figure or a tracked run could not be
    made. 2: the input cannot be used, and nothing was started. 130: stopped by Ctrl-C or SIGTERM.
    """
    given = list(sys.argv[1:] if argv is None else argv)
    again = command_again(shlex.quote(sys.argv[0]), [shlex.quote(text) for text in given])
    return _in_order(lambda: run_launch(sweep, read_options(sweep, given)), again)


def _in_order(run: Callable[[], int], again: str) -> int:
    """Return ``run``'s exit code; print bad input, a stop or a disk error in a line or two and return its code."""
    try:
        with encodable_output(), stoppable():
            return run()
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print(f"\nStopped. What has finished is kept. To go on:\n  {again}", file=sys.stderr)
        return INTERRUPTED
    except ClusterLost as error:
        print(f"error: {error}. What has finished is kept. To go on:\n  {again}", file=sys.stderr)
        return INCOMPLETE
    except OSError as error:  # a full or read-only disk, a lock of another user
        at = f"{error.filename}: " if error.filename else ""
        print(f"error: {at}{error.strerror or error}. What has finished is kept. To go on:\n  {again}", file=sys.stderr)
        return INCOMPLETE


def go_on(
    folder: Path, grown: Callable[[StudyFolder], Study], *, local: bool = False, tracking: str | None = None
) -> int:
    """Continue a study with the plan that ``grown`` returns, choose again, and return an exit code like ``launch``."""
    return _in_order(lambda: _go_on(folder.absolute(), grown, local, tracking), f"zsr refine --study {folder} --run")


def _go_on(folder: Path, grown: Callable[[StudyFolder], Study], local: bool, tracking: str | None) -> int:
    uri = resolve_tracking(tracking, folder.parent)
    if uri is not None:
        check_tracking(uri)
    if not local:
        _check_cluster()
    _check_writable(folder.parent)
    with only_launch(folder):
        read = open_study(folder)
        study = grown(read)
        check_world(study)
        write_study(folder, study)
        options = Options(
            plan=False, preset=study.preset, search=study.search, samples=len(suggestions(study)), seeds=study.seeds,
            objectives=study.objectives, results=folder.parent, tracking=tracking, local=local, limit=None, fresh=False,
            gpus_per_trial=None, max_concurrent=None, notify=read_notify(None),
        )  # fmt: skip
        grown_folder = StudyFolder(path=folder, study=study, results=read.results)
        return _conduct(grown_folder, options, uri)


@contextmanager
def stoppable() -> Iterator[None]:
    """Within, Ctrl-C and SIGTERM raise ``KeyboardInterrupt``; a second one ends the process at once.

    In any other thread than the main one nothing changes, because signals reach the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

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


def run_launch(sweep: Sweep, options: Options) -> int:
    """Run what is missing of ``sweep`` and return 0 if every planned trial is done, else 1.

    Raises:
        ConfigError: if the input cannot be used, and nothing was started.
        KeyboardInterrupt: if it was stopped; what has finished is kept.
    """
    folder = _open(sweep, options)
    study = folder.study
    for taken in transfers(study, options.warm_start):
        print(taken.text, flush=True)
    if options.plan:
        earlier = earlier_lines(folder, options, own_cells(sweep, options))
        print("\n".join([*plan_lines(folder, options), *earlier, *refine_lines(sweep, folder, options)]))
        return DONE
    check_world(study)
    check_contents(folder)
    print("".join(f"{line}\n" for line in note_lines(study)), end="", flush=True)
    if options.local:
        check_gpus(processes_of(options.gpus_per_trial))
        check_limit(options.trial_timeout)
    tracking = resolve_tracking(options.tracking, options.results)
    if tracking is not None:
        check_tracking(tracking)
    coming = to_come(study, options.samples, len(options.seeds))
    if not options.local and (folder.unfinished() or coming or options.refine or options.resume_pruned):
        _check_cluster()
    _check_writable(options.results)
    with only_launch(folder.path):
        if options.fresh:
            _set_aside(folder.path)
        folder = _open(
            sweep, options, locked=True
        )  # again, because another launch may have changed it before the lock was held
        write_study(folder.path, folder.study)
        own = own_cells(sweep, options)
        print("".join(f"{line}\n" for line in earlier_lines(folder, options, own)), end="", flush=True)
        if options.resume_pruned:
            folder = taken_up(folder, options.resume_pruned)
        return _conduct(folder, options, tracking, own)


def _open(sweep: Sweep, options: Options, *, locked: bool = False) -> StudyFolder:
    """Return the requested study, merged with the plan and the results in its folder.

    ``locked``: this is the second look, by the one launch that may change the folder.
    """
    plain = new_study(
        sweep, preset=options.preset, search=options.search, seeds=options.seeds, objectives=options.objectives
    )
    asked = replace(plain, report_all=options.report_all, report_rows=options.report_rows, stop=options.stop,
                    keep=options.keep)  # fmt: skip
    path = options.results / asked.study

    def new() -> StudyFolder:
        return StudyFolder(path=path, study=with_reported(asked, options.seeds), results={})

    if options.fresh or not path.exists():
        return new()
    whole, lack = read_plan(path) if path.is_dir() else (None, "")
    begun = {} if whole is not None else begun_trials(path)
    if whole is None and not begun:
        empty = path.is_dir() and not any(path.iterdir())
        if not empty and "torn" not in lack:
            raise ConfigError(f"--results: {path} holds something else; expected a study, an empty folder or nothing")
        return new()
    if whole is None:
        study = with_reported(recovered(asked, [each.config for each in begun.values()]), options.seeds)
        results = read_results(path, study)
        if locked:
            _drop_journal(path)
        else:
            print(f"study: {path} {lack}; planned again, with {len(results)} trials that have ended", file=sys.stderr)
        return StudyFolder(path=path, study=study, results=results)
    earlier = open_study(path)
    study = with_reported(continued(earlier.study, asked, earlier.results, str(path)), options.seeds)
    known = {trial.trial_id for trial in earlier.study.plan}
    more = read_results(path, replace(study, plan=tuple(t for t in study.plan if t.trial_id not in known)))
    known_results = {**earlier.results, **more}
    results = {t.trial_id: known_results[t.trial_id] for t in study.plan if t.trial_id in known_results}
    return StudyFolder(path=path, study=study, results=results)


def _remove_leftovers(folder: StudyFolder) -> None:
    """Remove what killed processes have left: incomplete files, and the finished batches of trials that are done."""
    remove_stale_caches(folder.path)
    remove_stale(folder.path)
    for trial in folder.study.plan:
        remove_stale(folder.trial_path(trial.trial_id))
        if folder.is_done(trial):
            shutil.rmtree(folder.trial_path(trial.trial_id) / PARTS, ignore_errors=True)


def _drop_journal(folder: Path) -> None:
    """Set a search's journal aside, because it may number the proposals otherwise; a new one is filled from trials."""
    journal = folder / JOURNAL
    if journal.exists():
        journal.rename(journal.with_name(f"{journal.name}.old"))


def check_world(study: Study) -> None:
    """Check each distinct model, weights and data once, before the first trial starts.

    Raises:
        ConfigError: naming the field that cannot be used on this machine.
    """
    configs = [study.base, *(study.config(trial) for trial in study.plan)]
    used = {canonical([c.model, c.train_data, c.eval_suite]): c for c in configs}
    for config in used.values():
        check(config)


def _check_cluster() -> None:
    if "RAY_ADDRESS" in os.environ:
        from sweeps.engine.running.cluster.join import check_cluster  # noqa: PLC0415 - brings Ray

        check_cluster()


def check_contents(folder: StudyFolder) -> None:
    """Check that weights files, images, class names and prompts are unchanged since the finished trials.

    Raises:
        ConfigError: naming what has changed, because a table must not mix numbers of both contents.
    """
    seen: dict[str, TrialResult] = {}
    for result in folder.done().values():
        config = result.config
        seen.setdefault(canonical([config.model, config.train_data, config.eval_suite, config.epochs > 0]), result)
    for result in seen.values():
        changed = changed_since(result)
        expected = "what the finished trials were measured on; restore it, or give --fresh to begin anew"
        require(not changed, f"results: {folder.path}", f"other contents of {', '.join(changed)}", expected)


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


def _conduct(folder: StudyFolder, options: Options, tracking: str | None, own: frozenset[str] = frozenset()) -> int:
    """Run the missing trials, write tables and figures, print the answer, and return the exit code."""
    _remove_leftovers(folder)
    troubles: list[str] = []
    recorder = None if tracking is None else _started(folder.path, tracking, troubles)
    course = Course(
        folder, samples=options.samples, seeds=len(options.seeds), limit=options.limit, recorder=recorder,
        estimates=options.local or not torch.cuda.is_available(),  # with Ray a trial's GPU is not touched from here
    )  # fmt: skip
    written: list[Path] = []
    with ExitStack() as running:  # shuts Ray down after the answer is printed, because shutdown takes seconds
        try:
            if not folder.unfinished() and course.cells_ended() and not (options.refine or options.more_seeds):
                print(
                    f"All {len(folder.study.plan)} trials of {folder.study.study} are done: nothing to run.", flush=True
                )
            run_missing(course, options, running, own)
            end = course.folder
            written = derive(end, troubles)
        except BaseException as error:
            for line in _close(recorder, written):
                print(line, file=sys.stderr)
            tell(options.notify, notice_of_break(course.standing(), error))
            raise
        troubles += (untracked := _close(recorder, written))
        recorded_to = shown(tracking) if tracking and recorder and not untracked else None
        lacking = shortfall(end, course.to_come())
        print(
            "\n".join(
                [
                    "",
                    *answer_lines(end, troubles),
                    *stop_lines(folder.path),
                    *course.notes,
                    *places(folder.path, written, recorded_to),
                ]
            ),
            flush=True,
        )
        for line in (*lacking, *troubles):
            print(line, file=sys.stderr)
        standing = course.standing()
        ended = notice_of_end(standing, lacking, course.notes, broken=bool(troubles), over_budget=course.over_budget)
        tell(options.notify, ended)
    return INCOMPLETE if lacking or troubles else DONE


def _close(recorder: Recorder | None, written: Sequence[Path]) -> list[str]:
    """Stop the recorder, if there is one, and return its errors, one line each."""
    return [] if recorder is None else recorder.close(written)


def _started(folder: Path, tracking: str, troubles: list[str]) -> Recorder | None:
    """Return a started recorder, or None if it cannot start; runs can be recorded later from the trial folders."""
    try:
        from sweeps.engine.tracking.recorder import Recorder  # noqa: PLC0415 - brings MLflow

        recorder = Recorder(folder, tracking)
        recorder.start()
    except Exception as error:
        troubles.append(f"tracking: no run was recorded at {shown(tracking)} ({type(error).__name__}: {error})")
        return None
    return recorder
