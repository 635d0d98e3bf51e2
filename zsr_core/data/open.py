"""Opens the set that a reference names: images, labels, class names and prompts of one split."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, fingerprint, require, unknown
from zsr_core.data import miniature, tasks
from zsr_core.data.folders import every_part, folder_split, named
from zsr_core.data.formats.huggingface import Cells
from zsr_core.data.formats.listing import Part
from zsr_core.data.formats.masks import object_masks
from zsr_core.data.formats.webdataset import Members
from zsr_core.data.imagenet_names import TEMPLATES
from zsr_core.data.kept import Kept, cache_folder, kept_file, kept_unreadable
from zsr_core.data.levels import UnknownRange
from zsr_core.data.partition import HELD_OUT, SPLITS, Split, cut, digest
from zsr_core.data.pictures import Decoded, Files, Pictures, Preprocessing, unreadable
from zsr_core.data.prompts import TEMPLATE, Prompts
from zsr_core.data.ref import DataRef, same_set
from zsr_core.data.remote import local
from zsr_core.rng import generator
from zsr_core.text import check_prompts
from zsr_core.threat import PixelSpace

# A set's key takes the sizes of so many files at most: of a million, those of every fiftieth.
SIZED = 20_000


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of an image set, N images of S x S pixels, which are read when asked for."""

    name: str
    split: Split
    classes: tuple[str, ...]  # () of a set that is out of distribution: all labels are then 0
    templates: tuple[str, ...]
    ids: Sequence[str]  # [N], stable names of the images
    labels: Tensor  # [N] int64
    key: str  # hash of what the pixels are and how they were made
    pixels: Callable[[Sequence[int]], Tensor]  # rows -> uint8 [b, 3, S, S], or floats in [0, 1]
    in_memory: bool = False
    skipped: tuple[str, ...] = ()  # images left out because they cannot be decoded
    space: PixelSpace = "model_input"  # "native": S is the set's own size, not the model's
    notes: tuple[str, ...] = ()  # what a reader of its numbers should know of how it was read, in sentences
    # rows -> bool [b, S, S], where the object of the image's class is; None where the set has no masks
    masks: Callable[[Sequence[int]], Tensor] | None = None


def taken(images: ImageSet, rows: Sequence[int]) -> ImageSet:
    """Return these ``rows`` of a set, in their order; pixels are still read when asked for."""
    picked = tuple(rows)
    return replace(
        images, ids=tuple(images.ids[row] for row in picked), labels=images.labels[list(picked)],
        pixels=Picked(pixels=images.pixels, rows=picked),
        masks=None if images.masks is None else Picked(pixels=images.masks, rows=picked),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class Picked:
    """Reads some rows of a set; a value, so that worker processes can be given it."""

    pixels: Callable[[Sequence[int]], Tensor]
    rows: tuple[int, ...]

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return self.pixels([self.rows[row] for row in rows])


def open_data(
    ref: DataRef,
    split: Split,
    size: int,
    limit: int | None = None,
    *,
    space: PixelSpace = "model_input",
    trained_on: DataRef | None = None,
) -> ImageSet:
    """Return the split as images of ``size`` x ``size`` pixels; ``limit`` and ``ref.limit`` keep so many of them.

    With ``space`` "native" the images of a public set keep the one size that they all have, whatever ``size`` is.
    ``trained_on`` is the trial's training set. Where that is another set, a folder without splits of its own gives half
    of its images to selection and half to report, and all of them to "all"; else 60 % are kept for training.

    Raises:
        ConfigError: naming the field and the folder where data is missing or holds no image.
    """
    _check_split(split)
    cap = smallest(limit, ref.limit)
    native = f"'model_input': the images of {ref.called} have no one native size"
    require(space == "model_input" or ref.native is not None, "space", space, native)
    if ref.source == "miniature":
        return _miniature(ref, split, size, cap)
    row = ref.row
    if row is None:
        return _image_folder(ref, split, size, cap, trained_on)
    return _task(ref, row, split, size, cap, space)


def _check_split(split: Split) -> None:
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)


def smallest(*limits: int | None) -> int | None:
    """Return the smallest of those limits that are given; None if none is."""
    return min((n for n in limits if n is not None), default=None)


@dataclass(frozen=True, kw_only=True)
class SetSize:
    """How large a split is, for planning."""

    images: int
    classes: int
    published: bool  # counted from what is published, because the set is not here
    notes: tuple[str, ...] = ()  # as of :class:`ImageSet`


def set_size(
    ref: DataRef, split: Split, size: int, limit: int | None = None, *, trained_on: DataRef | None = None
) -> SetSize:
    """Return how large a split is, without decoding an image unless ``ref`` skips those that cannot be decoded.

    Of a public set of which nothing is below its root, the published numbers. ``trained_on`` as of :func:`open_data`.

    Raises:
        ConfigError: naming the field and the folder where data other than a public set is missing, or a set in part.
    """
    _check_split(split)
    row, cap = ref.row, smallest(limit, ref.limit)
    if row is not None and not any((local(str(ref.root)) / part).exists() for part in (*row.layout, *row.either)):
        n = row.counts[row.part_of(split)]
        selected = round(HELD_OUT * n)
        images_of = {"train": n - selected, "selection": selected}
        whole = images_of.get(split, n - selected if row.cut_by_us else n)
        return SetSize(images=_capped(whole, cap), classes=len(row.classes), published=True)
    if ref.source == "miniature":
        spec, shown = _miniature_set(ref.called, split, size)
        classes = 0 if spec is None else len(spec.classes)
        return SetSize(images=miniature.images_of(ref.called, shown, cap), classes=classes, published=False)
    if ref.kind is None or ref.skips:
        images = open_data(ref, split, size, limit, trained_on=trained_on)
        return SetSize(images=len(images.labels), classes=len(images.classes), published=False, notes=images.notes)
    root = local(str(ref.root))
    part, rows = folder_split(root, split, ref.kind, trained=_trained(ref, trained_on))
    part = named(root, part)
    return SetSize(images=_capped(len(rows), cap), classes=len(part.classes), published=False, notes=part.notes)


def _capped(n: int, cap: int | None) -> int:
    return n if cap is None else min(n, cap)


def _trained(ref: DataRef, trained_on: DataRef | None) -> bool:
    return trained_on is None or same_set(ref, trained_on)


def check_data(
    ref: DataRef,
    split: Split,
    path: str,
    size: int,
    *,
    space: PixelSpace = "model_input",
    trained_on: DataRef | None = None,
) -> ImageSet:
    """Return the split's first image, or raise ``ConfigError`` naming ``path`` if a model of ``size`` cannot use it."""
    try:
        images = open_data(ref, split, size, limit=1, space=space, trained_on=trained_on)
        check_prompts(images.classes, images.templates)
        enough = len(images.classes) >= 2
        require(enough, "classes", list(images.classes), "at least two: with one, every answer is right")
        if not images.in_memory:
            _check_range(images)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None
    return images


def check_pictures(ref: DataRef, split: Split, path: str, size: int, *, trained_on: DataRef | None = None) -> ImageSet:
    """Return the split's first image; its classes and labels may be anything.

    Raises:
        ConfigError: naming ``path``, if a model of ``size`` cannot use it.
    """
    try:
        images = open_data(ref, split, size, limit=1, trained_on=trained_on)
        if not images.in_memory:
            _check_range(images)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None
    return images


def _check_range(images: ImageSet) -> None:
    """Raise ``ConfigError`` if nothing says how bright the first picture is; a damaged one fails where it is used."""
    try:
        images.pixels([0])
    except ConfigError as error:
        if isinstance(error.__cause__, UnknownRange):
            raise


def check_apart(ref: DataRef, train: DataRef, path: str) -> None:
    """Raise ``ConfigError`` naming ``path`` if a folder is a copy of the training set, whose path differs."""
    if ref.kind is None or ref.kind != train.kind or same_set(ref, train):
        return
    try:
        alike = _content(ref) == _content(train)
    except (ConfigError, OSError):  # what cannot be read is refused where it is opened
        return
    expected = f"a set that is not trained on; it is a copy of {train.root}: give that path"
    require(not alike, f"{path}.root", ref.root, expected)


def _content(ref: DataRef) -> tuple[str, ...]:
    """Return digests of the names and sizes of a folder's images, one of each of its splits."""
    assert ref.kind is not None
    parts = every_part(local(str(ref.root)), ref.kind)
    return tuple(fingerprint([digest(part.ids), _bytes_of(part, torch.arange(len(part.ids)))]) for part in parts)


def check_miniature_size(size: int) -> None:
    """Raise ``ConfigError`` unless the built-in images are rendered for a model of ``size`` pixels."""
    sizes = " or ".join(map(str, miniature.IMAGE_SIZES))
    require(size in miniature.IMAGE_SIZES, "source", "miniature", f"a model of {sizes} px, not {size} px")


def _miniature_set(name: str, split: Split, size: int) -> tuple[miniature.SetSpec | None, str]:
    """Return a built-in set, None of those out of distribution, and the stream of its images that the split shows."""
    check_miniature_size(size)
    if split == "train" and name != "source":
        raise ConfigError(f"split: got 'train' for the miniature set {name!r}, expected 'selection' or 'report'")
    spec = next((s for s in miniature.SETS if s.name == name), None)
    return spec, "report" if split == "all" else split


def _templates(ref: DataRef, own: tuple[str, ...]) -> tuple[str, ...]:
    """Return the templates of a set that no paper has prompts of; ``own`` where the reference names none."""
    asked = {"tga": (TEMPLATE,), "agft": (f"{TEMPLATE}.",), "openai-ensemble": TEMPLATES}
    return own if ref.prompts is None else asked[ref.prompts]


def _miniature(ref: DataRef, split: Split, size: int, cap: int | None) -> ImageSet:
    name = ref.called
    spec, shown = _miniature_set(name, split, size)
    if spec is None:
        rendered = miniature.render_outside(name, shown, cap, size)
    else:
        rendered = miniature.render(name, shown, cap, size)
    pixels = hashlib.blake2b(rendered.images.contiguous().numpy().data, digest_size=8).hexdigest()
    return ImageSet(
        name=name,
        split=split,
        classes=() if spec is None else spec.classes,
        templates=_templates(ref, miniature.TEMPLATES),
        ids=rendered.ids,
        labels=rendered.labels,
        key=fingerprint(["miniature", name, shown, pixels]),
        pixels=lambda rows: rendered.images[torch.as_tensor(rows)],
        in_memory=True,
        masks=lambda rows: rendered.masks[torch.as_tensor(rows)],
    )


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
    if row.cut_by_us or split not in ("report", "all"):
        rest, selection = cut(root, row.name, part.ids)
        rows = selection if split == "selection" else rest
    prompts = row.prompts[ref.prompts or "tga"]
    native = row.native if space == "native" else None
    return _opened(
        ref, split, part=_named(part, prompts), rows=rows, size=native or size, cap=cap, root=root, choice=row.name,
        templates=prompts.templates, preprocessing=None if native else ref.preprocessing or row.preprocessing,
        space=space,
    )  # fmt: skip


def _named(part: Part, prompts: Prompts) -> Part:
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
        skipped = kept_unreadable(folder, called, key, part.pictures, tried, lambda: _undecodable(part.pictures, tried))
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
        notes=part.notes,
        masks=object_masks(part.pictures, rows, part.labels[rows], size, preprocessing),
    )


def _undecodable(pictures: Pictures, rows: tuple[int, ...]) -> list[int]:
    stamp = pictures.stamp(rows)
    return list(_unreadable(pictures, rows, stamp if isinstance(stamp, str) else tuple(stamp)))


@lru_cache(maxsize=8)
def _unreadable(pictures: Pictures, rows: tuple[int, ...], stamp: str | tuple[int, ...]) -> tuple[int, ...]:
    """``stamp``: when the pictures were written, so that those of a repaired set are tried again."""
    return tuple(unreadable(pictures, rows))


def _bytes_of(part: Part, rows: Tensor) -> list[int] | str:
    """Return what differs for other pixels of the same names: file sizes; of arrays a digest of the first pictures."""
    if isinstance(part.pictures, Files):
        step = max(1, -(-len(rows) // SIZED))
        files = (part.pictures.base / part.pictures.names[row] for row in rows[::step].tolist())
        return [_size(file) for file in files]
    if isinstance(part.pictures, Members | Cells):
        return part.pictures.known_by(rows.tolist())
    first = (part.pictures.read(row).tobytes() for row in rows[:16].tolist())
    return hashlib.blake2b(b"".join(first), digest_size=8).hexdigest()


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # a list names a file that is not there; reading it raises an error
        return -1


def _image_folder(ref: DataRef, split: Split, size: int, cap: int | None, trained_on: DataRef | None) -> ImageSet:
    assert ref.kind is not None
    root = local(str(ref.root))
    part, rows = folder_split(root, split, ref.kind, trained=_trained(ref, trained_on))
    return _opened(
        ref, split, part=named(root, part), rows=rows, size=size, cap=cap, root=root, choice=root.name,
        templates=_templates(ref, (TEMPLATE,)),
        preprocessing=ref.preprocessing or "resize256_crop224",
    )  # fmt: skip
