"""Every public set, made small in its own format on disk, and opened by the code that reads the real one."""

from __future__ import annotations

import io
import json
import pickle
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from zsr_core.data import DataRef, ImageSet, class_lists, open_data
from zsr_core.data.imagenet_names import SUBSETS, WNIDS

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


def opened(name: str, root: Path, split: Any, size: int = 8, **changes: Any) -> ImageSet:
    return open_data(DataRef(source="task", name=name, root=str(root), **changes), split, size)


def colours_match(images: ImageSet, label_of_colour: Callable[[int], int] = lambda label: label) -> bool:
    pixels = images.pixels(range(len(images.ids)))[:, :, 4, 4].int()
    expected = torch.tensor([colour(label_of_colour(label)) for label in images.labels.tolist()])
    return bool((pixels - expected).abs().max() <= 3)
