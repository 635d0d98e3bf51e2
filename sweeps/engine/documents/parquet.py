"""A study as one Parquet file: one row per measurement, with the trial's full configuration in typed columns."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyarrow.json import ParseOptions, ReadOptions, read_json

from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, trial_folder
from zsr_core.codec import ConfigError, flatten_plain, to_plain
from zsr_core.files import write_whole

SCHEMA_VERSION = 2  # 2: with the reason of a number that is undefined
GROUP_BYTES = 1 << 24  # of measurements' text held in memory at a time, some 50,000 rows
TRIAL_BYTES = 1 << 12  # estimated size of a trial without its measurements
TEXT = pa.dictionary(pa.int32(), pa.string())

TRIAL_COLUMNS = {
    "study": TEXT,
    "trial_id": TEXT,
    "label": TEXT,
    "cell": TEXT,
    "role": TEXT,  # cell, baseline or final
    "status": TEXT,  # done, failed, pruned, or missing: planned without a result
    "error": TEXT,
    "seed": pa.int64(),
}
MEASURE_COLUMNS = {
    "weights_sha": TEXT,
    "task": TEXT,
    "split": TEXT,
    "attack": TEXT,
    "eps": pa.float64(),  # in [0, 1] pixel units
    "metric": TEXT,
    "value": pa.float64(),  # in the metric's unit, mostly percent; null where the trial failed or it is undefined
    "n": pa.int64(),  # images
    "low": pa.float64(),  # 95 % interval over images, percent
    "high": pa.float64(),
    "reason": TEXT,  # why the value is undefined; empty where it is not
}


# text is read as strings and dictionary-encoded per row group
MEASURE_ROW = pa.struct([(name, pa.string() if kind == TEXT else kind) for name, kind in MEASURE_COLUMNS.items()])
MEASURE_LINE = pa.schema([("rows", pa.list_(MEASURE_ROW))])
NO_ROWS, NULL_ROW = b"[]", b"[{}]"
FIRST_ROW, LAST_ROW = b'\n "measurements": [\n', b'\n ],\n "history"'  # of a result's text, by field order


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The data of one trial: its identity, its configuration and cost by dotted path, and its measurements."""

    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    cost: Mapping[str, float]
    measurements: bytes  # a JSON list of objects, parsed later because it may be long


def export_study(folder: StudyFolder) -> Path:
    """Write ``study.parquet`` from the trial folders and return its path; every planned trial has at least one row."""
    study = folder.study
    facts = {"zsr.schema": str(SCHEMA_VERSION), "zsr.study": study.study, "zsr.question": study.question}
    path = folder.path / "study.parquet"
    return write_trials(path, lambda: (read_trial(folder.path, study, trial) for trial in study.plan), facts)


def study_table(folder: StudyFolder) -> pa.Table:
    """Return what :func:`export_study` writes, as one Arrow table in memory."""
    trials = [read_trial(folder.path, folder.study, trial) for trial in folder.study.plan]
    return to_table(trials, find_schema(trials))


def read_trial(path: Path, study: Study, trial: PlannedTrial) -> Exported:
    """Return one planned trial as stored in its folder; its measurements stay JSON text.

    Raises:
        ConfigError: naming the file, if it exists and is not a result.
    """
    identity = {
        "study": study.study, "trial_id": trial.trial_id, "label": trial.label, "cell": trial.cell,
        "role": trial.role, "seed": trial.seed,
    }  # fmt: skip
    path = trial_folder(path, trial.trial_id) / "result.json"
    if not path.is_file():
        missing = {**identity, "status": "missing", "error": "no result"}
        return Exported(
            identity=missing, config=flat_config(to_plain(study.config(trial))), cost={}, measurements=NO_ROWS
        )
    try:
        plain, measurements = split_result(path.read_bytes())
        return Exported(
            identity={**identity, "status": plain["status"], "error": plain["error"]},
            config=flat_config(plain["config"]),
            cost=plain["cost"],
            measurements=measurements,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"result: {path} is not a trial's result ({type(error).__name__}: {error})") from None


def split_result(text: bytes) -> tuple[dict[str, Any], bytes]:
    """Return a stored result without its measurements, and the JSON text of those.

    The measurements are most of the file, and Arrow parses them several times faster than Python. In a stored result,
    a line that begins with one space is a field of the result itself, because JSON strings contain no line breaks.
    """
    start, end = text.find(FIRST_ROW), text.find(LAST_ROW)
    if 0 <= start < end:
        rows = start + len(FIRST_ROW) - len(b"[\n")
        return json.loads(text[:rows] + b"[]" + text[end + len(b"\n ]") :]), text[rows : end + len(b"\n ]")]
    plain = json.loads(text)
    return plain, json.dumps(plain["measurements"]).encode()


def flat_config(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Return a plain configuration by dotted path, ``config.method.alpha``; its parts' types are kept, as text."""
    return flatten_plain(plain, "config.")


def write_trials(path: Path, trials: Callable[[], Iterable[Exported]], facts: Mapping[str, str]) -> Path:
    """Write the trials as one zstd Parquet file, by rename, holding about :data:`GROUP_BYTES` at a time.

    ``trials`` is called twice and must return the same trials: first for the columns, then for the rows.
    """
    schema = find_schema(trials()).with_metadata(dict(facts))

    def write(part: Path) -> None:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in batches(trials()):
                writer.write_table(to_table(batch, schema))

    return write_whole(path, write)


def find_schema(trials: Iterable[Exported]) -> pa.Schema:
    """Return the fixed columns, then the union of the trials' ``config.`` and ``cost.`` columns, each with its type."""
    kinds: dict[str, set[type]] = {}
    costs: dict[str, None] = {}
    for trial in trials:
        for name, value in trial.config.items():
            kinds.setdefault(name, set()).add(type(value))
        costs.update(dict.fromkeys(trial.cost))
    return pa.schema(
        [
            *TRIAL_COLUMNS.items(),
            *MEASURE_COLUMNS.items(),
            *((name, column_type(types)) for name, types in sorted(kinds.items())),
            *((f"cost.{name}", pa.float64()) for name in sorted(costs)),
            ("schema", pa.int32()),
        ]
    )


def column_type(kinds: set[type]) -> pa.DataType:
    """Return the Arrow type that holds values of these Python types; without any value the type is null."""
    kinds = kinds - {type(None)}
    if not kinds:
        return pa.null()
    if kinds == {bool}:
        return pa.bool_()
    if kinds == {int}:
        return pa.int64()
    return pa.float64() if kinds <= {int, float} else TEXT


def batches(trials: Iterable[Exported]) -> Iterator[list[Exported]]:
    """Yield groups of trials of about :data:`GROUP_BYTES`."""
    held: list[Exported] = []
    weight = 0
    for trial in trials:
        held.append(trial)
        weight += len(trial.measurements) + TRIAL_BYTES
        if weight >= GROUP_BYTES:
            yield held
            held, weight = [], 0
    if held:
        yield held


def read_measurements(trials: Sequence[Exported]) -> tuple[pa.Table, list[int]]:
    """Return the trials' measurements and how many rows each has; a trial without measurements has one row of nulls.

    Raises:
        ConfigError: naming the trial and the column, if a value is not of its type.
    """
    texts = [NULL_ROW if trial.measurements == NO_ROWS else trial.measurements for trial in trials]
    lines = [b'{"rows":' + text.replace(b"\n", b"") + b"}\n" for text in texts]
    try:
        nested = read_json(
            pa.BufferReader(b"".join(lines)),
            # a block holds one line at least; blocks of about 1 MiB keep every core busy
            read_options=ReadOptions(block_size=max(1 << 20, 2 * max(map(len, lines)))),
            parse_options=ParseOptions(explicit_schema=MEASURE_LINE, unexpected_field_behavior="ignore"),
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        if len(trials) == 1:
            whose = trials[0].identity["trial_id"]
            raise ConfigError(f"export: the measurements of trial {whose} ({error})") from None
        for trial in trials:  # to name the trial with the error
            read_measurements([trial])
        raise
    lists = nested.column("rows").combine_chunks()
    return pa.Table.from_struct_array(lists.flatten()), pc.list_value_length(lists).to_pylist()


def to_table(trials: Sequence[Exported], schema: pa.Schema) -> pa.Table:
    """Return the rows of ``trials``; a trial without measurements is one row whose measured columns are null."""
    measured, counts = read_measurements(trials)
    owner = pa.array(np.repeat(np.arange(len(trials), dtype=np.int32), counts))  # [rows] -> trial
    wide = [
        {**trial.identity, **trial.config, **{f"cost.{k}": v for k, v in trial.cost.items()}, "schema": SCHEMA_VERSION}
        for trial in trials
    ]
    columns = [
        coded(measured.column(field.name), field)
        if field.name in MEASURE_COLUMNS
        else column([row.get(field.name) for row in wide], field).take(owner)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def coded(values: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    """Return a column in the type of ``field``: text is dictionary-encoded."""
    return values.dictionary_encode() if field.type == TEXT else values


def column(values: list[Any], field: pa.Field) -> pa.Array:
    """Return ``values`` in the type of ``field``; in a text column, other values become JSON text.

    Raises:
        ConfigError: naming the column, if a value is not of its type.
    """
    try:
        if field.type != TEXT:
            return pa.array(values, field.type)
        texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return pa.array(texts, pa.string()).dictionary_encode().cast(TEXT)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"export: column {field.name} expects {field.type} ({error})") from None
