"""The public sets of image files as they lie on disk, each read into one shape: pictures, names, labels, class list.

torchvision's own classes read what they read well, never downloading. Ours read the rest: Caltech, since torchvision
counts files and then guesses their names; Tiny-ImageNet and ImageNet's variants, since it has no class for them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsr_core.codec import ConfigError, require
from zsr_core.data import class_lists
from zsr_core.data.formats.listing import Part, PartName, Reader, by_folder, folders_below, images_below, part_of_files
from zsr_core.data.imagenet_names import SUBSETS, WNIDS
from zsr_core.data.lists import numbered_lines, refused
from zsr_core.data.pictures import Files, Hdf5

# --- what torchvision reads ------------------------------------------------------------------------------------------


def _datasets() -> Any:
    from torchvision import datasets  # noqa: PLC0415  slow to import, and most runs need none of it

    return datasets


def _together(parts: Sequence[Part]) -> Part:
    first = parts[0]
    require(
        all(part.classes == first.classes for part in parts), "root", first.pictures.place(0), "one list of classes"
    )
    assert isinstance(first.pictures, Files)
    names = [first.pictures.base / name for part in parts for name in part.ids]
    labels = [label for part in parts for label in part.labels.tolist()]
    return part_of_files(first.pictures.base, names, labels, first.classes)


def food101(root: Path, part: PartName) -> Part:
    data = _datasets().Food101(str(root), split="train" if part == "train" else "test")
    return part_of_files(root / "food-101", data._image_files, data._labels, data.classes)


def oxford_pets(root: Path, part: PartName) -> Part:
    data = _datasets().OxfordIIITPet(str(root), split="trainval" if part == "train" else "test")
    listing = root / "oxford-iiit-pet" / "annotations"
    require(len(data.classes) == max(data._labels) + 1, "root", str(listing), "images of every class id up to the last")
    return part_of_files(root / "oxford-iiit-pet", data._images, data._labels, data.classes)


def flowers102(root: Path, part: PartName) -> Part:
    datasets = _datasets()

    class Flowers(datasets.Flowers102):  # type: ignore[misc, name-defined]
        def _check_integrity(self) -> bool:
            """No checksums: the two .mat files are read with scipy, which finds out by itself."""
            return True

    splits = ("train", "val") if part == "train" else ("test",)
    read = [Flowers(str(root), split=split) for split in splits]
    base = root / "flowers-102"
    return _together([part_of_files(base, data._image_files, data._labels, data.classes) for data in read])


def dtd(root: Path, part: PartName) -> Part:
    splits = ("train", "val") if part == "train" else ("test",)
    read = [_datasets().DTD(str(root), split=split, partition=1) for split in splits]
    return _together([part_of_files(root / "dtd" / "dtd", d._image_files, d._labels, d.classes) for d in read])


def sun397(root: Path, part: PartName) -> Part:
    data = _datasets().SUN397(str(root))
    rows = sorted(zip(data._image_files, data._labels, strict=True))  # as the file system happens to list them
    return part_of_files(root / "SUN397", [file for file, _ in rows], [label for _, label in rows], data.classes)


def fgvc_aircraft(root: Path, part: PartName) -> Part:
    data = _datasets().FGVCAircraft(str(root), split="trainval" if part == "train" else "test")
    return part_of_files(root / "fgvc-aircraft-2013b" / "data", data._image_files, data._labels, data.classes)


def stanford_cars(root: Path, part: PartName) -> Part:
    data = _datasets().StanfordCars(str(root), split="train" if part == "train" else "test")
    files = [file for file, _ in data._samples]
    return part_of_files(root / "stanford_cars", files, [int(label) for _, label in data._samples], data.classes)


def pcam(root: Path, part: PartName) -> Part:
    split = "train" if part == "train" else "test"
    data = _datasets().PCAM(str(root), split=split)  # says so where h5py is missing
    open_file = data.h5py.File
    folder = root / "pcam"
    images, targets = (folder / f"camelyonpatch_level_2_split_{split}_{axis}.h5" for axis in "xy")
    with open_file(images, "r") as x, open_file(targets, "r") as y:
        labels = torch.from_numpy(np.asarray(y["y"][:]).reshape(-1).astype(np.int64))
        require(len(x["x"]) == len(labels), "root", str(images), f"as many images as {targets.name} has labels")
    ids = tuple(f"{split}-{row}" for row in range(len(labels)))
    return Part(pictures=Hdf5(file=images, opener=open_file), ids=ids, labels=labels, classes=("healthy", "tumor"))


# --- a folder per class ----------------------------------------------------------------------------------------------


def class_folders(
    root: Path, part: PartName, *, folder: str, published: tuple[str, ...], without: tuple[str, ...] = ()
) -> Part:
    """Read a folder per class."""
    place = root / folder
    files_of = {name: images_below(place, name) for name in folders_below(place) if name not in without}
    return _labelled(place, files_of, published)


def _labelled(place: Path, files_of: Mapping[str, Sequence[str]], published: tuple[str, ...]) -> Part:
    """Return the images of each folder. Where published classes lack, the others keep their places.

    A folder without images is no class: it would be one more text that draws images away from theirs.
    """
    named = [name for name, files in files_of.items() if files]
    require(len(named) > 0, "root", str(place), "class folders with images; found none")
    classes = published if set(named) <= set(published) else tuple(named)
    label_of = {name: i for i, name in enumerate(classes)}
    files = [(file, label_of[name]) for name in named for file in files_of[name]]
    return part_of_files(place, [file for file, _ in files], [label for _, label in files], classes)


eurosat: Reader = partial(class_folders, folder="eurosat/2750", published=class_lists.EUROSAT)
caltech101: Reader = partial(
    class_folders,
    folder="caltech101/101_ObjectCategories",
    published=class_lists.CALTECH101,
    without=("BACKGROUND_Google",),
)


def caltech256(root: Path, part: PartName) -> Part:
    """Folders are numbered: ``001.ak47``. Only their own images count: one holds a folder of others below it."""
    place = root / "caltech256" / "256_ObjectCategories"
    published = tuple(f"{i:03d}.{name}" for i, name in enumerate(class_lists.CALTECH256, start=1))
    files_of = {
        name: [file for file in images_below(place, name) if file.count("/") == 1] for name in folders_below(place)
    }
    return _labelled(place, files_of, published)


def tiny_imagenet(root: Path, part: PartName) -> Part:
    """Classes are those of ``wnids.txt``, else the folders of ``train``, sorted: the order in the file is no order.

    ``val`` as it is unpacked, all images in one folder and their classes in ``val_annotations.txt`` (tab-separated:
    file, class, box), or sorted into a folder per class.
    """
    place = root / "tiny-imagenet-200"
    listed = place / "wnids.txt"
    if listed.is_file():
        wnids = [wnid for _, line in numbered_lines(listed) for wnid in line.split()]
    else:
        wnids = folders_below(place / "train")
    classes = tuple(sorted(set(wnids)))
    label_of = {wnid: i for i, wnid in enumerate(classes)}
    if part == "train":
        return by_folder(place, "train", label_of, classes)
    annotations, images = place / "val" / "val_annotations.txt", place / "val" / "images"
    if not (annotations.is_file() and images.is_dir() and any(images.iterdir())):
        return by_folder(place, "val", label_of, classes)
    rows = sorted(_annotated(annotations, label_of))
    return part_of_files(place, [images / name for name, _ in rows], [label for _, label in rows], classes)


def _annotated(file: Path, label_of: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield (image file, label) of each line: file, class, box, with tabs or blanks between them."""
    for number, line in numbered_lines(file):
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or words[1] not in label_of:
            raise refused(file, number, line, f"a file and one of the {len(label_of)} classes")
        yield words[0], label_of[words[1]]


_IMAGENET = {wnid: i for i, wnid in enumerate(WNIDS)}
DEVKIT = "ILSVRC2012_devkit_t12"


def imagenet(root: Path, part: PartName) -> Part:
    """A folder per class, named by its WordNet id. Labels are the challenge's: the ids' order, all 1000 of them.

    ``val`` may also be flat, as its archive is: with the development kit beside it, or with the
    ``LOC_val_solution.csv`` that the challenge's Kaggle edition brings.
    """
    place = root / "imagenet"
    folder = place / ("train" if part == "train" else "val")
    if part == "train" or folders_below(folder):
        return by_folder(place, folder.name, _IMAGENET, WNIDS)
    solution = next((p for p in (place / "LOC_val_solution.csv", folder / "LOC_val_solution.csv") if p.is_file()), None)
    kit = next((p for p in (place / DEVKIT, place / "devkit", root / DEVKIT) if p.is_dir()), None)
    if solution is not None:
        with solution.open(encoding="utf-8-sig", newline="") as lines:
            rows = sorted((row["ImageId"], row["PredictionString"].split()[0]) for row in csv.DictReader(lines))
    elif kit is not None:
        rows = [(f"ILSVRC2012_val_{i:08d}", wnid) for i, wnid in enumerate(_ground_truth(kit / "data"), start=1)]
    else:
        raise ConfigError(
            f"root: got {str(folder)!r}, expected class folders with images; found none. Where its images are in one "
            f"folder, {DEVKIT} or LOC_val_solution.csv beside it says of what class each is"
        )
    files = [folder / f"{name}.JPEG" for name, _ in rows]
    return part_of_files(place, files, [_IMAGENET[wnid] for _, wnid in rows], WNIDS)


def _ground_truth(data: Path) -> list[str]:
    """Return the WordNet id of each validation image by its number, as ILSVRC 2012's development kit says it.

    The kit has numbers of its own for the classes; ``meta.mat`` lists them, then the classes above them.
    """
    try:
        from scipy.io import loadmat  # noqa: PLC0415  only such a folder needs it
    except ImportError:
        where = f"root: got {str(data / 'meta.mat')!r}"
        raise ConfigError(f"{where}, which needs the package scipy; LOC_val_solution.csv needs none") from None
    synsets = loadmat(data / "meta.mat", squeeze_me=True)["synsets"]
    wnid_of = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets if row["num_children"] == 0}
    truth = data / "ILSVRC2012_validation_ground_truth.txt"
    wnids = []
    for number, line in numbered_lines(truth):
        if not (line.isdecimal() and int(line) in wnid_of):
            raise refused(truth, number, line, f"one of the {len(wnid_of)} class numbers of meta.mat")
        wnids.append(wnid_of[int(line)])
    return wnids


def imagenet_subset(root: Path, part: PartName, *, folder: str, subset: str) -> Part:
    """ImageNet-A, -R and -Sketch: a folder per WordNet id of the classes they have, which is their class list."""
    classes = SUBSETS[subset]
    return by_folder(root / folder, "", {wnid: i for i, wnid in enumerate(classes)}, classes)


imagenet_a: Reader = partial(imagenet_subset, folder="imagenet-a", subset="a")
imagenet_r: Reader = partial(imagenet_subset, folder="imagenet-r", subset="r")
imagenet_sketch: Reader = partial(imagenet_subset, folder="sketch", subset="sketch")


def imagenet_v2(root: Path, part: PartName) -> Part:
    """Folders are label numbers, ``0`` to ``999``: sorted as text, 10 would come before 2."""
    place = root / "imagenetv2-matched-frequency-format-val"
    return by_folder(place, "", {str(i): i for i in range(len(WNIDS))}, WNIDS)
