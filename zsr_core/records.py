"""Per-sample records and their Parquet file: the facts from which every reported number is a group-by."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError
from zsr_core.files import write_whole

SCHEMA_VERSION = "1"


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRecord:
    """One image under one condition. ``eps`` and ``linf`` are in [0, 1] pixel units."""

    trial_id: str
    weights_sha: str
    task: str
    split: str
    sample_id: str
    condition: str  # "none" or the attack's name
    norm: str
    threat_space: str
    eps: float
    label: int
    pred: int
    correct: bool  # under this condition; an image that is wrong when clean is wrong under every attack
    p_max: float  # largest softmax probability
    entropy: float  # of the softmax, in nats
    margin: float  # logit of the true class minus the largest other logit
    linf: float  # size of the perturbation in each norm
    l2: float
    queries: int  # images forwarded to attack this one


_TYPES = {"str": pa.string(), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
ARROW = pa.schema(
    [(f.name, _TYPES[str(f.type)]) for f in fields(SampleRecord)], metadata={"zsr.samples": SCHEMA_VERSION}
)


def to_table(records: Iterable[SampleRecord]) -> pa.Table:
    """Return the records as an Arrow table with the one schema."""
    rows = list(records)
    columns = {name: [getattr(row, name) for row in rows] for name in ARROW.names}
    return pa.table(columns, schema=ARROW)


def write_samples(path: Path, records: Iterable[SampleRecord]) -> Path:
    """Write the records as one zstd Parquet file, whole or not at all."""
    table = to_table(records)
    return write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))


def read_samples(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of a ``samples.parquet``; an error names the file."""
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"samples: {path} cannot be read ({error})") from None
