"""Boxes in COCO's format and proposals: read strictly, cut out exactly, and the miniature's own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data.formats.boxes import Boxes, Crops, Scenes, iou, read_coco, read_proposals
from zsr_core.data.miniature.boxed import boxed_scenes, made_proposals

Change = Callable[[dict[str, Any]], object]


def made(folder: Path, change: Change = lambda whole: None) -> Path:
    """Write two pictures, each with a bright rectangle where its first box is, and the annotations of three boxes."""
    whole: dict[str, Any] = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30},
                   {"id": 9, "file_name": "b.png", "width": 20, "height": 20}],
        "categories": [{"id": 1, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 18, "bbox": [10, 5, 20, 10], "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 1, "bbox": [0, 0, 20.3, 20]},
            {"id": 3, "image_id": 9, "category_id": 1, "bbox": [1, 1, 2, 2], "iscrowd": 1},
        ],
    }  # fmt: skip
    picture = np.zeros((30, 40, 3), np.uint8)
    picture[5:15, 10:30] = 255
    Image.fromarray(picture).save(folder / "a.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(folder / "b.png")
    change(whole)
    file = folder / "instances.json"
    file.write_text(json.dumps(whole), encoding="utf-8")
    return file


def scenes(folder: Path, change: Change = lambda whole: None) -> Scenes:
    return read_coco(made(folder, change), folder, ("a photo of a {}.",))


def test_coco_boxes_are_corners_labels_are_positions_and_crowds_are_left_out(tmp_path: Path) -> None:
    found = scenes(tmp_path)
    assert found.classes == ("cat", "dog")
    assert found.ids == (7, 9)
    assert found.objects.label.tolist() == [1, 0]
    assert found.objects.image.tolist() == [0, 1]
    assert found.objects.box.tolist() == [[10, 5, 30, 15], [0, 0, 20, 20]]  # the second is rounded into its image


def test_a_crop_holds_its_box_and_nothing_else_and_padding_widens_it(tmp_path: Path) -> None:
    found = scenes(tmp_path)
    exact = Crops(scenes=found, boxes=found.objects, size=16)([0])
    assert exact.shape == (1, 3, 16, 16)
    assert exact.dtype == torch.uint8
    assert exact.min() == 255
    padded = Crops(scenes=found, boxes=found.objects, size=16, pad=0.5)([0]).float()
    assert padded[0, 0, 8, 8] == 255
    assert padded[0, 0, 0, 0] == 0


def put(key: str, index: int, **changed: Any) -> Change:
    return lambda whole: whole[key][index].update(changed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda whole: whole.pop("annotations"), "annotations: got 'NoneType'"),
        (put("annotations", 0, image_id=8), r"annotations\[0\]\.image_id: got 8"),
        (put("annotations", 0, category_id=2), r"annotations\[0\]\.category_id: got 2"),
        (put("annotations", 0, bbox=[1, 2, 3]), r"annotations\[0\]\.bbox: got \[1, 2, 3\]"),
        (put("annotations", 0, bbox=[1, 2, 0, 3]), "a width and a height above 0"),
        (put("annotations", 0, bbox=[30, 5, 20, 10]), "inside its image of 40 x 30 pixels"),
        (put("images", 0, file_name="c.png"), "c.png"),
        (put("images", 1, id=7), "2 different ids"),
        (put("categories", 1, name="cat"), "different ids and names"),
        (put("images", 0, width="40"), r"images\[0\]\.width: got '40'"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_place_in_the_file(change: Change, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        scenes(tmp_path, change)


def test_a_picture_of_another_size_than_annotated_is_refused(tmp_path: Path) -> None:
    found = scenes(tmp_path)
    Image.new("RGB", (10, 10)).save(tmp_path / "a.png")
    with pytest.raises(ConfigError, match=r"a\.png.*\(40, 30\) pixels"):
        found.picture(0)


def proposals(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "p.parquet")
    return folder / "p.parquet"


def test_proposals_are_read_by_image_id_and_refused_where_they_do_not_fit(tmp_path: Path) -> None:
    found = scenes(tmp_path)
    row = {"image_id": 9, "x0": 1.0, "y0": 2.0, "x1": 11.0, "y1": 12.0, "score": 0.5}
    read = read_proposals(proposals(tmp_path, [row]), found)
    assert (read.image.tolist(), read.box.tolist(), read.score.tolist()) == ([1], [[1, 2, 11, 12]], [0.5])
    for changed, words in (
        ({"image_id": 3}, "image_id: got 3"), ({"score": 1.5}, "a score in"), ({"x1": 0.5}, "a width and a height"),
        ({"x1": 30.0}, "inside its image of 20 x 20"),
    ):  # fmt: skip
        with pytest.raises(ConfigError, match=words):
            read_proposals(proposals(tmp_path, [{**row, **changed}]), found)
    with pytest.raises(ConfigError, match="the columns image_id"):
        read_proposals(proposals(tmp_path, [{"image_id": 9}]), found)


def test_the_iou_of_boxes_is_what_it_is_by_hand() -> None:
    a = np.array([[0.0, 0, 2, 2]])
    b = np.array([[0.0, 0, 2, 2], [1, 1, 3, 3], [2, 2, 3, 3], [0, 0, 1, 2]])
    np.testing.assert_allclose(iou(a, b), [[1, 1 / 7, 0, 0.5]])


def test_the_miniatures_boxes_are_exact_and_its_proposals_lie_near_every_object() -> None:
    found = boxed_scenes("animals", 4)
    near = made_proposals(found)
    for box in (found.objects.box, near.box):
        assert (box[:, :2] >= 0).all()
        assert (box[:, 2:] <= 96).all()
        assert (box[:, 2:] > box[:, :2]).all()
    for k in range(len(found.objects)):
        here = near.box[near.image == found.objects.image[k]]
        assert iou(found.objects.box[k : k + 1], here).max() > 0.4
    again = made_proposals(boxed_scenes("animals", 2))
    first = Boxes(image=near.image, box=near.box, label=near.label, score=near.score)
    assert np.array_equal(again.box, first.box[first.image < 2])
