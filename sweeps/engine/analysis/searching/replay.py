"""Searches replayed over a finished grid: which share of its cost a search needs, on simulated workers.

Nothing is trained. A replayed search proposes cells of the grid, each takes the cost that it really took, and the
sampler is told the score that it really had. Early stopping decides by the scores at rungs that the trials have left.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import TrialState

from sweeps.engine.analysis.curves import hypervolume
from sweeps.engine.analysis.early_stopping.arrivals import Arrival, Known, Read, meet
from sweeps.engine.analysis.early_stopping.verdict import verdict
from sweeps.engine.analysis.nondominated import fronts
from sweeps.engine.analysis.stats import Array
from sweeps.engine.study.samplers import sampler
from sweeps.engine.study.stopping import Stopping
from zsr_core.rng import seed_for

GRID = "grid"  # the cells in the order of the plan, beside the searches
REPEATS = 5  # proposals of known cells in a row, after which any cell that has not run is taken
STEPS = 201  # shares of the grid's cost at which curves are read
NEAR_BEST = 0.99  # of the best score, or of the whole hypervolume
Place = tuple[int, ...]  # a cell by its level on each axis


@dataclass(frozen=True, kw_only=True)
class Trained:
    """One trial of a cell: what its training and its evaluation cost, and its scores at rungs and at the end."""

    trial_id: str
    seed: int
    train: float
    evaluate: float
    rungs: tuple[tuple[float, Mapping[str, float]], ...] = ()  # (share of the training steps, scores)
    final: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One cell of the grid: its trials, and its means over them, turned so that higher is better."""

    name: str
    trials: tuple[Trained, ...]
    values: tuple[float, ...] | None  # by objective; None if it failed
    decides: float | None  # the score by which the best cell is chosen

    @cached_property
    def cost(self) -> float:
        """What all of its trials cost."""
        return sum(trial.train + trial.evaluate for trial in self.trials)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A finished grid: the cells by place, in the order of the plan."""

    study: str
    axes: Mapping[str, int]  # path -> number of levels
    ordered: tuple[bool, ...]  # whether an axis is one of numbers, rather than of names
    cells: Mapping[Place, Cell]
    objectives: tuple[str, ...]
    score: str  # by which the best cell is chosen, in words
    seeds: tuple[int, ...]
    tolerance: float | None = None  # standard error of the best cell's score, in points; None if unknown
    unit: str = "seconds"  # of costs
    left_out: int = 0  # cells that have no place on the axes, because a weight is off
    read: Read | None = None  # the images of an arrival at a rung

    @cached_property
    def cost(self) -> float:
        """What the whole grid cost."""
        return sum(cell.cost for cell in self.cells.values())

    @cached_property
    def best(self) -> float:
        """The best deciding score."""
        return max(cell.decides for cell in self.cells.values() if cell.decides is not None)

    @cached_property
    def worst(self) -> tuple[float, float]:
        """The worst value of each of two objectives."""
        return min(x for x, _ in self._points()), min(y for _, y in self._points())

    @cached_property
    def volume(self) -> float:
        """The area above ``worst`` that all cells dominate, of two objectives."""
        return hypervolume(self._points(), self.worst)

    def _points(self) -> list[tuple[float, float]]:
        return [(x, y) for cell in self.cells.values() if cell.values is not None for x, y in [cell.values]]


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """One replay: after each cell that ended, what had been spent, the best score and the hypervolume so far."""

    spent: tuple[float, ...]
    best: tuple[float, ...]  # -inf before the first score
    volume: tuple[float, ...]  # share of the whole hypervolume; nothing with one objective
    cells: int  # that ran, stopped ones too
    stopped: int
    wrong: bool  # whether the best cell, or one of the front, was stopped
    plain_wrong: bool = False  # whether plain ASHA, which knows no noise, would have stopped it at the same arrivals


def replay(
    table: Table,
    search: str,
    *,
    workers: int = 1,
    seed: int = 0,
    stop: Stopping | None = None,
    cells: int | None = None,
) -> Replayed:
    """Return one replay of ``search`` until ``cells`` cells (default: all) have run.

    ``search``: a sampler's name, or "grid" for the order of the plan.
    """
    return _Replay(table, search, workers, seed, stop, len(table.cells) if cells is None else cells).run()


class _Replay:
    """The state of one replay."""

    def __init__(
        self, table: Table, search: str, workers: int, seed: int, stop: Stopping | None, cells: int
    ) -> None:  # fmt: skip
        self._table, self._workers, self._stop, self._most = table, workers, stop, min(cells, len(table.cells))
        self._random, self._left = random.Random(seed), list(table.cells)
        self._study: optuna.Study | None = None
        if search != GRID:
            optuna.logging.set_verbosity(optuna.logging.ERROR)
            directions = [StudyDirection.MAXIMIZE] * len(table.objectives)
            own = seed_for(seed, "replay", search) % 2**32  # otherwise the first draws of all samplers are the same
            self._study = optuna.create_study(directions=directions, sampler=sampler(search, own))
        self._waiting: dict[Place, list[optuna.Trial]] = {}
        self._known: Known = Known()
        self._order: list[Place] = []
        self._ended: dict[Place, bool] = {}  # whether the cell was stopped
        self._plain: set[Place] = set()  # cells that plain ASHA would have stopped

    def run(self) -> Replayed:
        spent, now = 0.0, 0.0
        rows: list[tuple[float, float, float]] = []
        tie = itertools.count()
        running: list[tuple[float, int, Place, Iterator[float], float]] = []
        ended = 0
        while ended < self._most:
            while len(running) < self._workers and len(self._order) < self._most:
                place = self._next()
                steps = self._course(place)
                first = next(steps)
                heapq.heappush(running, (now + first, next(tie), place, steps, first))
            now, _, place, steps, step = heapq.heappop(running)
            spent += step
            following = next(steps, None)
            if following is not None:
                heapq.heappush(running, (now + following, next(tie), place, steps, following))
                continue
            ended += 1
            self._tell(place)
            rows.append((spent, *self._so_far()))
        stopped = {place for place, early in self._ended.items() if early}
        guarded = self._guarded() if self._plain else set()
        return Replayed(
            spent=tuple(r[0] for r in rows), best=tuple(r[1] for r in rows),
            volume=tuple(r[2] for r in rows) if len(self._table.objectives) > 1 else (), cells=ended,
            stopped=len(stopped), wrong=bool(stopped & guarded), plain_wrong=bool(self._plain & guarded),
        )  # fmt: skip

    def _guarded(self) -> set[Place]:
        """Return the cells that must not be stopped: the best one, or those of the front."""
        known = {str(p): c.values for p, c in self._table.cells.items() if c.values is not None}
        front = set(fronts(known)[0])
        return {place for place in self._table.cells if str(place) in front}

    def _next(self) -> Place:
        place = self._proposed() if self._study is not None else self._left[0]
        self._left.remove(place)
        self._order.append(place)
        return place

    def _proposed(self) -> Place:
        assert self._study is not None
        for _ in range(REPEATS):
            trial = self._study.ask(self._space())
            place = tuple(int(trial.params[path]) for path in self._table.axes)
            if place in self._left:
                self._waiting[place] = [trial]
                return place
            self._repeat(place, trial)
        place = self._random.choice(self._left)
        self._study.enqueue_trial(dict(zip(self._table.axes, place, strict=True)))
        self._waiting[place] = [self._study.ask(self._space())]
        return place

    def _space(self) -> dict[str, BaseDistribution]:
        return {
            path: IntDistribution(0, n - 1) if ordered else CategoricalDistribution(range(n))
            for (path, n), ordered in zip(self._table.axes.items(), self._table.ordered, strict=True)
        }

    def _repeat(self, place: Place, trial: optuna.Trial) -> None:
        """Give a proposal of a known cell that cell's score, now or when it ends; a hole of the grid fails."""
        if place in self._ended:
            self._tell_one(place, trial)
        elif place in self._waiting:
            self._waiting[place].append(trial)
        else:
            assert self._study is not None
            self._study.tell(trial, state=TrialState.FAIL)

    def _tell(self, place: Place) -> None:
        for trial in self._waiting.pop(place, []):
            self._tell_one(place, trial)

    def _tell_one(self, place: Place, trial: optuna.Trial) -> None:
        assert self._study is not None
        values = self._table.cells[place].values
        if self._ended[place]:
            self._study.tell(trial, state=TrialState.PRUNED)
        elif values is None:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._study.tell(trial, list(values))

    def _course(self, place: Place) -> Iterator[float]:
        """Yield the costs of a cell's parts in order; asking for the next part is the end of the one before."""
        cell = self._table.cells[place]
        for trial in cell.trials:
            done = 0.0
            for number, (share, at_rung) in enumerate(trial.rungs if self._stop is not None else (), 1):
                yield (share - done) * trial.train
                done = share
                if self._stops(place, cell, trial, number, at_rung):
                    self._ended[place] = True
                    return
            yield (1 - done) * trial.train + trial.evaluate
            if trial.final:
                self._known = replace(self._known, finals={**self._known.finals, trial.trial_id: trial.final})
        self._ended[place] = False

    def _stops(self, place: Place, cell: Cell, trial: Trained, number: int, scores: Mapping[str, float]) -> bool:
        assert self._stop is not None
        assert self._table.read is not None
        arrival = Arrival(trial_id=trial.trial_id, cell=cell.name, seed=trial.seed, rung=number, scores=scores)
        met = meet(self._known, arrival, self._stop, self._table.objectives, self._table.seeds, self._table.read,
                   index=self._order.index(place))  # fmt: skip
        self._known = replace(self._known, arrivals=(*self._known.arrivals, arrival))
        judged = verdict(met, self._stop)
        if judged.plain:
            self._plain.add(place)
        return judged.stop

    def _so_far(self) -> tuple[float, float]:
        finished = [self._table.cells[place] for place, stopped in self._ended.items() if not stopped]
        best = max((cell.decides for cell in finished if cell.decides is not None), default=-float("inf"))
        if len(self._table.objectives) != 2:
            return best, 0.0
        return best, hypervolume_share(self._table, [cell.values for cell in finished if cell.values is not None])


def hypervolume_share(table: Table, points: Sequence[Sequence[float]]) -> float:
    """Return the area that two-objective points dominate, as a share of that of the whole table.

    Areas are above the worst value of each objective in the table.
    """
    own = hypervolume([(x, y) for x, y in points], table.worst)
    return own / table.volume if table.volume else 1.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Curve:
    """Many replays of one search, read at shares of the grid's cost."""

    search: str
    share: Array  # [STEPS]
    regret: Array  # [3, STEPS]: the 10th, 50th and 90th percentile, in points below the best
    volume: Array | None  # [3, STEPS], as shares of the whole hypervolume
    near: Array  # [R]: each replay's share of the cost until 99 % of the best; inf if it never gets there
    to_near: float | None  # the median of them; None if half of the replays never get there
    to_error: float | None  # until within one standard error of the best
    to_volume: float | None  # until 99 % of the hypervolume
    wrong: float  # share of replays in which the best cell, or one of the front, was stopped
    plain_wrong: float  # the same of plain ASHA at the same arrivals
    stopped: float  # mean share of cells that were stopped
    repeats: int


def curve(table: Table, search: str, replays: Sequence[Replayed]) -> Curve:
    """Return the curve of many replays of one search."""
    share = np.linspace(0, 1, STEPS)
    at = share * table.cost
    best = np.array([_at(each.spent, each.best, at, -np.inf) for each in replays])  # [R, STEPS]
    floor = min(cell.decides for cell in table.cells.values() if cell.decides is not None)
    regret = table.best - np.maximum(best, floor)
    two = len(table.objectives) == 2
    volume = np.array([_at(each.spent, each.volume, at, 0.0) for each in replays]) if two else None
    near = table.best - (1 - NEAR_BEST) * abs(table.best)
    within = None if table.tolerance is None else table.best - table.tolerance
    reached = _reached(table, replays, lambda each: each.best, near)
    return Curve(
        search=search, share=share, regret=np.quantile(regret, (0.1, 0.5, 0.9), axis=0),
        volume=None if volume is None else np.quantile(volume, (0.1, 0.5, 0.9), axis=0),
        near=reached, to_near=_median(reached),
        to_error=None if within is None else _median(_reached(table, replays, lambda each: each.best, within)),
        to_volume=_median(_reached(table, replays, lambda each: each.volume, NEAR_BEST)) if two else None,
        wrong=sum(each.wrong for each in replays) / len(replays),
        plain_wrong=sum(each.plain_wrong for each in replays) / len(replays),
        stopped=sum(each.stopped / each.cells for each in replays) / len(replays), repeats=len(replays),
    )  # fmt: skip


def by_search(curves: Sequence[Sequence[Curve]]) -> list[list[Curve]]:
    """Return the curves of several grids, one list of them a grid, by search."""
    names = dict.fromkeys(curve.search for own in curves for curve in own)
    return [[curve for own in curves for curve in own if curve.search == name] for name in names]


def _at(spent: Sequence[float], values: Sequence[float], at: Array, before: float) -> Array:
    """Return the last of ``values`` that was reached at each cost; ``before`` the first one."""
    place = np.searchsorted(np.array(spent), at * (1 + 1e-12), side="right")
    return np.array([before, *values])[place]


def _reached(
    table: Table, replays: Sequence[Replayed], read: Callable[[Replayed], Sequence[float]], bound: float
) -> Array:
    """Return, by replay, the share of the grid's cost at which its values reach ``bound``; inf if they never do."""
    return np.array([
        next((s / table.cost for s, v in zip(each.spent, read(each), strict=True) if v >= bound - 1e-9), np.inf)
        for each in replays
    ])  # fmt: skip


def _median(shares: Array) -> float | None:
    middle = float(np.median(shares))
    return middle if np.isfinite(middle) else None
