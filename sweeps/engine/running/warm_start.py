"""``--warm-start``: what a new search takes from earlier studies before its first proposal.

A cell that would be the same trial here is *known*: the sampler is told its score. Any other cell, of another space,
model, training or evaluation, has no score that is valid here. It can only say where to look first: the best ones are
*starts*, which run here as the first proposals.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sweeps.engine.analysis.scores import CellScore, pareto, scores
from sweeps.engine.format import counted, leaf, listed
from sweeps.engine.study.branches import parameters, place_of, point_of, spaces, start_in
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.study.objectives import deciding_score
from zsr_core.codec import canonical, flatten, require
from zsr_core.space import Domain
from zsr_core.trial.config import TrialConfig

FIELD = "--warm-start"
STARTS = 5  # most starts of one study: a quarter of the default number of proposals is spent on a guess at most


@dataclass(frozen=True, kw_only=True)
class KnownPoint:
    """A point of the space that an earlier study has scored: its mean over that study's seeds, by objective."""

    params: Mapping[str, Any]
    values: tuple[float, ...]
    origin: str  # the study's folder and the cell in it


@dataclass(frozen=True, kw_only=True)
class Start:
    """A point that was good in an earlier study of something else. A sampler draws the parameters that it lacks."""

    params: Mapping[str, Any]
    origin: str  # the study's folder and the cell in it


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """What a search takes from one earlier study, and a sentence on what was taken and what was not."""

    known: tuple[KnownPoint, ...]
    starts: tuple[Start, ...]
    text: str


def transfers(study: Study, folders: Sequence[Path]) -> list[Transfer]:
    """Return what ``study`` takes from each of the earlier studies.

    Cells that failed, lack seeds or were stopped early are left out, and so are those outside the space.

    Raises:
        ConfigError: naming a folder that holds no study, or one whose axes are none of this space.
    """
    return [_transfer(study, folder) for folder in folders]


def _transfer(study: Study, path: Path) -> Transfer:
    earlier = open_study(path)
    rows = {row.cell: row for row in earlier.study.rows(role="cell", split="selection")}
    varied = {name for row in rows.values() for name in row.overrides}
    order, coincide, dropped = list(rows), not rows, Counter[str]()
    known: dict[str, KnownPoint] = {}
    starts: dict[str, Start] = {}  # by place
    for cell in _best_first(earlier, study, scores(earlier, split="selection")):
        config, origin = earlier.study.config(rows[cell.cell].trials[0]), f"{path}: {cell.cell}"
        params, lack = _placed(study, config)
        coincide |= any(_path_of(name) in varied for name in params)
        if cell.failed or cell.missing or cell.stopped or not cell.n:
            dropped["have not finished"] += 1
        elif lack:
            dropped[lack] += 1
        elif (values := _values(study, earlier, config, cell)) is not None:
            known[cell.cell] = KnownPoint(params=params, values=values, origin=origin)
        elif canonical(params) in starts:
            dropped["are at the place of a better one"] += 1
        elif len(starts) == STARTS:
            dropped[f"are not among its best {STARTS}"] += 1
        else:
            starts[canonical(params)] = Start(params=params, origin=origin)
    require(
        coincide,
        FIELD,
        str(path),
        "a study that varies an axis of this space, a weight of the same method if it is one",
    )
    in_order = tuple(known[name] for name in order if name in known)
    text = _text(study, path, len(rows), len(known), tuple(starts.values()), dropped)
    return Transfer(known=in_order, starts=tuple(starts.values()), text=text)


def _best_first(earlier: StudyFolder, study: Study, cells: Sequence[CellScore]) -> list[CellScore]:
    """Return the cells from the best down by this search's deciding score; with several objectives the front first.

    Where the earlier study has not measured it, its own deciding score orders them.
    """
    by = deciding_score(study.objectives)
    if not any(cell.value(by.name) is not None for cell in cells):
        by = deciding_score(earlier.study.objectives)
    front = {cell.cell for cell in pareto(cells, study.objectives)} if len(study.objectives) > 1 else set()

    def key(cell: CellScore) -> tuple[bool, float]:
        value = cell.value(by.name)
        return cell.cell not in front, math.inf if value is None else -by.sense * value

    return sorted(cells, key=key)


def _placed(study: Study, config: TrialConfig) -> tuple[dict[str, Any], str]:
    """Return the parameters that a configuration has in the space of ``study``, and why it cannot be placed there.

    A parameter that the configuration does not have is left out, such as a weight of another method.
    """
    same, flat = place_of(study, config), flatten(config)
    if same is not None:
        return _inside(parameters(study), point_of(study, same))
    for branch, space in spaces(study):
        base = study.base if branch is None else study.base.with_(branch.overrides)
        if type(base.method) is type(config.method):
            return _inside(space, start_in(study, branch, flat))
    plain = {} if study.branches else {path: flat[path] for path in study.space if not path.startswith("method.")}
    return _inside(study.space, plain) if plain else ({}, "are of another method")


def _inside(space: Mapping[str, Domain], point: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    outside = sorted(leaf(name) for name, value in point.items() if not space[name].contains(value))
    lack = f"are outside the range of {listed(outside)}" if outside else ""
    return dict(point), lack if point else "have none of the axes"


def _path_of(parameter: str) -> str:
    """Return the path of a parameter, whose name starts with a branch's label in a conditional space."""
    return parameter.rpartition(": ")[2]


def _values(study: Study, earlier: StudyFolder, config: TrialConfig, cell: CellScore) -> tuple[float, ...] | None:
    """Return the cell's scores by objective if it would be the same trial here, read in the same way; else None."""
    same = place_of(study, config) is not None and earlier.study.score_eps == study.score_eps
    values = [cell.value(name) for name in study.objectives] if same else [None]
    sound = tuple(value for value in values if value is not None and math.isfinite(value))
    return sound if len(sound) == len(values) else None


def _text(study: Study, path: Path, cells: int, known: int, starts: Sequence[Start], dropped: Mapping[str, int]) -> str:
    lines = [f"{path} has {counted(cells, 'cell')}."]
    if known:
        lines.append(f"The sampler is told the scores of {known}, which would be the same trials here.")
    if starts:
        taken = sorted({leaf(name) for start in starts for name in start.params})
        wanted = {leaf(name) for name in (starts[0].params if study.branches else parameters(study))}
        anew = sorted(wanted - set(taken))
        more = f"; {listed(anew)} drawn anew" if anew else ""
        lines.append(
            f"{counted(len(starts), 'point')} of another space, model, training or evaluation run first here, and "
            f"their scores there are not told ({listed(taken)} taken{more})."
        )
    if dropped:
        lines.append(f"Dropped: {'; '.join(f'{n} that {why}' for why, n in dropped.items())}.")
    if not (known or starts):
        lines.append("Nothing of it is taken.")
    return " ".join(lines)
