"""A finished grid as a value: what each of its trials cost and scored, at rungs and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.early_stopping.arrivals import Read
from sweeps.engine.analysis.outcomes import Outcomes, read_outcomes, row_interval
from sweeps.engine.analysis.scores import known, row_score
from sweeps.engine.analysis.searching.replay import Cell, Place, Table, Trained
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from sweeps.engine.study.objectives import deciding_score, headline, score_named
from sweeps.engine.study.stopping import PAIRED, Stopping
from zsr_core.codec import is_finite, require
from zsr_core.trial.rung_score import rung_records

LEAST = 8  # cells, below which a search has nothing to do


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One cell: its place on the axes, its trials, and its scores in percent, None where it has none."""

    name: str
    place: Place
    trials: tuple[Trained, ...]
    scores: Mapping[str, float | None]
    failed: bool = False


@dataclass(frozen=True, kw_only=True)
class Grid:
    """A finished grid, with all that a replay needs but the images at rungs."""

    name: str
    question: str
    levels: Mapping[str, tuple[Any, ...]]  # path -> its values, in order
    cells: tuple[GridCell, ...]  # in the order of the plan
    seeds: tuple[int, ...]
    objectives: tuple[str, ...]  # of the study
    score_eps: float
    stop: Stopping | None  # the rule that the study was run with
    errors: Mapping[str, float]  # standard errors of the chosen cell's scores, by name
    left_out: int  # cells that have no place on the axes, because a weight is off
    note: str  # on the scale of the numbers


def grid_of(folder: StudyFolder, scores: Sequence[str] = PAIRED, *, note: str = "") -> Grid:
    """Return the grid in a study's folder, with the scores of these names.

    Raises:
        ConfigError: if the study is no finished grid.
    """
    study = folder.study
    grid = study.mode == "matrix" and bool(study.space)
    require(grid, "--study", str(folder.path), "a grid over a space: searches and listed variants have no levels")
    plain = "a grid whose axes all cells share; here each method has its own"
    require(not study.branches, "--study", str(folder.path), plain)
    rows = [row for row in study.rows(role="cell", split="selection") if set(row.overrides) == set(study.space)]
    log = [path for path, domain in study.space.items() if getattr(domain, "log", False)]
    placed = [row for row in rows if all(not is_finite(row.overrides[p]) or row.overrides[p] > 0 for p in log)]
    ended = all(folder.status(trial) in ("done", "failed") for row in placed for trial in row.trials)
    require(ended, "--study", str(folder.path), "a finished grid, in which no trial is missing or was stopped early")
    require(len(placed) >= LEAST, "--study", str(folder.path), f"a grid of at least {LEAST} cells")
    levels = {path: _levels([row.overrides[path] for row in placed]) for path in study.space}
    best = chosen(folder)
    intervals = {} if best is None else row_interval(folder, best)
    return Grid(
        name=study.study, question=study.question, levels=levels, seeds=study.seeds, objectives=study.objectives,
        cells=tuple(_cell(folder, row, levels, scores) for row in placed), score_eps=study.score_eps, stop=study.stop,
        errors={name: interval.se for name, interval in intervals.items()}, left_out=len(rows) - len(placed),
        note=note,
    )  # fmt: skip


def read_images(folder: StudyFolder) -> Read:
    """Return what reads the images of an arrival at a rung from a study's folder."""

    @lru_cache(maxsize=8192)
    def read_at(trial_id: str, rung: int) -> Mapping[str, Outcomes]:
        budgets = read_outcomes(rung_records(folder.trial_path(trial_id), rung), trial_id)
        return next(iter(budgets.values()), {})

    return lambda arrival: read_at(arrival.trial_id, arrival.rung)


def _levels(values: Sequence[Any]) -> tuple[Any, ...]:
    distinct = list({repr(value): value for value in values}.values())
    return tuple(sorted(distinct) if all(map(is_finite, distinct)) else distinct)


def _cell(
    folder: StudyFolder, row: PlannedRow, levels: Mapping[str, tuple[Any, ...]], names: Sequence[str]
) -> GridCell:  # fmt: skip
    score = row_score(folder, row)
    trials = []
    for trial in row.trials:
        result = folder.results[trial.trial_id]
        read = {name: m.value for name, m in headline(result, folder.study.score_eps).items()}
        trials.append(
            Trained(
                trial_id=trial.trial_id, seed=trial.seed, train=result.cost.get("seconds_train", 0.0),
                evaluate=result.cost.get("seconds_eval", 1.0),
                rungs=tuple((rung.share, rung.scores) for rung in result.rungs),
                final={name: value for name in names if (value := read.get(name)) is not None},
            )
        )  # fmt: skip
    return GridCell(
        name=row.cell, place=tuple(levels[path].index(row.overrides[path]) for path in levels), trials=tuple(trials),
        scores={name: score.value(name) for name in names}, failed=bool(score.failed),
    )  # fmt: skip


def table_of(grid: Grid, read: Read, objectives: Sequence[str], stop: Stopping | None = None) -> Table:
    """Return the grid as the table that a search with these objectives is replayed over.

    Args:
        read: the images of an arrival at a rung.
        objectives: the scores that the replayed search is told.
        stop: the rule that is replayed too; the trials must have been scored at its rungs.

    Raises:
        ConfigError: if the trials lack the rungs.
    """
    names, by = tuple(objectives), deciding_score(objectives)
    if stop is not None:
        # Plans are compared, because a trial's own shares are rounded to whole training steps.
        ran, asked = (None if rule is None else rule.rungs(grid.score_eps) for rule in (grid.stop, stop))
        finished = [trial for cell in grid.cells for trial in cell.trials if trial.final]
        same = ran == asked and all(len(trial.rungs) == len(stop.shares) for trial in finished)
        require(same, "--stop", stop.rule, "a grid that was run with --stop watch, so that its trials were scored at "
                "these rungs")  # fmt: skip
    return Table(
        study=grid.name, axes={path: len(values) for path, values in grid.levels.items()},
        ordered=tuple(all(map(is_finite, values)) for values in grid.levels.values()),
        cells={cell.place: _replayed(cell, names, by.name) for cell in grid.cells}, objectives=names, score=by.title,
        seeds=grid.seeds, tolerance=grid.errors.get(by.name), left_out=grid.left_out, read=read,
    )  # fmt: skip


def _replayed(cell: GridCell, objectives: Sequence[str], by: str) -> Cell:
    whole = not cell.failed and all(cell.scores.get(name) is not None for name in (*objectives, by))

    def turned(name: str) -> float:
        return score_named(name).sense * known(cell.scores[name])

    return Cell(
        name=cell.name, trials=cell.trials, values=tuple(map(turned, objectives)) if whole else None,
        decides=turned(by) if whole else None,
    )  # fmt: skip
