"""Whether the best cell of a study stands on the edge of its space, and one level beyond that edge.

An end that the method itself cannot cross, such as 1 for a share, is no edge: nothing better can lie beyond it.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.scores import CellScore, eligible, scores
from sweeps.engine.study.branches import axes_of, branch_of
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score
from zsr_core.codec import ConfigError, is_finite
from zsr_core.space import Choice, Domain, Int, transform

NEAR = 0.05  # share of an axis as it is drawn; a proposal of a search that is nearer to an end stands on the edge
STEP = 0.25  # share of an axis by which a search is extended, as from one level of a grid of five to the next


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One end of an axis at which the best cell stands."""

    path: str
    value: float  # of the best cell
    end: Literal["smaller", "larger"]  # values lie beyond the edge
    score: str  # by which the cell is best
    neighbour: str = ""  # the cell one level further inside, all else equal; empty if it was not measured
    rise: float | None = None  # by how many points the best cell is better than the neighbour
    beyond: float | int | None = None  # one level beyond; None once it was added, and of an axis of one method


def best_on_edge(folder: StudyFolder) -> tuple[Edge, ...]:
    """Return the edges of the space at which the chosen cell stands, axis by axis; empty if it stands inside."""
    best = chosen(folder)
    if best is None:
        return ()
    axes = axes_of(folder.study, best.overrides)  # of a conditional space only those of the best cell's branch
    edges = (_edge(folder, best, path, domain) for path, domain in axes.items())
    return tuple(edge for edge in edges if edge is not None)


def _edge(folder: StudyFolder, best: CellScore, path: str, domain: Domain) -> Edge | None:
    value: Any = best.overrides.get(path)
    log = bool(getattr(domain, "log", False))
    if isinstance(domain, Choice) or not is_finite(value) or (log and value <= 0):  # off is no edge of the axis
        return None
    at = float(value)
    levels = _levels(folder, best.overrides, path, log)
    low, high = (levels[0], levels[-1]) if folder.study.mode == "matrix" else (domain.low, domain.high)
    if not low < high:
        return None
    decides = deciding_score(folder.study.objectives)
    if folder.study.mode == "matrix":
        scored = {cell.cell for cell in eligible(scores(folder), decides.name)}
        if len(_levels(folder, best.overrides, path, log, scored)) < 2:  # one level shows no rise towards it
            return None
        down, up, step = at == low, at == high, None
    else:
        width = transform(domain, high) - transform(domain, low)
        down = transform(domain, at) - transform(domain, low) <= NEAR * width
        up = transform(domain, high) - transform(domain, at) <= NEAR * width
        step = STEP * width
    if down == up:
        return None
    near = None if step is not None else levels[1] if down else levels[-2]
    beyond = next_level(at, near, domain, -1 if down else 1, step)
    if beyond is None or not _allowed(folder, best.overrides, path, beyond):
        return None
    inside = None if near is None else _cell(folder, {**best.overrides, path: near}, decides.name)
    mine, theirs = best.value(decides.name), None if inside is None else inside.value(decides.name)
    return Edge(
        path=path, value=at, end="smaller" if down else "larger", score=decides.title,
        neighbour="" if inside is None else inside.cell,
        rise=None if mine is None or theirs is None else decides.sense * (mine - theirs),
        beyond=beyond if domain.contains(value) and not folder.study.branches else None,
    )  # fmt: skip


def _levels(
    folder: StudyFolder, best: Mapping[str, Any], path: str, log: bool, among: Collection[str] | None = None
) -> list[float]:
    """Return the values of an axis that cells of the best one's branch take, in order; with ``among`` these cells only.

    Those that a log axis cannot show are left out.
    """
    study = folder.study
    branch = branch_of(study, best)
    cells: Iterator[Any] = (
        row.overrides.get(path)
        for row in study.rows(role="cell", split="selection")
        if branch_of(study, row.overrides) == branch and (among is None or row.cell in among)
    )
    found = {float(value) for value in cells if is_finite(value)}
    return sorted(value for value in found if value > 0 or not log)


def next_level(at: float, inside: float | None, domain: Domain, sign: int, step: float | None) -> float | int | None:
    """Return one level beyond ``at``: as far from it as ``inside``, or by ``step`` of the drawn axis.

    On a log axis by ratio. Zero is not crossed, because weights and budgets have no sign. None where there is none.
    """
    log = bool(getattr(domain, "log", False))
    here = transform(domain, at)
    width = abs(here - transform(domain, inside)) if inside is not None else step or 0.0
    moved = here + sign * width
    value = 10.0**moved if log else moved
    if at > 0 >= value or at == 0 > value:
        value = at / 2
    rounded = round(value) if isinstance(domain, Int) else float(f"{value:.4g}")
    return rounded if math.copysign(1, rounded - at) == sign and rounded != at else None


def _allowed(folder: StudyFolder, overrides: Mapping[str, Any], path: str, value: float | int) -> bool:
    try:
        folder.study.base.with_({**overrides, path: value})
    except ConfigError:
        return False
    return True


def _cell(folder: StudyFolder, overrides: Mapping[str, Any], score: str) -> CellScore | None:
    cells = eligible(scores(folder), score)
    return next((cell for cell in cells if dict(cell.overrides) == dict(overrides)), None)


def extensions(folder: StudyFolder, edges: Sequence[Edge]) -> list[tuple[Edge, dict[str, Any]]]:
    """Return each edge with the cell one level beyond it, all else as in the chosen cell."""
    best = chosen(folder)
    if best is None:
        return []
    return [(edge, {**best.overrides, edge.path: edge.beyond}) for edge in edges if edge.beyond is not None]
