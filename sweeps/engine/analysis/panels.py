"""A score over two axes, split into panels by method, budget, set, seed or any other part of the configuration."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces import Branch
from sweeps.engine.analysis.noise import Noise, noise_of
from sweeps.engine.analysis.outcomes import AT
from sweeps.engine.analysis.score_query import (
    Contrast,
    Query,
    Reading,
    check_score,
    over,
    readings,
    score_label,
    score_rows,
    score_sense,
    score_text,
    under_attack,
)
from sweeps.engine.analysis.scores import CellScore, best, scores
from sweeps.engine.analysis.searching.chance import chance_level
from sweeps.engine.analysis.surface import Surface, surface
from sweeps.engine.format import eps_text, leaf, setting_text
from sweeps.engine.study.branches import axes_of, branch_of, shared
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.objectives import deciding_score
from zsr_core.codec import ConfigError, did_you_mean, is_finite, require
from zsr_core.data import trained_names, zero_shot_names
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.measurement import distinct_among

CONDITIONS = ("eps", "dataset", "attack")  # facets over several measurements of the same trials


@dataclass(frozen=True, kw_only=True)
class Source:
    """A study with its results, and the cell whose values fix the axes that are not shown."""

    folder: StudyFolder
    through: CellScore | None = None

    @property
    def study(self) -> Study:
        """The plan of the study."""
        return self.folder.study


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One panel: its title, and its surface."""

    title: str
    surface: Surface
    chosen: tuple[float, float] | None = None  # the chosen cell's values on the axes
    noise: Noise | None = None  # of the surface's points; None where it is not known


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """An axis that a surface does not show although it varies: held at one value, or each point with its own."""

    path: str
    values: tuple[Any, ...]  # in plan order, each once
    held: Any = None  # the value at which it is held; None where each point has its own
    of: str = ""  # the branch of a conditional space whose axis it is, where a figure shows several


def resolve_axis(name: str, sources: Sequence[Source]) -> str:
    """Return the dotted path of the axis ``name``: a path itself, or the last part of exactly one.

    Raises:
        ConfigError: if no axis that varies matches, or several do.
    """
    varied = varied_axes(sources)
    matching = [path for path in varied if name in (path, leaf(path))]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise ConfigError(f"axis: {name!r} does not vary{did_you_mean(name, varied)}; there are: "
                          f"{', '.join(varied) or 'none'}")  # fmt: skip
    raise ConfigError(f"axis: {name!r} is one of {', '.join(matching)}; give the whole path")


def varied_axes(sources: Iterable[Source]) -> list[str]:
    """Return the numeric fields that differ between cells: the spaces' axes, then other overrides."""
    levels: dict[str, set[float]] = {}
    for source in sources:
        for path in source.study.space:
            levels.setdefault(path, set())
        for trial in source.study.plan:
            if trial.role == "cell":
                for path, value in trial.overrides.items():
                    if is_finite(value):
                        levels.setdefault(path, set()).add(float(value))
    return [path for path, values in levels.items() if len(values) > 1]


def panels(
    sources: Sequence[Source], score: Query, x: str, y: str, facet: str | None = None, *, noisy: bool = False
) -> list[Panel]:
    """Return ``score`` over ``x`` and ``y``, a panel per value of ``facet``; without one, a panel per study.

    ``facet`` is eps, dataset, attack, method, seed, study or a dotted path. All other axes are held in a matrix study,
    at each source's ``through`` or, where the method is an axis, at each method's best cell; in a search they are not
    held, because each point differs. The chosen cell is marked in the panels that hold it. ``noisy``: also find the
    noise of each panel's points, which takes a bootstrap.

    Raises:
        ConfigError: if the facet has no values, or the score was not measured.
    """
    shown: list[Panel] = []
    for source in sources:
        for named, part in _scores(source, score, facet):
            check_score(part, source.folder)
            rows = _slice(source, _in_branches(source, score_rows(source.folder, part), x, y, facet), {x, y, facet})
            for name, group in _groups(rows, facet).items():
                title = _title(source, sources, named or name, score, facet)
                drawn = _surface(source, group, x, y, part)
                noise = noise_of(source.folder, part, _trials(group, x, y, drawn)) if noisy else None
                shown.append(Panel(title=title, surface=drawn, chosen=_chosen_in(group, source, x, y), noise=noise))
    if not shown:
        raise ConfigError(f"facet: {facet!r} has no value in {', '.join(s.study.study for s in sources)}")
    return shown


def _chosen_in(rows: Iterable[Mapping[str, Any]], source: Source, x: str, y: str) -> tuple[float, float] | None:
    """Return the place of the chosen cell; None if it is not among ``rows``."""
    cell = source.through
    inside = cell is not None and any(row["overrides"] == cell.overrides for row in rows)
    return point_of(cell, x, y) if inside else None


def _in_branches(source: Source, rows: list[dict[str, Any]], x: str, y: str, facet: str | None) -> list[dict[str, Any]]:
    """Return the rows that have both axes: in a conditional space those of some branches only.

    Raises:
        ConfigError: if these are several branches in one panel, whose weights of the same name mean different things.
    """
    study = source.study
    if not study.branches:
        return rows
    own = [row for row in rows if {x, y} <= axes_of(study, row["overrides"]).keys()]
    labels = list(dict.fromkeys(b.label for row in own if (b := branch_of(study, row["overrides"])) is not None))
    require(bool(own), "surface", f"{x} and {y}", "two axes that one method of the study has")
    expected = f"--facet method: {', '.join(labels)} have these axes, and each means its own"
    require(len(labels) == 1 or facet == "method" or {x, y} <= study.space.keys(), "surface", f"{x} and {y}", expected)
    return own


def _trials(rows: Iterable[Mapping[str, Any]], x: str, y: str, drawn: Surface) -> dict[tuple[float, float], list[str]]:
    """Return the finished trials of each measured point on the axes, by id."""
    at = {(p.x, p.y): list[str]() for p in drawn.points if p.mean is not None}
    for row in rows:
        place = (float(row[x]), float(row[y]))
        if row["status"] == "done" and place in at:
            at[place].append(row["trial_id"])
    return at


def unseen_axes(source: Source, x: str, y: str, facet: str | None = None) -> tuple[Unseen, ...]:
    """Return the axes that vary in a study and are neither ``x`` nor ``y`` nor the facet.

    In a matrix study they are held at the chosen cell's values, in each branch of a conditional space at those of its
    own best cell; in a search each point has its own.
    """
    if source.study.branches:
        return _unseen_in_branches(source, x, y, facet)
    cells = [trial.overrides for trial in source.study.plan if trial.role == "cell"]
    paths = [path for path in dict.fromkeys(p for overrides in cells for p in overrides) if path not in (x, y, facet)]
    found = []
    for path in paths:
        values = tuple({repr(v): v for overrides in cells if path in overrides for v in [overrides[path]]}.values())
        if len(values) > 1 and not (facet == "method" and path == "method"):
            matrix = source.study.mode == "matrix" and source.through is not None
            held = source.through.overrides.get(path) if matrix and source.through else None
            found.append(Unseen(path=path, values=values, held=held))
    return tuple(found)


def _unseen_in_branches(source: Source, x: str, y: str, facet: str | None) -> tuple[Unseen, ...]:
    study, found = source.study, list[Unseen]()
    cells = [row.overrides for row in study.rows(role="cell", split="selection")]
    shown = [branch for branch in study.branches if {x, y} <= {*shared(study), *branch.domains}]
    for branch in shown:
        own = [overrides for overrides in cells if branch_of(study, overrides) == branch]
        through = _through(source, branch) if study.mode == "matrix" else None
        for path in {**shared(study), **branch.domains}:
            values = tuple({repr(overrides[path]): overrides[path] for overrides in own}.values())
            if path not in (x, y, facet) and len(values) > 1:
                held = None if through is None else through.get(path)
                label = branch.label if len(shown) > 1 else ""
                found.append(Unseen(path=path, values=values, held=held, of=label))
    return tuple(found)


def _title(source: Source, sources: Sequence[Source], name: str, score: Query, facet: str | None) -> str:
    """Return a panel's title: the facet's value, and of several studies what tells them apart, their budgets too."""
    study = source.study
    several = len(sources) > 1 and (facet is None or facet in CONDITIONS)
    parts = [study.study] if several or not name else []
    parts += [name] if name else []
    at_usual = any(part.eps is None and under_attack(part) for part in readings(score)) and facet != "eps"
    if at_usual and len({other.study.score_eps for other in sources}) > 1:
        parts.append(f"at {eps_text(study.score_eps)}")
    return ", ".join(parts)


def point_of(cell: CellScore | None, x: str, y: str) -> tuple[float, float] | None:
    """Return a cell's values on two axes; None if it lacks one."""
    return (cell.overrides[x], cell.overrides[y]) if cell and x in cell.overrides and y in cell.overrides else None


def _scores(source: Source, score: Query, facet: str | None) -> list[tuple[str, Query]]:
    among = [result.measurements for result in source.folder.results.values()]
    rows = distinct_among(among, "metric", "task", "attack", "eps")
    if facet == "eps":
        _check_depends(score, facet)
        budgets = sorted({at for _, _, attack, at in rows if attack == WORST})
        return [(eps_text(eps), over(score, eps=eps)) for eps in budgets]
    if facet == "attack":
        _check_depends(score, facet)
        attacks = dict.fromkeys(
            attack for metric, _, attack, _ in rows if attack not in ("none", WORST) and metric == _name(score)
        )
        return [(attack, over(score, attack=attack)) for attack in attacks]
    if facet == "dataset":
        base = source.study.base
        refs, train = base.eval_suite.tasks, base.train_data
        trained = trained_names(refs, train) if zero_shot_names(refs, train) else ()
        own = [task for metric, task, *_ in rows if metric == _name(score)]
        tasks = dict.fromkeys(task for task in own if task not in (ZERO_SHOT_MEAN, *trained))
        return [(task, over(score, task=task)) for task in tasks]
    return [("", score)]


def _name(score: Query) -> str:
    return score.first.name if isinstance(score, Contrast) else score.name


def _check_depends(score: Query, facet: str) -> None:
    if score == over(score, eps=0.5):
        raise ConfigError(f"facet: {score_label(score)} does not depend on {facet}; expected a score under attack")


def _slice(source: Source, rows: list[dict[str, Any]], free: set[str | None]) -> list[dict[str, Any]]:
    """Return the rows of a grid in which all axes but ``free`` have the values of the cell that it is cut through."""
    study = source.study
    if study.mode != "matrix" or not rows:
        return rows
    if not study.branches:
        return _held(rows, rows[0]["overrides"] if source.through is None else source.through.overrides, free)
    kept: list[dict[str, Any]] = []
    for branch in (*study.branches, None):
        own = [row for row in rows if branch_of(study, row["overrides"]) == branch]
        through = _through(source, branch) if branch is not None else None
        kept += own if through is None else _held(own, {path: through[path] for path in axes_of(study, through)}, free)
    return kept


def _held(
    rows: Iterable[dict[str, Any]], through: Mapping[str, Any], free: Collection[str | None]
) -> list[dict[str, Any]]:
    held = {path: value for path, value in through.items() if path not in free}
    return [row for row in rows if all(row["overrides"].get(path) == value for path, value in held.items())]


def _through(source: Source, branch: Branch) -> Mapping[str, Any] | None:
    """Return the overrides that a branch's surfaces are cut through: the chosen cell's, else the branch's best one's.

    None if no cell of the branch has a score.
    """
    study, chosen = source.study, source.through
    if chosen is not None and branch_of(study, chosen.overrides) == branch:
        return chosen.overrides
    own = [cell for cell in scores(source.folder) if branch_of(study, cell.overrides) == branch]
    top = best(own, deciding_score(study.objectives).name)
    return None if top is None else top.overrides


def _groups(rows: Iterable[Mapping[str, Any]], facet: str | None) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if facet is None or facet in CONDITIONS:
            name = ""
        elif facet not in row:
            known = (*CONDITIONS, "method", "study", *row)
            raise ConfigError(f"facet: no trial has {facet!r}{did_you_mean(facet, known)}; expected "
                              f"{', '.join(CONDITIONS)}, method, study, seed or a path such as method.alpha"
                              )  # fmt: skip
        else:
            own_name = facet in ("method", "study")
            name = str(row[facet]) if own_name else f"{leaf(facet)} {setting_text(facet, row[facet])}"
        groups.setdefault(name, []).append(row)
    return groups


def is_mean_accuracy(score: Query) -> bool:
    """Return whether a score is an accuracy over the zero-shot sets, so that the level of chance stands beside it."""
    return isinstance(score, Reading) and score.name in AT and score.task == ZERO_SHOT_MEAN


def _surface(source: Source, rows: Sequence[Mapping[str, Any]], x: str, y: str, score: Query) -> Surface:
    untouched = score_rows(source.folder, score, "baseline", "selection")
    known = [row[score_text(score)] for row in untouched]
    values = [value for value in known if value is not None]
    return surface(
        rows, x, y, score_text(score), published=source.study.published,
        domains=axes_of(source.study, rows[0]["overrides"]) if rows else {},
        baseline=sum(values) / len(values) if values else None, sense=score_sense(score),
        chance=chance_level(source.folder) if is_mean_accuracy(score) else None,
    )  # fmt: skip
