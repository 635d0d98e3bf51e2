"""``crops.parquet`` and ``boxes.parquet`` beside a trial's records: what a model named the boxes, and the boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError, require
from zsr_core.data.formats.boxes import Boxes
from zsr_core.files import write_whole
from zsr_core.records import SampleRecord, from_table, read_samples, write_samples

CROPS = "crops.parquet"
BOXES = "boxes.parquet"
SCHEMA_VERSION = "1"
CORNERS = ("x0", "y0", "x1", "y1")
_FACTS = pa.schema(
    [("role", pa.string()), ("sample_id", pa.string()), ("image", pa.int64()), ("label", pa.int64())]
    + [(name, pa.float64()) for name in (*CORNERS, "score")]
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Detected:
    """What a model named the boxes of one set of scenes; a condition's records are in the order of the boxes."""

    name: str
    objects: Boxes
    proposals: Boxes
    objects_named: Sequence[SampleRecord]  # of the crops of the true boxes
    proposals_named: Sequence[SampleRecord]


def write_detected(folder: Path, detected: Detected | None) -> None:
    """Write both files, each whole or not at all; nothing if there is no set of scenes.

    ``crops.parquet`` has the columns of ``samples.parquet``, a row per crop and condition. A row of ``boxes.parquet``
    is a box: ``role`` is "object" or "proposal", ``image`` the position of its image, corners are in pixels, ``label``
    is -1 and ``score`` the detector's of a proposal, and 1 of an object.
    """
    if detected is None:
        return
    write_samples(folder / CROPS, [*detected.objects_named, *detected.proposals_named])
    parts = [_table("object", detected.objects, detected.objects_named),
             _table("proposal", detected.proposals, detected.proposals_named)]  # fmt: skip
    table = pa.concat_tables(parts).replace_schema_metadata({"zsr.boxes": SCHEMA_VERSION})
    write_whole(folder / BOXES, lambda part: pq.write_table(table, part, compression="zstd"))


def _table(role: str, boxes: Boxes, records: Sequence[SampleRecord]) -> pa.Table:
    ids = [record.sample_id for record in records if record.condition == "none"]
    corners = {name: boxes.box[:, i] for i, name in enumerate(CORNERS)}
    columns = {"role": [role] * len(boxes), "sample_id": ids, "image": boxes.image, "label": boxes.label, **corners,
               "score": boxes.score}  # fmt: skip
    return pa.table({name: pa.array(columns[name], _FACTS.field(name).type) for name in _FACTS.names})


def read_detected(folder: Path) -> Detected | None:
    """Return what both files hold; None if there is no such file.

    Raises:
        ConfigError: naming the file, if one cannot be read, or boxes and crops are not of the same ids.
    """
    if not (folder / CROPS).is_file():
        return None
    records, table = from_table(read_samples(folder / CROPS)), read_samples(folder / BOXES)
    try:
        rows = table.select(_FACTS.names).to_pylist()
    except (KeyError, pa.ArrowInvalid) as error:
        raise ConfigError(f"detection: {folder / BOXES} holds other columns than expected ({error})") from None
    ids = {role: [row["sample_id"] for row in rows if row["role"] == role] for role in ("object", "proposal")}
    own = {role: [r for r in records if r.sample_id in set(names)] for role, names in ids.items()}
    for role, names in ids.items():
        conditions = {(r.condition, r.eps) for r in own[role]}
        same = [r.sample_id for r in own[role]] == names * len(conditions) and bool(names)
        require(
            same, f"detection: {folder / CROPS}", f"{len(own[role])} rows of {role}s", "a row per box and condition"
        )
    boxes = {role: _boxes([row for row in rows if row["role"] == role]) for role in ids}
    return Detected(
        name=records[0].task, objects=boxes["object"], proposals=boxes["proposal"], objects_named=own["object"],
        proposals_named=own["proposal"],
    )  # fmt: skip


def _boxes(rows: Sequence[dict[str, object]]) -> Boxes:
    return Boxes(
        image=np.array([row["image"] for row in rows], np.int64),
        label=np.array([row["label"] for row in rows], np.int64),
        box=np.array([[row[name] for name in CORNERS] for row in rows], np.float64),
        score=np.array([row["score"] for row in rows], np.float64),
    )  # fmt: skip
