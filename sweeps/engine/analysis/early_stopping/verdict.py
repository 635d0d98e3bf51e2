"""Whether a trial is stopped at a rung: one pure function of what the trials have scored so far.

A trial may be stopped if it is not among the best ``1 / keep`` of its rung. It is stopped only if one rival is better
at every objective by more than a margin. The margin is a quantile of Student's t times the noise of the difference:

- over images: both trials are scored on the same images, so the difference is paired image by image;
- over the rest of training: by how much the differences of finished trials have changed between this rung and the end.
  The larger of these two counts, because the second one contains the first;
- over seeds, where the study has several: how much the difference of two cells varies between seeds.

The level of the quantile is ``error`` over the comparisons that a trial goes through, rungs times rivals. So the truly
best trial, which no rival truly beats, is stopped with a probability of at most ``error``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from sweeps.engine.analysis.nondominated import order
from sweeps.engine.analysis.stats import t_quantile
from sweeps.engine.study.stopping import Stopping

MANY = 200  # degrees of freedom, above which Student's t is the normal distribution for our purpose
FEWEST_FINISHED = 3  # finished trials, below which nobody knows how well a rung foretells the end


@dataclass(frozen=True, kw_only=True)
class Spread:
    """A variance, in squared points, and its degrees of freedom."""

    variance: float
    dof: int


@dataclass(frozen=True, kw_only=True)
class Gap:
    """By how much a rival is better at one objective, in points, and the variance of that over images."""

    value: float
    images: Spread


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A rung as a trial meets it: its own cell and the rivals, on the seeds that both have.

    ``scores`` hold the own cell too, and all are higher where they are better. ``drift`` and ``seeds`` are variances
    of a difference of two cells, one for each objective; None where too little is known.
    """

    cell: str
    number: int
    scores: Mapping[str, tuple[float, ...]]  # by cell
    gaps: Mapping[str, tuple[Gap, ...]]  # by rival; those that are not better at every objective are left out
    drift: tuple[Spread, ...] | None
    seeds: tuple[Spread, ...] | None = None
    several_seeds: bool = False
    first: int = 1  # the first rung at which this cell may be stopped
    exempt: bool = False  # taken up again by hand


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a trial at a rung, and why."""

    stop: bool
    plain: bool  # whether plain ASHA, which knows no noise, would stop it
    rank: int  # from 1
    of: int
    why: str
    rival: str = ""  # the one that beats it most clearly
    gaps: tuple[float, ...] = ()
    margins: tuple[float, ...] = field(default=())


def verdict(rung: Rung, rule: Stopping) -> Verdict:
    """Return whether the trial is stopped at this rung."""
    names = order(rung.scores)
    rank, of = names.index(rung.cell) + 1, len(names)
    kept = math.ceil(of / rule.keep)
    place = f"rank {rank} of {of}"

    def on(why: str, *, plain: bool = True) -> Verdict:
        return Verdict(stop=False, plain=plain, rank=rank, of=of, why=f"goes on: {place}, {why}")

    if rule.rule == "watch":
        return on("and nothing is stopped", plain=rank > kept)
    if rung.exempt:
        return on("and it was taken up again", plain=False)
    if rung.number < rung.first:
        return on(f"and its bracket begins at rung {rung.first}", plain=False)
    if rank <= kept:
        return on(f"among the best {kept}", plain=False)
    if rung.drift is None:
        return on(f"but fewer than {FEWEST_FINISHED} trials have finished, so what a rung foretells is unknown")
    if rung.several_seeds and rung.seeds is None:
        return on("but how much the seeds differ is unknown yet")
    level = rule.error / (len(rule.shares) * max(1, of - 1))
    nearest: tuple[float, str, tuple[float, ...]] | None = None
    for rival, gaps in rung.gaps.items():
        margins = tuple(_margin(gap, i, rung, level) for i, gap in enumerate(gaps))
        excess = min(_ratio(gap.value, margin) for gap, margin in zip(gaps, margins, strict=True))
        if nearest is None or excess > nearest[0]:
            nearest = (excess, rival, margins)
    if nearest is None:
        return on("but no rival is better at every objective")
    excess, rival, margins = nearest
    values = tuple(gap.value for gap in rung.gaps[rival])
    by = ", ".join(f"{value:+.1f} (margin {margin:.1f})" for value, margin in zip(values, margins, strict=True))
    stop = excess > 1
    better = f"{rival!r} is better by {by} points"
    kept_text = f"goes on: {place}, no rival is better by more than the noise: {better}"
    why = f"{place}, {better}" if stop else kept_text
    return Verdict(stop=stop, plain=True, rank=rank, of=of, why=why, rival=rival, gaps=values, margins=margins)


def _ratio(value: float, margin: float) -> float:
    return value / margin if margin > 0 else math.copysign(math.inf, value) if value else 0.0


def _margin(gap: Gap, objective: int, rung: Rung, level: float) -> float:
    assert rung.drift is not None
    rest = max(
        gap.images, rung.drift[objective], key=lambda spread: _quantile(level, spread.dof) ** 2 * spread.variance
    )
    parts = [rest] if rung.seeds is None else [rest, rung.seeds[objective]]
    total = sum(part.variance for part in parts)
    if total == 0 or not math.isfinite(total):
        return total
    dof = total**2 / sum(part.variance**2 / part.dof for part in parts)  # Welch and Satterthwaite
    return _quantile(level, max(1, math.floor(dof))) * math.sqrt(total)


def _quantile(level: float, dof: int) -> float:
    return _upper_quantile(level, min(dof, MANY))


@lru_cache(maxsize=4096)
def _upper_quantile(level: float, dof: int) -> float:
    return t_quantile(1 - level, dof)


def drift(at_rung: Sequence[Sequence[float]], at_end: Sequence[Sequence[float]]) -> tuple[Spread, ...] | None:
    """Return, per objective, the variance of how a difference of two trials changes until the end.

    ``at_rung`` and ``at_end``: [finished trials][objectives]. None for fewer than :data:`FEWEST_FINISHED` trials. A
    shift that all trials share cancels in a difference, so it does not count.
    """
    if len(at_rung) < FEWEST_FINISHED:
        return None
    changes = [[end - start for start, end in zip(a, b, strict=True)] for a, b in zip(at_rung, at_end, strict=True)]
    return tuple(_twice_variance(column) for column in zip(*changes, strict=True))


def _twice_variance(values: Sequence[float]) -> Spread:
    mean = math.fsum(values) / len(values)
    dof = len(values) - 1
    return Spread(variance=2 * math.fsum((value - mean) ** 2 for value in values) / dof, dof=dof)


def seed_spread(scores: Sequence[Sequence[Sequence[float]]], seeds: int) -> tuple[Spread, ...] | None:
    """Return, per objective, the variance over seeds of a difference of two cells' means over ``seeds`` seeds.

    ``scores``: [cells][seeds][objectives], at least 3 cells and 2 seeds, else None. It is twice the variance of what
    remains after the means of cells and of seeds, over the number of seeds.
    """
    if len(scores) < 3 or len(scores[0]) < 2:
        return None
    spreads = []
    for objective in range(len(scores[0][0])):
        table = [[seed[objective] for seed in cell] for cell in scores]
        rows = [math.fsum(row) / len(row) for row in table]
        columns = [math.fsum(column) / len(column) for column in zip(*table, strict=True)]
        grand = math.fsum(rows) / len(rows)
        rest = [
            value - rows[i] - columns[j] + grand for i, row in enumerate(table) for j, value in enumerate(row)
        ]  # fmt: skip
        dof = (len(rows) - 1) * (len(columns) - 1)
        spreads.append(Spread(variance=2 * math.fsum(r * r for r in rest) / dof / seeds, dof=dof))
    return tuple(spreads)
