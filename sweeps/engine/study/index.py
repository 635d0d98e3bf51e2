"""The index of a study: its results in a few Parquet files, so that each ``result.json`` is read once.

The trial folders stay authoritative. A row of the index counts only while ``result.json`` has the size and the time of
modification that it had when it was read; whatever is missing, stale or torn is read from the folder again. The folder
``.index`` can be deleted at any time.
"""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError, from_plain, from_texts, to_plain, to_texts
from zsr_core.evaluation.measurement import KEYS, NUMBERS, Layout, MeasurementRows, rows_of, shared_layout
from zsr_core.files import write_whole
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

VERSION = b"1"
FOLDER = ".index"
LEAST = 32  # fewer new results than this are read from their folders each time, so that small studies have no index
SETTLED = 2.0  # seconds; a younger file may be written again without another size or time
MOST_FILES = 8  # more files than this are merged into one
TEXT = pa.dictionary(pa.int32(), pa.string())
SCHEMA = pa.schema(
    [
        ("trial_id", pa.string()),
        ("size", pa.int64()),  # of result.json, in bytes
        ("modified", pa.int64()),  # nanoseconds
        ("head", pa.string()),  # the result without its configuration and measurements, as JSON
        ("config", pa.list_(TEXT)),  # the JSON texts of the configuration's fields
        ("fields", TEXT),  # the names of these fields, as JSON
        ("layout", TEXT),  # the key columns of the measurements, as JSON
        ("weights_sha", pa.string()),
        ("reasons", pa.string()),  # place -> why a value is undefined, as JSON
        ("n", pa.list_(pa.int64())),
        *((name, pa.list_(pa.float64())) for name in NUMBERS),
    ],
    metadata={"zsr.index": VERSION},
)
Stamp = tuple[int, int]  # size and time of modification of a result.json


@dataclass(kw_only=True)
class Index:
    """The index of the study in the folder ``path``, as it was when it was opened."""

    path: Path
    _rows: dict[str, tuple[pa.Table, int]] = field(default_factory=dict)  # trial id -> its row
    _stamps: dict[str, Stamp] = field(default_factory=dict)
    _parts: dict[tuple[str, str], Any] = field(default_factory=dict)  # what from_texts has read
    _layouts: dict[str, Layout] = field(default_factory=dict)
    _columns: dict[int, Mapping[str, Any]] = field(default_factory=dict)  # id of a table -> its columns

    def result(self, trial_id: str, stamp: Stamp) -> TrialResult | None:
        """Return the trial's result; None unless the index holds it as it was read from a file with this stamp."""
        if self._stamps.get(trial_id) != stamp:
            return None
        try:
            return self._result(trial_id)
        except (ConfigError, ValueError, KeyError, TypeError):  # written by another version; the folder is read again
            return None

    def _result(self, trial_id: str) -> TrialResult:
        table, at = self._rows[trial_id]
        if id(table) not in self._columns:
            self._columns[id(table)] = dict(_flat(table))
        columns = self._columns[id(table)]
        offsets, parts = columns["config"]
        texts = dict(zip(json.loads(columns["fields"][at]), parts[offsets[at] : offsets[at + 1]], strict=True))
        config = from_texts(TrialConfig, texts, self._parts, "config")
        head = from_plain(TrialResult, {**json.loads(columns["head"][at]), "config": config}, "index")
        if columns["layout"][at] is None:
            return head
        numbers = {}
        for name in (*NUMBERS, "n"):
            offsets, flat = columns[name]
            numbers[name] = flat[offsets[at] : offsets[at + 1]]
        layout = self._layout(columns["layout"][at])
        reasons = {int(place): reason for place, reason in json.loads(columns["reasons"][at]).items()}
        rows = MeasurementRows(
            layout=layout, trial_id=trial_id, weights_sha=columns["weights_sha"][at], reasons=reasons, **numbers
        )
        if {len(column) for column in numbers.values()} != {len(layout.task)}:
            raise ValueError("columns of different lengths")
        return replace(head, measurements=rows)

    def _layout(self, text: str) -> Layout:
        if text not in self._layouts:
            self._layouts[text] = shared_layout(*map(tuple, json.loads(text)))
        return self._layouts[text]


def open_index(path: Path) -> Index:
    """Return the index of the study in the folder ``path``; files of it that cannot be read are left out."""
    index = Index(path=path)
    for file in _files(path):
        table = _read(file)
        if table is None:
            continue
        ids, sizes, times = (table.column(name).to_pylist() for name in ("trial_id", "size", "modified"))
        for at, (trial_id, size, modified) in enumerate(zip(ids, sizes, times, strict=True)):
            if modified >= index._stamps.get(trial_id, (0, -1))[1]:
                index._rows[trial_id], index._stamps[trial_id] = (table, at), (size, modified)
    return index


def add_results(path: Path, results: Mapping[str, tuple[Stamp, TrialResult]]) -> None:
    """Write results that were read from their folders to the index, by trial id, with the stamps of their files.

    Nothing is written for less than :data:`LEAST` of them, nor into a folder that cannot be written to.
    """
    latest = time.time_ns() - int(SETTLED * 1e9)
    rows = [row for stamp, result in results.values() if stamp[1] < latest and (row := _row(stamp, result)) is not None]
    if len(rows) < LEAST:
        return
    with suppress(OSError):  # a read-only folder or a full disk: the folders are read again
        _write(path, [_table(rows)])
        files = _files(path)
        if len(files) > MOST_FILES:
            _write(path, [table for file in files if (table := _read(file)) is not None])
            for file in files:
                file.unlink(missing_ok=True)


def stamp_of(file: Path) -> Stamp | None:
    """Return the size and the time of modification of a file; None if there is none."""
    try:
        at = os.stat(file)
    except OSError:
        return None
    return at.st_size, at.st_mtime_ns


def _files(path: Path) -> list[Path]:
    return sorted((path / FOLDER).glob("[!.]*.parquet"))


def _read(file: Path) -> pa.Table | None:
    """Return the rows of one file; None if it is torn, of another version, or was removed meanwhile."""
    try:
        table = pq.read_table(file, partitioning=None)
    except (OSError, pa.ArrowException):
        return None
    known = (table.schema.metadata or {}).get(b"zsr.index") == VERSION
    return table.combine_chunks() if known and table.schema.names == SCHEMA.names else None


def _write(path: Path, tables: Iterable[pa.Table]) -> None:
    whole = pa.concat_tables([table.cast(SCHEMA) for table in tables]).unify_dictionaries()
    file = path / FOLDER / f"{uuid.uuid4().hex}.parquet"
    write_whole(file, lambda part: pq.write_table(whole, part, compression="zstd", compression_level=1))


def _row(stamp: Stamp, result: TrialResult) -> dict[str, Any] | None:
    """Return the row of a result; None for one whose measurements have no columns."""
    rows = rows_of(result.measurements)
    if rows is None and result.measurements:
        return None
    texts = to_texts(result.config)
    head = {key: value for key, value in to_plain(replace(result, measurements=())).items() if key != "config"}
    row = {
        "trial_id": result.trial_id, "size": stamp[0], "modified": stamp[1],
        "head": json.dumps(head), "config": list(texts.values()), "fields": json.dumps(list(texts)),
    }  # fmt: skip
    if rows is None:
        return row
    layout = rows.layout
    keys = layout.once("json", lambda: json.dumps([getattr(layout, name) for name in KEYS]))
    numbers = {name: getattr(rows, name) for name in (*NUMBERS, "n")}
    return {**row, "layout": keys, "weights_sha": rows.weights_sha, "reasons": json.dumps(rows.reasons), **numbers}


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_arrays([_column(rows, wanted) for wanted in SCHEMA], schema=SCHEMA)


def _column(rows: list[dict[str, Any]], wanted: pa.Field) -> pa.Array:
    values = [row.get(wanted.name) for row in rows]
    if pa.types.is_list(wanted.type) and wanted.name != "config":
        offsets = np.cumsum([0, *(0 if value is None else len(value) for value in values)])
        flat = [value for value in values if value is not None]
        joined = np.concatenate(flat) if flat else np.empty(0)
        return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(joined, wanted.type.value_type))
    return pa.array(values, wanted.type)


def _flat(table: pa.Table) -> Iterator[tuple[str, Any]]:
    """Yield a table's columns as they are read by row: texts as lists, lists as (offsets [R + 1], values)."""
    for name in table.schema.names:
        column = table.column(name).combine_chunks()
        array = column.chunk(0) if isinstance(column, pa.ChunkedArray) else column
        if not pa.types.is_list(array.type):
            yield name, _values(array)
        else:
            own = _values(array.values) if name == "config" else array.values.to_numpy(zero_copy_only=False)
            yield name, (array.offsets.to_numpy(), own)


def _values(array: pa.Array) -> list[Any]:
    """Return the values of an array; equal texts of a dictionary are one object, because a text can be long."""
    if not pa.types.is_dictionary(array.type):
        return list(array.to_pylist())
    texts = array.dictionary.to_pylist()
    return [None if at is None else texts[at] for at in array.indices.to_pylist()]
