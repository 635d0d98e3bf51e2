"""``reliability.parquet``: the bins of every finished trial, task and condition, one a row."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sweeps.engine.analysis.reliability import reliability_rows
from sweeps.engine.study.folder import StudyFolder
from zsr_core.codec import ConfigError
from zsr_core.evaluation.reliability import ReliabilityBin
from zsr_core.files import write_whole

_TYPES = {"str": pa.string(), "float": pa.float64(), "int": pa.int64()}
TRIAL = {"trial_id": pa.string(), "cell": pa.string(), "role": pa.string(), "split": pa.string(), "seed": pa.int64()}
SCHEMA = pa.schema([*TRIAL.items(), *((f.name, _TYPES[str(f.type)]) for f in fields(ReliabilityBin))])


def export_reliability(folder: StudyFolder) -> Path:
    """Write ``reliability.parquet`` and return its path.

    Raises:
        ConfigError: if no trial is done.
    """
    rows = reliability_rows(folder)
    if not rows:
        raise ConfigError(f"reliability: no trial of {folder.path} is done; expected records to write")
    columns = {name: [getattr(trial, name) for trial, _ in rows] for name in TRIAL}
    columns |= {f.name: [getattr(row, f.name) for _, row in rows] for f in fields(ReliabilityBin)}
    table = pa.table(columns, schema=SCHEMA)
    return write_whole(
        folder.path / "reliability.parquet", lambda part: pq.write_table(table, part, compression="zstd")
    )
