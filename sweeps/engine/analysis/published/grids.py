"""The papers' grids over two weights as surfaces, so that they are drawn and measured like ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sweeps.engine.analysis.stats import harmonic
from sweeps.engine.analysis.surface import Surface, surface
from sweeps.engine.format import eps_text, leaf
from zsr_core.published import SOURCES, Published, published_numbers
from zsr_core.space import Domain

LEAST = 4  # points that a table needs to be a grid
SHOWN = ("clean", "robust", "harmonic")
OVERALL = "overall"  # the mean of clean and robust, the score that the source of these grids compares


@dataclass(frozen=True, kw_only=True)
class PublishedGrid:
    """One table of one paper: its place, its conditions, and each score as a surface."""

    method: str
    place: str
    conditions: str
    notes: tuple[str, ...]
    surfaces: Mapping[str, Surface]  # clean, robust, their harmonic mean (ours, of the two means), overall


def published_grids(
    method: str,
    x: str,
    y: str,
    domains: Mapping[str, Domain],
    published: Mapping[str, float],
    rows: Sequence[Published] | None = None,
) -> list[PublishedGrid]:
    """Return the tables that print clean and robust accuracy of ``method`` over both weights, in the papers' order.

    ``x`` and ``y`` are dotted paths, ``method`` a title; ``rows`` are by default all published numbers of the package.
    """
    tables: dict[tuple[str, str, str], list[Published]] = {}
    for row in published_numbers() if rows is None else rows:
        known = row.fields is not None and leaf(x) in row.fields and leaf(y) in row.fields
        if row.method == method and known and len(row.tasks) > 1:
            tables.setdefault((row.source, row.table, row.dataset), []).append(row)
    grids = [_grid(method, group, x, y, domains, published) for group in tables.values()]
    return [grid for grid in grids if grid is not None]


def _grid(
    method: str,
    rows: Sequence[Published],
    x: str,
    y: str,
    domains: Mapping[str, Domain],
    published: Mapping[str, float],
) -> PublishedGrid | None:
    scores: dict[str, dict[tuple[float, float], float]] = {}
    for row in rows:
        assert row.fields is not None
        at = float(row.fields[leaf(x)]), float(row.fields[leaf(y)])
        scores.setdefault(row.metric, {})[at] = row.value
    clean, robust = scores.get("clean", {}), scores.get("robust", {})
    both = sorted(clean.keys() & robust.keys())
    if len(both) < LEAST or len({a for a, _ in both}) < 2 or len({b for _, b in both}) < 2:
        return None
    printed = scores.get(OVERALL, {})
    values = {
        "clean": clean,
        "robust": robust,
        "harmonic": {at: float(harmonic(np.array(clean[at]), np.array(robust[at]))) for at in both},
        OVERALL: {at: printed.get(at, (clean[at] + robust[at]) / 2) for at in both},
    }
    attacked = next(row for row in rows if row.metric == "robust")
    return PublishedGrid(
        method=method, place=f"{SOURCES[attacked.source].title}, table {attacked.table}",
        conditions=f"{attacked.attack} at {eps_text(attacked.eps[0])}, mean over {len(attacked.tasks)} sets",
        notes=tuple(dict.fromkeys(note for row in rows for note in row.notes if row.metric in ("clean", "robust"))),
        surfaces={
            name: surface(
                [{x: a, y: b, name: by[a, b], "seed": 0, "status": "done"} for a, b in both], x, y, name,
                domains=domains, published=published,
            )
            for name, by in values.items()
        },
    )  # fmt: skip
