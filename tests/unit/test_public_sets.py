"""Every public set, made small in its own format on disk, and read by the code that reads the real one."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import shutil
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from sweeps.engine.commands.main import main
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, batches, check_data, class_lists, open_data
from zsr_core.data.check import archive_fault, check_sets
from zsr_core.data.imagenet_names import SUBSETS, WNIDS
from zsr_core.data.partition import stored_at
from zsr_core.data.tasks import EVERY, NAMES, TASKS, ZeroShotTask, task
from zsr_core.evaluation.suite import EvalSuite, evaluate
from zsr_core.evaluation.victim import Victim
from zsr_core.text import TextBank
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.provenance import skipped

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

WITH_BAG_OF_CRANES = ("n02012849", "n03126707", "n01440764", "n03710637", "n03710721")  # crane twice, maillot twice


def colour(label: int) -> tuple[int, int, int]:
    """A picture's colour says its label, so that a picture under a wrong one shows."""
    return (label * 37) % 256, (label * 101) % 256, 80


@lru_cache(maxsize=1024)
def jpeg(label: int) -> bytes:
    packed = io.BytesIO()
    Image.new("RGB", (8, 8), colour(label)).save(packed, "JPEG", quality=100, subsampling=0)
    return packed.getvalue()


def put(file: Path, label: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(jpeg(label))


def lines(file: Path, rows: Iterable[str]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{row}\n" for row in rows))


def tiny_imagenet(root: Path) -> None:
    wnids = [class_lists.TINY_IMAGENET[i] for i in (7, 3, 199, 0)]  # wnids.txt is in no order
    place, label = root / "tiny-imagenet-200", {wnid: i for i, wnid in enumerate(sorted(wnids))}
    lines(place / "wnids.txt", wnids)
    lines(place / "words.txt", [f"{wnid}\tsomething, else" for wnid in wnids])
    for wnid in wnids:
        for i in range(5):
            put(place / "train" / wnid / "images" / f"{wnid}_{i}.JPEG", label[wnid])
        lines(place / "train" / wnid / f"{wnid}_boxes.txt", [f"{wnid}_0.JPEG\t0\t10\t63\t58"])
    val = [(f"val_{i}.JPEG", wnids[i % 4]) for i in range(12)]
    for name, wnid in val:
        put(place / "val" / "images" / name, label[wnid])
    lines(place / "val" / "val_annotations.txt", [f"{name}\t{wnid}\t0\t32\t44\t62" for name, wnid in val])
    (place / "test" / "images").mkdir(parents=True)


def imagenet(root: Path) -> None:
    for i, wnid in enumerate(WITH_BAG_OF_CRANES):
        for k in range(2):
            put(root / "imagenet" / "train" / wnid / f"{wnid}_{k}.JPEG", WNIDS.index(wnid))
        put(root / "imagenet" / "val" / wnid / f"ILSVRC2012_val_0000000{i}.JPEG", WNIDS.index(wnid))


def cifar(root: Path, names: tuple[str, ...], folder: str, files: dict[str, list[int]], fine: str, meta: str) -> None:
    (root / folder).mkdir()
    for file, labels in files.items():
        data = np.stack([np.repeat(np.array(colour(label), dtype=np.uint8), 1024) for label in labels])
        entry = {"data": data, fine: labels, "filenames": ["a.png"] * len(labels), "batch_label": file}
        (root / folder / file).write_bytes(pickle.dumps(entry, protocol=2))
    key = "label_names" if fine == "labels" else "fine_label_names"
    (root / folder / meta).write_bytes(pickle.dumps({key: list(names)}, protocol=2))


def cifar10(root: Path) -> None:
    files = {f"data_batch_{i}": [i, 0, 9] for i in range(1, 6)} | {"test_batch": [3, 8, 8, 0]}
    cifar(root, class_lists.CIFAR10, "cifar-10-batches-py", files, "labels", "batches.meta")


def cifar100(root: Path) -> None:
    cifar(root, class_lists.CIFAR100, "cifar-100-python", {"train": [99, 0, 5, 7, 50], "test": [19, 49]},
          "fine_labels", "meta")  # fmt: skip


def stl10(root: Path) -> None:
    place = root / "stl10_binary"
    lines(place / "class_names.txt", class_lists.STL10)
    for which, labels in {"train": [9, 0, 1, 2, 3], "test": [7, 7, 0]}.items():
        planes = np.stack([np.array(colour(label), dtype=np.uint8) for label in labels])[:, :, None, None]
        np.broadcast_to(planes, (len(labels), 3, 96, 96)).tofile(place / f"{which}_X.bin")
        (np.array(labels, dtype=np.uint8) + 1).tofile(place / f"{which}_y.bin")


def sun397(root: Path) -> None:
    lines(root / "SUN397" / "ClassName.txt", [f"/{name[0]}/{name}" for name in class_lists.SUN397])
    for label, name in enumerate(class_lists.SUN397):
        put(root / "SUN397" / name[0] / name / f"sun_a{label:015d}.jpg", label)


def food101(root: Path) -> None:
    place = root / "food-101"
    lines(place / "meta" / "classes.txt", class_lists.FOOD101)
    for split, number in (("train", 10), ("test", 20)):
        listed = {name: [f"{name}/{number + k}" for k in range(2)] for name in class_lists.FOOD101}
        (place / "meta" / f"{split}.json").write_text(json.dumps(listed))
        for label, name in enumerate(class_lists.FOOD101):
            for picture in listed[name]:
                put(place / "images" / f"{picture}.jpg", label)


def oxford_pets(root: Path) -> None:
    place = root / "oxford-iiit-pet"
    for split, number in (("trainval", 1), ("test", 2)):
        rows = [(f"{name}_{number}{k}", label) for label, name in enumerate(class_lists.OXFORD_PETS) for k in range(2)]
        lines(place / "annotations" / f"{split}.txt", [f"{name} {label + 1} 1 1" for name, label in reversed(rows)])
        for name, label in rows:
            put(place / "images" / f"{name}.jpg", label)
    (place / "images" / "Abyssinian_100.mat").write_bytes(b"as it comes")


def flowers102(root: Path) -> None:
    place = root / "flowers-102"
    ids = np.arange(1, 3 * 102 + 1)
    for i in ids:
        put(place / "jpg" / f"image_{i:05d}.jpg", (i - 1) % 102)
    savemat(place / "imagelabels.mat", {"labels": ((ids - 1) % 102 + 1)[None].astype(np.uint8)})
    splits = {"tstid": ids[:102], "trnid": ids[102:204], "valid": ids[204:]}
    savemat(place / "setid.mat", {key: rows[None].astype(np.uint16) for key, rows in splits.items()})


def dtd(root: Path) -> None:
    place = root / "dtd" / "dtd"
    for number, split in enumerate(("train", "val", "test")):
        rows = [(f"{name}/{name}_{number:04d}.jpg", label) for label, name in enumerate(class_lists.DTD)]
        for partition in (1, 2):
            lines(place / "labels" / f"{split}{partition}.txt", [name for name, _ in rows[:: 3 - 2 * partition]])
        for name, label in rows:
            put(place / "images" / name, label)


def eurosat(root: Path) -> None:
    for label, name in enumerate(class_lists.EUROSAT):
        for k in range(1, 4):
            put(root / "eurosat" / "2750" / name / f"{name}_{k}.jpg", label)


def fgvc_aircraft(root: Path) -> None:
    place = root / "fgvc-aircraft-2013b" / "data"
    lines(place / "variants.txt", class_lists.FGVC_AIRCRAFT)
    for split, number in (("trainval", 1), ("test", 2)):
        rows = [(f"{number}{label:06d}", label) for label in range(100)]
        lines(place / f"images_variant_{split}.txt", [f"{n} {class_lists.FGVC_AIRCRAFT[label]}" for n, label in rows])
        for name, label in rows:
            put(place / "images" / f"{name}.jpg", label)


def caltech101(root: Path) -> None:
    place = root / "caltech101" / "101_ObjectCategories"
    put(place / "BACKGROUND_Google" / "image_0001.jpg", 77)
    for label, name in enumerate(class_lists.CALTECH101):
        put(place / name / "image_0001.jpg", label)
        put(place / name / "image_0003.jpg", label)  # the numbers may have gaps


def caltech256(root: Path) -> None:
    place = root / "caltech256" / "256_ObjectCategories"
    for label, name in enumerate(class_lists.CALTECH256):
        put(place / f"{label + 1:03d}.{name}" / f"{label + 1:03d}_0001.jpg", label)
    put(place / "056.dog" / "greg" / "vision309" / "056_0001.jpg", 3)  # as it comes: not the set's
    (place / "198.spider" / "RENAME2").write_text("as it comes")


def stanford_cars(root: Path) -> None:
    place = root / "stanford_cars"
    (place / "devkit").mkdir(parents=True)
    names = np.empty((1, 196), dtype=object)
    names[0] = list(class_lists.STANFORD_CARS)
    savemat(place / "devkit" / "cars_meta.mat", {"class_names": names})
    fields = [(f"bbox_{side}", object) for side in ("x1", "y1", "x2", "y2")] + [("class", object), ("fname", object)]
    for split, file in (("train", "devkit/cars_train_annos.mat"), ("test", "cars_test_annos_withlabels.mat")):
        rows = [(1, 1, 5, 5, label + 1, f"{label + 1:05d}.jpg") for label in range(196)]
        savemat(place / file, {"annotations": np.array([rows], dtype=fields).reshape(1, -1)})
        for label in range(196):
            put(place / f"cars_{split}" / f"{label + 1:05d}.jpg", label)


def pcam(root: Path) -> None:
    h5py = pytest.importorskip("h5py")
    (root / "pcam").mkdir()
    for split, labels in {"train": [0, 1, 1, 0, 1], "test": [1, 0, 0]}.items():
        planes = np.stack([np.array(colour(label), dtype=np.uint8) for label in labels])[:, None, None, :]
        with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_{split}_x.h5", "w") as x:
            x["x"] = np.broadcast_to(planes, (len(labels), 96, 96, 3))
        with h5py.File(root / "pcam" / f"camelyonpatch_level_2_split_{split}_y.h5", "w") as y:
            y["y"] = np.array(labels, dtype=np.uint8).reshape(-1, 1, 1, 1)


def by_wnid(folder: str, subset: str) -> Callable[[Path], None]:
    def build(root: Path) -> None:
        for label, wnid in enumerate(SUBSETS[subset]):
            if label % 20 == 0:
                put(root / folder / wnid / f"{label}.jpg", label)
        lines(root / folder / "README.txt", ["as it comes"])

    return build


def imagenet_v2(root: Path) -> None:
    for label in (0, 1, 2, 9, 10, 100, 999):
        put(root / "imagenetv2-matched-frequency-format-val" / str(label) / "abc.jpeg", label)


BUILD: dict[str, Callable[[Path], None]] = {
    "tiny_imagenet": tiny_imagenet, "cifar10": cifar10, "cifar100": cifar100, "stl10": stl10, "sun397": sun397,
    "food101": food101, "oxford_pets": oxford_pets, "flowers102": flowers102, "dtd": dtd, "eurosat": eurosat,
    "fgvc_aircraft": fgvc_aircraft, "imagenet": imagenet, "caltech101": caltech101, "caltech256": caltech256,
    "stanford_cars": stanford_cars, "pcam": pcam, "imagenet_a": by_wnid("imagenet-a", "a"),
    "imagenet_r": by_wnid("imagenet-r", "r"), "imagenet_sketch": by_wnid("sketch", "sketch"),
    "imagenet_v2": imagenet_v2,
}  # fmt: skip


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder per set, built on demand and only read."""

    @lru_cache
    def folder(name: str) -> Path:
        root = tmp_path_factory.mktemp(name)
        BUILD[name](root)
        return root

    return folder


def opened(name: str, root: Path, split: Any, size: int = 8, **changes: Any) -> ImageSet:
    return open_data(DataRef(source="task", name=name, root=str(root), **changes), split, size)


def colours_match(images: ImageSet, label_of_colour: Callable[[int], int] = lambda label: label) -> bool:
    pixels = images.pixels(range(len(images.ids)))[:, :, 4, 4].int()
    expected = torch.tensor([colour(label_of_colour(label)) for label in images.labels.tolist()])
    return bool((pixels - expected).abs().max() <= 3)


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


def _image(mode: str, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.full(size[::-1], 40_000, dtype=np.uint16)) if mode == "I;16" else Image.new(mode, size)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("I;16", "PNG"), ("1", "PNG")]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (40, 20)])
def test_odd_pictures_in_a_set_become_squares_of_rgb_bytes(
    tmp_path: Path, mode: str, kind: str, size: tuple[int, int]
) -> None:
    eurosat(tmp_path)
    images = opened("eurosat", tmp_path, "report")
    _image(mode, size).save(tmp_path / "eurosat" / "2750" / images.ids[0], kind)
    for how in ("resize256_crop224", "resize224", "resize224_bicubic"):
        pixels = opened("eurosat", tmp_path, "report", preprocessing=how).pixels([0])
        assert pixels.shape == (1, 3, 8, 8)
        assert pixels.dtype == torch.uint8


def test_a_broken_picture_stops_with_its_path_or_is_left_out_and_listed(tmp_path: Path) -> None:
    food101(tmp_path)
    images = opened("food101", tmp_path, "report")
    truncated, absent = (tmp_path / "food-101" / images.ids[i] for i in (3, 150))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:900])
    absent.unlink()
    for row, file in ((3, truncated), (150, absent)):
        with pytest.raises(ConfigError) as error:
            list(batches(opened("food101", tmp_path, "report"), [torch.tensor([row])]))
        assert str(error.value).startswith(f"root: {file} cannot be read as an image (")
        assert "\n" not in str(error.value)
    kept = opened("food101", tmp_path, "report", on_corrupt="skip")
    assert kept.skipped == (images.ids[3], images.ids[150])
    assert len(kept.ids) == len(images.ids) - 2
    assert colours_match(kept)
    assert kept.key != images.key
    assert images.skipped == ()
    ref = DataRef(source="task", name="food101", root=str(tmp_path), on_corrupt="skip")
    config = TrialConfig(epochs=0, eval_suite=EvalSuite(tasks=(ref,), split="report"))
    assert skipped(config, 8) == {"skipped_report_food101": f"2: {images.ids[3]}, {images.ids[150]}"}


def test_an_evaluation_leaves_out_what_cannot_be_decoded_if_so_asked_and_prompts_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several of EuroSAT's names are unknown to the miniature, which is refused; here only the images matter.
    for place in ("check", "deploy"):
        monkeypatch.setattr(f"zsr_core.trial.{place}.check_texts", lambda *_: None)
    eurosat(tmp_path)
    ids = opened("eurosat", tmp_path, "report").ids
    (tmp_path / "eurosat" / "2750" / ids[2]).write_bytes(b"")
    words = "evaluate --tasks eurosat --attacks pgd1 --n 0 --audit none --device cpu --root"
    asked = [*words.split(), str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(asked) == 1
    assert f"{ids[2]} cannot be read as an image" in capsys.readouterr().err
    assert main([*asked, "--on-corrupt", "skip", "--prompts", "openai-ensemble"]) == 0
    assert f"1 images of eurosat cannot be decoded and are left out, first {ids[2]} (all" in capsys.readouterr().out
    results = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("*/result.json")]
    (done,) = (result for result in results if result["status"] == "done")
    assert done["provenance"]["skipped_report_eurosat"] == f"1: {ids[2]}"
    assert done["config"]["eval_suite"]["tasks"][0]["prompts"] == "openai-ensemble"
    assert {m["n"] for m in done["measurements"]} == {len(ids) - 1}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("cifar10", lambda root: (root / "cifar-10-batches-py/test_batch").write_bytes(b"\x80\x02}q\x01(U")),
        ("cifar10", lambda root: (root / "cifar-10-batches-py/batches.meta").write_bytes(pickle.dumps(print))),
        ("cifar100", lambda root: (root / "cifar-100-python/test").unlink()),
        ("stl10", lambda root: (root / "stl10_binary/test_X.bin").write_bytes(b"0" * 100)),
        ("stl10", lambda root: (root / "stl10_binary/class_names.txt").write_text("one\n")),
        ("food101", lambda root: (root / "food-101/meta/test.json").write_text('{"apple_pie": [')),
        ("oxford_pets", lambda root: (root / "oxford-iiit-pet/annotations/test.txt").write_text("one two\n")),
        ("oxford_pets", lambda root: (root / "oxford-iiit-pet/annotations/test.txt").write_text("")),
        ("flowers102", lambda root: (root / "flowers-102/setid.mat").write_bytes(b"MATLAB 5.0" * 9)),
        ("flowers102", lambda root: (root / "flowers-102/imagelabels.mat").unlink()),
        ("dtd", lambda root: (root / "dtd/dtd/labels/test1.txt").write_text("a/b/c\n")),
        ("sun397", lambda root: (root / "SUN397/ClassName.txt").write_text("/a/abbey\n")),
        ("fgvc_aircraft", lambda root: (root / "fgvc-aircraft-2013b/data/variants.txt").write_text("707-320\n")),
        ("stanford_cars", lambda root: (root / "stanford_cars/devkit/cars_meta.mat").write_bytes(b"")),
        ("tiny_imagenet", lambda root: (root / "tiny-imagenet-200/val/val_annotations.txt").write_text("x\n")),
        ("imagenet", lambda root: put(root / "imagenet/val/n00000000/0.JPEG", 0)),
        ("imagenet_v2", lambda root: put(root / "imagenetv2-matched-frequency-format-val/1000/0.jpeg", 0)),
    ],
)
def test_a_damaged_set_is_one_sentence_and_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], Any]
) -> None:
    BUILD[name](tmp_path)
    damage(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_data(DataRef(source="task", name=name, root=str(tmp_path)), "report", "config.eval_suite.tasks[0]", 8)
    assert str(error.value).startswith("config.eval_suite.tasks[0].root: ")
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", name]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"incomplete  {name}")
    assert "official page: " in said.out
    assert "Traceback" not in said.out + said.err


def test_a_pickle_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    cifar10(tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(
        b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    )
    with pytest.raises(ConfigError, match=r"holds arrays, not os\.system"):
        opened("cifar10", tmp_path, "report")
    assert not marker.exists()


def test_a_library_that_a_format_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pcam").mkdir()
    for path in (*task("pcam").layout, *task("pcam").train_layout):
        (tmp_path / path).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"holds no pcam that can be read \(h5py is not found"):
        opened("pcam", tmp_path, "report")


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_stored_split_wins_and_one_of_other_images_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar10(tmp_path)
    drawn = {split: opened("cifar10", tmp_path, split) for split in ("train", "selection")}
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    file = stored_at(tmp_path, "cifar10")
    assert not file.exists()  # 15 images are not the whole set, whose rows are others
    monkeypatch.setitem(vars(task("cifar10"))["counts"], "train", 15)
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    assert opened("cifar10", tmp_path, "selection").ids == drawn["selection"].ids
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "held_out": [0, 14]}))
    assert opened("cifar10", tmp_path, "selection").ids == ("train-0", "train-14")
    assert len(opened("cifar10", tmp_path, "train").ids) == 13
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    assert json.loads(file.read_text())["held_out"] == [0, 14]
    for wrong in ({"images": 16}, {"digest": "0"}, {"held_out": [15]}, {"held_out": [1, 1]}, {"held_out": "all"}):
        file.write_text(json.dumps({**stored, **wrong}))
        with pytest.raises(ConfigError, match=rf"root: got '{file}', expected"):
            opened("cifar10", tmp_path, "train")
    file.write_text("[")
    with pytest.raises(ConfigError, match=f"root: {file} cannot be read as a stored split"):
        opened("cifar10", tmp_path, "train")


def test_a_limit_is_a_seeded_choice_of_the_split(sets: Callable[[str], Path]) -> None:
    few, more = (opened("food101", sets("food101"), "report", limit=n) for n in (5, 50))
    assert len(few.ids) == 5
    assert set(few.ids) < set(more.ids)
    assert len(set(more.labels.tolist())) > 20
    assert opened("food101", sets("food101"), "report", limit=5).ids == few.ids


# --- native pictures, keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_imagenet", "eurosat", "cifar10", "stl10", "pcam"])
def test_native_pictures_are_as_the_set_has_them(tmp_path: Path, name: str) -> None:
    BUILD[name](tmp_path)
    side = task(name).native
    assert side is not None
    for file in (*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.JPEG")):
        with Image.open(file) as image:
            image.resize((side, side)).save(file, quality=100, subsampling=0)
    images = open_data(DataRef(source="task", name=name, root=str(tmp_path)), "report", 8, space="native")
    assert images.space == "native"
    assert images.pixels([0, 1]).shape == (2, 3, side, side)
    assert colours_match(images)
    assert images.key != opened(name, tmp_path, "report", side).key


def test_a_native_picture_of_another_size_and_a_set_without_one_size_are_named(sets: Callable[[str], Path]) -> None:
    ref = DataRef(source="task", name="eurosat", root=str(sets("eurosat")))
    images = open_data(ref, "report", 224, space="native")
    with pytest.raises(ConfigError, match="has 8 x 8 pixels, expected 64 x 64"):
        images.pixels([0])
    with pytest.raises(ConfigError, match="space: got 'native', expected 'model_input': the images of dtd have no one"):
        open_data(DataRef(source="task", name="dtd", root=str(sets("dtd"))), "report", 224, space="native")
    with pytest.raises(ConfigError, match=r"t\.space: got 'native'.* of source have"):
        check_data(DataRef(), "report", "t", 48, space="native")


def test_an_attack_on_native_pictures_keeps_to_its_budget_on_them_and_the_model_resizes(
    sets: Callable[[str], Path], tiny: Any
) -> None:
    tower = tiny.tower()  # of 32 pixels; STL-10 has 96
    victim = Victim(embed=tower, scale=20.0, sha="w")
    suite = EvalSuite(
        tasks=(DataRef(source="task", name="stl10", root=str(sets("stl10"))),), split="report", space="native",
        attacks=(Pgd(steps=2, step_ratio=0.5),), eps=(4 / 255,),
    )  # fmt: skip
    seen: list[ImageSet] = []

    def bank(images: ImageSet) -> TextBank:
        seen.append(images)
        own = torch.nn.functional.normalize(tower(images.pixels([0]).float() / 255), dim=-1)
        unit = torch.cat([own if i == images.labels[0] else -own for i in range(len(images.classes))])
        return TextBank(unit=unit, classes=images.classes, templates=images.templates)

    records = evaluate(victim, suite, bank, tower.image_size)
    assert seen[0].pixels([0]).shape == (1, 3, 96, 96)
    assert {record.threat_space for record in records} == {"native"}
    attacked = [record for record in records if record.linf > 0]
    assert attacked
    assert all(record.linf <= 4 / 255 + 1e-6 for record in attacked)
    # A budget on 96 x 96 pixels is larger in l2 than one on the model's 32 x 32 could ever be.
    assert max(record.l2 for record in attacked) > (3 * 32 * 32) ** 0.5 * 4 / 255
    with pytest.raises(ConfigError, match="space: got 'native', expected 'model_input': images of no one native size"):
        EvalSuite(tasks=(DataRef(),), space="native")


def test_the_key_follows_pictures_and_preparation(tmp_path: Path) -> None:
    dtd(tmp_path)
    images = opened("dtd", tmp_path, "report")
    assert images.key == opened("dtd", tmp_path, "report", prompts="agft").key
    assert images.key != opened("dtd", tmp_path, "report", preprocessing="resize224").key
    assert images.key != opened("dtd", tmp_path, "report", size=16).key
    (tmp_path / "dtd" / "dtd" / images.ids[0]).write_bytes(jpeg(1) + b"more")
    assert images.key != opened("dtd", tmp_path, "report").key


# --- zsr data check --------------------------------------------------------------------------------------------------


@pytest.fixture
def as_published(sets: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """DTD with the counts of the small one in the place of the published ones."""
    for part, n in (("train", 94), ("report", 47)):
        monkeypatch.setitem(vars(task("dtd"))["counts"], part, n)
    return sets("dtd")


def test_a_set_as_published_is_found_and_its_held_out_share_is_shown(
    as_published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(as_published), "--tasks", "dtd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("found       dtd  (DTD)")
    assert "train (train1 and val1): 94 images of 94, 47 classes of 47" in out
    assert "selection: 19 images held out, 75 train; drawn by seed, digest " in out
    assert out.endswith("1 found, 0 incomplete, 0 missing\n")


def test_fewer_images_than_published_are_incomplete(
    sets: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(sets("caltech256")), "--tasks", "caltech256"]) == 1
    assert "all: 257 images, published are 30,607" in capsys.readouterr().out


def test_images_that_lack_and_images_that_are_broken_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fgvc_aircraft(tmp_path)
    place = tmp_path / "fgvc-aircraft-2013b" / "data" / "images"
    (place / "2000007.jpg").unlink()
    (place / "2000008.jpg").write_bytes(b"no image")
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", "fgvc_aircraft", "--decode"]) == 1
    out = capsys.readouterr().out
    assert f"report: 1 images are listed and not there, first {place / '2000007.jpg'}" in out
    assert "report: 1 of 100 images cannot be read\n" in out
    assert f"report: {place / '2000008.jpg'} cannot be read as an image" in out


def test_of_a_set_in_part_the_archives_are_told_too(tmp_path: Path) -> None:
    pcam(tmp_path)
    x = tmp_path / "pcam" / "camelyonpatch_level_2_split_test_x.h5"
    packed = gzip.compress(np.random.default_rng(0).bytes(5000))
    x.with_name(f"{x.name}.gz").write_bytes(packed[: len(packed) // 2])
    x.unlink()
    (finding,) = check_sets(tmp_path, ["pcam"])
    assert finding.state == "incomplete"
    assert any(f"{x.name} is missing" in line for line in finding.lines)
    assert any(line.startswith(f"{x}.gz is there, and cannot be read to its end (") for line in finding.lines)


def test_classes_in_another_order_are_told(tmp_path: Path) -> None:
    cifar(tmp_path, class_lists.CIFAR10[::-1], "cifar-10-batches-py", {"test_batch": [3]}, "labels", "batches.meta")
    (finding,) = check_sets(tmp_path, ["cifar10"])
    assert any(line == "report: classes in another order" for line in finding.lines)
    assert opened("cifar10", tmp_path, "report").classes == class_lists.CIFAR10[::-1]


def test_nothing_on_disk_is_missing_with_layout_and_page_and_no_error_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("missing     ") == len(EVERY) == 27
    for row in EVERY:
        assert row.page in out
        assert all(path in out for path in (*row.layout, *row.train_layout))
    capsys.readouterr()
    for asked in (["cifar10", "pcam"], ["cifar10,pcam"]):
        assert main(["data", "check", "--root", str(tmp_path), "--tasks", *asked]) == 1
        assert capsys.readouterr().out.endswith("0 found, 0 incomplete, 2 missing\n")


def test_an_unknown_set_and_a_root_that_is_no_folder_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", "cifar11"]) == 2
    assert "did you mean 'cifar10" in capsys.readouterr().err
    assert main(["data", "check", "--root", str(tmp_path / "nope")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_files_where_folders_should_be_are_no_reason_to_fall(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    row = task(name)
    for path in (*row.layout, *row.train_layout):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"a file")
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", name]) == 1
    assert capsys.readouterr().out.startswith(f"incomplete  {name}")


def test_an_archive_that_was_not_unpacked_is_seen_and_a_truncated_one_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(packed: tarfile.TarFile, name: str) -> None:
        body = np.random.default_rng(0).bytes(5000)
        entry = tarfile.TarInfo(name)
        entry.size = len(body)
        packed.addfile(entry, io.BytesIO(body))

    for name in ("cifar-10-python.tar.gz", "256_ObjectCategories.tar"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as packed:
            for i in range(3):
                add(packed, f"folder/{i}")
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as zipped:
        zipped.writestr("tiny-imagenet-200/wnids.txt", "n01443537\n" * 99)
    asked = ["data", "check", "--root", str(tmp_path), "--tasks", "cifar10", "caltech256", "tiny_imagenet"]
    assert main(asked) == 1
    assert capsys.readouterr().out.count("is there, not unpacked") == 3
    for name in ("cifar-10-python.tar.gz", "256_ObjectCategories.tar", "tiny-imagenet-200.zip"):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[: -file.stat().st_size // 3])
        assert archive_fault(file)
    assert main(asked) == 1
    out = capsys.readouterr().out
    assert out.count("is there, and cannot be read to its end (") == 3
    assert "0 found, 3 incomplete, 0 missing" in out
