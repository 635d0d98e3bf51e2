"""Scores along one line: over epochs, over the attack's budget, over one weight, over the trials of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from sweeps.engine.analysis.score_query import Score, check_score, score_rows, score_text
from sweeps.engine.analysis.scores import CellScore, pareto, scores
from sweeps.engine.analysis.stats import summarise
from sweeps.engine.study.folder import Study
from sweeps.engine.study.objectives import AVERAGE, WORST
from zsr_core.codec import ConfigError, did_you_mean, is_finite
from zsr_core.space import Domain, Real, transform
from zsr_core.trial.result import TrialResult

BOOKKEEPING = ("epoch", "seconds", "epochs", "steps")  # history columns that are no curve


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: where it was measured, the mean over ``n`` seeds there, and their sd (None for one)."""

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float | None, ...]
    n: int
    role: str = "cell"

    @property
    def last(self) -> float:
        """The mean where the line ends."""
        return self.mean[-1]


@dataclass(frozen=True, kw_only=True)
class EpsCurve:
    """Robust accuracy over the attack's budget; at 0 it is clean accuracy."""

    curve: Curve  # x: eps in [0, 1] pixel units
    auc: float  # percent: the area under the curve over its largest budget


def columns(study: Study, results: Mapping[str, TrialResult]) -> list[str]:
    """Return what the finished trials tell of each epoch, in the order they tell it."""
    found: dict[str, None] = {}
    for trial in study.plan:
        for row in results[trial.trial_id].history if trial.trial_id in results else ():
            found.update(dict.fromkeys(name for name in row if name not in BOOKKEEPING))
    return list(found)


def learning_curves(study: Study, results: Mapping[str, TrialResult], column: str) -> list[Curve]:
    """Return ``column`` of the training history over epochs, a curve per cell, averaged over its seeds.

    An epoch that not all seeds of a cell reached is left out.

    Raises:
        ConfigError: if no finished trial has the column.
    """
    known = columns(study, results)
    if column not in known:
        raise ConfigError(f"learning: {column!r} is in no trial's history; there are: {', '.join(known) or 'none'}"
                          f"{did_you_mean(column, known)}")  # fmt: skip
    curves = []
    for cell, trials in _done(study, results).items():
        series = [
            {row["epoch"]: row[column] for row in result.history if column in row and "epoch" in row}
            for result in trials
        ]
        shared = sorted(set.intersection(*(set(s) for s in series)))
        if shared:
            curves.append(_curve(cell, shared, [[s[epoch] for epoch in shared] for s in series]))
    return curves


def _done(study: Study, results: Mapping[str, TrialResult], role: str = "cell") -> dict[str, list[TrialResult]]:
    cells: dict[str, list[TrialResult]] = {}
    for trial in study.plan:
        result = results.get(trial.trial_id)
        if trial.role == role and result is not None and result.status == "done":
            cells.setdefault(trial.cell, []).append(result)
    return cells


def _curve(label: str, x: Sequence[float], series: Sequence[Sequence[float]], role: str = "cell") -> Curve:
    """``series``: [seeds][len(x)]."""
    over_seeds = [summarise(values) for values in zip(*series, strict=True)]
    return Curve(
        label=label, x=tuple(float(v) for v in x), mean=tuple(s.mean for s in over_seeds),
        sd=tuple(s.sd for s in over_seeds), n=len(series), role=role,
    )  # fmt: skip


def eps_curves(study: Study, results: Mapping[str, TrialResult], task: str = AVERAGE) -> list[EpsCurve]:
    """Return robust accuracy per image over all attacks, over the budgets measured, a curve per cell.

    Budgets that not every seed of a cell has are left out; the untouched model comes first. The area is
    (1 / eps_max) times the integral of robust accuracy over eps from 0, by trapezoids.

    Raises:
        ConfigError: if no finished trial was attacked under two budgets.
    """
    untouched = {c: t for c, t in _done(study, results, "baseline").items() if t[0].config.eval_suite.split != "report"}
    found = []
    for role, cells in (("baseline", untouched), ("cell", _done(study, results))):
        for cell, trials in cells.items():
            series = [accuracy_by_eps(result, task) for result in trials]
            shared = sorted(set.intersection(*(set(s) for s in series)))
            if len(shared) > 2:
                curve = _curve(cell, shared, [[s[eps] for eps in shared] for s in series], role)
                found.append(EpsCurve(curve=curve, auc=auc_eps(curve.x, curve.mean)))
    if not any(c.curve.role == "cell" for c in found):
        raise ConfigError(f"eps: no trial of {study.study} was attacked under two budgets; nothing to draw a curve of")
    return found


def accuracy_by_eps(result: TrialResult, task: str = AVERAGE) -> dict[float, float]:
    """Return {eps: accuracy in percent}: clean at 0, worst per image over the attacks at each budget."""
    rows = [(m, m.value) for m in result.measurements if m.task == task and m.value is not None]
    clean = [(0.0, value) for m, value in rows if m.metric == "clean" and m.attack == "none"]
    return dict(clean + [(m.eps, v) for m, v in rows if m.metric == "robust" and m.attack == WORST and m.eps > 0])


def auc_eps(eps: Sequence[float], accuracy: Sequence[float]) -> float:
    """Return (1 / eps_max) times the integral of accuracy over eps from 0, by trapezoids.

    Raises:
        ValueError: unless ``eps`` rises from 0.
    """
    if len(eps) < 2 or eps[0] != 0 or not np.all(np.diff(eps) > 0):
        raise ValueError(f"auc_eps: got eps {tuple(eps)}, expected at least two, rising from 0")
    return float(np.trapezoid(accuracy, eps) / eps[-1])


# Hypervolume.


def hypervolume(points: Iterable[tuple[float, float]], reference: tuple[float, float] = (0.0, 0.0)) -> float:
    """Return the area that ``points`` dominate above ``reference``, both coordinates being maximised."""
    beyond = sorted((p for p in points if p[0] > reference[0] and p[1] > reference[1]), reverse=True)
    area, top = 0.0, reference[1]
    for x, y in beyond:  # by falling x: each adds the strip that it rises above what is to its right
        if y > top:
            area += (x - reference[0]) * (y - top)
            top = y
    return area


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The Pareto front's hypervolume after each cell that finished, as a share of the 100 % x 100 % square."""

    cells: tuple[str, ...]  # in the order they finished
    share: tuple[float, ...]  # percent of the square
    front: tuple[CellScore, ...]  # at the end

    @property
    def settled(self) -> int:
        """After how many cells the share was last raised."""
        return 1 + next((i for i, s in enumerate(self.share) if s == self.share[-1]), 0)


def hypervolume_over_time(study: Study, results: Mapping[str, TrialResult]) -> Progress:
    """Return how the clean-robust front grew, by the time each cell's last seed finished; plan order where unknown.

    Cells with a failed seed are left out, as they are of every choice.

    Raises:
        ConfigError: if no cell has both scores.
    """
    ended: dict[str, str] = {}
    for trial in study.plan:
        if trial.role == "cell" and trial.trial_id in results:
            stamp = results[trial.trial_id].provenance.get("finished", "")
            ended[trial.cell] = max(ended.get(trial.cell, ""), stamp)
    cells = [c for c in scores(study, results) if c.clean is not None and c.robust is not None and not c.failed]
    if not cells:
        raise ConfigError(f"pareto: no cell of {study.study} has both a clean and a robust score")
    cells.sort(key=lambda c: ended.get(c.cell, ""))  # stable: equal stamps stay in plan order
    pairs = [(c.clean or 0.0, c.robust or 0.0) for c in cells]
    share = tuple(hypervolume(pairs[: i + 1]) / 100 for i in range(len(pairs)))
    return Progress(cells=tuple(c.cell for c in cells), share=share, front=tuple(pareto(cells)))


# Slices and parallel coordinates.


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One weight against the score: every configuration as a point, and the line through the chosen one."""

    path: str
    log: bool
    points: tuple[tuple[float, float], ...]  # (value, mean over seeds)
    line: tuple[tuple[float, float], ...]  # those that share the chosen cell's other weights; none in a search
    chosen: tuple[float, float] | None
    published: float | None


def slices(study: Study, results: Mapping[str, TrialResult], score: Score, chosen: CellScore | None) -> list[Slice]:
    """Return a slice per numeric axis that varies.

    Raises:
        ConfigError: if the score was not measured, or no numeric axis varies.
    """
    check_score(score, results.values())
    cells = _cell_means(study, results, score)
    paths = dict.fromkeys(path for overrides, _ in cells for path, v in overrides.items() if is_finite(v))
    found = []
    for path in paths:
        here = [(o, value) for o, value in cells if is_finite(o.get(path))]
        if len({o[path] for o, _ in here}) < 2:
            continue
        log = bool(getattr(study.space.get(path), "log", False))
        shown = [(o, v) for o, v in here if not (log and o[path] <= 0)]
        rest = None if chosen is None else _elsewhere(chosen.overrides, path)
        line = [(float(o[path]), v) for o, v in shown if _elsewhere(o, path) == rest]
        at = [(float(o[path]), v) for o, v in shown if chosen is not None and o == dict(chosen.overrides)]
        found.append(
            Slice(
                path=path, log=log, points=tuple((float(o[path]), v) for o, v in shown),
                line=tuple(sorted(line)) if len(line) > 1 else (), chosen=at[0] if at else None,
                published=study.published.get(path),
            )
        )  # fmt: skip
    if not found:
        raise ConfigError(f"slices: no numeric axis of {study.study} varies")
    return found


def _elsewhere(overrides: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if key != path}


def _cell_means(study: Study, results: Mapping[str, TrialResult], score: Score) -> list[tuple[dict[str, Any], float]]:
    """Return (overrides, mean over the seeds that finished) of each cell with the score."""
    name, cells = score_text(score), dict[str, list[dict[str, Any]]]()
    for row in score_rows(study, results, score):
        if row[name] is not None:
            cells.setdefault(row["cell"], []).append(row)
    return [(dict(rows[0]["overrides"]), summarise([r[name] for r in rows]).mean) for rows in cells.values()]


@dataclass(frozen=True, kw_only=True)
class ParallelAxis:
    """One vertical axis: its label, and its ticks as (height from 0 to 1, text)."""

    label: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Every configuration as a line over the axes: heights from 0 to 1, and the score that colours it."""

    axes: tuple[ParallelAxis, ...]
    lines: tuple[tuple[float, ...], ...]  # [N][A], by rising score: the best is drawn last
    colours: tuple[float, ...]  # [N], the score


def parallel(study: Study, results: Mapping[str, TrialResult], by: Score, shown: Sequence[Score]) -> Parallel:
    """Return the study's weights, then the scores ``shown``, as parallel axes; lines are coloured ``by`` a score.

    Raises:
        ConfigError: if nothing was measured, or no axis varies.
    """
    for score in (by, *shown):
        check_score(score, results.values())
    tables = [{_key(o): v for o, v in _cell_means(study, results, score)} for score in (by, *shown)]
    cells = [o for o, _ in _cell_means(study, results, by) if all(_key(o) in table for table in tables)]
    cells.sort(key=lambda o: tables[0][_key(o)])
    paths = [p for p in dict.fromkeys(p for o in cells for p in o) if all(p in o for o in cells)]
    paths = [p for p in paths if len({repr(o[p]) for o in cells}) > 1]
    if not paths:
        raise ConfigError(f"parallel: no axis of {study.study} varies")
    scaled = [_scaled(path, [o[path] for o in cells], study.space.get(path)) for path in paths]
    scaled += [
        _scaled(score_text(score), [table[_key(o)] for o in cells], None)
        for score, table in zip(shown, tables[1:], strict=True)
    ]
    lines = tuple(zip(*(heights for _, heights in scaled), strict=True))
    return Parallel(axes=tuple(a for a, _ in scaled), lines=lines, colours=tuple(tables[0][_key(o)] for o in cells))


def _key(overrides: Mapping[str, Any]) -> str:
    return repr(sorted(overrides.items(), key=lambda item: item[0]))


def _called(value: Any) -> str:
    """Return a value that is no number as an axis names it: a part of the configuration by its type."""
    if is_dataclass(value):
        return type(value).__name__
    return str(value.get("type", value)) if isinstance(value, Mapping) else str(value)


def _scaled(label: str, values: Sequence[Any], domain: Domain | None) -> tuple[ParallelAxis, list[float]]:
    numbers = all(is_finite(v) for v in values)
    log = bool(getattr(domain, "log", False)) and numbers and min(values) > 0
    if not numbers:
        values = [_called(v) for v in values]
        names = list(dict.fromkeys(values))
        at = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
        return ParallelAxis(label=label, ticks=tuple((h, n) for n, h in at.items())), [at[v] for v in values]
    axis = Real(low=1.0, high=2.0, log=log)  # for its scale alone
    drawn = [transform(axis, float(v)) for v in values]
    low, high = min(drawn), max(drawn)
    span = (high - low) or 1.0
    levels = sorted(set(map(float, values)))
    if len(levels) > 6:
        marks = [low + span * i / 4 for i in range(5)]
        levels = [10**m if log else m for m in marks]
    ticks = tuple(((transform(axis, v) - low) / span, f"{v:.3g}") for v in levels)
    return ParallelAxis(label=label, ticks=ticks), [(d - low) / span for d in drawn]
