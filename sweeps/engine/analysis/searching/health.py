"""What is odd about a study, as numbers: seeds, noise, failures, repeated proposals, unequal budgets."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import median

from sweeps.engine.analysis.noise import Noise, noise_of
from sweeps.engine.analysis.score_query import Reading
from sweeps.engine.analysis.scores import eligible, known, scores
from sweeps.engine.analysis.searching.chance import row_collapse
from sweeps.engine.analysis.searching.duplicates import repeated
from sweeps.engine.study.branches import parameters, point_of
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import deciding_score
from sweeps.engine.study.plan import suggestions

MOST = 200  # cells whose noise is looked at
SURE = 2.8  # standard errors between two cells, at which 80 % of studies tell them apart at the 5 % level


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """How many seeds the best cell and the next one have, and how many would tell them apart."""

    least: int  # of any eligible cell
    gap: float  # of the best two cells, in points
    sd: float | None  # over seeds, the median of the cells; None with one seed
    needed: int | None  # seeds at which the gap would be SURE standard errors; None where the sd is unknown


@dataclass(frozen=True, kw_only=True)
class Shares:
    """How many trials are planned, failed and missing, and which cells have collapsed."""

    planned: int
    failed: int
    missing: int
    reasons: Mapping[str, int] = field(default_factory=dict)  # of the failures
    collapsed: tuple[str, ...] = ()
    cells: int = 0  # measured ones


def seeds_of(folder: StudyFolder) -> Seeds | None:
    """Return what the study's seeds can tell; None with fewer than two measured cells."""
    by = deciding_score(folder.study.objectives)
    cells = eligible(scores(folder), by.name)
    if len(cells) < 2:
        return None
    best, second = sorted((by.sense * known(cell.value(by.name)) for cell in cells), reverse=True)[:2]
    spreads = [sd for cell in cells if (sd := cell.sd(by.name)) is not None]
    sd, gap = (median(spreads) if spreads else None), best - second
    needed = None if sd is None or gap <= 0 else max(2, math.ceil(2 * (SURE * sd / gap) ** 2))
    return Seeds(least=min(cell.n for cell in cells), gap=gap, sd=sd, needed=needed)


def cell_noise(folder: StudyFolder) -> Noise | None:
    """Return the noise of the cells' deciding scores; None where it cannot be known."""
    by = deciding_score(folder.study.objectives).name
    names = {cell.cell for cell in eligible(scores(folder), by)}
    rows = [row for row in folder.study.rows(role="cell", split="selection") if row.cell in names][:MOST]
    trials = {(float(i), 0.0): [t.trial_id for t in row.trials if folder.is_done(t)] for i, row in enumerate(rows)}
    return noise_of(folder, Reading(name=by), trials)


def shares(folder: StudyFolder) -> Shares:
    """Return the share of failed, missing and collapsed trials."""
    return folder.once(("shares",), lambda: _shares(folder))


def _shares(folder: StudyFolder) -> Shares:
    plan = folder.study.plan
    failed = [folder.results[t.trial_id] for t in plan if folder.status(t) == "failed"]
    reasons: dict[str, int] = {}
    for result in failed:
        reasons[result.error] = reasons.get(result.error, 0) + 1
    rows = [row for row in folder.study.rows(role="cell", split="selection") if folder.by_seed(row.trials)]
    found = [(row.cell, row_collapse(folder, row)) for row in rows]
    return Shares(
        planned=len(plan), failed=len(failed), missing=sum(folder.status(t) == "missing" for t in plan),
        reasons=reasons, collapsed=tuple(name for name, each in found if each is not None and each.collapsed),
        cells=len(rows),
    )  # fmt: skip


def repeats(folder: StudyFolder) -> tuple[int, int]:
    """Return how many proposals of a search nearly repeat an earlier one, and how many there are."""
    points = [point_of(folder.study, overrides) for overrides in suggestions(folder.study).values()]
    return repeated(points, parameters(folder.study)), len(points)


def unequal(folder: StudyFolder) -> dict[str, int]:
    """Return the budgets of training that differ between cells, in words, with how many cells have each.

    A budget is what training may use: epochs, images, and the steps and radius of its attack. Empty if all are alike,
    and in a study whose own axis a budget is.
    """
    own = ("epochs", "train_data", "train_attack", "threat", "batch_size")
    rows = [row for row in folder.study.rows(role="cell", split="selection") if folder.by_seed(row.trials)]
    if any(path.startswith(own) for path in folder.study.space):
        return {}
    found: dict[str, int] = {}
    for row in rows:
        config = folder.study.config(row.trials[0])
        words = f"{config.epochs} epochs on {config.train_data.called}, {config.train_attack.name}"
        key = f"{words} at {255 * config.threat.eps:g}/255"
        found[key] = found.get(key, 0) + 1
    return found if len(found) > 1 else {}


def costs(folder: StudyFolder) -> tuple[float, float] | None:
    """Return the smallest and the largest cost of training among measured cells, in passes; None if unknown."""
    done = folder.done(t for t in folder.study.plan if t.role == "cell" and not t.is_report).values()
    passes = [
        r.cost["passes_forward"]
        + r.cost.get("passes_input_backward", 0.0)
        + 2 * r.cost.get("passes_full_backward", 0.0)
        for r in done
        if r.cost.get("passes_forward")
    ]
    return (min(passes), max(passes)) if passes else None


def seeds_by_cell(folder: StudyFolder) -> tuple[int, int]:
    """Return the smallest and the largest number of finished seeds of the measured cells."""
    n = [cell.n for cell in scores(folder) if cell.n]
    return (min(n), max(n)) if n else (0, 0)
