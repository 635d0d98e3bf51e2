"""A finished grid as the table that searches are replayed over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.early_stopping.arrivals import Arrival
from sweeps.engine.analysis.outcomes import Outcomes, read_outcomes, row_interval
from sweeps.engine.analysis.scores import known, row_score
from sweeps.engine.analysis.searching.replay import Cell, Place, Table, Trained
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from sweeps.engine.study.objectives import deciding_score, headline, score_named
from sweeps.engine.study.stopping import Stopping
from zsr_core.codec import is_finite, require
from zsr_core.trial.rung_score import rung_records

LEAST = 8  # cells, below which a search has nothing to do


def replay_table(folder: StudyFolder, objectives: Sequence[str], stop: Stopping | None = None) -> Table:
    """Return the table of a finished grid.

    Args:
        objectives: the scores that the replayed search is told.
        stop: the rule that is replayed too; the trials must have been scored at its rungs.

    Raises:
        ConfigError: if the study is no finished grid, or its trials lack the rungs.
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
    names = tuple(objectives)
    cells: dict[Place, Cell] = {}
    for row in placed:
        at = tuple(levels[path].index(row.overrides[path]) for path in study.space)
        cells[at] = _cell(folder, row, names, stop)
    best = chosen(folder)
    by = deciding_score(names)
    interval = None if best is None else row_interval(folder, best).get(by.name)

    @lru_cache(maxsize=8192)
    def read_at(trial_id: str, rung: int) -> Mapping[str, Outcomes]:
        budgets = read_outcomes(rung_records(folder.trial_path(trial_id), rung), trial_id)
        return next(iter(budgets.values()), {})

    def read(arrival: Arrival) -> Mapping[str, Outcomes]:
        return read_at(arrival.trial_id, arrival.rung)

    return Table(
        study=study.study, axes={path: len(values) for path, values in levels.items()},
        ordered=tuple(all(map(is_finite, levels[path])) for path in study.space), cells=cells, objectives=names,
        score=by.title, seeds=study.seeds, tolerance=None if interval is None else interval.se,
        left_out=len(rows) - len(placed), read=read,
    )  # fmt: skip


def _levels(values: Sequence[Any]) -> list[Any]:
    distinct = list({repr(value): value for value in values}.values())
    return sorted(distinct) if all(map(is_finite, distinct)) else distinct


def _cell(folder: StudyFolder, row: PlannedRow, objectives: Sequence[str], stop: Stopping | None) -> Cell:
    score, by = row_score(folder, row), deciding_score(objectives)
    whole = not score.failed and all(score.value(name) is not None for name in (*objectives, by.name))
    trials = []
    for trial in row.trials:
        result = folder.results[trial.trial_id]
        rungs = tuple((rung.share, rung.scores) for rung in result.rungs)
        if stop is not None and result.status == "done":
            same = [share for share, _ in rungs] == list(stop.rungs(folder.study.score_eps).shares)
            expected = "a grid that was run with --stop watch, so that its trials were scored at these rungs"
            require(same, "--stop", stop.rule, expected)
        read = {name: m.value for name, m in headline(result, folder.study.score_eps).items()}
        trials.append(
            Trained(
                trial_id=trial.trial_id, seed=trial.seed, train=result.cost.get("seconds_train", 0.0),
                evaluate=result.cost.get("seconds_eval", 1.0), rungs=rungs,
                final={name: value for name in objectives if (value := read.get(name)) is not None},
            )
        )  # fmt: skip

    def turned(name: str) -> float:
        return score_named(name).sense * known(score.value(name))

    return Cell(
        name=row.cell, trials=tuple(trials), values=tuple(map(turned, objectives)) if whole else None,
        decides=turned(by.name) if whole else None,
    )  # fmt: skip
