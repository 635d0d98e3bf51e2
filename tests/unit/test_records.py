"""Records to Parquet and back."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zsr_core.codec import ConfigError
from zsr_core.records import ARROW, SampleRecord, read_samples, to_table, write_samples

RECORD = SampleRecord(
    trial_id="t", weights_sha="w", task="hearts", split="report", sample_id="hearts/é", condition="pgd10",
    attack_id="", ran="",
        stage="", norm="linf",
    threat_space="model_input", eps=4 / 255, label=3, pred=2, correct=False, p_max=0.5, entropy=0.25, margin=-1.5,
    linf=0.015, l2=0.4, queries=11,
)  # fmt: skip


def test_records_survive_the_round_trip_exactly(tmp_path: Path) -> None:
    records = [RECORD, dataclasses.replace(RECORD, sample_id="b", correct=True, margin=float("inf"))]
    path = write_samples(tmp_path / "deep" / "samples.parquet", records)
    rows = read_samples(path).to_pylist()
    assert [SampleRecord(**row) for row in rows] == records
    assert [p.name for p in path.parent.iterdir()] == ["samples.parquet"]


def test_the_schema_is_typed_versioned_and_the_same_for_no_records(tmp_path: Path) -> None:
    table = read_samples(write_samples(tmp_path / "none.parquet", []))
    assert table.schema.equals(ARROW, check_metadata=True)
    assert table.schema.metadata[b"zsr.samples"] == b"2"
    assert table.schema.field("eps").type == pa.float64()
    assert table.schema.field("correct").type == pa.bool_()
    assert to_table([RECORD]).schema.equals(ARROW, check_metadata=True)
    fields = [f.name for f in dataclasses.fields(SampleRecord)]
    beside = ("embedding", "attention")  # in files of their own
    assert pq.read_schema(tmp_path / "none.parquet").names == [name for name in fields if name not in beside]


def test_some_columns_can_be_read_alone(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "s.parquet", [RECORD])
    assert read_samples(path, ["task", "correct"]).to_pylist() == [{"task": "hearts", "correct": False}]


@pytest.mark.parametrize("content", [None, b"", b"PAR1 no parquet PAR1"])
def test_a_file_that_is_missing_or_no_parquet_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "samples.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"samples: .*samples\.parquet cannot be read"):
        read_samples(path)


def test_a_truncated_file_is_named(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "samples.parquet", [RECORD] * 50)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ConfigError, match=r"samples\.parquet cannot be read"):
        read_samples(path)
