"""Where images come from: a reference that a config can hold, and the set it opens, with honest splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zsr_core.codec import ConfigError, fingerprint, require, unknown
from zsr_core.data import miniature
from zsr_core.rng import generator

Split = Literal["train", "selection", "report"]
SPLITS: tuple[Split, ...] = ("train", "selection", "report")
SOURCES = ("miniature", "imagefolder", "cifar10", "cifar100")
# The default template of TGA-ZSR, TeCoA and PMG-AFT (their repositories), without a full stop.
TEMPLATE = "This is a photo of a {}"
HELD_OUT = 0.2  # share of a training set kept for selection, truly held out
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """An image set: ``source`` says how to read it, ``name`` which miniature set, or how to call it, ``root`` where.

    ``limit`` keeps so many images of the split: the first ones, which on the miniature and CIFAR are of all classes; of
    a folder, whose files are sorted by class, a seeded choice. A smaller limit keeps some of a larger one's.
    """

    source: Literal["miniature", "imagefolder", "cifar10", "cifar100"] = "miniature"
    name: str = ""
    root: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("source", self.source, SOURCES)
        if self.source == "miniature" and self.called not in miniature_names():
            raise unknown("name", self.name, miniature_names())
        require(
            self.source == "miniature" or bool(self.root), "root", self.root, f"the folder of the {self.source} data"
        )
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "at least 1 image")

    @property
    def called(self) -> str:
        """The name that tables use: ``name``, else the miniature's source set, the folder's name or the set's."""
        if self.name:
            return self.name
        if self.source == "imagefolder":
            return Path(str(self.root)).expanduser().resolve().name
        return "source" if self.source == "miniature" else self.source


def miniature_names() -> tuple[str, ...]:
    """Return the names of the miniature's sets, in reading order."""
    return tuple(spec.name for spec in miniature.SETS)


@dataclass(frozen=True, kw_only=True, eq=False)
class ImageSet:
    """One split of an image set, N images, whose pixels are read when asked for."""

    name: str
    split: Split
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    ids: Sequence[str]  # [N], stable names of the images
    labels: Tensor  # [N] int64
    key: str  # hash of what the pixels are and how they were made
    pixels: Callable[[Sequence[int]], Tensor]  # rows -> uint8 [b, 3, S, S]
    in_memory: bool = False


def open_data(ref: DataRef, split: Split, size: int, limit: int | None = None) -> ImageSet:
    """Return the split as images of ``size`` x ``size`` pixels; ``limit`` and ``ref.limit`` keep so many of them.

    Raises:
        ConfigError: naming the field and the folder where data is missing or holds no image.
    """
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    caps = [n for n in (limit, ref.limit) if n is not None]
    cap = min(caps) if caps else None
    if ref.source == "miniature":
        return _miniature(ref.called, split, size, cap)
    if ref.source == "imagefolder":
        return _image_folder(ref, split, size, cap)
    return _cifar(ref, split, size, cap)


def check_data(ref: DataRef, split: Split, path: str, size: int) -> None:
    """Raise ``ConfigError`` naming ``path`` if a model of ``size`` pixels cannot use the data. Opens no image file."""
    try:
        open_data(ref, split, size, limit=1)
    except ConfigError as error:
        raise ConfigError(f"{path}.{error}") from None


def _miniature(name: str, split: Split, size: int, cap: int | None) -> ImageSet:
    require(size == miniature.IMAGE_SIZE, "source", "miniature", f"a model of {miniature.IMAGE_SIZE} px, not {size} px")
    if split == "train" and name != "source":
        raise ConfigError(f"split: got 'train' for the miniature set {name!r}, expected 'selection' or 'report'")
    rendered = miniature.render(name, split, cap)
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


def held_out(n: int, name: str) -> tuple[Tensor, Tensor]:
    """Return (train rows, selection rows) of ``n``: a seeded choice of 80 % and 20 %, each in ascending order."""
    order = torch.randperm(n, generator=generator(0, "held-out", name))
    cut = n - round(HELD_OUT * n)
    return order[:cut].sort().values, order[cut:].sort().values


def _rgb(image: Image.Image) -> Image.Image:
    """Return the image in 8-bit RGB. Transparency is dropped; 16-bit grey is scaled, where PIL cuts it off at 255."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    elif "transparency" in image.info:
        image = image.convert("RGBA")
    return image.convert("RGB")


def _center(image: Image.Image, size: int) -> Tensor:
    """Resize(size * 256 / 224, shorter side, bilinear), CenterCrop(size), as TeCoA, PMG-AFT and TGA-ZSR do."""
    image = _rgb(image)
    short = round(size * 256 / 224)
    scale = short / min(image.size)
    image = image.resize(
        (max(short, round(image.width * scale)), max(short, round(image.height * scale))), Image.Resampling.BILINEAR
    )
    left, top = (image.width - size) // 2, (image.height - size) // 2
    return _to_tensor(image.crop((left, top, left + size, top + size)))


def _to_tensor(image: Image.Image) -> Tensor:
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(image.height, image.width, 3).permute(2, 0, 1).contiguous()


def _image_folder(ref: DataRef, split: Split, size: int, cap: int | None) -> ImageSet:
    root = Path(str(ref.root)).expanduser().resolve()
    files, classes, rows = _folder_split(root, split)
    require(len(rows) > 0, "root", str(root), f"enough images for a {split!r} split; found {len(files)}")
    order = torch.randperm(len(rows), generator=generator(0, "limit", root.name, split))
    chosen = [files[i] for i in rows[order[:cap].sort().values].tolist()]
    return ImageSet(
        name=ref.called,
        split=split,
        classes=_class_names(root, classes),
        templates=(TEMPLATE,),
        ids=tuple(str(file.relative_to(root)) for file, _ in chosen),
        labels=torch.tensor([label for _, label in chosen], dtype=torch.int64),
        key=fingerprint(["imagefolder", str(root), split, size, [(str(f), f.stat().st_size) for f, _ in chosen]]),
        pixels=_FolderPixels(files=tuple(file for file, _ in chosen), size=size),
    )


@dataclass(frozen=True, kw_only=True)
class _FolderPixels:
    """Reads image files; a value, so that worker processes can be given it."""

    files: tuple[Path, ...]
    size: int

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return torch.stack([self._read(self.files[row]) for row in rows])

    def _read(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as image:
                return _center(image, self.size)
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise ConfigError(f"root: {file} cannot be read as an image ({error})") from None


@lru_cache(maxsize=32)
def _listing(folder: Path) -> tuple[tuple[tuple[Path, int], ...], tuple[str, ...]]:
    require(folder.is_dir(), "root", str(folder), "a folder with one sub-folder of images per class")
    classes = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir()))
    files = tuple(
        (file, label)
        for label, name in enumerate(classes)
        for file in sorted((folder / name).rglob("*"))
        if file.suffix.lower() in EXTENSIONS
    )
    require(len(files) > 0, "root", str(folder), "a folder with one sub-folder of images per class; found no image")
    return files, classes


def _folder_split(root: Path, split: Split) -> tuple[tuple[tuple[Path, int], ...], tuple[str, ...], Tensor]:
    """With ``train/`` (and ``val/`` or ``test/``) below: 80 / 20 of train, and val. A flat folder: 60 / 20 / 20."""
    require(root.is_dir(), "root", str(root), "a folder that exists")
    if (root / "train").is_dir():
        if split == "report":
            held = next((root / n for n in ("val", "validation", "test") if (root / n).is_dir()), root / "val")
            held_files, folders = _listing(held)
            _, classes = _listing(root / "train")
            label = {name: i for i, name in enumerate(classes)}
            strange = [name for name in folders if name not in label]
            require(not strange, "root", str(held), f"the class folders of {root / 'train'}, not {strange[:3]}")
            files = tuple((file, label[folders[i]]) for file, i in held_files)
            return files, classes, torch.arange(len(files))
        files, classes = _listing(root / "train")
        train, selection = held_out(len(files), root.name)
        return files, classes, train if split == "train" else selection
    files, classes = _listing(root)
    rest, selection = held_out(len(files), root.name)
    cut = round(len(rest) * 0.75)
    order = rest[torch.randperm(len(rest), generator=generator(0, "flat", root.name))]
    parts = {"train": order[:cut].sort().values, "selection": selection, "report": order[cut:].sort().values}
    return files, classes, parts[split]


def _class_names(root: Path, folders: tuple[str, ...]) -> tuple[str, ...]:
    """Folder names as words; where the root holds ``words.txt`` (id, tab, names), the first name listed there."""
    words: dict[str, str] = {}
    if (root / "words.txt").is_file():
        for line in (root / "words.txt").read_text(encoding="utf-8").splitlines():
            wnid, _, names = line.partition("\t")
            words[wnid] = names.split(",")[0].strip()
    spoken = [words.get(name, name).lower() for name in folders]
    return tuple(name.replace("_", " ").replace("-", " ").replace("/", " ") for name in spoken)


def _cifar(ref: DataRef, split: Split, size: int, cap: int | None) -> ImageSet:
    from torchvision import datasets  # noqa: PLC0415  torchvision's import is slow and only CIFAR needs it

    kind = datasets.CIFAR10 if ref.source == "cifar10" else datasets.CIFAR100
    root = Path(str(ref.root)).expanduser()
    try:
        data: Any = kind(root=str(root), train=split != "report", download=False)
    except RuntimeError as error:
        raise ConfigError(
            f"root: {root} holds no {ref.source} ({error}); expected the unpacked archive, as torchvision keeps it"
        ) from None
    rows = torch.arange(len(data))
    if split != "report":
        train, selection = held_out(len(data), ref.source)
        rows = train if split == "train" else selection
    rows = rows[:cap]
    picked = rows.tolist()
    return ImageSet(
        name=ref.called,
        split=split,
        classes=tuple(name.lower().replace("_", " ") for name in data.classes),
        templates=(TEMPLATE,),
        ids=tuple(f"{'test' if split == 'report' else 'train'}-{row}" for row in picked),
        labels=torch.tensor(data.targets)[rows],
        key=fingerprint([ref.source, split, size, len(picked)]),
        pixels=_CifarPixels(arrays=data.data[picked], size=size),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _CifarPixels:
    """Resizes CIFAR's arrays, uint8 [N, 32, 32, 3]; a value, so that worker processes can be given it."""

    arrays: np.ndarray
    size: int

    def __call__(self, rows: Sequence[int]) -> Tensor:
        side = (self.size, self.size)
        images = (Image.fromarray(self.arrays[row]).resize(side, Image.Resampling.BILINEAR) for row in rows)
        return torch.stack([_to_tensor(image) for image in images])


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batches(Dataset[tuple[Tensor, Tensor, Tensor]]):
    images: ImageSet
    rows: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor]:
        rows = self.rows[index]
        return self.images.pixels(rows.tolist()), self.images.labels[rows], rows


def batches(
    images: ImageSet, rows: Sequence[Tensor], device: torch.device | str = "cpu"
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield (x [b, 3, S, S] float32 in [0, 1], y [b], rows [b]) for each non-empty tensor of row numbers, in order.

    Sets on disk are decoded by worker processes, one a core up to eight; order and values do not depend on how many.
    """
    workers = 0 if images.in_memory else min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    rows = [group for group in rows if len(group)]  # no image may be left standing
    loader = DataLoader(
        _Batches(images=images, rows=rows),
        batch_size=None,
        shuffle=False,
        num_workers=workers if len(rows) > 1 else 0,
        pin_memory=torch.device(device).type == "cuda",
    )
    try:
        for x, y, index in loader:
            yield x.to(device, non_blocking=True).float().div_(255), y.to(device, non_blocking=True), index
    except ConfigError as error:  # a worker's comes with its traceback before it
        raise ConfigError(str(error).strip().splitlines()[-1].rpartition("ConfigError: ")[2]) from None
