"""Images with captions: Karpathy's layout, folders, the miniature's own; what is wrong is named with its place."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from zsr_core.codec import ConfigError, fingerprint, from_plain, to_plain
from zsr_core.data import miniature
from zsr_core.data.captions import (
    CaptionRef,
    caption_ref,
    caption_refs,
    check_captions,
    count_captions,
    open_captions,
)
from zsr_core.data.captions.listing import in_folder, karpathy
from zsr_core.data.captions.open import _miniature_rows
from zsr_core.data.miniature.sets import set_named


def _image(path: Path, shade: int = 100) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (12, 10), (shade, shade, shade)).save(path)


def _entry(name: str, split: str, *captions: str, folder: str | None = None) -> dict[str, Any]:
    entry: dict[str, Any] = {"filename": name, "split": split, "sentences": [{"raw": text} for text in captions]}
    return entry if folder is None else {**entry, "filepath": folder}


def _flickr(root: Path, images: list[dict[str, Any]]) -> Path:
    file = root / "flickr30k" / "dataset_flickr30k.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"images": images, "dataset": "flickr30k"}), encoding="utf-8")
    for image in images:
        _image(root / "flickr30k" / "flickr30k-images" / image["filename"])
    return file


def _folder(root: Path, file: str, text: str, images: int = 8) -> Path:
    for i in range(images):
        _image(root / f"{i}.png", 20 * i)
    (root / file).write_text(text, encoding="utf-8")
    return root


def test_karpathys_splits_select_by_val_and_report_test(tmp_path: Path) -> None:
    _flickr(tmp_path, [
        _entry("a.jpg", "train", "x"), _entry("b.jpg", "val", " one ", "two"), _entry("c.jpg", "test", "three"),
        _entry("d.jpg", "test", "four", "five", "six"),
    ])  # fmt: skip
    ref = CaptionRef(source="flickr30k", root=str(tmp_path))
    selection, report = (open_captions(ref, split, 8) for split in ("selection", "report"))
    assert (selection.images.ids, selection.captions) == (("b.jpg",), ("one", "two"))
    assert report.images.ids == ("c.jpg", "d.jpg")
    assert report.captions == ("three", "four", "five", "six")
    assert report.owner.tolist() == [0, 1, 1, 1]
    assert report.images.pixels([0, 1]).shape == (2, 3, 8, 8)
    two = open_captions(CaptionRef(source="flickr30k", root=str(tmp_path), captions=2), "report", 8)
    assert two.captions == ("three", "four", "five")


def test_cocos_images_lie_in_the_folder_that_each_entry_names(tmp_path: Path) -> None:
    file = tmp_path / "coco" / "dataset_coco.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"images": [_entry("1.png", "test", "a cat", folder="val2014")]}), encoding="utf-8")
    _image(tmp_path / "coco" / "val2014" / "1.png")
    opened = open_captions(CaptionRef(source="coco", root=str(tmp_path)), "report", 8)
    assert opened.images.ids == ("val2014/1.png",)


@pytest.mark.parametrize(
    ("images", "place"),
    [
        ([{"split": "test", "sentences": []}], "images[0].filename"),
        ([_entry("a.jpg", "tset", "x")], "images[0].split"),
        ([_entry("a.jpg", "test", "x"), _entry("a.jpg", "test", "y")], "images[1].filename"),
        ([_entry("a.jpg", "test", "x", "  ")], "images[0].sentences[1].raw"),
        ([{**_entry("a.jpg", "test"), "sentences": [{"row": "x"}]}], "images[0].sentences[0].raw"),
        ([_entry("a.jpg", "test")], "images[0].sentences"),
        ([_entry("../../secret.jpg", "test", "x")], "images[0].filename"),
        ([_entry("a.jpg", "train", "x")], "images: got 0"),
        ([7], "images[0]: got 7"),
    ],
)
def test_an_error_in_karpathys_file_names_file_and_place(tmp_path: Path, images: list[Any], place: str) -> None:
    file = tmp_path / "dataset.json"
    file.write_text(json.dumps({"images": images}), encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        karpathy(file, "test")
    assert f"{file}, {place}" in str(error.value)


def test_a_file_that_is_no_json_or_not_there_is_named(tmp_path: Path) -> None:
    file = tmp_path / "dataset.json"
    with pytest.raises(ConfigError, match=f"{file} cannot be read"):
        karpathy(file, "test")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(ConfigError, match=f"{file} is not JSON"):
        karpathy(file, "test")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("captions.tsv", "0.png\ta cat\n1.png\tdogs, many\n0.png\tthe cat\n"),
        ("captions.csv", 'image,caption\n0.png,a cat\n1.png,"dogs, many"\n0.png,the cat\n'),
        ("captions.json", json.dumps({"0.png": ["a cat", "the cat"], "1.png": ["dogs, many"]})),
    ],
)
def test_the_three_captions_files_say_the_same(tmp_path: Path, file: str, text: str) -> None:
    assert in_folder(_folder(tmp_path, file, text)) == {"0.png": ["a cat", "the cat"], "1.png": ["dogs, many"]}


@pytest.mark.parametrize(
    ("file", "text", "place"),
    [
        ("captions.tsv", "0.png\ta cat\n1.png dogs\n", "line 2"),
        ("captions.tsv", "0.png\ta cat\n/etc/passwd\tx\n", "line 2"),
        ("captions.csv", "file,text\n0.png,a cat\n", "line 1"),
        ("captions.csv", "image,caption\n0.png,a cat\n1.png,a,b\n", "line 3"),
        ("captions.json", json.dumps({"0.png": "a cat"}), "'0.png'"),
        ("captions.json", json.dumps({"0.png": ["a cat", 3]}), "'0.png'[1]"),
        ("captions.tsv", "", "holds no caption"),
    ],
)
def test_an_error_in_a_captions_file_names_file_and_place(tmp_path: Path, file: str, text: str, place: str) -> None:
    with pytest.raises(ConfigError) as error:
        in_folder(_folder(tmp_path, file, text))
    assert str(tmp_path / file) in str(error.value)
    assert place in str(error.value)


def test_a_folder_has_one_captions_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no captions file"):
        in_folder(tmp_path)
    _folder(tmp_path, "captions.tsv", "0.png\tx\n")
    (tmp_path / "captions.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"captions\.tsv, captions\.json"):
        in_folder(tmp_path)


def test_a_folders_halves_are_disjoint_and_an_added_image_moves_none(tmp_path: Path) -> None:
    lines = [f"{i}.png\tpicture {i}\n" for i in range(8)]
    ref = CaptionRef(source="folder", root=str(_folder(tmp_path, "captions.tsv", "".join(lines[:7]))))
    before = {split: set(open_captions(ref, split, 8).images.ids) for split in ("selection", "report", "all")}
    assert before["selection"] | before["report"] == before["all"] == {f"{i}.png" for i in range(7)}
    assert not before["selection"] & before["report"]
    _folder(tmp_path, "captions.tsv", "".join(lines))
    assert before["selection"] <= set(open_captions(ref, "selection", 8).images.ids)


def test_a_missing_image_stops_before_any_work(tmp_path: Path) -> None:
    _folder(tmp_path, "captions.tsv", "".join(f"{i}.png\tx {i}\n" for i in range(12)))
    ref = CaptionRef(source="folder", root=str(tmp_path))
    with pytest.raises(ConfigError, match="4 of 12 images are not below"):
        open_captions(ref, "all", 8)
    with pytest.raises(ConfigError, match=r"config\.x: root"):
        check_captions(CaptionRef(source="coco", root=str(tmp_path)), "report", "config.x", 8)


def test_a_limit_keeps_some_of_a_larger_ones_images(tmp_path: Path) -> None:
    _folder(tmp_path, "captions.tsv", "".join(f"{i}.png\tx {i}\n" for i in range(8)))
    ref = CaptionRef(source="folder", root=str(tmp_path))
    three, five = (set(open_captions(ref, "all", 8, n).images.ids) for n in (3, 5))
    assert len(three) == 3
    assert three < five


def test_names_of_the_command_line_are_found_or_refused_with_the_nearest(tmp_path: Path) -> None:
    _folder(tmp_path / "mine", "captions.tsv", "0.png\tx\n")
    refs = caption_refs(f"captions, coco,own={tmp_path / 'mine'},mine", tmp_path)
    assert [(ref.source, ref.called) for ref in refs] == [
        ("miniature", "captions"), ("coco", "coco"), ("folder", "own"), ("folder", "mine")
    ]  # fmt: skip
    with pytest.raises(ConfigError, match="did you mean 'flickr30k'"):
        caption_ref("flickr", tmp_path)


def test_a_reference_survives_the_codec() -> None:
    ref = CaptionRef(source="coco", root="/data", captions=5, limit=10)
    assert from_plain(CaptionRef, to_plain(ref)) == ref
    assert fingerprint(ref) != fingerprint(CaptionRef(source="coco", root="/data", limit=10))


def test_the_miniatures_halves_show_objects_of_every_set_from_the_first_dozen_on() -> None:
    order = [(k, name) for k in range(200) for name in miniature.ZERO_SHOT if k < len(set_named(name).classes)]
    for split in ("selection", "report"):
        shown = [order[row] for row in _miniature_rows(split).tolist()]
        assert {name for _, name in shown[:12]} == set(miniature.ZERO_SHOT)
    rows = [set(_miniature_rows(split).tolist()) for split in ("selection", "report", "all")]
    assert rows[0] | rows[1] == rows[2]
    assert not rows[0] & rows[1]
    assert count_captions(CaptionRef(), "report").images == len(rows[1])


@pytest.mark.slow
def test_the_miniatures_halves_show_different_objects() -> None:
    selection, report = (open_captions(CaptionRef(), split, 96) for split in ("selection", "report"))
    assert not set(selection.images.ids) & set(report.images.ids)
    assert torch.bincount(report.owner).tolist() == [5] * len(report.images.ids)
    assert len(set(report.captions)) == len(report.captions)
