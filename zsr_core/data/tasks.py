"""The public image sets as rows: where each lies, how it is read, split, named and prompted, and how large it is.

Counts are the published ones.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from zsr_core.codec import ConfigError, require, unknown
from zsr_core.data import class_lists
from zsr_core.data.formats import arrays, outside, public
from zsr_core.data.formats.listing import Part, PartName, Reader, written_below
from zsr_core.data.imagenet_names import SUBSETS, WNIDS
from zsr_core.data.partition import Split
from zsr_core.data.pictures import Preprocessing
from zsr_core.data.prompts import (
    CALTECH,
    CAR,
    FLOWERS_OPENAI,
    LAND,
    LAND_OPENAI,
    PHOTO,
    PLAIN,
    TEMPLATE,
    TEXTURE,
    TISSUE,
    Prompts,
    aircraft,
    as_spelled,
    both,
    called,
    car_models,
    faces_are_people,
    flowers,
    imagenet_prompts,
    numbered_folders,
    prompts,
)
from zsr_core.names import OodKind, PromptSet  # fmt: skip
from zsr_core.threat import PixelSpace


@dataclass(frozen=True, kw_only=True)
class ZeroShotTask:
    """A public set. Below the folder of all sets it lies in ``folder``; ``layout`` lists what must be there."""

    name: str  # in configs and tables
    title: str  # as papers write it
    read: Reader
    folder: str
    layout: tuple[str, ...]  # relative to the folder of all sets
    train_layout: tuple[str, ...] = ()  # what training and selection need beside it
    archives: tuple[str, ...]  # as published
    # What each part is; "all" where the authors did not cut the set: 20 % of it select, 80 % report.
    splits: Mapping[PartName, str]
    counts: Mapping[PartName, int]  # published
    classes: tuple[str, ...]  # published, in label order, spelled as on disk
    prompts: Mapping[PromptSet, Prompts]
    preprocessing: Preprocessing = "resize256_crop224"  # TGA-ZSR's
    threat_space: PixelSpace = "model_input"  # where TGA-ZSR's tables put the budget
    native: int | None = None  # pixels of a side, where all images have one square size
    # How the set's results are usually given. Measured here is accuracy, as in every table of robust CLIPs.
    metric: Literal["accuracy", "mean per class"] = "accuracy"
    licence: str
    page: str  # the official page, by name
    # Of images that are out of distribution, which have no classes: whether they are near ImageNet's or far from them.
    outside: OodKind | None = None
    either: tuple[str, ...] = ()  # folders of which one must be there beside ``layout``, the first found is read
    shares: tuple[str, ...] = ()  # sets that have some of the same images

    @property
    def cut_by_us(self) -> bool:
        """Whether the set has no training part of its own, so that selection and report share one part."""
        return "all" in self.splits

    def part_of(self, split: Split) -> PartName:
        """Return the part that a split is taken from."""
        if self.cut_by_us:
            return "all"
        return "report" if split in ("report", "all") else "train"


_NON_COMMERCIAL = "non-commercial research and education only"
_UNSTATED = "none stated; research use"
_OWNERS = "research use; the images are their owners'"

TINY_IMAGENET = ZeroShotTask(
    name="tiny_imagenet", title="Tiny-ImageNet", read=public.tiny_imagenet, folder="tiny-imagenet-200",
    layout=("tiny-imagenet-200/val",), train_layout=("tiny-imagenet-200/train",), archives=("tiny-imagenet-200.zip",),
    splits={"train": "train, 500 a class", "report": "val, 50 a class"}, counts={"train": 100_000, "report": 10_000},
    classes=class_lists.TINY_IMAGENET, prompts=imagenet_prompts(), native=64,
    licence=f"ImageNet's: {_NON_COMMERCIAL}", page="Stanford CS231n, Tiny ImageNet Visual Recognition Challenge",
)  # fmt: skip
IMAGENET = ZeroShotTask(
    name="imagenet", title="ImageNet", read=public.imagenet, folder="imagenet",
    layout=("imagenet/val",), train_layout=("imagenet/train",),
    archives=("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
    splits={"train": "train", "report": "val"}, counts={"train": 1_281_167, "report": 50_000}, classes=WNIDS,
    prompts=imagenet_prompts(), licence=_NON_COMMERCIAL,
    page="ImageNet, ILSVRC 2012 (image-net.org, Large Scale Visual Recognition Challenge 2012)",
)  # fmt: skip
CIFAR10 = ZeroShotTask(
    name="cifar10", title="CIFAR-10", read=arrays.cifar10, folder="cifar-10-batches-py",
    layout=("cifar-10-batches-py/batches.meta", "cifar-10-batches-py/test_batch"),
    train_layout=tuple(f"cifar-10-batches-py/data_batch_{i}" for i in range(1, 6)),
    archives=("cifar-10-python.tar.gz",), splits={"train": "train", "report": "test"},
    counts={"train": 50_000, "report": 10_000}, classes=class_lists.CIFAR10, prompts=prompts(openai=PHOTO),
    preprocessing="resize224", native=32, licence=_UNSTATED,
    page="The CIFAR-10 dataset, Alex Krizhevsky, University of Toronto",
)  # fmt: skip
CIFAR100 = ZeroShotTask(
    name="cifar100", title="CIFAR-100", read=arrays.cifar100, folder="cifar-100-python",
    layout=("cifar-100-python/meta", "cifar-100-python/test"), train_layout=("cifar-100-python/train",),
    archives=("cifar-100-python.tar.gz",), splits={"train": "train", "report": "test"},
    counts={"train": 50_000, "report": 10_000}, classes=class_lists.CIFAR100, prompts=prompts(openai=PHOTO),
    preprocessing="resize224", native=32, licence=_UNSTATED,
    page="The CIFAR-100 dataset, Alex Krizhevsky, University of Toronto",
)  # fmt: skip
STL10 = ZeroShotTask(
    name="stl10", title="STL-10", read=arrays.stl10, folder="stl10_binary",
    layout=("stl10_binary/class_names.txt", "stl10_binary/test_X.bin", "stl10_binary/test_y.bin"),
    train_layout=("stl10_binary/train_X.bin", "stl10_binary/train_y.bin"),
    archives=("stl10_binary.tar.gz",), splits={"train": "train", "report": "test"},
    counts={"train": 5_000, "report": 8_000}, classes=class_lists.STL10, prompts=prompts(openai=PLAIN),
    preprocessing="resize224", native=96, licence="images of ImageNet: " + _NON_COMMERCIAL,
    page="STL-10 dataset, Adam Coates, Stanford University",
)  # fmt: skip
SUN397 = ZeroShotTask(
    name="sun397", title="SUN397", read=public.sun397, folder="SUN397", layout=("SUN397/ClassName.txt",),
    archives=("SUN397.tar.gz",), splits={"all": "every image"}, counts={"all": 108_754}, classes=class_lists.SUN397,
    prompts=prompts(openai=PLAIN), licence=_OWNERS,
    page="SUN Database: Scene Categorization Benchmark, Princeton Vision Group",
)  # fmt: skip
FOOD101 = ZeroShotTask(
    name="food101", title="Food101", read=public.food101, folder="food-101",
    layout=("food-101/images", "food-101/meta/test.json"), train_layout=("food-101/meta/train.json",),
    archives=("food-101.tar.gz",), splits={"train": "train, 750 a class", "report": "test, 250 a class"},
    counts={"train": 75_750, "report": 25_250}, classes=class_lists.FOOD101,
    prompts=both("A photo of {}, a type of food.", openai=("a photo of {}, a type of food.",)),
    licence="scientific fair use; the images are Foodspotting's", page="Food-101, Computer Vision Lab, ETH Zurich",
)  # fmt: skip
OXFORD_PETS = ZeroShotTask(
    name="oxford_pets", title="OxfordPets", read=public.oxford_pets, folder="oxford-iiit-pet",
    layout=("oxford-iiit-pet/images", "oxford-iiit-pet/annotations/test.txt"),
    train_layout=("oxford-iiit-pet/annotations/trainval.txt",),
    archives=("images.tar.gz", "annotations.tar.gz"), splits={"train": "trainval", "report": "test"},
    counts={"train": 3_680, "report": 3_669}, classes=class_lists.OXFORD_PETS,
    prompts=both("A photo of a {}, a type of pet.", openai=("a photo of a {}, a type of pet.",)),
    metric="mean per class", licence="CC BY-SA 4.0",
    page="The Oxford-IIIT Pet Dataset, Visual Geometry Group, University of Oxford",
)  # fmt: skip
FLOWERS102 = ZeroShotTask(
    name="flowers102", title="Flowers102", read=public.flowers102, folder="flowers-102",
    layout=("flowers-102/jpg", "flowers-102/imagelabels.mat", "flowers-102/setid.mat"), archives=("102flowers.tgz",),
    splits={"train": "trnid and valid, 10 a class each", "report": "tstid"},
    counts={"train": 2_040, "report": 6_149}, classes=class_lists.FLOWERS102,
    prompts=prompts(
        Prompts(templates=("A photo of a {}, a type of flower.",)),
        Prompts(templates=("A photo of a {}, a type of flower.",), names=flowers),
        Prompts(templates=("a photo of a {}, a type of flower.",),
                names=lambda classes: [FLOWERS_OPENAI.get(name, name) for name in classes]),
    ),
    metric="mean per class", licence=_UNSTATED,
    page="102 Category Flower Dataset, Visual Geometry Group, University of Oxford",
)  # fmt: skip
DTD = ZeroShotTask(
    name="dtd", title="DTD", read=public.dtd, folder="dtd/dtd",
    layout=("dtd/dtd/images", "dtd/dtd/labels/test1.txt"),
    train_layout=("dtd/dtd/labels/train1.txt", "dtd/dtd/labels/val1.txt"),
    archives=("dtd-r1.0.1.tar.gz",), splits={"train": "train1 and val1", "report": "test1"},
    counts={"train": 3_760, "report": 1_880}, classes=class_lists.DTD,
    prompts=both("A surface with a {} texture.", openai=Prompts(templates=TEXTURE, names=as_spelled)),
    licence="research use",
    page="Describable Textures Dataset, Visual Geometry Group, University of Oxford",
)  # fmt: skip
EUROSAT = ZeroShotTask(
    name="eurosat", title="EuroSAT", read=public.eurosat, folder="eurosat/2750", layout=("eurosat/2750",),
    archives=("EuroSAT.zip", "EuroSAT_RGB.zip"), splits={"all": "every image"}, counts={"all": 27_000},
    classes=class_lists.EUROSAT,
    prompts=both(
        "A centered satellite photo of {}.", called(class_lists.EUROSAT, LAND),
        Prompts(templates=("a centered satellite photo of {}.", "a centered satellite photo of a {}.",
                           "a centered satellite photo of the {}."),
                names=called(class_lists.EUROSAT, LAND_OPENAI)),
    ),
    native=64, licence="MIT",
    page="EuroSAT: Land Use and Land Cover Classification with Sentinel-2, Patrick Helber, DFKI",
)  # fmt: skip
FGVC_AIRCRAFT = ZeroShotTask(
    name="fgvc_aircraft", title="FGVC-Aircraft", read=public.fgvc_aircraft, folder="fgvc-aircraft-2013b",
    layout=("fgvc-aircraft-2013b/data/images", "fgvc-aircraft-2013b/data/variants.txt",
            "fgvc-aircraft-2013b/data/images_variant_test.txt"),
    train_layout=("fgvc-aircraft-2013b/data/images_variant_trainval.txt",),
    archives=("fgvc-aircraft-2013b.tar.gz",), splits={"train": "trainval, variants", "report": "test, variants"},
    counts={"train": 6_667, "report": 3_333}, classes=class_lists.FGVC_AIRCRAFT,
    prompts=both(
        "A photo of a {}, a type of aircraft.", aircraft,
        Prompts(templates=("a photo of a {}, a type of aircraft.", "a photo of the {}, a type of aircraft."),
                names=as_spelled),
    ),
    metric="mean per class", licence=_NON_COMMERCIAL,
    page="FGVC-Aircraft Benchmark, Visual Geometry Group, University of Oxford",
)  # fmt: skip
CALTECH101 = ZeroShotTask(
    name="caltech101", title="Caltech-101", read=public.caltech101, folder="caltech101/101_ObjectCategories",
    layout=("caltech101/101_ObjectCategories",), archives=("caltech-101.zip", "101_ObjectCategories.tar.gz"),
    splits={"all": "every image but BACKGROUND_Google's"}, counts={"all": 8_677}, classes=class_lists.CALTECH101,
    prompts=prompts(
        TEMPLATE,
        Prompts(templates=("A photo of a {}.",), names=faces_are_people, merge=True),
        Prompts(templates=CALTECH, names=called(class_lists.CALTECH101, class_lists.CALTECH101_OPENAI)),
    ),
    metric="mean per class", licence="CC BY 4.0", page="Caltech 101, CaltechDATA, Li, Andreeto, Ranzato and Perona",
)  # fmt: skip
CALTECH256 = ZeroShotTask(
    name="caltech256", title="Caltech-256", read=public.caltech256, folder="caltech256/256_ObjectCategories",
    layout=("caltech256/256_ObjectCategories",), archives=("256_ObjectCategories.tar",),
    splits={"all": "every image, 257.clutter among them"}, counts={"all": 30_607},
    classes=tuple(f"{i:03d}.{name}" for i, name in enumerate(class_lists.CALTECH256, start=1)),
    prompts=both("A photo of a {}.", numbered_folders, Prompts(templates=CALTECH, names=numbered_folders)),
    licence="CC BY 4.0", page="Caltech 256, CaltechDATA, Griffin, Holub and Perona",
)  # fmt: skip
STANFORD_CARS = ZeroShotTask(
    name="stanford_cars", title="StanfordCars", read=public.stanford_cars, folder="stanford_cars",
    layout=("stanford_cars/devkit/cars_meta.mat", "stanford_cars/cars_test_annos_withlabels.mat",
            "stanford_cars/cars_test"),
    train_layout=("stanford_cars/devkit/cars_train_annos.mat", "stanford_cars/cars_train"),
    archives=("cars_train.tgz", "cars_test.tgz", "car_devkit.tgz"), splits={"train": "train", "report": "test"},
    counts={"train": 8_144, "report": 8_041}, classes=class_lists.STANFORD_CARS,
    prompts=both("A photo of a {}.", car_models, Prompts(templates=CAR, names=as_spelled)),
    licence="ImageNet's: " + _NON_COMMERCIAL, page="Cars Dataset, Jonathan Krause, Stanford AI Laboratory",
)  # fmt: skip
PCAM = ZeroShotTask(
    name="pcam", title="PCAM", read=public.pcam, folder="pcam",
    layout=tuple(f"pcam/camelyonpatch_level_2_split_test_{axis}.h5" for axis in "xy"),
    train_layout=tuple(f"pcam/camelyonpatch_level_2_split_train_{axis}.h5" for axis in "xy"),
    archives=tuple(f"camelyonpatch_level_2_split_{s}_{axis}.h5.gz" for s in ("train", "test") for axis in "xy"),
    splits={"train": "train (valid is left alone)", "report": "test"}, counts={"train": 262_144, "report": 32_768},
    classes=TISSUE,
    prompts=prompts(
        # The slip of the pen is in TeCoA's and TGA-ZSR's code alike, hence in their numbers.
        Prompts(templates=("{}",), names=called(TISSUE, ("Tthis is a photo of healthy lymph node tissue.",
                                                          "This is a photo of lymph node tumor tissue."))),
        Prompts(templates=("This is a photo of {}.",),
                names=called(TISSUE, ("healthy lymph node tissue", "lymph node tumor tissue"))),
        Prompts(templates=("this is a photo of {}",),
                names=called(TISSUE, ("lymph node", "lymph node containing metastatic tumor tissue"))),
    ),
    native=96, licence="CC0 1.0", page="PatchCamelyon (PCam), Bas Veeling; Grand Challenge",
)  # fmt: skip
IMAGENET_A = ZeroShotTask(
    name="imagenet_a", title="ImageNet-A", read=public.imagenet_a, folder="imagenet-a", layout=("imagenet-a",),
    archives=("imagenet-a.tar",), splits={"all": "every image"}, counts={"all": 7_500}, classes=SUBSETS["a"],
    prompts=imagenet_prompts(), licence="MIT", page="Natural Adversarial Examples, Dan Hendrycks and others",
)  # fmt: skip
IMAGENET_R = ZeroShotTask(
    name="imagenet_r", title="ImageNet-R", read=public.imagenet_r, folder="imagenet-r", layout=("imagenet-r",),
    archives=("imagenet-r.tar",), splits={"all": "every image"}, counts={"all": 30_000}, classes=SUBSETS["r"],
    prompts=imagenet_prompts(), licence="MIT", page="The Many Faces of Robustness, Dan Hendrycks and others",
)  # fmt: skip
IMAGENET_SKETCH = ZeroShotTask(
    name="imagenet_sketch", title="ImageNet-Sketch", read=public.imagenet_sketch, folder="sketch", layout=("sketch",),
    archives=("ImageNet-Sketch.zip",), splits={"all": "every image"}, counts={"all": 50_889}, classes=WNIDS,
    prompts=imagenet_prompts(), licence="MIT", page="ImageNet-Sketch, Haohan Wang, Carnegie Mellon University",
)  # fmt: skip
IMAGENET_V2 = ZeroShotTask(
    name="imagenet_v2", title="ImageNet-V2", read=public.imagenet_v2,
    folder="imagenetv2-matched-frequency-format-val", layout=("imagenetv2-matched-frequency-format-val",),
    archives=("imagenetv2-matched-frequency.tar.gz",), splits={"all": "matched frequency, every image"},
    counts={"all": 10_000}, classes=WNIDS, prompts=imagenet_prompts(), licence="MIT",
    page="ImageNetV2, Benjamin Recht, Rebecca Roelofs, Ludwig Schmidt and Vaishaal Shankar",
)  # fmt: skip


def _ood(
    name: str, title: str, kind: OodKind, places: tuple[str, ...], count: int, archives: tuple[str, ...],
    page: str, *, licence: str = _OWNERS, listing: str = "", without: tuple[str, ...] = (),
    shares: tuple[str, ...] = (),
) -> ZeroShotTask:  # fmt: skip
    """Return the row of a set that OpenOOD 1.5 or MOS measure ImageNet's detectors on."""
    return ZeroShotTask(
        name=name, title=title, read=outside.reader(places, listing=listing, without=without), folder=places[0],
        layout=(listing,) if listing else (), either=places, archives=archives, splits={"all": "every image"},
        counts={"all": count}, classes=(outside.CLASS,), prompts=prompts(openai=PLAIN), licence=licence, page=page,
        outside=kind, shares=shares,
    )  # fmt: skip


_OPENOOD, _MOS = "OpenOOD v1.5, Jingkang50/OpenOOD", "MOS, deeplearning-wisc/large_scale_ood"
OUTSIDE: tuple[ZeroShotTask, ...] = (
    _ood("ssb_hard", "SSB-hard", "near", ("images_largescale/ssb_hard",), 49_000, ("ssb_hard.zip",), _OPENOOD,
         licence=f"images of ImageNet-21k: {_NON_COMMERCIAL}"),
    _ood("ninco", "NINCO", "near", ("images_largescale/ninco", "NINCO/NINCO_OOD_classes"), 5_879,
         ("ninco.zip", "NINCO_all.tar.gz"), f"{_OPENOOD}; NINCO, j-cb/NINCO"),
    _ood("inaturalist", "iNaturalist", "far", ("images_largescale/inaturalist/images", "iNaturalist/images"), 10_000,
         ("inaturalist.zip", "iNaturalist.tar.gz"), f"{_OPENOOD}; {_MOS}"),
    _ood("sun", "SUN", "far", ("SUN/images",), 10_000, ("SUN.tar.gz",), _MOS, shares=("sun397",)),
    _ood("places", "Places", "far", ("Places/images",), 10_000, ("Places.tar.gz",), _MOS),
    _ood("textures", "Textures", "far", ("images_classic/texture", "dtd/dtd/images"), 5_160,
         ("texture.zip", "dtd-r1.0.1.tar.gz"), f"{_OPENOOD}; Describable Textures Dataset, Visual Geometry Group",
         licence="research use", without=outside.NO_TEXTURES, shares=("dtd",)),
    _ood("openimage_o", "OpenImage-O", "far", ("images_largescale/openimage_o/images",), 15_869,
         ("openimage_o.zip", "benchmark_imglist.zip"), f"{_OPENOOD}; ViM, haoqiwang/vim", licence="CC BY 2.0 (images)",
         listing="benchmark_imglist/imagenet/test_openimage_o.txt"),
)  # fmt: skip

# The tables' 16, in TGA-ZSR's order; then ImageNet's variants.
SIXTEEN: tuple[ZeroShotTask, ...] = (
    TINY_IMAGENET, CIFAR10, CIFAR100, STL10, SUN397, FOOD101, OXFORD_PETS, FLOWERS102, DTD, EUROSAT, FGVC_AIRCRAFT,
    IMAGENET, CALTECH101, CALTECH256, STANFORD_CARS, PCAM,
)  # fmt: skip
TASKS: tuple[ZeroShotTask, ...] = (*SIXTEEN, IMAGENET_A, IMAGENET_R, IMAGENET_SKETCH, IMAGENET_V2)
EVERY: tuple[ZeroShotTask, ...] = (*TASKS, *OUTSIDE)
NAMES: tuple[str, ...] = tuple(task.name for task in TASKS)
EVERY_NAME: tuple[str, ...] = tuple(task.name for task in EVERY)


def task(name: str, path: str = "name") -> ZeroShotTask:
    """Return the row. Raises ``ConfigError`` at ``path`` for an unknown name, with the nearest one."""
    match = next((row for row in EVERY if row.name == name), None)
    if match is None:
        raise unknown(path, name, EVERY_NAME)
    return match


def needs(row: ZeroShotTask, part: PartName) -> tuple[str, ...]:
    """Return the paths, relative to the folder of all sets, that a part is read from."""
    return (*row.layout, *row.train_layout) if part == "train" else row.layout


def wanted(row: ZeroShotTask, part: PartName) -> tuple[str, ...]:
    """Return what :func:`needs` returns, and the folders of which one must be there, as messages list them."""
    return (*needs(row, part), *([" or ".join(row.either)] if row.either else []))


def read(row: ZeroShotTask, root: Path, part: PartName) -> Part:
    """Return one part of the set below ``root``, listed and not decoded.

    Raises:
        ConfigError: in one sentence, for whatever is on disk that is not this set.
    """
    # Not Path.exists, because that raises where access is denied.
    lacks = [path for path in needs(row, part) if not os.path.exists(root / path)]
    found = next((place for place in row.either if os.path.exists(root / place)), None)
    if row.either and found is None:
        lacks.append(" or ".join(row.either))
    if lacks:
        expected = f"{', '.join(wanted(row, part))} below it, unpacked from {' and '.join(row.archives)}"
        raise ConfigError(
            f"root: {root} holds no {row.name} ({lacks[0]} is missing); expected {expected}. The environment variable "
            "ZSR_DATA names the folder of the public sets; `zsr data check` says which are there"
        )
    paths = (*needs(row, part), *(() if found is None else (found,)))
    stamp = tuple(when for path in paths for when in written_below(root / path))
    return _read(row.name, root, part, stamp)


@lru_cache(maxsize=64)
def _read(name: str, root: Path, part: PartName, stamp: tuple[int, ...]) -> Part:
    """``stamp``: when the set's files were written last; a repaired set is read again."""
    row = task(name)
    try:
        part_read = row.read(root, part)
    except ConfigError as error:
        raise ConfigError(str(error)) from None
    except Exception as error:  # readers fail in more ways than can be listed on a damaged set
        reason = " ".join(str(error).split())
        if isinstance(error, LookupError) or not reason:  # its text is a bare key
            reason = f"{type(error).__name__} {reason}".strip()
        raise ConfigError(f"root: {root} holds no {name} that can be read ({reason})") from error
    require(len(part_read.labels) > 0, "root", str(root / row.folder), f"images of {row.title}; found none")
    inside = bool(((part_read.labels >= 0) & (part_read.labels < len(part_read.classes))).all())
    require(inside, "root", str(root / row.folder), f"labels of the {len(part_read.classes)} classes")
    return part_read
