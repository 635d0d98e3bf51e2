"""The options of a launch: the flags of every sweep script, read strictly, with errors of one line."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.running.flags import (
    MOST,
    read_duration,
    read_folder,
    read_gpus,
    read_name,
    read_text,
    read_whole,
    unknown_flag,
)
from sweeps.engine.running.launch_flags import CONDITIONAL_SEARCHES, SEARCHES, launch_parser
from sweeps.engine.running.notify import Target, hidden, read_notify
from sweeps.engine.running.spending.budget import Budget, read_budget
from sweeps.engine.study.keeping import Keep, read_keep
from sweeps.engine.study.limits import SAMPLES
from sweeps.engine.study.objectives import check_objectives
from sweeps.engine.study.stopping import Stopping, check_stoppable, stopping
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.tracking.address import shown
from zsr_core.codec import parse_names, require
from zsr_core.trial.cards import Cards, read_cards

MOST_SEEDS = 1000  # each repeats every trial of the plan
MOST_ROUNDS = 20  # of --refine: each round at most halves the distance between neighbours


@dataclass(frozen=True, kw_only=True)
class Options:
    """The flags of one launch, checked; a flag that was not given has the sweep's value, or None."""

    plan: bool
    preset: str
    search: str | None
    samples: int
    seeds: tuple[int, ...]
    objectives: tuple[str, ...]
    results: Path  # absolute
    tracking: str | None
    local: bool
    limit: int | None
    fresh: bool
    gpus_per_trial: float | None
    max_concurrent: int | None
    warm_start: tuple[Path, ...] = ()  # folders of earlier studies
    trial_timeout: float | None = None  # seconds
    report_all: bool = False  # run every row on the report split, not only the chosen one
    report_rows: tuple[str, ...] = ()  # rows to run on the report split besides the chosen one
    stop: Stopping | None = None
    resume_pruned: int = 0  # cells that were stopped early
    budget: Budget | None = None
    more_seeds: tuple[int, ...] = ()  # further seeds, for cells that may still be the best
    keep: tuple[Keep, ...] = ()  # conditions that the chosen cell must keep
    until_certain: bool = False
    deterministic: bool = False  # the same sums in every run on a GPU
    on: Cards | None = None  # that the plan is for
    refine: int = 0  # rounds of trials between neighbours whose scores are too far apart
    notify: Target | None = None  # who is told how the launch has ended


def read_options(sweep: Sweep, argv: Sequence[str] | None = None) -> Options:
    """Return the flags in ``argv`` (default: the command line) for ``sweep``.

    Raises:
        ConfigError: naming the flag, its value and what was expected.
    """
    parser = launch_parser(sweep.question)
    given, extra = parser.parse_known_args(argv)
    if extra:
        raise unknown_flag(extra, parser.flags)
    if given.search is not None:
        read_name("--search", given.search, SEARCHES)
    read_name("--preset", given.preset, sweep.base)
    samples = _whole("--samples", given.samples)
    least, most = _seed_counts(given.seeds)
    objectives = _objectives(sweep, given.objectives)
    if given.search is not None:
        _check_sampler(sweep, given.search, objectives)
    _check_search(sweep, given.preset, given.search, given.samples)
    require(not given.warm_start or bool(given.search), "--warm-start", given.warm_start, "--search with it")
    require(given.refine is None or not given.search, "--refine", given.refine,
            "a grid: what a search left open is refined by `zsr refine --study DIR --run`")  # fmt: skip
    require(not given.until_certain or bool(given.search), "--until-certain", True, "--search with it")
    plain = "a space whose axes all cells share; here each method has its own"
    require(not (given.until_certain and sweep.branches), "--until-certain", True, plain)
    require(given.refine is None or not sweep.branches, "--refine", given.refine, plain)
    require(given.refine is None or bool(sweep.surfaces), "--refine", given.refine, "a sweep with a surface")
    require(not (given.report_all and given.report_rows), "--report-rows", given.report_rows, "--report-all without it")
    require(not (given.resume and given.fresh), "--fresh", True, "--resume or --fresh, not both")
    gpus = None if given.gpus_per_trial is None else read_gpus("--gpus-per-trial", given.gpus_per_trial)
    at_once = _whole("--max-concurrent", given.max_concurrent)
    if given.local:
        whole = "0, or a whole number of GPUs: --local runs one trial at a time"
        require(gpus is None or gpus == 0 or gpus >= 1, "--gpus-per-trial", given.gpus_per_trial, whole)
        require(at_once in (None, 1), "--max-concurrent", given.max_concurrent, "1: --local runs one trial at a time")
    budget = None if given.budget is None else read_budget(given.budget)
    on_gpus = gpus != 0 or budget is None or budget.kind != "gpu_seconds"
    require(on_gpus, "--budget", given.budget, "a time or FLOPs: --gpus-per-trial 0 uses no GPU")
    require(given.on is None or given.plan, "--on", given.on, "--plan with it: a launch runs on what is here")
    require(given.on is None or gpus != 0, "--gpus-per-trial", given.gpus_per_trial, "a share above 0: --on plans GPUs")
    return Options(
        plan=given.plan,
        preset=given.preset,
        search=given.search,
        samples=samples or sweep.samples or SAMPLES,
        seeds=_seeds(sweep, least),
        objectives=objectives,
        results=_results(given.results),
        tracking=read_text("--tracking", given.tracking, "a URI, or none"),
        local=given.local,
        limit=_whole("--limit", given.limit),
        fresh=given.fresh,
        gpus_per_trial=gpus,
        max_concurrent=at_once,
        trial_timeout=None if given.trial_timeout is None else read_duration("--trial-timeout", given.trial_timeout),
        report_all=given.report_all,
        report_rows=tuple(given.report_rows),
        stop=_stop(sweep, given.stop, objectives, gpus),
        more_seeds=_seeds(sweep, most)[least:] if most is not None and least is not None else (),
        keep=tuple(read_keep(text) for text in given.keep),
        resume_pruned=_whole("--resume-pruned", given.resume_pruned) or 0,
        budget=budget,
        deterministic=given.deterministic,
        on=None if given.on is None else read_cards("--on", given.on),
        until_certain=given.until_certain,
        refine=_whole("--refine", given.refine, MOST_ROUNDS) or 0,
        notify=read_notify(given.notify),
        warm_start=tuple(read_folder("--warm-start", text).absolute() for text in given.warm_start),
    )


def _check_search(sweep: Sweep, preset: str, search: str | None, samples: str | None) -> None:
    if search is None:
        cells = len(sweep.cells(preset))
        require(samples is None, "--samples", samples, f"--search with it: the grid has {cells} cells")
    else:
        require(sweep.searchable, "--search", search, "a sweep with a space; this one lists its variants")


def _check_sampler(sweep: Sweep, name: str, objectives: Sequence[str]) -> None:
    if sweep.branches and name not in CONDITIONAL_SEARCHES:
        expected = f"one of {', '.join(CONDITIONAL_SEARCHES)}: the others cannot search axes that each method has alone"
        require(name not in SEARCHES, "--search", name, expected)
    if name == "cmaes":
        one = "one objective with --objectives: CMA-ES searches for one; nsga2 and nsga3 for several"
        require(len(objectives) == 1, "--search", name, one)
        there = importlib.util.find_spec("cmaes") is not None
        require(there, "--search", name, "the package cmaes: pip install 'zsr[search]'")


def _stop(sweep: Sweep, text: str | None, objectives: tuple[str, ...], gpus: float | None) -> Stopping | None:
    """Return the rule of early stopping; a name that is the sweep's own rule has the sweep's values."""
    own = stopping(sweep.stop)
    asked = own if text is None or (own is not None and own.rule == text) else stopping(text, "--stop")
    if asked is not None:
        check_stoppable(objectives, "--stop")
        one = "a GPU or less for each trial: rungs need one process"
        require(gpus is None or gpus <= 1, "--gpus-per-trial", gpus, one)
    return asked


def _whole(flag: str, text: str | None, most: int = MOST) -> int | None:
    return None if text is None else read_whole(flag, text, most=most)


def _seed_counts(text: str | None) -> tuple[int | None, int | None]:
    """Return the numbers in ``--seeds K``, or ``--seeds K-L`` with K below L; None for those that are not given."""
    first, dash, last = (text or "").partition("-")
    least = _whole("--seeds", None if text is None else first, MOST_SEEDS)
    if not dash or least is None:
        return least, None
    return least, read_whole("--seeds", last, least=least + 1, most=MOST_SEEDS)


def _seeds(sweep: Sweep, count: int | None) -> tuple[int, ...]:
    """Return the sweep's own seeds, or ``count`` of them: its first ones, then the smallest that it does not list."""
    if count is None:
        return sweep.seeds
    more = (seed for seed in range(count + len(sweep.seeds)) if seed not in sweep.seeds)
    return tuple([*sweep.seeds, *more][:count])


def _objectives(sweep: Sweep, text: str | None) -> tuple[str, ...]:
    if text is None:
        return sweep.objectives
    names = parse_names(text)
    check_objectives(names)
    return names


def _results(text: str | None) -> Path:
    return default_results(os.environ, Path.cwd()) if text is None else read_folder("--results", text).absolute()


def default_results(environ: Mapping[str, str], cwd: Path) -> Path:
    """Return ``./results``, or ``~/zsr-results`` under a submitted job, whose working copy Ray deletes."""
    in_job = "RAY_JOB_CONFIG_JSON_ENV_VAR" in environ and "working_dir_files" in cwd.parts
    return (Path(environ.get("HOME", str(cwd))) / "zsr-results") if in_job else cwd / "results"


def command_again(script: str, argv: Sequence[str]) -> str:
    """Return the command that continues a study: the given one without --fresh, which would start a new study.

    A password in a tracking address and the target of --notify are hidden, because the command is printed and may end
    in a log.
    """
    kept = (shown(arg) if "://" in arg else arg for arg in hidden(argv) if arg != "--fresh")
    return " ".join(["python", script, *kept])
