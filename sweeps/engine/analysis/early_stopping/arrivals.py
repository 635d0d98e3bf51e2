"""What is known when a trial arrives at a rung, and the rung as that trial meets it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sweeps.engine.analysis.early_stopping.rung_gaps import gaps
from sweeps.engine.analysis.early_stopping.verdict import Rung, Spread, drift, seed_spread
from sweeps.engine.analysis.outcomes import Outcomes
from sweeps.engine.study.stopping import Stopping

Scores = Mapping[str, float]  # by name, in percent


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One trial at one rung, with its scores there."""

    trial_id: str
    cell: str
    seed: int
    rung: int
    scores: Scores


Read = Callable[[Arrival], Mapping[str, Outcomes]]  # the images of one arrival, by task


@dataclass(frozen=True, kw_only=True)
class Known:
    """All arrivals so far, in order, and the scores of the trials that have finished, by trial id."""

    arrivals: tuple[Arrival, ...] = ()
    finals: Mapping[str, Scores] = field(default_factory=dict)


def meet(
    known: Known,
    arrival: Arrival,
    rule: Stopping,
    objectives: Sequence[str],
    seeds: Sequence[int],
    read: Read,
    *,
    index: int,
    exempt: bool = False,
) -> Rung:
    """Return the rung as ``arrival`` meets it; ``seeds`` are those that the study plans, ``index`` its cell's number.

    ``read`` is called only for rivals that may stop the trial.
    """
    here = _by_cell([*(a for a in known.arrivals if a.rung == arrival.rung), arrival])
    own = here.pop(arrival.cell)
    shared = {cell: sorted(own.keys() & rival.keys()) for cell, rival in here.items()}
    rivals = {cell: rival for cell, rival in here.items() if shared[cell]}
    scores = {cell: _mean([rival[seed] for seed in shared[cell]], objectives) for cell, rival in rivals.items()}
    scores[arrival.cell] = _mean(list(own.values()), objectives)
    above = [cell for cell in rivals if all(a > b for a, b in zip(scores[cell], scores[arrival.cell], strict=True))]
    mine = {seed: read(each) for seed, each in own.items()} if above else {}
    found = {
        cell: gaps({seed: read(rivals[cell][seed]) for seed in shared[cell]}, mine, objectives) for cell in above
    }  # fmt: skip
    spread = _seed_spread([*here.values(), own], seeds, own, objectives)
    return Rung(
        cell=arrival.cell, number=arrival.rung, scores=scores, gaps=found,
        drift=_drift(known, arrival.rung, objectives), seeds=spread,
        several_seeds=len(seeds) > 1, first=rule.first_rung(index), exempt=exempt,
    )  # fmt: skip


def _by_cell(arrivals: Sequence[Arrival]) -> dict[str, dict[int, Arrival]]:
    cells: dict[str, dict[int, Arrival]] = {}
    for each in arrivals:
        cells.setdefault(each.cell, {})[each.seed] = each
    return cells


def _mean(arrivals: Sequence[Arrival], objectives: Sequence[str]) -> tuple[float, ...]:
    return tuple(math.fsum(each.scores[name] for each in arrivals) / len(arrivals) for name in objectives)


def _drift(known: Known, rung: int, objectives: Sequence[str]) -> tuple[Spread, ...] | None:
    both = [each for each in known.arrivals if each.rung == rung and each.trial_id in known.finals]
    return drift(
        [[each.scores[name] for name in objectives] for each in both],
        [[known.finals[each.trial_id][name] for name in objectives] for each in both],
    )


def _seed_spread(
    cells: Sequence[Mapping[int, Arrival]], seeds: Sequence[int], own: Mapping[int, Arrival], objectives: Sequence[str]
) -> tuple[Spread, ...] | None:
    """Return how much seeds differ, from the cells that have all planned seeds, else from those with the first ones."""
    for count in range(len(seeds), 1, -1):
        whole = [cell for cell in cells if all(seed in cell for seed in seeds[:count])]
        spread = seed_spread(
            [[[cell[seed].scores[name] for name in objectives] for seed in seeds[:count]] for cell in whole], len(own)
        )
        if spread is not None:
            return spread
    return None
