"""The scores of earlier studies of the same space, which a new search gets before its first proposal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.analysis.scores import scores
from sweeps.engine.study.folder import Study, open_study
from zsr_core.codec import ConfigError, flatten

FIELD = "--warm-start"


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """A point of the space that an earlier study has scored: its mean over that study's seeds, by objective."""

    params: Mapping[str, Any]
    values: tuple[float, ...]
    origin: str  # the study's folder and the cell in it


def known_points(study: Study, folders: Sequence[Path]) -> list[KnownPoint]:
    """Return the cells of earlier studies that set every axis of ``study`` and have every score, in plan order.

    Failed cells and cells that lack seeds are left out. The user decides whether another model, method or training
    is similar enough; the evaluation must be the same.

    Raises:
        ConfigError: naming the folder and what differs: the space, the objectives, or what is measured.
    """
    return [point for folder in folders for point in _points(study, folder)]


def _points(study: Study, folder: Path) -> list[KnownPoint]:
    earlier = open_study(folder)
    _check_same(study, earlier.study, folder)
    points = []
    for row in scores(earlier):
        values = [value for name in study.objectives if (value := row.value(name)) is not None]
        complete = len(values) == len(study.objectives) and not (row.failed or row.missing)
        inside = row.overrides.keys() == study.space.keys() and all(
            study.space[path].contains(value) for path, value in row.overrides.items()
        )  # a weight that is off, or one level beyond the edge, is no point of the space
        if complete and inside and all(map(math.isfinite, values)):
            origin = f"{folder}: {row.cell}"
            points.append(KnownPoint(params=row.overrides, values=tuple(values), origin=origin))
    return points


def _check_same(study: Study, earlier: Study, folder: Path) -> None:
    suites = [flatten(each.base.eval_suite, "base.eval_suite.") for each in (earlier, study)]
    sides: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
        ("another space", flatten(dict(earlier.space), "space."), flatten(dict(study.space), "space.")),
        ("other objectives", {"objectives": earlier.objectives}, {"objectives": study.objectives}),
        ("another evaluation", suites[0], suites[1]),
    ]
    for what, old, new in sides:
        paths = [path for path in {**old, **new} if old.get(path) != new.get(path)]
        if paths:
            listing = ", ".join(f"{path} is {old.get(path)!r} there, {new.get(path)!r} here" for path in paths[:3])
            raise ConfigError(f"{FIELD}: {folder} holds a study of {what} ({listing})")
