"""Scores along one line: over epochs, over the attack's budget, over one weight, over the trials of a study."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from typing import Any

import numpy as np

from sweeps.engine.analysis.rounding import round_values
from sweeps.engine.analysis.score_query import Query, check_score, score_rows, score_sense, score_text
from sweeps.engine.analysis.scores import CellScore, known, pareto, scores
from sweeps.engine.analysis.stats import summarise
from sweeps.engine.study.branches import parameters, point_of
from sweeps.engine.study.folder import Role, StudyFolder
from sweeps.engine.study.objectives import CLEAN, ROBUST
from zsr_core.codec import ConfigError, did_you_mean, is_finite
from zsr_core.evaluation.measure import WORST, score_task
from zsr_core.evaluation.measurement import where
from zsr_core.space import Domain, Real, transform
from zsr_core.trial.result import TrialResult

BOOKKEEPING = ("epoch", "seconds", "epochs", "steps")  # columns of the training history that are not drawn


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line: its x values, and at each of them the mean over ``n`` seeds and their sd (None for one seed)."""

    label: str
    x: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float | None, ...]
    n: int
    role: str = "cell"

    @property
    def last(self) -> float:
        """The mean at the last x."""
        return self.mean[-1]


@dataclass(frozen=True, kw_only=True)
class EpsCurve:
    """Robust accuracy over the attack's budget; at 0 it is clean accuracy."""

    curve: Curve  # x: eps in [0, 1] pixel units
    auc: float  # percent: the area under the curve over its largest budget


def columns(folder: StudyFolder) -> list[str]:
    """Return the columns of the finished trials' training history, in their order."""
    names: dict[str, None] = {}
    for trial in folder.study.plan:
        result = folder.result(trial)
        for row in history_of(result) if result is not None else ():
            names.update(dict.fromkeys(name for name in row if name not in BOOKKEEPING))
    return list(names)


def history_of(result: TrialResult) -> list[dict[str, float]]:
    """Return a trial's training history, then its scores at rungs, each row with its epoch."""
    return [*result.history, *(score.row for score in result.rungs)]


def learning_curves(folder: StudyFolder, column: str) -> list[Curve]:
    """Return ``column`` of the training history over epochs, a curve per cell, averaged over its seeds.

    An epoch that not all seeds of a cell reached is left out. A cell that was stopped early has a curve up to its stop.

    Raises:
        ConfigError: if no finished trial has the column.
    """
    known = columns(folder)
    if column not in known:
        raise ConfigError(f"learning: {column!r} is in no trial's history{did_you_mean(column, known)}; there are: "
                          f"{', '.join(known) or 'none'}")  # fmt: skip
    curves = []
    for cell, trials in _trained(folder).items():
        series = [
            {row["epoch"]: row[column] for row in history_of(result) if column in row and "epoch" in row}
            for result in trials
        ]
        shared = sorted(set.intersection(*(set(s) for s in series)))
        if shared:
            curves.append(_curve(cell, shared, [[s[epoch] for epoch in shared] for s in series]))
    return curves


def _done(folder: StudyFolder, role: Role = "cell") -> dict[str, list[TrialResult]]:
    """Return the finished trials of each row of the selection split."""
    rows = {row.cell: list(folder.done(row.trials).values()) for row in folder.study.rows(role=role, split="selection")}
    return {cell: results for cell, results in rows.items() if results}


def _trained(folder: StudyFolder) -> dict[str, list[TrialResult]]:
    """Return the trials of each cell of the selection split that finished or were stopped while they trained."""
    rows = folder.study.rows(role="cell", split="selection")
    of = {
        row.cell: [folder.results[t.trial_id] for t in row.trials if folder.status(t) in ("done", "pruned")]
        for row in rows
    }
    trained = {cell: [r for r in results if r.status == "done" or r.rungs] for cell, results in of.items()}
    return {cell: results for cell, results in trained.items() if results}


def _curve(label: str, x: Sequence[float], series: Sequence[Sequence[float]], role: str = "cell") -> Curve:
    """``series``: [seeds][len(x)]."""
    over_seeds = [summarise(values) for values in zip(*series, strict=True)]
    return Curve(
        label=label, x=tuple(float(v) for v in x), mean=tuple(s.mean for s in over_seeds),
        sd=tuple(s.sd for s in over_seeds), n=len(series), role=role,
    )  # fmt: skip


def eps_curves(folder: StudyFolder) -> list[EpsCurve]:
    """Return robust accuracy per image over all attacks, over the budgets measured, a curve per cell.

    Budgets that not every seed of a cell has are left out; the untouched model comes first. The area is
    (1 / eps_max) times the integral of robust accuracy over eps from 0, by trapezoids.

    Raises:
        ConfigError: if no finished trial was attacked under two budgets.
    """
    curves = []
    for role, cells in (("baseline", _done(folder, "baseline")), ("cell", _done(folder))):
        for cell, trials in cells.items():
            series = [accuracy_by_eps(result) for result in trials]
            shared = sorted(set.intersection(*(set(s) for s in series)))
            if len(shared) > 2:
                curve = _curve(cell, shared, [[s[eps] for eps in shared] for s in series], role)
                curves.append(EpsCurve(curve=curve, auc=auc_eps(curve.x, curve.mean)))
    if not any(c.curve.role == "cell" for c in curves):
        raise ConfigError(
            f"eps: no trial of {folder.study.study} was attacked under two budgets; a curve needs at least two"
        )
    return curves


def accuracy_by_eps(result: TrialResult) -> dict[float, float]:
    """Return {eps: zero-shot mean accuracy in percent}: clean at 0, worst per image over the attacks at each budget."""
    scored = score_task(result.measurements)
    rows = [(m, m.value) for m in where(result.measurements, task=scored) if m.value is not None]
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
    for x, y in beyond:  # by falling x: each adds the strip by which it is higher than all points to its right
        if y > top:
            area += (x - reference[0]) * (y - top)
            top = y
    return area


@dataclass(frozen=True, kw_only=True)
class Progress:
    """The Pareto front's hypervolume after each cell that finished, as a share of the 100 % x 100 % square."""

    cells: tuple[str, ...]  # in the order in which they finished
    share: tuple[float, ...]  # percent of the square
    front: tuple[CellScore, ...]  # at the end

    @property
    def settled(self) -> int:
        """The number of cells after which the share did not rise any more."""
        return 1 + next((i for i, s in enumerate(self.share) if s == self.share[-1]), 0)


def hypervolume_over_time(folder: StudyFolder) -> Progress:
    """Return the growth of the clean-robust front, in the order in which the cells' last seeds finished.

    Cells without a time come first, in plan order.

    Cells with a failed seed are left out, because such a cell cannot be chosen.

    Raises:
        ConfigError: if no cell has both scores.
    """
    ended: dict[str, str] = {}
    for row in folder.study.rows(role="cell"):
        stamps = [r.provenance.get("finished", "") for trial in row.trials if (r := folder.result(trial)) is not None]
        ended[row.cell] = max(stamps, default="")
    cells = [c for c in scores(folder) if None not in (c.value(CLEAN.name), c.value(ROBUST.name)) and not c.failed]
    if not cells:
        raise ConfigError(f"pareto: no cell of {folder.study.study} has both a clean and a robust score")
    cells.sort(key=lambda c: ended.get(c.cell, ""))  # stable: equal stamps stay in plan order
    pairs = [(known(c.value(CLEAN.name)), known(c.value(ROBUST.name))) for c in cells]
    share = tuple(hypervolume(pairs[: i + 1]) / 100 for i in range(len(pairs)))
    return Progress(cells=tuple(c.cell for c in cells), share=share, front=tuple(pareto(cells)))


# Slices and parallel coordinates.


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One weight against the score: every configuration as a point, and the line through the chosen one."""

    path: str
    log: bool
    points: tuple[tuple[float, float], ...]  # (value, mean over seeds)
    line: tuple[tuple[float, float], ...]  # the points with the chosen cell's other weights; empty in a search
    chosen: tuple[float, float] | None
    published: float | None


def slices(folder: StudyFolder, score: Query, chosen: CellScore | None) -> list[Slice]:
    """Return a slice per numeric axis that varies.

    Raises:
        ConfigError: if the score was not measured, or no numeric axis varies.
    """
    check_score(score, folder)
    cells, domains = _cell_means(folder, score), parameters(folder.study)
    best = None if chosen is None else point_of(folder.study, chosen.overrides)
    paths = dict.fromkeys(path for overrides, _ in cells for path, v in overrides.items() if is_finite(v))
    drawn = []
    for path in paths:
        here = [(o, value) for o, value in cells if is_finite(o.get(path))]
        if len({o[path] for o, _ in here}) < 2:
            continue
        log = bool(getattr(domains.get(path), "log", False))
        shown = [(o, v) for o, v in here if not (log and o[path] <= 0)]
        rest = None if best is None else _without(best, path)
        line = [(float(o[path]), v) for o, v in shown if _without(o, path) == rest]
        at = [(float(o[path]), v) for o, v in shown if o == best]
        drawn.append(
            Slice(
                path=path, log=log, points=tuple((float(o[path]), v) for o, v in shown),
                line=tuple(sorted(line)) if len(line) > 1 else (), chosen=at[0] if at else None,
                published=folder.study.published.get(path),
            )
        )  # fmt: skip
    if not drawn:
        raise ConfigError(f"slices: no numeric axis of {folder.study.study} varies")
    return drawn


def _without(overrides: Mapping[str, Any], path: str) -> dict[str, Any]:
    return {key: value for key, value in overrides.items() if key != path}


def _cell_means(folder: StudyFolder, score: Query) -> list[tuple[dict[str, Any], float]]:
    """Return (parameters, mean over the seeds that finished) of each cell with the score.

    In a conditional space a parameter of one branch has its label in its name.
    """
    name, cells = score_text(score), dict[str, list[dict[str, Any]]]()
    for row in score_rows(folder, score):
        if row[name] is not None:
            cells.setdefault(row["cell"], []).append(row)
    return [
        (point_of(folder.study, rows[0]["overrides"]), summarise([r[name] for r in rows]).mean)
        for rows in cells.values()
    ]


@dataclass(frozen=True, kw_only=True)
class ParallelAxis:
    """One vertical axis: its label, and its ticks as (height from 0 to 1, text)."""

    label: str
    ticks: tuple[tuple[float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Parallel:
    """Every configuration as a line over the axes: heights from 0 to 1, and the score for its colour."""

    axes: tuple[ParallelAxis, ...]
    lines: tuple[tuple[float, ...], ...]  # [N][A], from the worst score to the best, which is drawn last
    colours: tuple[float, ...]  # [N], the score
    best_last: bool = True  # whether the last line is the best one; a score without direction has no best


def parallel(folder: StudyFolder, by: Query, shown: Sequence[Query]) -> Parallel:
    """Return the study's weights, then the scores ``shown``, as parallel axes; lines are coloured ``by`` a score.

    Raises:
        ConfigError: if nothing was measured, or no axis varies.
    """
    for score in (by, *shown):
        check_score(score, folder)
    tables = [{_key(o): v for o, v in _cell_means(folder, score)} for score in (by, *shown)]
    cells = [o for o, _ in _cell_means(folder, by) if all(_key(o) in table for table in tables)]
    sense = score_sense(by)
    cells.sort(key=lambda o: (sense or 1.0) * tables[0][_key(o)])
    paths = [p for p in dict.fromkeys(p for o in cells for p in o) if all(p in o for o in cells)]
    paths = [p for p in paths if len({repr(o[p]) for o in cells}) > 1]
    if not paths:
        raise ConfigError(f"parallel: no axis of {folder.study.study} varies")
    scaled = [_scaled(path, [o[path] for o in cells], parameters(folder.study).get(path)) for path in paths]
    scaled += [
        _scaled(score_text(score), [table[_key(o)] for o in cells], None)
        for score, table in zip(shown, tables[1:], strict=True)
    ]
    lines = tuple(zip(*(heights for _, heights in scaled), strict=True))
    colours = tuple(tables[0][_key(o)] for o in cells)
    return Parallel(axes=tuple(a for a, _ in scaled), lines=lines, colours=colours, best_last=sense != 0)


def _key(overrides: Mapping[str, Any]) -> str:
    return repr(sorted(overrides.items(), key=lambda item: item[0]))


def _name_of(value: Any) -> str:
    """Return the text of a value that is no number; a part of the configuration has the name of its type."""
    if is_dataclass(value):
        return type(value).__name__
    return str(value.get("type", value)) if isinstance(value, Mapping) else str(value)


def _scaled(label: str, values: Sequence[Any], domain: Domain | None) -> tuple[ParallelAxis, list[float]]:
    numbers = all(is_finite(v) for v in values)
    log = bool(getattr(domain, "log", False)) and numbers and min(values) > 0
    if not numbers:
        values = [_name_of(v) for v in values]
        names = list(dict.fromkeys(values))
        at = {name: i / max(len(names) - 1, 1) for i, name in enumerate(names)}
        return ParallelAxis(label=label, ticks=tuple((h, n) for n, h in at.items())), [at[v] for v in values]
    axis = Real(low=1.0, high=2.0, log=log)  # only its scale is used
    drawn = [transform(axis, float(v)) for v in values]
    low, high = min(drawn), max(drawn)
    span = (high - low) or 1.0
    levels = sorted(set(map(float, values)))
    if len(levels) > 6:
        levels = round_values(levels[0], levels[-1], log=log)
    ticks = tuple(((transform(axis, v) - low) / span, f"{v:.4g}") for v in levels)
    return ParallelAxis(label=label, ticks=ticks), [(d - low) / span for d in drawn]
