"""The public sets as they lie on disk, each format read into one shape: pictures, their names, labels, class list.

torchvision's own classes read what they read well, never downloading. Ours read the rest: CIFAR and STL-10, since
torchvision hashes all their bytes whenever they are opened (3 GB of STL-10) and unpickles what it finds; Caltech,
since it counts files and then guesses their names; Tiny-ImageNet and ImageNet's variants, since it has no class.
"""

from __future__ import annotations

import csv
import io
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.data import class_lists
from zsr_core.data.imagenet_names import SUBSETS, WNIDS
from zsr_core.data.pictures import Binary, Files, Hdf5, Pictures, Pixels, shown, written

PartName = Literal["train", "report", "all"]  # "all" of a set that its authors did not cut
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One part of a set on disk: N pictures. ``labels`` are positions in ``classes``, spelled as on disk."""

    pictures: Pictures
    ids: tuple[str, ...]  # [N], stable names
    labels: Tensor  # [N] int64
    classes: tuple[str, ...]


Reader = Callable[[Path, PartName], Part]  # (folder that holds every set, part)


def left_behind(name: str) -> bool:
    """Whether systems and tools leave such files and folders in any place: ``._1.jpg``, ``.ipynb_checkpoints``."""
    return name.startswith(".") or name == "__MACOSX"


def folders_below(folder: Path) -> list[str]:
    """Return the names of the sub-folders, sorted."""
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not left_behind(entry.name))


def _walk(top: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield the folders at any depth and the names of their files. Links are followed, but never twice or upwards."""
    above = os.path.realpath(top)
    seen = {above}
    for place, folders, names in os.walk(top, followlinks=True):
        yield place, [name for name in names if not left_behind(name)]
        kept = []
        for name in sorted(folders):
            real = os.path.realpath(os.path.join(place, name))
            if not (left_behind(name) or real in seen or f"{above}/".startswith(f"{real}/")):
                seen.add(real)
                kept.append(name)
        folders[:] = kept


def images_below(base: Path, folder: str) -> list[str]:
    """Return the image files at any depth of ``base / folder`` as names below ``base``, sorted folder by folder.

    Names and not paths: ImageNet has 1.3 million.
    """
    found = [
        f"{above}/{name}" if above != "." else name
        for above, names in ((os.path.relpath(place, base), names) for place, names in _walk(base / folder))
        for name in names
        if name.lower().endswith(EXTENSIONS)
    ]
    return sorted(found, key=lambda name: name.split("/"))


def written_below(place: Path) -> tuple[int, ...]:
    """Return when a file was written last, or a folder and its sub-folders: by images that came or went."""
    if not place.is_dir():
        return (written(place),)
    with os.scandir(place) as entries:
        below = sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_dir())
    return (written(place), *(when for _, when in below))


def part_of_files(base: Path, files: Iterable[Path | str], labels: Sequence[int], classes: Sequence[str]) -> Part:
    """Return the part whose pictures are ``files``: paths of files below ``base``, or names there."""
    prefix = f"{base}/"
    names = tuple(str(file).removeprefix(prefix) for file in files)
    return Part(
        pictures=Files(base=base, names=names),
        ids=tuple(map(shown, names)),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=tuple(classes),
    )


def by_folder(base: Path, below: str, label_of: Mapping[str, int], classes: Sequence[str]) -> Part:
    """Return the images below ``base / below``, labelled by the sub-folder they are in."""
    folder = base / below
    found = [(name, file) for name in folders_below(folder) for file in images_below(base, os.path.join(below, name))]
    strange = dict.fromkeys(name for name, _ in found if name not in label_of)
    require(not strange, "root", str(folder), f"the set's class folders, not {', '.join(map(shown, [*strange][:3]))}")
    require(len(found) > 0, "root", str(folder), f"class folders with images; found none{_packed(folder)}")
    return part_of_files(base, [file for _, file in found], [label_of[name] for name, _ in found], classes)


def _packed(folder: Path) -> str:
    """Return, for an error, what lies there still to be unpacked: ImageNet's training set is an archive of archives."""
    packed = sorted(name for name in os.listdir(folder) if name.endswith((".tar", ".tgz", ".gz", ".zip")))
    return f"; unpack {packed[0]}, {len(packed)} such, each into a folder of its name" if packed else ""


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


# --- arrays ----------------------------------------------------------------------------------------------------------


class _ArraysOnly(pickle.Unpickler):
    """Reads lists, numbers, text and numpy arrays. A pickle that asks for anything else could run any code."""

    ALLOWED = frozenset(
        (module, name)
        for core in ("numpy.core.", "numpy._core.")
        for module, name in (
            (f"{core}multiarray", "_reconstruct"),
            (f"{core}multiarray", "scalar"),
            (f"{core}numeric", "_frombuffer"),
        )
    ) | {("numpy", "ndarray"), ("numpy", "dtype"), ("_codecs", "encode")}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"a batch of CIFAR holds arrays, not {module}.{name}")
        return super().find_class(module, name)


def _unpickled(file: Path) -> dict[str, Any]:
    try:
        found = _ArraysOnly(io.BytesIO(file.read_bytes()), encoding="latin1").load()
    except Exception as error:  # a damaged pickle stops its reader in any way, none of which says which file
        raise ValueError(f"{file.name}: {error or type(error).__name__}") from error
    require(isinstance(found, dict), "root", str(file), "a batch of CIFAR's Python version")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key): value for key, value in found.items()}


def _cifar(
    root: Path, part: PartName, *, folder: str, train: tuple[str, ...], test: str, names: str, key: str, label: str
) -> Part:
    place = root / folder
    files = [place / name for name in (train if part == "train" else (test,))]
    batches = [_unpickled(file) for file in files]
    array = np.concatenate([np.asarray(batch["data"], dtype=np.uint8) for batch in batches])
    labels = torch.tensor([int(value) for batch in batches for value in batch[label]], dtype=torch.int64)
    classes = tuple(name.decode() if isinstance(name, bytes) else str(name) for name in _unpickled(place / names)[key])
    whole = len(array) == len(labels) and bool(((labels >= 0) & (labels < len(classes))).all())
    require(whole, "root", str(place), f"a label of its {len(classes)} classes for each of {len(array)} images")
    which = "train" if part == "train" else "test"
    return Part(
        pictures=Pixels(
            array=np.ascontiguousarray(array.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)), source=f"{place} {which}"
        ),
        ids=tuple(f"{which}-{row}" for row in range(len(labels))),
        labels=labels,
        classes=classes,
    )


cifar10: Reader = partial(
    _cifar, folder="cifar-10-batches-py", train=tuple(f"data_batch_{i}" for i in range(1, 6)), test="test_batch",
    names="batches.meta", key="label_names", label="labels",
)  # fmt: skip
cifar100: Reader = partial(
    _cifar, folder="cifar-100-python", train=("train",), test="test", names="meta", key="fine_label_names",
    label="fine_labels",
)  # fmt: skip


def stl10(root: Path, part: PartName) -> Part:
    """X: uint8, image after image, each plane by plane, each plane column by column. y: uint8 from 1."""
    place = root / "stl10_binary"
    which = "train" if part == "train" else "test"
    images, size = place / f"{which}_X.bin", 3 * 96 * 96
    labels = torch.from_numpy(np.fromfile(place / f"{which}_y.bin", dtype=np.uint8).astype(np.int64)) - 1
    found = images.stat().st_size
    require(found == size * len(labels), "root", str(images), f"{size * len(labels)} bytes, not {found}")
    classes = tuple((place / "class_names.txt").read_text(encoding="utf-8").split())
    inside = bool(((labels >= 0) & (labels < len(classes))).all())
    require(inside, "root", str(place), f"labels from 1 to {len(classes)}, as class_names.txt lists")
    return Part(
        pictures=Binary(file=images, shape=(len(labels), 3, 96, 96)),
        ids=tuple(f"{which}-{row}" for row in range(len(labels))),
        labels=labels,
        classes=classes,
    )


# --- a folder per class ----------------------------------------------------------------------------------------------


def class_folders(
    root: Path, part: PartName, *, folder: str, published: tuple[str, ...], without: tuple[str, ...] = ()
) -> Part:
    """Read a folder per class."""
    place = root / folder
    found = {name: images_below(place, name) for name in folders_below(place) if name not in without}
    return _labelled(place, found, published)


def _labelled(place: Path, found: Mapping[str, Sequence[str]], published: tuple[str, ...]) -> Part:
    """Return the images of each folder. Where published classes lack, the others keep their places.

    A folder without images is no class: it would be one more text that draws images away from theirs.
    """
    named = [name for name, files in found.items() if files]
    require(len(named) > 0, "root", str(place), "class folders with images; found none")
    classes = published if set(named) <= set(published) else tuple(named)
    label_of = {name: i for i, name in enumerate(classes)}
    files = [(file, label_of[name]) for name in named for file in found[name]]
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
    found = {
        name: [file for file in images_below(place, name) if file.count("/") == 1] for name in folders_below(place)
    }
    return _labelled(place, found, published)


def tiny_imagenet(root: Path, part: PartName) -> Part:
    """Classes are those of ``wnids.txt``, else the folders of ``train``, sorted: the order in the file is no order.

    ``val`` as it is unpacked, all images in one folder and their classes in ``val_annotations.txt`` (tab-separated:
    file, class, box), or sorted into a folder per class.
    """
    place = root / "tiny-imagenet-200"
    listed = place / "wnids.txt"
    wnids = listed.read_text(encoding="utf-8").split() if listed.is_file() else folders_below(place / "train")
    classes = tuple(sorted(set(wnids)))
    label_of = {wnid: i for i, wnid in enumerate(classes)}
    if part == "train":
        return by_folder(place, "train", label_of, classes)
    annotations, images = place / "val" / "val_annotations.txt", place / "val" / "images"
    if not (annotations.is_file() and images.is_dir() and any(images.iterdir())):
        return by_folder(place, "val", label_of, classes)
    rows = [line.split("\t")[:2] for line in annotations.read_text(encoding="utf-8").splitlines() if line.strip()]
    strange = [row for row in rows if len(row) < 2 or row[1] not in label_of]
    require(
        not strange, "root", str(annotations), f"a file and one of {len(classes)} classes a line, not {strange[:1]}"
    )
    rows.sort()
    return part_of_files(place, [images / name for name, _ in rows], [label_of[wnid] for _, wnid in rows], classes)


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
        with solution.open(encoding="utf-8", newline="") as lines:
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
    said = (data / "ILSVRC2012_validation_ground_truth.txt").read_text(encoding="utf-8").split()
    return [wnid_of[int(number)] for number in said]


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
