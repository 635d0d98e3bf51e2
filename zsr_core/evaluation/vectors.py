"""Unit embeddings as records carry them and as Parquet columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.evaluation.metrics.outputs import Singles
from zsr_core.files import write_whole
from zsr_core.records import FLOATS, SampleRecord

SCHEMA_VERSION = "1"


def embedding_matrix(records: Sequence[SampleRecord]) -> Singles:
    """Return [N, D] float32, of records that carry embeddings."""
    return np.frombuffer(b"".join(r.embedding for r in records), FLOATS).reshape(len(records), -1)


def beside_vectors(columns: Sequence[pa.Array], facts: pa.Schema, unit: Singles) -> pa.Table:
    """Return the columns ``facts`` with the vectors [N, D] beside them as ``embedding``."""
    flat = pa.array(np.ascontiguousarray(unit, np.float32).reshape(-1))
    vectors = pa.FixedSizeListArray.from_arrays(flat, unit.shape[1])
    return pa.Table.from_arrays([*columns, vectors], schema=facts.append(pa.field("embedding", vectors.type)))


def write_vectors(path: Path, columns: Sequence[pa.Array], facts: pa.Schema, unit: Singles) -> None:
    """Write the columns ``facts`` and the vectors [N, D] beside them as ``embedding``, whole or not at all."""
    table = beside_vectors(columns, facts, unit).replace_schema_metadata({"zsr.embeddings": SCHEMA_VERSION})
    write_whole(path, lambda part: pq.write_table(table, part, compression="zstd"))


def matrix_of(table: pa.Table) -> Singles:
    """Return the vectors [N, D] of a table that has them as ``embedding``."""
    vectors = table.column("embedding").combine_chunks()
    flat: Singles = vectors.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(table), -1)
