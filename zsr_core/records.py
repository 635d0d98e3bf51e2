"""Per-sample records and their Parquet file: the facts from which every reported number is a group-by."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.codec import ConfigError
from zsr_core.files import write_whole

SCHEMA_VERSION = "2"
FLOATS = "<f4"  # of an embedding in a record


@dataclass(frozen=True, kw_only=True, slots=True)
class SampleRecord:
    """One image under one condition. ``eps`` and ``linf`` are in [0, 1] pixel units."""

    trial_id: str
    weights_sha: str
    task: str
    split: str
    sample_id: str
    condition: str  # "none" or the attack's name
    attack_id: str  # hash of the attack's settings; "" where there is none
    ran: str  # the stages that this attack ran here, joined by "+": fewer classes may need a documented replacement
    stage: str  # the stage whose image this row describes: the one that broke it, else the one that came nearest
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
    queries: int  # images forwarded to attack this one, over all stages
    # The unit image embedding as D little-endian float32, or b"" where it was not asked for. It is kept in a file of
    # its own, because it is larger than all other columns together.
    embedding: bytes = field(default=b"", repr=False)
    # What attention maps look at, little-endian float32 in the order of ATTENTION_COLUMNS, or b""; in its own file too.
    attention: bytes = field(default=b"", repr=False)


ATTENTION_KINDS = ("text", "complementary", "gradcam")  # of attention map
ATTENTION_FACTS = ("soft_iou", "pointing", "energy", "drift", "kept")  # of each kind
ATTENTION_COLUMNS = ("mask_share", *(f"{fact}_{kind}" for kind in ATTENTION_KINDS for fact in ATTENTION_FACTS))


_TYPES = {"str": pa.string(), "float": pa.float64(), "int": pa.int64(), "bool": pa.bool_()}
ARROW = pa.schema(
    [(f.name, _TYPES[str(f.type)]) for f in fields(SampleRecord) if str(f.type) in _TYPES],
    metadata={"zsr.samples": SCHEMA_VERSION},
)
# Of records on their way: batches, shards.
WITH_EMBEDDING = ARROW.append(pa.field("embedding", pa.binary())).append(pa.field("attention", pa.binary()))


def to_table(records: Iterable[SampleRecord], schema: pa.Schema = ARROW) -> pa.Table:
    """Return the records as an Arrow table with the columns of ``schema``: :data:`ARROW`, or with embeddings too."""
    rows = list(records)
    columns = {name: [getattr(row, name) for row in rows] for name in schema.names}
    return pa.table(columns, schema=schema)


def from_table(
    table: pa.Table, schema: pa.Schema = ARROW, beside: Mapping[str, Sequence[bytes]] | None = None
) -> list[SampleRecord]:
    """Return the records of a table with the columns of ``schema``.

    Args:
        beside: by field, what each record carries that the table does not hold.

    Raises:
        KeyError: naming a column that is not there.
    """
    columns: dict[str, Sequence[object]] = {name: table.column(name).to_pylist() for name in schema.names}
    columns |= beside or {}
    return [SampleRecord(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def write_samples(path: Path, records: Iterable[SampleRecord], schema: pa.Schema = ARROW) -> Path:
    """Write the records as one zstd Parquet file with the columns of ``schema``, whole or not at all."""
    table = to_table(records, schema)
    return write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))


def read_samples(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Return the table of a ``samples.parquet``; an error names the file."""
    try:
        return pq.read_table(path, columns=None if columns is None else list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"samples: {path} cannot be read ({error})") from None
