"""Finished batches kept on disk, so that a stopped evaluation goes on from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from zsr_core.records import WITH_EMBEDDING, SampleRecord, from_table, write_samples


@dataclass(frozen=True, kw_only=True)
class Journal:
    """The finished batches of an evaluation, one small Parquet file per batch and stage, whole or absent.

    A batch that took less than ``worth`` seconds is not kept, because computing it again is faster than finding it on
    a disk that many trials share.
    """

    folder: Path
    worth: float = 1.0

    def recall(self, key: str) -> list[SampleRecord] | None:
        """Return the records kept under ``key``; None where there are none that can be read."""
        path = self.folder / f"{key}.parquet"
        try:
            return from_table(pq.read_table(path), WITH_EMBEDDING) if path.is_file() else None
        except (OSError, pa.ArrowInvalid, KeyError):
            return None  # a disk that lost the end of a file costs one batch

    def keep(self, key: str, records: Sequence[SampleRecord]) -> None:
        """Write the records of one batch, whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_samples(self.folder / f"{key}.parquet", records, WITH_EMBEDDING)
