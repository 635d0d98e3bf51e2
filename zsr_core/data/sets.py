"""Where images come from: a reference that a config can hold, and the set it opens, with honest splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, fingerprint, require, unknown
from zsr_core.data import miniature, shards, tasks
from zsr_core.data.formats import Part, folders_below, images_below, part_of_files, written_below
from zsr_core.data.imagenet_names import TEMPLATES
from zsr_core.data.kept import Kept, cache_folder, kept_file, kept_unreadable
from zsr_core.data.partition import HELD_OUT, cut, digest, held_out
from zsr_core.data.pictures import Decoded, Files, Pictures, Preprocessing, unreadable
from zsr_core.data.remote import local
from zsr_core.data.tasks import PROMPT_SETS, TEMPLATE, PromptSet, words
from zsr_core.rng import generator
from zsr_core.text import check_prompts
from zsr_core.threat import PixelSpace

Split = Literal["train", "selection", "report"]
SPLITS: tuple[Split, ...] = ("train", "selection", "report")
SOURCES = ("miniature", "imagefolder", "cifar10", "cifar100", "task", "webdataset", "huggingface")
FOLDERS = ("imagefolder", "webdataset", "huggingface")  # whatever lies there, without published rows
OnCorrupt = Literal["fail", "skip"]
# How many files at most are asked for their size, to know a set by: of a million, every fiftieth.
SIZED = 20_000


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """An image set: ``source`` says how to read it, ``name`` which miniature set, or how to call it, ``root`` where.

    Source "task" is a public set, ``name`` a row of :mod:`zsr_core.data.tasks`, ``root`` the folder that holds all
    sets; "cifar10" and "cifar100" are two of them. "webdataset" is a folder of tar shards, "huggingface" one that
    ``datasets`` saved, or of Parquet files as its hub keeps them; both are split as "imagefolder" is. The root of these
    three may be a URL of object storage (:mod:`zsr_core.data.remote`). ``prompts`` (names and templates) and
    ``preprocessing`` are those of a paper; None is TGA-ZSR's of the set, of a folder its template and Resize(256),
    CenterCrop(224).

    ``on_corrupt``: "fail" stops with the path of an image that cannot be decoded, when it is met; "skip" decodes every
    image when the set is opened, leaves those out, and lists them in ``ImageSet.skipped`` and the trial's provenance.

    ``limit`` keeps so many images of the split: the first ones of the miniature, which are of all classes; on disk,
    where files are sorted by class, a seeded choice. A smaller limit keeps some of a larger one's.
    """

    source: Literal["miniature", "imagefolder", "cifar10", "cifar100", "task", "webdataset", "huggingface"] = (
        "miniature"
    )
    name: str = ""
    root: str | None = None
    prompts: PromptSet | None = None
    preprocessing: Preprocessing | None = None
    on_corrupt: OnCorrupt = "fail"
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("source", self.source, SOURCES)
        if self.source == "miniature" and self.called not in miniature_names():
            raise unknown("name", self.name, miniature_names())
        if self.source == "task":
            tasks.task(self.name)
        on_disk = self.source != "miniature"
        require(not on_disk or bool(self.root), "root", self.root, f"the folder of the {self.source} data")
        for field, value, known in (
            ("prompts", self.prompts, PROMPT_SETS), ("preprocessing", self.preprocessing, get_args(Preprocessing)),
        ):  # fmt: skip
            if value is not None and value not in known:
                raise unknown(field, value, known)
            require(on_disk or value is None, field, value, "none: the miniature brings its own")
        if self.on_corrupt not in get_args(OnCorrupt):
            raise unknown("on_corrupt", self.on_corrupt, get_args(OnCorrupt))
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "at least 1 image")

    @property
    def called(self) -> str:
        """The name that tables use: ``name``, else the miniature's source set, the folder's name or the set's."""
        if self.name:
            return self.name
        if self.source in FOLDERS:
            return Path(str(self.root)).expanduser().resolve().name
        return "source" if self.source == "miniature" else self.source

    @property
    def skips(self) -> bool:
        """Whether images that cannot be decoded are left out."""
        return self.on_corrupt == "skip"

    @property
    def native(self) -> int | None:
        """Pixels of a side of its images as they are on disk, where a public set has one such size."""
        row = self.row
        return None if row is None else row.native

    @property
    def row(self) -> tasks.ZeroShotTask | None:
        """The public set's row, if it is one."""
        if self.source == "miniature" or self.source in FOLDERS:
            return None
        return tasks.task(self.name if self.source == "task" else self.source)


def miniature_names() -> tuple[str, ...]:
    """Return the names of the miniature's sets, in reading order."""
    return tuple(spec.name for spec in miniature.SETS)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of an image set, N images of S x S pixels, which are read when asked for."""

    name: str
    split: Split
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    ids: Sequence[str]  # [N], stable names of the images
    labels: Tensor  # [N] int64
    key: str  # hash of what the pixels are and how they were made
    pixels: Callable[[Sequence[int]], Tensor]  # rows -> uint8 [b, 3, S, S], or floats in [0, 1]
    in_memory: bool = False
    skipped: tuple[str, ...] = ()  # images left out because they cannot be decoded
    space: PixelSpace = "model_input"  # "native": S is the set's own size, not the model's


def task_ref(
    name: str, root: str | Path, *, prompts: PromptSet | None = None, on_corrupt: OnCorrupt = "fail"
) -> DataRef:
    """Return the set that a command line calls ``name``, looked for below ``root``; a path is a folder of images.

    Raises:
        ConfigError: for a name that is no set and no folder, with the nearest name.
    """
    how: dict[str, Any] = {"prompts": prompts, "on_corrupt": on_corrupt}
    if name in miniature_names():
        return DataRef(source="miniature", name=name, **how)
    if name in tasks.NAMES:
        return DataRef(source="task", name=name, root=str(root), **how)
    for folder in (Path(name).expanduser(), Path(root).expanduser() / name):
        if folder.is_dir():
            return DataRef(source=_kind_of(folder), root=str(folder), **how)
    raise unknown("task", name, (*tasks.NAMES, *miniature_names()))


def taken(images: ImageSet, rows: Sequence[int]) -> ImageSet:
    """Return these ``rows`` of a set, in their order; pixels are still read when asked for."""
    picked = tuple(rows)
    return replace(
        images, ids=tuple(images.ids[row] for row in picked), labels=images.labels[list(picked)],
        pixels=Picked(pixels=images.pixels, rows=picked),
    )  # fmt: skip


def _kind_of(folder: Path) -> Literal["imagefolder", "webdataset", "huggingface"]:
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))
    if saved or any(shards.parquet_files(folder, split) for split in shards.OWN):
        return "huggingface"
    return "webdataset" if any(folder.glob("*.tar")) or shards.tar_splits(folder) else "imagefolder"


@dataclass(frozen=True, kw_only=True, eq=False)
class Picked:
    """Reads some rows of a set; a value, so that worker processes can be given it."""

    pixels: Callable[[Sequence[int]], Tensor]
    rows: tuple[int, ...]

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return self.pixels([self.rows[row] for row in rows])


def open_data(
    ref: DataRef, split: Split, size: int, limit: int | None = None, *, space: PixelSpace = "model_input"
) -> ImageSet:
    """Return the split as images of ``size`` x ``size`` pixels; ``limit`` and ``ref.limit`` keep so many of them.

    With ``space`` "native" the images of a public set keep the one size that they all have, whatever ``size`` is.

    Raises:
        ConfigError: naming the field and the folder where data is missing or holds no image.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    caps = [n for n in (limit, ref.limit) if n is not None]
    cap = min(caps) if caps else None
    native = f"'model_input': the images of {ref.called} have no one native size"
    require(space == "model_input" or ref.native is not None, "space", space, native)
    if ref.source == "miniature":
        return _miniature(ref.called, split, size, cap)
    row = ref.row
    if row is None:
        return _image_folder(ref, split, size, cap)
    return _task(ref, row, split, size, cap, space)


@dataclass(frozen=True, kw_only=True)
class SetSize:
    """How large a split is, for planning."""

    images: int
    classes: int
    published: bool  # counted from what is published, because the set is not here


def set_size(ref: DataRef, split: Split, size: int, limit: int | None = None) -> SetSize:
    """Return how large a split is; of a public set of which nothing is below its root, the published numbers.

    Raises:
        ConfigError: naming the field and the folder where data other than a public set is missing, or a set in part.
    """
    row = ref.row
    if row is None or any((Path(str(ref.root)).expanduser() / part).exists() for part in row.layout):
        images = open_data(ref, split, size, limit)
        return SetSize(images=len(images.labels), classes=len(images.classes), published=False)
    n = row.counts[row.part_of(split)]
    selected = round(HELD_OUT * n)
    images_of = {"train": n - selected, "selection": selected, "report": n - selected if row.cut_by_us else n}
    caps = [cap for cap in (limit, ref.limit) if cap is not None]
    return SetSize(images=min(images_of[split], *caps, images_of[split]), classes=len(row.classes), published=True)


def check_data(ref: DataRef, split: Split, path: str, size: int, *, space: PixelSpace = "model_input") -> None:
    """Raise ``ConfigError`` naming ``path`` if a model of ``size`` pixels cannot use the data. Opens one image file."""
    try:
        images = open_data(ref, split, size, limit=1, space=space)
        check_prompts(images.classes, images.templates)
        enough = len(images.classes) >= 2
        require(enough, "classes", list(images.classes), "at least two: with one, every answer is right")
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None


def _miniature(name: str, split: Split, size: int, cap: int | None) -> ImageSet:
    sizes = " or ".join(map(str, miniature.IMAGE_SIZES))
    require(size in miniature.IMAGE_SIZES, "source", "miniature", f"a model of {sizes} px, not {size} px")
    if split == "train" and name != "source":
        raise ConfigError(f"split: got 'train' for the miniature set {name!r}, expected 'selection' or 'report'")
    rendered = miniature.render(name, split, cap, size)
    spec = next(s for s in miniature.SETS if s.name == name)
    return ImageSet(
        name=name,
        split=split,
        classes=spec.classes,
        templates=miniature.TEMPLATES,
        ids=rendered.ids,
        labels=rendered.labels,
        key=fingerprint(["miniature", name, split, _content(rendered.images)]),
        pixels=lambda rows: rendered.images[torch.as_tensor(rows)],
        in_memory=True,
    )


def _content(pixels: Tensor) -> str:
    return hashlib.blake2b(pixels.contiguous().numpy().data, digest_size=8).hexdigest()


def _task(
    ref: DataRef, row: tasks.ZeroShotTask, split: Split, size: int, cap: int | None, space: PixelSpace
) -> ImageSet:
    root = Path(str(ref.root)).expanduser().resolve()
    if row.cut_by_us and split == "train":
        raise ConfigError(
            f"split: got 'train' for {row.name}, which has no training set; expected 'selection' or 'report'"
        )
    part = tasks.read(row, root, row.part_of(split))
    rows = torch.arange(len(part.ids))
    if row.cut_by_us or split != "report":
        rest, selection = cut(root, row.name, part.ids)
        rows = selection if split == "selection" else rest
    prompts = row.prompts[ref.prompts or "tga"]
    native = row.native if space == "native" else None
    return _opened(
        ref, split, part=_named(part, prompts), rows=rows, size=native or size, cap=cap, root=root, choice=row.name,
        templates=prompts.templates, preprocessing=None if native else ref.preprocessing or row.preprocessing,
        space=space,
    )  # fmt: skip


def _named(part: Part, prompts: tasks.Prompts) -> Part:
    """Return the part with its classes as the prompts call them; classes that they merge share a label."""
    classes = tuple(prompts.names(part.classes))
    if not prompts.merge:
        return replace(part, classes=classes)
    merged = tuple(dict.fromkeys(classes))
    labels = torch.tensor([merged.index(name) for name in classes])[part.labels]
    return replace(part, classes=merged, labels=labels)


def _opened(
    ref: DataRef,
    split: Split,
    *,
    part: Part,
    rows: Tensor,
    size: int,
    cap: int | None,
    root: Path,
    choice: str,
    templates: tuple[str, ...],
    preprocessing: Preprocessing | None,
    space: PixelSpace = "model_input",
) -> ImageSet:
    """Return ``rows`` of a part on disk, at most ``cap`` of them, without those that cannot be decoded if so asked."""
    order = torch.randperm(len(rows), generator=generator(0, "limit", choice, split))
    rows = rows[order[:cap].sort().values]
    skipped: list[int] = []
    folder, called = cache_folder(), f"{ref.called}-{split}-{size}"
    if ref.skips:
        tried = tuple(rows.tolist())
        key = fingerprint([ref.source, str(root), choice, split, digest([part.ids[row] for row in tried])])
        skipped = kept_unreadable(
            folder, called, key, part.pictures, tried, lambda: _found_unreadable(part.pictures, tried)
        )
        rows = rows[~torch.isin(rows, torch.tensor(skipped, dtype=torch.int64))]
        require(len(rows) > 0, "root", str(root), f"a {split!r} image that can be decoded")
    ids = [part.ids[row] for row in rows.tolist()]
    made = [split, size, preprocessing, _bytes_of(part, rows), digest(ids)]
    key = fingerprint([ref.source, str(root), choice, *made])
    pixels = Decoded(pictures=part.pictures, rows=rows, size=size, preprocessing=preprocessing)
    return ImageSet(
        name=ref.called,
        split=split,
        classes=part.classes,
        templates=templates,
        ids=tuple(ids),
        labels=part.labels[rows],
        key=key,
        pixels=Kept(decoded=pixels, file=kept_file(folder, called, key, pixels)) if folder else pixels,
        skipped=tuple(part.ids[row] for row in skipped),
        space=space,
    )


def _found_unreadable(pictures: Pictures, rows: tuple[int, ...]) -> list[int]:
    stamp = pictures.stamp(rows)
    return list(_unreadable(pictures, rows, stamp if isinstance(stamp, str) else tuple(stamp)))


@lru_cache(maxsize=8)
def _unreadable(pictures: Pictures, rows: tuple[int, ...], stamp: str | tuple[int, ...]) -> tuple[int, ...]:
    """``stamp``: when the pictures were written; those of a set that was mended are tried anew."""
    return tuple(unreadable(pictures, rows))


def _bytes_of(part: Part, rows: Tensor) -> list[int] | str:
    """What tells these pixels from others of the same names: sizes of files; of arrays the first pictures' bytes."""
    if isinstance(part.pictures, Files):
        step = max(1, -(-len(rows) // SIZED))
        files = (part.pictures.base / part.pictures.names[row] for row in rows[::step].tolist())
        return [_size(file) for file in files]
    if isinstance(part.pictures, shards.Members | shards.Cells):
        return part.pictures.known_by(rows.tolist())
    first = (part.pictures.read(row).tobytes() for row in rows[:16].tolist())
    return hashlib.blake2b(b"".join(first), digest_size=8).hexdigest()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a file that a list names and the disk lacks: whoever reads it is told
        return -1


def _image_folder(ref: DataRef, split: Split, size: int, cap: int | None) -> ImageSet:
    root = local(str(ref.root))
    part, rows = _folder_split(root, split, ref.source)
    require(len(rows) > 0, "root", str(root), f"enough images for a {split!r} split; found {len(part.ids)}")
    generic = {"agft": (f"{TEMPLATE}.",), "openai-ensemble": TEMPLATES}
    return _opened(
        ref, split, part=replace(part, classes=_class_names(root, part.classes)), rows=rows, size=size, cap=cap,
        root=root, choice=root.name, templates=generic.get(ref.prompts or "tga", (TEMPLATE,)),
        preprocessing=ref.preprocessing or "resize256_crop224",
    )  # fmt: skip


def _listing(root: Path, below: str, classes: tuple[str, ...] | None) -> Part:
    """``classes``: what a label is a position in, else the folder's own sub-folders."""
    folder = root / below
    require(folder.is_dir(), "root", str(folder), "a folder with one sub-folder of images per class")
    return _listed(root, below, classes, written_below(folder))


@lru_cache(maxsize=32)
def _listed(root: Path, below: str, classes: tuple[str, ...] | None, stamp: tuple[int, ...]) -> Part:
    """``stamp``: when its folders were written last; to which images came is listed anew."""
    folder = root / below
    names = folders_below(folder)
    strange = [name for name in names if classes is not None and name not in classes]
    require(not strange, "root", str(folder), f"the class folders of {root / 'train'}, not {strange[:3]}")
    label_of = {name: i for i, name in enumerate(classes or names)}
    files = [(file, label_of[name]) for name in names for file in images_below(root, os.path.join(below, name))]
    require(len(files) > 0, "root", str(folder), "a folder with one sub-folder of images per class; found no image")
    return part_of_files(root, [file for file, _ in files], [label for _, label in files], list(label_of))


def _own_splits(root: Path) -> tuple[str, ...]:
    return tuple(name for name in shards.OWN if (root / name).is_dir()) if (root / "train").is_dir() else ()


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a folder says which splits it has, and what is in one; "" is all of a folder that has none."""

    splits: Callable[[Path], tuple[str, ...]]
    part: Callable[[Path, str, tuple[str, ...] | None], Part]


_LAYOUTS = {
    "imagefolder": _Layout(splits=_own_splits, part=_listing),
    "webdataset": _Layout(splits=shards.tar_splits, part=shards.tar_part),
    "huggingface": _Layout(splits=shards.arrow_splits, part=shards.arrow_part),
}


def _folder_split(root: Path, split: Split, source: str) -> tuple[Part, Tensor]:
    """With a split of its own to train on: 80 / 20 of it, and what it holds out. A flat folder: 60 / 20 / 20."""
    require(root.is_dir(), "root", str(root), "a folder that exists")
    layout = _LAYOUTS[source]
    own = layout.splits(root)
    held = next((name for name in shards.HELD if name in own), "val")
    if "train" in own:
        of_train = layout.part(root, "train", None)
        if split == "report":
            alone = f"a split to report beside 'train', called {', '.join(shards.HELD)}; it has only {', '.join(own)}"
            require(held in own, "root", str(root), alone)
            of_held = layout.part(root, held, of_train.classes)
            return of_held, torch.arange(len(of_held.ids))
        train, selection = held_out(len(of_train.ids), root.name)
        return of_train, train if split == "train" else selection
    if own:
        alone = f"a folder with a split 'train'; it has only {', '.join(own)}, which can be reported"
        require(split == "report" and held in own, "root", str(root), alone)
        of_held = layout.part(root, held, None)
        return of_held, torch.arange(len(of_held.ids))
    flat = layout.part(root, "", None)
    rest, selection = held_out(len(flat.ids), root.name)
    kept = round(len(rest) * 0.75)
    order = rest[torch.randperm(len(rest), generator=generator(0, "flat", root.name))]
    parts = {"train": order[:kept].sort().values, "selection": selection, "report": order[kept:].sort().values}
    return flat, parts[split]


def _class_names(root: Path, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folder names as words; where the root holds ``words.txt`` (id, tab, names), the first name listed there."""
    spoken: dict[str, str] = {}
    if (root / "words.txt").is_file():
        for line in (root / "words.txt").read_text(encoding="utf-8").splitlines():
            wnid, _, names = line.partition("\t")
            spoken[wnid] = names.split(",")[0].strip()
    return tuple(words(spoken.get(name, name)) for name in folders)
