"""Unit embeddings as records carry them and as Parquet columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from zsr_core.codec import require
from zsr_core.evaluation.metrics.outputs import Singles
from zsr_core.files import write_whole
from zsr_core.records import FLOATS, SampleRecord

SCHEMA_VERSION = "1"


KEY = ("task", "split", "sample_id", "condition", "eps")  # of one row beside samples.parquet; it is in that file too


def packed(rows: Tensor) -> list[bytes]:
    """Return each row of a matrix [N, D] as a record carries it."""
    return [row.tobytes() for row in np.ascontiguousarray(rows.cpu().numpy(), dtype=FLOATS)]


def matrix(rows: Sequence[bytes]) -> Singles:
    """Return [N, D] float32 of what :func:`packed` has given."""
    return np.frombuffer(b"".join(rows), FLOATS).reshape(len(rows), -1)


def embedding_matrix(records: Sequence[SampleRecord]) -> Singles:
    """Return [N, D] float32, of records that carry embeddings."""
    return matrix([r.embedding for r in records])


def check_same_images(table: pa.Table, samples: pa.Table, about: str) -> None:
    """Raise ``ConfigError``, which begins with ``about``, unless both tables have the same rows in one order."""
    same = all(table.column(name).to_pylist() == samples.column(name).to_pylist() for name in KEY)
    require(same, about, "other images", "the images of samples.parquet, in its order")


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
