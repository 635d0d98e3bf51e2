"""Tar shards as webdataset writes them: a sample is the files of one name up to its first dot.

A picture is read where it lies in its shard, so any order is as quick as the file's own.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zsr_core.codec import ConfigError, require
from zsr_core.data.formats.listing import BESIDE, EXTENSIONS, SHOWN, Part, unread_text
from zsr_core.data.lists import composed, names_in
from zsr_core.data.partition import OWN
from zsr_core.data.pictures import Extents, rgb, shown, written

# Where a sample's JSON may say its class, in the order of preference.
LABELS = ("label", "cls", "class", "label_name", "class_name")
CLASSES = ("classnames.txt", "classes.txt")


@dataclass(frozen=True, kw_only=True, eq=False)
class Members:
    """Pictures inside tar files, uncompressed as tar itself is."""

    shards: tuple[Path, ...]
    names: tuple[str, ...]  # [N]
    places: np.ndarray  # int64 [N, 3]: which shard, first byte, bytes

    def place(self, row: int) -> str:
        return shown(f"{self.shards[self.places[row, 0]]}:{self.names[row]}")

    def read(self, row: int) -> Image.Image:
        with self.opened(row) as image:
            return rgb(image, self.extents)

    def opened(self, row: int) -> Image.Image:
        """Return the picture as its shard has it."""
        shard, first, size = (int(value) for value in self.places[row])
        with self.shards[shard].open("rb") as file:
            file.seek(first)
            return Image.open(io.BytesIO(file.read(size)))

    @cached_property
    def extents(self) -> Extents:
        """The range of the stored numbers of all of them."""
        return Extents(count=len(self.names), opened=self.opened)

    def known_by(self, rows: Sequence[int]) -> str:
        """Return a digest of how long these pictures are."""
        return hashlib.blake2b(self.places[rows, 2].tobytes(), digest_size=8).hexdigest()

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return [written(shard) for shard in self.shards]


@dataclass(frozen=True, kw_only=True)
class _Sample:
    shard: int
    name: str
    first: int
    size: int
    label: int | str


def tar_splits(root: Path) -> tuple[str, ...]:
    """Return the folder's own splits: sub-folders with shards, or what the shards' names begin with."""
    return tuple(name for name in OWN if _shards(root, name))


def _shards(root: Path, split: str) -> list[Path]:
    """Return the shards of a split, ``train/0.tar`` or ``set-train-000.tar``; of "" those of no split."""
    if split and (root / split).is_dir():
        return sorted((root / split).glob("*.tar"))
    shards = sorted(root.glob("*.tar"))
    of = {shard: [name for name in OWN if name in shard.stem.replace("_", "-").split("-")] for shard in shards}
    return [shard for shard in shards if (split in of[shard] if split else not of[shard])]


def tar_part(root: Path, split: str, classes: tuple[str, ...] | None) -> Part:
    """Return the samples of the shards of ``split``. Only headers and labels are read.

    Class numbers are positions in ``classnames.txt`` (or ``classes.txt``); names need no such file.
    """
    shards = tuple(_shards(root, split))
    return _tar_part(root, split, classes, shards, tuple(written(file) for file in (*shards, *_class_files(root))))


@lru_cache(maxsize=16)
def _tar_part(
    root: Path, split: str, classes: tuple[str, ...] | None, shards: tuple[Path, ...], stamp: tuple[int, ...]
) -> Part:
    packed = sorted(p.name for end in ("gz", "tgz", "zst", "bz2", "xz") for p in root.rglob(f"*.{end}"))
    hint = f"; unpack {packed[0]} first: pictures inside it cannot be sought" if packed else ""
    require(len(shards) > 0, "root", str(root / split), f"shards that end in .tar{hint}")
    unread = Counter[str]()
    samples = [sample for i, shard in enumerate(shards) for sample in _samples(shard, i, unread)]
    left = unread_text(unread)
    none = f"images with a .cls or .json beside each; found none{'; ' if left else ''}{left}"
    require(len(samples) > 0, "root", str(shards[0]), none)
    listed = classes or _class_list(root) or _named(samples, root)
    label_of = {name: i for i, name in enumerate(listed)}
    labels = [_label(sample, shards[sample.shard], label_of) for sample in samples]
    if classes is None and any(isinstance(sample.label, int) for sample in samples):
        _check_length(root, listed, max(labels) + 1)
    names = tuple(sample.name for sample in samples)
    return Part(
        pictures=Members(shards=shards, names=names, places=np.array([(s.shard, s.first, s.size) for s in samples])),
        ids=tuple(shown(f"{shards[s.shard].relative_to(root).as_posix()}:{s.name}") for s in samples),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=listed,
        notes=(left,) if left else (),
    )


def _class_files(root: Path) -> list[Path]:
    return [root / name for name in CLASSES if (root / name).is_file()]


def _class_list(root: Path) -> tuple[str, ...] | None:
    return next((names_in(file) for file in _class_files(root)), None)


def _check_length(root: Path, listed: Sequence[str], needed: int) -> None:
    """Refuse names after the last class that has an image: one name too many moves the labels of all after it."""
    file, more = next(iter(_class_files(root)), root), listed[needed:]
    first = ", ".join(map(repr, more[:SHOWN]))
    expected = f"{needed} names, since the largest label is {needed - 1}; it lists {len(listed)}, the last ones {first}"
    require(not more, "root", str(file), expected)


def _named(samples: Sequence[_Sample], root: Path) -> tuple[str, ...]:
    number = next((sample for sample in samples if isinstance(sample.label, int)), None)
    if number is not None:
        raise ConfigError(
            f"root: {root} has no {CLASSES[0]}, expected the class names, one a line: "
            f"{number.name} says class {number.label}"
        )
    return tuple(sorted({str(sample.label) for sample in samples}))  # names are composed where they are read


def _label(sample: _Sample, shard: Path, label_of: Mapping[str, int]) -> int:
    if isinstance(sample.label, str) and sample.label in label_of:
        return label_of[sample.label]
    inside = isinstance(sample.label, int) and 0 <= sample.label < len(label_of)
    require(inside, "root", f"{shard}:{sample.name}", f"one of the {len(label_of)} classes, not {sample.label!r}")
    return int(sample.label)


def _samples(shard: Path, number: int, unread: Counter[str]) -> Iterator[_Sample]:
    """Yield the samples of one tar file: files of one sample stand one after the other."""
    try:
        with tarfile.open(shard, "r:") as archive:
            group: dict[str, tarfile.TarInfo] = {}
            before = ""
            for member in archive:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, end = name.partition(".")
                key = f"{folder}/{stem}"
                if key != before:
                    yield from _sample(archive, group, shard, number, unread)
                    group, before = {}, key
                group[end.lower()] = member
            yield from _sample(archive, group, shard, number, unread)
            length = shard.stat().st_size
    except (OSError, EOFError, tarfile.TarError) as error:
        raise ConfigError(f"root: {shard} cannot be read as a tar file ({error})") from None
    if length < archive.offset + tarfile.BLOCKSIZE:  # a whole one ends in blocks of zeros
        raise ConfigError(f"root: {shard} cannot be read as a tar file (it ends early, after {length:,} bytes)")


def _sample(
    archive: tarfile.TarFile, group: Mapping[str, tarfile.TarInfo], shard: Path, number: int, unread: Counter[str]
) -> Iterator[_Sample]:
    ends = [end for end in group if f".{end.rpartition('.')[2]}" in EXTENSIONS]
    if not ends:
        unread.update(f".{end}" for end in group if not f".{end}".endswith((*BESIDE, ".cls")))
        return
    image = group[min(ends, key=len)]  # 1.jpg, not 1.mask.png
    label = _said(archive, group, f"{shard}:{image.name}")
    yield _Sample(shard=number, name=image.name, first=image.offset_data, size=image.size, label=label)


def _said(archive: tarfile.TarFile, group: Mapping[str, tarfile.TarInfo], place: str) -> int | str:
    """Return the class number or name that a sample's ``.cls``, else its ``.json``, says."""
    if "cls" in group:
        text = _text(archive, group["cls"])
        return int(text) if text.removeprefix("-").isdecimal() else composed(text)
    require("json" in group, "root", place, f"a .cls or .json beside it; there is {', '.join(group)}")
    try:
        plain = json.loads(_text(archive, group["json"]))
    except ValueError as error:
        raise ConfigError(f"root: the .json beside {place} is not JSON ({error})") from None
    label = next((plain[field] for field in LABELS if field in plain), None) if isinstance(plain, dict) else plain
    said = isinstance(label, (int, str)) and not isinstance(label, bool)
    require(said, "root", f"the .json beside {place}", f"its class, a number or a name, as {', '.join(LABELS)}")
    return composed(label) if isinstance(label, str) else label  # type: ignore[return-value]


def _text(archive: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    opened = archive.extractfile(member)
    assert opened is not None  # of a file it never is
    return opened.read().decode("utf-8", errors="replace").strip()
