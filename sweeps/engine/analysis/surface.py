"""A score over two axes of the space, as data: sampled points, failures and the optimum."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.engine.analysis.stats import summarise
from zsr_core.codec import ConfigError, is_finite
from zsr_core.space import Domain


@dataclass(frozen=True, kw_only=True)
class Point:
    """One sampled point: the mean score over its ``n`` finished trials and their sd; None where unknown."""

    x: float
    y: float
    mean: float | None
    sd: float | None
    n: int
    failed: int = 0
    missing: int = 0


@dataclass(frozen=True, kw_only=True)
class Surface:
    """A score ``z`` over the axes ``x`` and ``y``; ``xs``, ``ys`` hold the levels of a grid."""

    x: str
    y: str
    z: str
    x_log: bool
    y_log: bool
    points: tuple[Point, ...]  # by rising y, then x
    off_axis: tuple[Point, ...]  # points with a value of 0 on a log axis, which cannot show it: a part is switched off
    xs: tuple[float, ...]
    ys: tuple[float, ...]
    optimum: Point | None  # the best mean among the points without a failure; None for a score without direction
    published: tuple[float, float] | None
    baseline: float | None  # the same score of the untouched model
    sense: float = 1.0  # 1 for a score that should be high, -1 for one that should be low, 0 if neither is known
    chance: float | None = None  # the same score of a guess

    @property
    def is_grid(self) -> bool:
        """Whether the points are the cells of a grid, rather than scattered."""
        return bool(self.xs)

    def table(self) -> tuple[tuple[float | None, ...], ...]:
        """Return the means as rows by ``ys`` and columns by ``xs``; None where nothing was measured."""
        means = {(p.x, p.y): p.mean for p in self.points}
        return tuple(tuple(means.get((x, y)) for x in self.xs) for y in self.ys)


def surface(
    rows: Iterable[Mapping[str, Any]],
    x: str,
    y: str,
    z: str,
    *,
    domains: Mapping[str, Domain] | None = None,
    published: Mapping[str, float] | None = None,
    baseline: float | None = None,
    sense: float = 1.0,
    chance: float | None = None,
) -> Surface:
    """Return the score ``z`` over ``x`` and ``y``, averaged over seeds.

    ``rows`` hold the axes by dotted path, ``z`` (None without a score), ``seed`` and ``status``.
    ``sense`` is 1 for a score that should be high, -1 for one that should be low, 0 if neither is known.

    Raises:
        ConfigError: if an axis is no number, or two finished rows share x, y and seed.
    """
    domains, published = domains or {}, published or {}
    groups: dict[tuple[float, float], list[Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((_number(row, x), _number(row, y)), []).append(row)
    planned = [_point(at, group, z) for at, group in groups.items()]
    points = sorted(planned, key=lambda p: (p.y, p.x))
    x_log, y_log = (bool(getattr(domains.get(path), "log", False)) for path in (x, y))
    off = [p for p in points if (x_log and p.x <= 0) or (y_log and p.y <= 0)]
    points = [p for p in points if p not in off]
    xs, ys = _levels(points)
    good = [p for p in planned if p not in off and p.mean is not None and not p.failed and sense]  # of ties the first
    return Surface(
        x=x, y=y, z=z, x_log=x_log, y_log=y_log,
        points=tuple(points), off_axis=tuple(off), xs=xs, ys=ys,
        optimum=max(good, key=lambda p: -math.inf if p.mean is None else sense * p.mean, default=None),
        published=(published[x], published[y]) if x in published and y in published else None,
        baseline=baseline, sense=sense, chance=chance,
    )  # fmt: skip


def _number(row: Mapping[str, Any], path: str) -> float:
    value = row.get(path)
    if not is_finite(value):
        trial = row.get("trial_id", "?")
        raise ConfigError(f"surface: {path} is {value!r} in trial {trial}; expected a number")
    return float(value)  # type: ignore[arg-type]  # is_finite has checked that it is a real number


def _point(at: tuple[float, float], rows: Sequence[Mapping[str, Any]], z: str) -> Point:
    done = [row for row in rows if row["status"] == "done" and row[z] is not None]
    if len({row["seed"] for row in done}) < len(done):
        raise ConfigError(f"surface: {len(done)} trials share the point {at} but differ in more than the seed")
    over_seeds = summarise([row[z] for row in done]) if done else None
    failed = sum(row["status"] == "failed" for row in rows)
    return Point(
        x=at[0], y=at[1], mean=over_seeds.mean if over_seeds else None, sd=over_seeds.sd if over_seeds else None,
        n=len(done), failed=failed, missing=len(rows) - len(done) - failed,
    )  # fmt: skip


def _levels(points: Sequence[Point]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the levels of both axes if more than half of their grid was planned, else empty tuples."""
    xs, ys = sorted({p.x for p in points}), sorted({p.y for p in points})
    filled = len(points) > len(xs) * len(ys) / 2
    return (tuple(xs), tuple(ys)) if filled else ((), ())


def edges(levels: Sequence[float], log: bool) -> tuple[float, ...]:
    """Return the n + 1 cell boundaries of n levels: the midpoints between neighbours, geometric on a log axis."""
    at = [math.log(v) for v in levels] if log else list(levels)
    if len(at) == 1:
        half = math.log(2) / 2 if log else max(abs(at[0]) / 4, 0.5)
        cuts = [at[0] - half, at[0] + half]
    else:
        inner = [(a + b) / 2 for a, b in itertools.pairwise(at)]
        cuts = [2 * at[0] - inner[0], *inner, 2 * at[-1] - inner[-1]]
    return tuple(math.exp(v) if log else v for v in cuts)
