"""From records under corruptions and of factors to the columns that metrics read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from zsr_core.codec import require
from zsr_core.data.shifts.names import (
    UNCHANGED,
    corruption_cell,
    corruption_name,
    factor_level,
    factor_name,
    kind_name,
    untouched_name,
)  # fmt: skip
from zsr_core.evaluation.metrics.metric import Images
from zsr_core.evaluation.metrics.shifts import Corruptions, Group, Profile
from zsr_core.records import SampleRecord

ByCondition = Mapping[str, Sequence[SampleRecord]]


def with_shifts(
    places: Mapping[tuple[str, str, float], Images], shifted: Iterable[SampleRecord]
) -> dict[tuple[str, str, float], Images]:
    """Return the places with what ``shifted`` adds to each task.

    Its images without attack get all of its corruptions and factors. Further places follow, named as the records are:
    of each corruption at each severity, of each kind (``corruption-fog``), of each factor, and of each of its levels.

    Raises:
        ConfigError: naming the task and the corruption, if its images are not those of the task.
    """
    by_task: dict[str, dict[str, list[SampleRecord]]] = {}
    for record in shifted:
        by_task.setdefault(record.task, {}).setdefault(record.condition, []).append(record)
    found = dict(places)
    for task, groups in by_task.items():
        clean = places[task, "none", 0.0]
        corruptions, profile = _corruptions(clean, groups), _profile(groups)
        found[task, "none", 0.0] = replace(clean, corruptions=corruptions, factors=_whole(profile))
        bare = replace(clean, outputs=None)
        for name, cells in _parts(corruptions).items():
            found[task, name, 0.0] = replace(bare, corruptions=cells)
        for group in profile.groups if profile is not None else ():
            assert profile is not None
            found[task, group.name, 0.0] = replace(bare, factors=profile.only(group.name))
    return found


def _corruptions(clean: Images, own: ByCondition) -> Corruptions | None:
    """Return the task's images under every corruption, in the order of ``clean``; None without any.

    Where the untouched model has no records of its own, it is the model itself.
    """
    cells = {name: cell for name in own if (cell := corruption_cell(name)) is not None}
    if not cells:
        return None
    order = {name: i for i, name in enumerate(clean.sample_id)}
    mine = [_columns(own[name], order, name) for name in cells]
    theirs = [_columns(own.get(untouched_name(name), own[name]), order, name)[0] for name in cells]
    return Corruptions(
        cells=tuple(cells.values()), correct=np.stack([right for right, _ in mine], axis=1),
        p_max=np.stack([sure for _, sure in mine], axis=1), untouched=np.stack(theirs, axis=1),
    )  # fmt: skip


def _columns(
    records: Sequence[SampleRecord], order: Mapping[str, int], condition: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return [N] whether each image is right, and [N] its largest probability."""
    same = len(records) == len(order) and {r.sample_id for r in records} == order.keys()
    expected = "a record of every image of the task"
    require(same, f"task {records[0].task!r}, condition {condition!r}", len(records), expected)
    correct, p_max = np.zeros(len(order), np.bool_), np.zeros(len(order))
    for r in records:
        correct[order[r.sample_id]], p_max[order[r.sample_id]] = r.correct, r.p_max
    return correct, p_max


def _parts(corruptions: Corruptions | None) -> dict[str, Corruptions]:
    """Return the corruptions of every kind and severity, then those of every kind, by name of the place."""
    if corruptions is None:
        return {}
    cells = {corruption_name(cell): corruptions.only(cell.kind, cell.severity) for cell in corruptions.cells}
    return cells | {kind_name(kind): corruptions.only(kind) for kind in corruptions.kinds}


def _profile(own: ByCondition) -> Profile | None:
    """Return the groups of every level, then of every factor over its levels; None without any."""
    every = own.get(UNCHANGED, ())
    if not every:
        return None
    order = {r.sample_id: i for i, r in enumerate(every)}
    levels: dict[str, list[SampleRecord]] = {}
    factors: dict[str, list[SampleRecord]] = {}
    for name, records in own.items():
        factor, level = factor_level(name) or (None, None)
        if factor is not None:
            factors.setdefault(factor_name(factor), []).extend(records)
            if level is not None:
                levels.setdefault(name, []).extend(records)
    groups = tuple(_group(name, records, order) for name, records in (levels | factors).items())
    return Profile(correct=np.array([r.correct for r in every], np.bool_), groups=groups)


def _group(name: str, records: Sequence[SampleRecord], order: Mapping[str, int]) -> Group:
    strange = [r.sample_id for r in records if r.sample_id not in order]
    require(not strange, f"condition {name!r}", strange[:1], "images that have a record without regard to factors too")
    rows = np.array([order[r.sample_id] for r in records], np.intp)
    return Group(name=name, rows=rows, correct=np.array([r.correct for r in records], np.bool_))


def _whole(profile: Profile | None) -> Profile | None:
    """Return the profile of the factors alone, each over all of its levels."""
    if profile is None:
        return None
    factors = tuple(g for g in profile.groups if (factor_level(g.name) or ("", 0))[1] is None)
    return Profile(correct=profile.correct, groups=factors)
