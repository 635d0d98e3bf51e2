"""Refinement: propose the midpoint between neighbours whose scores differ by more than the threshold.

If the best cell stands on the edge of the space, the cell one level beyond is proposed too.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.interpolation import Cliff, cliffs
from sweeps.engine.analysis.panels import Source, panels
from sweeps.engine.analysis.score_query import Query, score_text, shown_readings
from sweeps.engine.analysis.searching.edges import Edge, best_on_edge, extensions
from sweeps.engine.format import leaf
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder
from sweeps.engine.study.limits import CLIFF
from sweeps.engine.study.plan import planned, suggested
from zsr_core.codec import ConfigError, is_finite
from zsr_core.space import Domain, Int, Variant, short


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A configuration between two neighbours with the cliff between them, or beyond an edge with that edge."""

    overrides: Mapping[str, Any]
    score: str
    cliff: Cliff | None = None
    edge: Edge | None = None

    @property
    def height(self) -> float:
        """The difference of the two neighbours in points; infinite beyond an edge, so that it is first."""
        return math.inf if self.cliff is None else self.cliff.height

    @property
    def label(self) -> str:
        """The cell's name in the plan, in the form of a grid's cells."""
        return " ".join(f"{leaf(path)}={short(value)}" for path, value in self.overrides.items())


def midpoint(a: float, b: float, domain: Domain | None) -> float | int:
    """Return the midpoint of two values: geometric on a log axis, rounded on an integer axis, else to 4 digits."""
    between = math.sqrt(a * b) if getattr(domain, "log", False) else (a + b) / 2
    if isinstance(domain, Int):
        return round(between)
    rounded = float(f"{between:.4g}")
    return rounded if min(a, b) < rounded < max(a, b) else between


def proposals(folder: StudyFolder, x: str, y: str, wanted: Iterable[Query], threshold: float = CLIFF) -> list[Proposal]:
    """Return one proposal per cliff of any ``wanted`` score over ``x`` and ``y``, the highest cliff first.

    All other weights have the values of the chosen cell. A point that is planned already is not proposed, nor is one
    that would round to its neighbour on an integer axis. A point that several scores call for is proposed once.

    Raises:
        ConfigError: for a search that varies other axes as well.
    """
    others = [path for path in folder.study.space if path not in (x, y)]
    if folder.study.mode == "search" and others:
        raise ConfigError(
            f"refine: the search {folder.study.study} moves {', '.join(others)} too; its points cannot be compared "
            f"as neighbours on {leaf(x)} and {leaf(y)} alone"
        )
    source = Source(folder=folder, through=chosen(folder))
    cells = [trial.overrides for trial in folder.study.plan if trial.role == "cell"]
    held = cells[0] if source.through is None else source.through.overrides
    taken = {_place(t.overrides) for t in folder.study.plan if t.role == "cell"}
    proposed: list[Proposal] = []
    for score in wanted:
        (panel,) = panels([source], score, x, y)
        for cliff in cliffs(panel.surface, threshold):
            at = {
                x: _between(cliff.a.x, cliff.b.x, folder.study.space.get(x)),
                y: _between(cliff.a.y, cliff.b.y, folder.study.space.get(y)),
            }
            overrides = {path: at.get(path, value) for path, value in dict(held).items()}
            if _place(overrides) not in taken:
                proposed.append(Proposal(overrides=overrides, score=score_text(score), cliff=cliff))
                taken.add(_place(overrides))
    return sorted(proposed, key=lambda p: -p.height)


def _between(a: float, b: float, domain: Domain | None) -> float | int:
    if a == b:
        return round(a) if isinstance(domain, Int) else a
    return midpoint(a, b, domain)


def _place(overrides: Mapping[str, Any]) -> str:
    """Return a key that is equal for equal configurations, whether a number is written 3 or 3.0."""
    plain = {p: float(v) if is_finite(v) else v for p, v in overrides.items()}
    return repr(sorted(plain.items()))


def refined(study: Study, additions: Sequence[Proposal]) -> Study:
    """Return the study with the proposals added to its plan, each under every seed of the study."""
    for proposal in additions:
        trials: tuple[PlannedTrial, ...]
        if study.mode == "search":
            trials = suggested(study, proposal.overrides, study.seeds)
        else:
            variant = Variant(label=proposal.label, overrides=dict(proposal.overrides))
            trials = tuple(planned(study.base, variant, seed) for seed in study.seeds)
        study = replace(study, plan=(*study.plan, *trials))
    return study


def between(folder: StudyFolder, wanted: Sequence[Query], threshold: float = CLIFF) -> list[Proposal]:
    """Return the proposals over all surfaces of the study, each point once: beyond edges, then the highest cliff."""
    taken = {_place(t.overrides) for t in folder.study.plan if t.role == "cell"}
    further = [
        Proposal(overrides=overrides, score=edge.score, edge=edge)
        for edge, overrides in extensions(folder, best_on_edge(folder))
    ]
    by_place = {_place(p.overrides): p for p in further if _place(p.overrides) not in taken}
    for x, y in folder.study.surfaces:
        for proposal in proposals(folder, x, y, wanted, threshold):
            by_place.setdefault(_place(proposal.overrides), proposal)
    return sorted(by_place.values(), key=lambda p: -p.height)


def rounds(folder: StudyFolder, cells: Collection[str], count: int) -> tuple[Study, list[Proposal]]:
    """Return the study with the first of ``count`` rounds that is not finished, and all proposals so far.

    The first round refines between the sweep's ``cells``; each later round also uses the proposals of the rounds
    before it. Therefore a round has the same proposals after an interrupted launch, and a finished study does not
    change.
    """
    known, proposed = set(cells), list[Proposal]()
    study = folder.study
    for _ in range(count):
        among = replace(study, plan=tuple(t for t in study.plan if t.role != "cell" or t.cell in known))
        new = between(
            StudyFolder(path=folder.path, study=among, results=folder.results), shown_readings(study.objectives)
        )
        proposed += new
        known |= {proposal.label for proposal in new}
        planned_cells = {trial.cell for trial in study.plan}
        study = refined(study, [proposal for proposal in new if proposal.label not in planned_cells])
        if any(t.trial_id not in folder.results for t in study.plan if t.role == "cell"):
            break
    return study, proposed


def refine_study(folder: StudyFolder, wanted: Sequence[Query], threshold: float = CLIFF) -> list[Proposal]:
    """Return the proposals over all surfaces of the study, each point once.

    Raises:
        ConfigError: if the study has no surface.
    """
    if not folder.study.surfaces:
        raise ConfigError(f"refine: {folder.study.study} has no surface, so no cell has neighbours to refine between")
    return between(folder, wanted, threshold)
