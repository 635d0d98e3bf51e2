"""Which images show which factor: ImageNet-X's file, and columns of a Parquet file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from zsr_core.codec import ConfigError
from zsr_core.data.shifts.annotations import read_annotations

FACTORS = (
    "multiple_objects", "background", "color", "brighter", "darker", "style", "larger", "smaller", "object_blocking",
    "person_blocking", "partial_view", "pattern", "pose", "shape", "subcategory", "texture",
)  # fmt: skip


def _line(number: int, *shown: str, **fields: Any) -> dict[str, Any]:
    flags = {name: int(name in shown) for name in FACTORS}
    about = {"justification": "sepia image of a tiger", "one_word": "digitally altered"}
    return {"file_name": f"ILSVRC2012_val_{number:08d}.JPEG", "class": 292, **flags, **about, **fields}


def _written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_imagenet_x_is_read_as_it_is_published(tmp_path: Path) -> None:
    rows = [_line(1, "pose"), _line(2, "pose", "color"), _line(3)]
    known = read_annotations(_written(tmp_path / "imagenet_x_val_multi_factor.jsonl", rows))
    assert set(known.factors) == set(FACTORS)
    assert len(known.images) == 3
    assert known.factors["pose"] == {"ILSVRC2012_val_00000001.JPEG", "ILSVRC2012_val_00000002.JPEG"}
    assert known.factors["shape"] == set()
    assert known.name_of("val/n02129604/ILSVRC2012_val_00000002.JPEG") == "ILSVRC2012_val_00000002.JPEG"
    assert known.name_of("val/n02129604/ILSVRC2012_val_00000009.JPEG") is None


def test_columns_of_booleans_are_read_from_parquet(tmp_path: Path) -> None:
    table = pa.table({"sample_id": ["cats/1.jpg", "cats/2.jpg"], "indoors": [True, False], "small": [1, 1]})
    pq.write_table(table, tmp_path / "mine.parquet")
    known = read_annotations(tmp_path / "mine.parquet")
    assert known.factors == {"indoors": {"cats/1.jpg"}, "small": {"cats/1.jpg", "cats/2.jpg"}}
    assert known.name_of("cats/2.jpg") == "cats/2.jpg"


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([_line(1), _line(1)], "every image once"),
        ([_line(1, pose=2)], "column 'pose': got [2], expected 0 or 1"),
        ([_line(1, pose="yes")], "column 'pose'"),
        ([_line(1), {"file_name": "b"}], "line 2"),
        ([{"class": 1, "pose": 1}], "expected sample_id or file_name"),
        ([{"file_name": "a"}], "a column of 0 and 1 a factor"),
        ([], "expected sample_id or file_name"),
    ],
)
def test_a_file_of_another_layout_is_refused(tmp_path: Path, rows: list[dict[str, Any]], expected: str) -> None:
    path = _written(tmp_path / "x.jsonl", rows)
    with pytest.raises(ConfigError, match=r"^annotations") as error:
        read_annotations(path)
    assert expected in str(error.value)
    assert str(path) in str(error.value)


def test_a_file_that_is_missing_torn_or_of_another_type_is_refused(tmp_path: Path) -> None:
    (tmp_path / "torn.parquet").write_bytes(b"PAR1")
    (tmp_path / "torn.jsonl").write_text("{", encoding="utf-8")
    (tmp_path / "x.csv").write_text("file_name,pose\n", encoding="utf-8")
    for name in ("torn.parquet", "torn.jsonl", "x.csv", "missing.jsonl"):
        with pytest.raises(ConfigError, match=rf"^annotations: .*{name}"):
            read_annotations(tmp_path / name)
