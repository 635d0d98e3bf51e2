"""What out-of-distribution detection is measured on, as files and as the images that metrics read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from zsr_core.codec import ConfigError, require
from zsr_core.evaluation.metrics.metric import Condition, Detection, Images, OodSet
from zsr_core.evaluation.metrics.outputs import Outputs
from zsr_core.evaluation.outside import role_of
from zsr_core.evaluation.vectors import embedding_matrix, matrix_of, write_vectors
from zsr_core.records import SampleRecord, read_samples

FILE = "ood.parquet"
Place = tuple[str, str, float]  # task, attack, eps
_FACTS = pa.schema(
    [(name, pa.string()) for name in ("trial_id", "weights_sha", "role", "set", "task", "sample_id", "condition")]
    + [("attack_id", pa.string()), ("norm", pa.string()), ("threat_space", pa.string())]
    + [("eps", pa.float64()), ("linf", pa.float64()), ("l2", pa.float64()), ("queries", pa.int64())]
)


def write_ood(folder: Path, records: Sequence[SampleRecord]) -> None:
    """Write ``ood.parquet`` into a trial's folder, whole or not at all; without records nothing."""
    if not records:
        return
    roles = [record.split.partition(":")[::2] for record in records]
    columns = {"role": [role for role, _ in roles], "set": [of for _, of in roles]}
    columns |= {name: [getattr(r, name) for r in records] for name in _FACTS.names if name not in columns}
    facts = [pa.array(columns[name], _FACTS.field(name).type) for name in _FACTS.names]
    write_vectors(folder / FILE, facts, _FACTS, embedding_matrix(records))


def read_ood(folder: Path) -> list[SampleRecord]:
    """Return the records in a trial's folder; none where there is no such file.

    Raises:
        ConfigError: naming the file, if it cannot be read.
    """
    if not (folder / FILE).is_file():
        return []
    table = read_samples(folder / FILE)
    try:
        units, rows = matrix_of(table), table.select(_FACTS.names).to_pylist()
    except (KeyError, pa.ArrowInvalid) as error:
        raise ConfigError(f"ood: {folder / FILE} holds other columns than expected ({error})") from None
    blank: dict[str, Any] = {"ran": "", "stage": "", "label": -1, "pred": -1, "correct": False}
    blank |= dict.fromkeys(("p_max", "entropy", "margin"), float("nan"))
    return [
        SampleRecord(split=f"{row.pop('role')}:{row.pop('set')}", embedding=unit.tobytes(), **row, **blank)
        for row, unit in zip(rows, units, strict=True)
    ]


def with_detection(
    places: Mapping[Place, tuple[Condition, Images]], records: Sequence[SampleRecord]
) -> dict[Place, tuple[Condition, Images]]:
    """Return the places with what a detector is measured on there, and a place for each attack on a detector.

    Such a place follows the task's other attacks. ``records`` are of :mod:`zsr_core.evaluation.outside`.

    Raises:
        ConfigError: naming task and attack, if an attack left out some images.
    """
    groups: dict[tuple[str, str, str, float], dict[str, SampleRecord]] = {}
    for record in records:
        groups.setdefault((record.split, *_place(record)), {})[record.sample_id] = record
    detectors = list(dict.fromkeys((r.condition, r.eps) for r in records if r.condition != "none"))
    splits = list(dict.fromkeys(r.split for r in records if role_of(r) != "own"))
    found: dict[Place, tuple[Condition, Images]] = {}
    for task in dict.fromkeys(task for task, _, _ in places):
        of_task = {place: each for place, each in places.items() if place[0] == task}
        found |= _of_task(task, of_task, groups, splits, detectors)
    return found


def _place(record: SampleRecord) -> Place:
    return record.task, record.condition, record.eps


def _of_task(
    task: str,
    places: Mapping[Place, tuple[Condition, Images]],
    groups: Mapping[tuple[str, str, str, float], Mapping[str, SampleRecord]],
    splits: Sequence[str],
    detectors: Sequence[tuple[str, float]],
) -> dict[Place, tuple[Condition, Images]]:
    _, clean = places[task, "none", 0.0]
    if clean.outputs is None:
        return dict(places)
    texts = clean.outputs.texts
    bases = {split: groups[split, "", "none", 0.0] for split in splits}

    def outputs(split: str, order: Sequence[str], attack: str, eps: float) -> Outputs:
        rows = groups.get((split, task, attack, eps), {})
        same = len(rows) == len(order) and all(name in rows for name in order)
        require(same, f"task {task!r}, {attack} at {eps:g}, {split}", len(rows), f"{len(order)} attacked images")
        return Outputs(unit=embedding_matrix([rows[name] for name in order]), texts=texts)

    own_split = next((split for split, *place in groups if split.startswith("own:") and place[0] == task), "")
    own = {place: outputs(own_split, list(clean.sample_id), *place) for place in detectors}
    attacked = {split: {at: outputs(split, list(base), *at) for at in detectors} for split, base in bases.items()}
    sets = tuple(
        OodSet(
            name=split.partition(":")[2], kind="near" if split.startswith("near:") else "far",
            clean=Outputs(unit=embedding_matrix(list(base.values())), texts=texts),
        )
        for split, base in bases.items()
    )  # fmt: skip

    def detection(at: Sequence[tuple[str, float]], inside: Sequence[Outputs | None]) -> Detection:
        reached = tuple(
            replace(each, attacked=tuple(attacked[split][place] for place in at))
            for each, split in zip(sets, splits, strict=True)
        )
        return Detection(sets=reached, inside=tuple(each for each in inside if each is not None))

    found: dict[Place, tuple[Condition, Images]] = {}
    for place, (condition, images) in places.items():
        if condition != "worst":
            found[place] = condition, replace(images, ood=detection((), [images.outputs]))
            continue
        here = [at for at in detectors if at[1] == place[2]]
        for at in here:
            under = replace(clean, clean=clean, outputs=own[at], ood=detection([at], [own[at]]))
            found[(task, *at)] = "detector", under
        others = [each.outputs for (_, _, eps), (kind, each) in places.items() if kind == "attack" and eps == place[2]]
        found[place] = condition, replace(images, ood=detection(here, [*others, *(own[at] for at in here)]))
    return found
