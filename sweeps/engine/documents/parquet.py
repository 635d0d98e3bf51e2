"""A study as one Parquet file: one row per measurement, with the trial's full configuration in typed columns."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.engine.study.folder import PlannedTrial, StudyFolder
from zsr_core.codec import ConfigError, flatten_plain, parts_of, to_plain
from zsr_core.evaluation.measurement import KEYS, NUMBERS, Measurement, MeasurementRows, rows_of
from zsr_core.field_types import scalar_types
from zsr_core.files import write_whole
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SCHEMA_VERSION = 3  # 3: the type of a config column is its field's, whatever its values; 2: with ``reason``
GROUP_ROWS = 50_000  # of a row group, about
TEXT = pa.dictionary(pa.int32(), pa.string())
ARROW_TYPES = {bool: pa.bool_(), int: pa.int64(), float: pa.float64(), str: TEXT}

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
MEASURED = attrgetter(*MEASURE_COLUMNS)  # a measurement -> its columns
NOT_MEASURED = (None,) * len(MEASURE_COLUMNS)


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The data of one trial: its identity, its configuration and cost by column, and its measurements.

    The last rung of a trial stands among its costs, as ``rung.clean`` and so on, because it is a number per trial too.
    """

    identity: Mapping[str, Any]
    config: Mapping[str, Any]
    cost: Mapping[str, float]
    measurements: Sequence[Measurement] = ()

    @property
    def rows(self) -> int:
        """How many rows it has: one per measurement, and one without measurements."""
        return max(1, len(self.measurements))


def export_study(folder: StudyFolder) -> Path:
    """Write ``study.parquet`` from the results and return its path; every planned trial has at least one row."""
    study = folder.study
    facts = {"zsr.schema": str(SCHEMA_VERSION), "zsr.study": study.study, "zsr.question": study.question}
    return write_trials(folder.path / "study.parquet", exported_trials(folder), facts)


def study_table(folder: StudyFolder) -> pa.Table:
    """Return what :func:`export_study` writes, as one Arrow table in memory."""
    trials = exported_trials(folder)
    return to_table(trials, find_schema(trials))


def exported_trials(folder: StudyFolder) -> list[Exported]:
    """Return the planned trials with what is known of them."""
    kept: Kept = {}
    return [_exported(folder, trial, kept) for trial in folder.study.plan]


def _exported(folder: StudyFolder, trial: PlannedTrial, kept: Kept) -> Exported:
    study, result = folder.study, folder.result(trial)
    identity = {
        "study": study.study, "trial_id": trial.trial_id, "label": trial.label, "cell": trial.cell,
        "role": trial.role, "seed": trial.seed, "status": folder.status(trial),
        "error": "no result" if result is None else result.error,
    }  # fmt: skip
    if result is None:
        return Exported(identity=identity, config=config_columns(study.config(trial), kept), cost={})
    return Exported(
        identity=identity,
        config=config_columns(result.config, kept),
        cost={**result.cost, **last_rung(result)},
        measurements=result.measurements,
    )


Kept = dict[int, tuple[object, Mapping[str, Any]]]  # id of a part -> the part, which keeps its id taken, and columns


def config_columns(config: TrialConfig, kept: Kept | None = None) -> dict[str, Any]:
    """Return a configuration by column, ``config.method.alpha``.

    A part that is absent, such as a defence, is a null in the column of its type, ``config.defence.type``.

    Args:
        kept: the columns of parts, such as the suite, that configurations before this one share with it.
    """
    kept = {} if kept is None else kept
    columns: dict[str, Any] = {"config.type": type(config).__name__}
    for name, part in parts_of(config).items():
        if not is_dataclass(part):
            columns |= _part_columns(name, part)
            continue
        if id(part) not in kept:
            kept[id(part)] = (part, _part_columns(name, part))
        columns |= kept[id(part)][1]
    return columns


def _part_columns(name: str, part: object) -> dict[str, Any]:
    known = scalar_types(TrialConfig)
    return {
        f"config.{path}" if path in known or f"{path}.type" not in known else f"config.{path}.type": value
        for path, value in flatten_plain({name: to_plain(part)}).items()
    }


def write_trials(path: Path, trials: Sequence[Exported], facts: Mapping[str, str]) -> Path:
    """Write the trials as one zstd Parquet file, by rename, in row groups of about :data:`GROUP_ROWS`."""
    schema = find_schema(trials).with_metadata(dict(facts))

    def write(part: Path) -> None:
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            for batch in batches(trials):
                writer.write_table(to_table(batch, schema))

    return write_whole(path, write)


def find_schema(trials: Iterable[Exported]) -> pa.Schema:
    """Return the fixed columns, then the union of the trials' ``config.`` and ``cost.`` columns, each with its type."""
    paths: dict[str, None] = {}
    costs: dict[str, None] = {}
    for trial in trials:
        paths.update(dict.fromkeys(trial.config))
        costs.update(dict.fromkeys(trial.cost))
    return pa.schema(
        [
            *TRIAL_COLUMNS.items(),
            *MEASURE_COLUMNS.items(),
            *((name, column_type(name)) for name in sorted(paths)),
            *((cost_column(name), pa.float64()) for name in sorted(costs)),
            ("schema", pa.int32()),
        ]
    )


def last_rung(result: TrialResult) -> dict[str, float]:
    """Return the last rung that a trial reached and its scores there, by column; empty where rungs were off."""
    if not result.rungs:
        return {}
    last = result.rungs[-1]
    values = {"number": float(last.rung), "share": last.share, **last.scores}
    return {f"rung.{name}": value for name, value in values.items()}


def cost_column(name: str) -> str:
    """Return the column of a trial's number: a score at a rung has its own name, a cost begins with ``cost.``."""
    return name if name.startswith("rung.") else f"cost.{name}"


def column_type(name: str) -> pa.DataType:
    """Return the Arrow type of a ``config.`` column: that of its field in the classes of a configuration."""
    return ARROW_TYPES[scalar_types(TrialConfig).get(name.removeprefix("config."), str)]


def batches(trials: Iterable[Exported]) -> Iterator[list[Exported]]:
    """Yield groups of trials of about :data:`GROUP_ROWS`."""
    group: list[Exported] = []
    rows = 0
    for trial in trials:
        group.append(trial)
        rows += trial.rows
        if rows >= GROUP_ROWS:
            yield group
            group, rows = [], 0
    if group:
        yield group


def to_table(trials: Sequence[Exported], schema: pa.Schema) -> pa.Table:
    """Return the rows of ``trials``; a trial without measurements is one row whose measured columns are null."""
    owner = pa.array(np.repeat(np.arange(len(trials), dtype=np.int32), [trial.rows for trial in trials]))
    measured = measured_columns(trials)
    wide = [
        {
            **trial.identity,
            **trial.config,
            **{cost_column(k): v for k, v in trial.cost.items()},
            "schema": SCHEMA_VERSION,
        }
        for trial in trials
    ]
    columns = [
        column(measured[field.name], field)
        if field.name in measured
        else column([row.get(field.name) for row in wide], field).take(owner)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def measured_columns(trials: Sequence[Exported]) -> dict[str, list[Any]]:
    """Return :data:`MEASURE_COLUMNS` of the rows of ``trials``."""
    columns: dict[str, list[Any]] = {name: [] for name in MEASURE_COLUMNS}
    for trial in trials:
        rows = rows_of(trial.measurements)
        if rows is None:
            each = [MEASURED(m) for m in trial.measurements] or [NOT_MEASURED]
            own: Mapping[str, Sequence[Any]] = dict(zip(MEASURE_COLUMNS, zip(*each, strict=True), strict=True))
        else:
            own = _columns(rows)
        for name, column in columns.items():
            column.extend(own[name])
    return columns


def _columns(rows: MeasurementRows) -> dict[str, Sequence[Any]]:
    numbers = {name: getattr(rows, name) for name in NUMBERS}
    return {
        "weights_sha": (rows.weights_sha,) * len(rows),
        **{name: getattr(rows.layout, name) for name in KEYS},
        **{name: column.tolist() for name, column in numbers.items()},
        "n": rows.n.tolist(),
        "reason": [rows.reasons.get(at, "") for at in range(len(rows))] if rows.reasons else ("",) * len(rows),
    }


def column(values: Sequence[Any], field: pa.Field) -> pa.Array:
    """Return ``values`` in the type of ``field``; in a text column, other values become JSON text.

    Raises:
        ConfigError: naming the column, if a value is not of its type.
    """
    try:
        if field.type != TEXT:
            return pa.array(values, field.type, from_pandas=field.name in NUMBERS)  # there NaN stands for a null
        texts = [v if v is None or isinstance(v, str) else json.dumps(v) for v in values]
        return pa.array(texts, pa.string()).dictionary_encode().cast(TEXT)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ConfigError(f"export: column {field.name} expects {field.type} ({error})") from None
