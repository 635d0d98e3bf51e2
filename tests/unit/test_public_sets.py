"""Every public set, made small in its own format on disk, is read by the code that reads the real one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from sweeps.engine.commands.main import main
from tests.support.public_sets import (
    BUILD,
    WITH_BAG_OF_CRANES,
    caltech101,
    colours_match,
    eurosat,
    imagenet,
    lines,
    opened,
    put,
    stl10,
    tiny_imagenet,
)
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, class_lists, open_data
from zsr_core.data.check import check_sets
from zsr_core.data.tasks import NAMES, TASKS, ZeroShotTask, task

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def splits_of(row: ZeroShotTask) -> tuple[Any, ...]:
    return ("selection", "report") if row.cut_by_us else ("train", "selection", "report")


@pytest.mark.parametrize("name", NAMES)
def test_a_set_in_its_own_format_is_read_with_every_picture_under_its_label(
    name: str, sets: Callable[[str], Path]
) -> None:
    row, root = task(name), sets(name)
    parts = {split: opened(name, root, split) for split in splits_of(row)}
    assert all(colours_match(images) for images in parts.values())
    assert all(images.name == name and images.templates == row.prompts["tga"].templates for images in parts.values())
    assert len({images.classes for images in parts.values()}) == 1
    if name != "tiny_imagenet":  # its few classes here are what wnids.txt lists
        assert parts["report"].classes == tuple(row.prompts["tga"].names(row.classes))
    one_part = [set(parts[split].ids) for split in splits_of(row) if split != "report" or row.cut_by_us]
    assert not set.intersection(*one_part)
    whole = sum(map(len, one_part))
    assert len(parts["selection"].ids) == round(0.2 * whole)
    assert all(len(images.ids) == len(images.labels) == len(set(images.ids)) for images in parts.values())


@pytest.mark.parametrize("name", [row.name for row in TASKS if row.cut_by_us])
def test_a_set_without_a_training_part_is_no_training_set(name: str, sets: Callable[[str], Path]) -> None:
    with pytest.raises(ConfigError, match=f"split: got 'train' for {name}, which has no training set"):
        opened(name, sets(name), "train")


@pytest.mark.parametrize("name", NAMES)
def test_each_prompt_set_names_every_class_once(name: str) -> None:
    row = task(name)
    assert set(row.prompts) == {"tga", "agft", "openai-ensemble"}
    for prompts in row.prompts.values():
        spoken = list(prompts.names(row.classes))
        assert len(spoken) == len(row.classes)
        assert all(template.count("{}") == 1 for template in prompts.templates)
        assert len({name.lower() for name in spoken}) == len(spoken) - (1 if prompts.merge else 0)


def test_published_sizes_and_class_counts_are_those_of_the_papers() -> None:
    counted = {row.name: (len(row.classes), dict(row.counts)) for row in TASKS}
    assert counted == {
        "tiny_imagenet": (200, {"train": 100_000, "report": 10_000}),
        "cifar10": (10, {"train": 50_000, "report": 10_000}),
        "cifar100": (100, {"train": 50_000, "report": 10_000}),
        "stl10": (10, {"train": 5_000, "report": 8_000}),
        "sun397": (397, {"all": 108_754}),
        "food101": (101, {"train": 75_750, "report": 25_250}),
        "oxford_pets": (37, {"train": 3_680, "report": 3_669}),
        "flowers102": (102, {"train": 2_040, "report": 6_149}),
        "dtd": (47, {"train": 3_760, "report": 1_880}),
        "eurosat": (10, {"all": 27_000}),
        "fgvc_aircraft": (100, {"train": 6_667, "report": 3_333}),
        "imagenet": (1000, {"train": 1_281_167, "report": 50_000}),
        "caltech101": (101, {"all": 8_677}),
        "caltech256": (257, {"all": 30_607}),
        "stanford_cars": (196, {"train": 8_144, "report": 8_041}),
        "pcam": (2, {"train": 262_144, "report": 32_768}),
        "imagenet_a": (200, {"all": 7_500}),
        "imagenet_r": (200, {"all": 30_000}),
        "imagenet_sketch": (1000, {"all": 50_889}),
        "imagenet_v2": (1000, {"all": 10_000}),
    }
    # What the TGA-ZSR lineage attacks: every image of the report parts, and all of the sets that have but one.
    assert sum(row.counts.get("report", 0) + row.counts.get("all", 0) for row in TASKS[:16]) == 344_128


def test_the_native_size_is_stated_where_all_images_have_one() -> None:
    native = {row.name: row.native for row in TASKS if row.native}
    assert native == {"tiny_imagenet": 64, "cifar10": 32, "cifar100": 32, "stl10": 96, "eurosat": 64, "pcam": 96}


# --- odd things on disk ----------------------------------------------------------------------------------------------


def test_the_order_of_wnids_txt_means_nothing(sets: Callable[[str], Path]) -> None:
    images = opened("tiny_imagenet", sets("tiny_imagenet"), "report")
    wnids = sorted(class_lists.TINY_IMAGENET[i] for i in (7, 3, 199, 0))
    first = images.ids.index("tiny-imagenet-200/val/images/val_0.JPEG".removeprefix("tiny-imagenet-200/"))
    assert int(images.labels[first]) == wnids.index(class_lists.TINY_IMAGENET[7])
    assert images.classes[0] == "goldfish"


def test_tiny_imagenets_val_may_be_sorted_into_folders(tmp_path: Path) -> None:
    tiny_imagenet(tmp_path)
    val = tmp_path / "tiny-imagenet-200" / "val"
    flat = opened("tiny_imagenet", tmp_path, "report")
    for line in (val / "val_annotations.txt").read_text().splitlines():
        name, wnid = line.split("\t")[:2]
        (val / wnid).mkdir(exist_ok=True)
        (val / "images" / name).rename(val / wnid / name)
    (val / "images").rmdir()
    sorted_in = opened("tiny_imagenet", tmp_path, "report")
    assert sorted(sorted_in.labels.tolist()) == sorted(flat.labels.tolist())
    assert colours_match(sorted_in)


def test_imagenets_val_may_be_flat_with_the_kaggle_solution(tmp_path: Path) -> None:
    imagenet(tmp_path)
    val = tmp_path / "imagenet" / "val"
    rows = ["ImageId,PredictionString"]
    for folder in sorted(val.iterdir()):
        for file in list(folder.iterdir()):
            rows.append(f"{file.stem},{folder.name} 85 1 499 272 {folder.name} 1 1 2 2 ")
            file.rename(val / file.name)
        folder.rmdir()
    with pytest.raises(ConfigError, match="class folders with images; found none"):
        opened("imagenet", tmp_path, "report")
    lines(tmp_path / "imagenet" / "LOC_val_solution.csv", rows)
    images = opened("imagenet", tmp_path, "report")
    assert len(images.ids) == 5
    assert colours_match(images)


def test_imagenets_val_may_be_flat_with_the_development_kit_whose_class_numbers_are_its_own(tmp_path: Path) -> None:
    imagenet(tmp_path)
    val, kit = tmp_path / "imagenet" / "val", tmp_path / "imagenet" / "ILSVRC2012_devkit_t12" / "data"
    number_of = {wnid: 1000 - 7 * i for i, wnid in enumerate(WITH_BAG_OF_CRANES)}
    truth = []
    for i, folder in enumerate(sorted(val.iterdir()), start=1):
        for file in list(folder.iterdir()):
            file.rename(val / f"ILSVRC2012_val_{i:08d}.JPEG")
            truth.append(number_of[folder.name])
        folder.rmdir()
    kit.mkdir(parents=True)
    fields = [("ILSVRC2012_ID", object), ("WNID", object), ("num_children", object)]
    above = [(1001, "n00001740", 2)]  # a class of classes
    rows = np.array([(number, wnid, 0) for wnid, number in number_of.items()] + above, dtype=fields)
    savemat(kit / "meta.mat", {"synsets": rows[:, None]})
    lines(kit / "ILSVRC2012_validation_ground_truth.txt", map(str, truth))
    images = opened("imagenet", tmp_path, "report")
    assert len(images.ids) == 5
    assert colours_match(images)


def test_without_scipy_the_development_kit_is_refused_by_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imagenet(tmp_path)
    val = tmp_path / "imagenet" / "val"
    for folder in list(val.iterdir()):
        shutil.rmtree(folder)
    (tmp_path / "imagenet" / "ILSVRC2012_devkit_t12").mkdir()
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    with pytest.raises(ConfigError, match=r"meta\.mat', which needs the package scipy; LOC_val"):
        opened("imagenet", tmp_path, "report")


def test_an_archive_of_archives_that_is_half_unpacked_says_so(tmp_path: Path) -> None:
    for wnid in WITH_BAG_OF_CRANES:
        lines(tmp_path / "imagenet" / "train" / f"{wnid}.tar", ["a tar"])
    (tmp_path / "imagenet" / "val").mkdir()
    with pytest.raises(ConfigError, match=r"found none; unpack n01440764\.tar, 5 such, each into a folder of its name"):
        opened("imagenet", tmp_path, "train")


# Where the class folders of some sets are.
FOLDERS = {
    "eurosat": "eurosat/2750", "caltech101": "caltech101/101_ObjectCategories",
    "caltech256": "caltech256/256_ObjectCategories", "tiny_imagenet": "tiny-imagenet-200/train",
    "imagenet_a": "imagenet-a", "imagenet_v2": "imagenetv2-matched-frequency-format-val",
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_what_systems_leave_behind_and_empty_folders_are_no_classes_and_no_images(tmp_path: Path, name: str) -> None:
    BUILD[name](tmp_path)
    split = "selection" if task(name).cut_by_us else "train"
    before = opened(name, tmp_path, split)
    place = tmp_path / FOLDERS[name]
    inside = min(folder for folder in place.iterdir() if folder.is_dir())
    for folder in (".ipynb_checkpoints", "__MACOSX", "New Folder"):
        (place / folder).mkdir()
    put(place / ".ipynb_checkpoints" / "image_0001-checkpoint.jpg", 1)
    for folder in (place, inside):
        for file in (".DS_Store", "Thumbs.db", "._image_0001.jpg", "._image_0001.JPEG"):
            (folder / file).write_bytes(b"\x00\x05\x16\x07")
    after = opened(name, tmp_path, split)
    assert after.classes == before.classes
    assert after.ids == before.ids
    assert colours_match(after)


def test_a_folder_that_is_no_class_is_named_if_it_holds_images(tmp_path: Path) -> None:
    caltech101(tmp_path)
    put(tmp_path / "caltech101/101_ObjectCategories/ant hill/image_0001.jpg", 3)
    (finding,) = check_sets(tmp_path, ["caltech101"])
    assert "all: classes not the 101 published: strange 'ant hill'" in finding.lines


def test_links_are_followed_but_neither_upwards_nor_twice_and_a_broken_one_is_lacking(tmp_path: Path) -> None:
    eurosat(tmp_path)
    place = tmp_path / "eurosat" / "2750"
    before = {split: opened("eurosat", tmp_path, split).ids for split in ("selection", "report")}
    (place / "River").rename(tmp_path / "elsewhere")
    (place / "River").symlink_to(tmp_path / "elsewhere")
    (place / "Forest" / "up").symlink_to(place)
    (place / "Forest" / "itself").symlink_to(place / "Forest")
    assert {split: opened("eurosat", tmp_path, split).ids for split in before} == before
    (tmp_path / "more").mkdir()
    (tmp_path / "elsewhere" / "River_1.jpg").rename(tmp_path / "more" / "River_1.jpg")
    (place / "River" / "deeper").symlink_to(tmp_path / "more")
    found = [image for split in before for image in opened("eurosat", tmp_path, split).ids]
    assert "River/deeper/River_1.jpg" in found
    assert len(found) == 30
    (tmp_path / "more" / "River_1.jpg").unlink()
    (tmp_path / "more" / "River_1.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (finding,) = check_sets(tmp_path, ["eurosat"])
    lacking = place / "River" / "deeper" / "River_1.jpg"
    assert f"all: 1 images are listed and not there, first {lacking}" in finding.lines


def test_a_name_that_is_no_text_is_shown_by_its_bytes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    eurosat(tmp_path)
    river = tmp_path / "eurosat" / "2750" / "River"
    (river / "River_1.jpg").rename(river / os.fsdecode(b"caf\xe9.jpg"))
    ids = [image for split in ("selection", "report") for image in opened("eurosat", tmp_path, split).ids]
    assert "River/caf\\xe9.jpg" in ids
    assert all(colours_match(opened("eurosat", tmp_path, split)) for split in ("selection", "report"))
    (river / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"no image")
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", "eurosat", "--decode"]) == 1
    assert "River/caf\\xe9.jpg cannot be read as an image" in capsys.readouterr().out


def test_images_that_came_since_are_seen(tmp_path: Path) -> None:
    eurosat(tmp_path)
    (before,) = check_sets(tmp_path, ["eurosat"])
    put(tmp_path / "eurosat" / "2750" / "River" / "River_9.jpg", 8)
    (after,) = check_sets(tmp_path, ["eurosat"])
    assert before.lines[0].startswith("all (every image): 30 images of")
    assert after.lines[0].startswith("all (every image): 31 images of")


def test_a_picture_of_stl10_is_read_column_after_column(tmp_path: Path) -> None:
    stl10(tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (3, 96, 96), dtype=np.uint8)  # [3, H, W]
    file = tmp_path / "stl10_binary" / "test_X.bin"
    file.write_bytes(picture.transpose(0, 2, 1).tobytes() + file.read_bytes()[picture.size :])
    images = open_data(DataRef(source="task", name="stl10", root=str(tmp_path)), "report", 1, space="native")
    assert torch.equal(images.pixels([0])[0], torch.from_numpy(picture))


def test_a_missing_class_folder_leaves_the_others_their_places(tmp_path: Path) -> None:
    eurosat(tmp_path)
    for file in (tmp_path / "eurosat" / "2750" / "Forest").iterdir():
        file.unlink()
    (tmp_path / "eurosat" / "2750" / "Forest").rmdir()
    images = opened("eurosat", tmp_path, "report")
    assert len(images.classes) == 10
    assert images.classes[1] == "a forest"
    assert colours_match(images)
    (finding,) = check_sets(tmp_path, ["eurosat"])
    assert any("1 of 10 classes have no image" in line for line in finding.lines)


def test_agft_calls_both_folders_of_faces_a_person_and_they_are_one_class(sets: Callable[[str], Path]) -> None:
    plain = opened("caltech101", sets("caltech101"), "report")
    merged = opened("caltech101", sets("caltech101"), "report", prompts="agft")
    assert len(plain.classes) == 101
    assert len(merged.classes) == 100
    assert merged.classes[:2] == ("person", "leopards")
    assert merged.labels.tolist() == [max(0, label - 1) for label in plain.labels.tolist()]


def test_a_set_of_ones_own_in_a_known_format_has_its_own_classes(tmp_path: Path) -> None:
    for label, name in enumerate(("Zebra_Crossing", "ant-hill")):
        for k in range(5):
            put(tmp_path / "caltech101" / "101_ObjectCategories" / name / f"image_{k:04d}.jpg", label)
    images = opened("caltech101", tmp_path, "report")
    assert images.classes == ("zebra crossing", "ant hill")
    assert colours_match(images)
