"""What lies in a folder: images, class folders, and the part of a set that they make."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from zsr_core.codec import require
from zsr_core.data.pictures import Files, Pictures, shown, written

PartName = Literal["train", "report", "all"]  # "all" of a set that its authors did not cut
EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".ppm", ".pgm", ".tif", ".tiff")
SHOWN = 3  # suffixes or names that a message lists
# What is written beside images: files of these suffixes are passed over without a note.
BESIDE = (".txt", ".csv", ".tsv", ".json", ".jsonl", ".xml", ".html", ".md", ".yaml", ".yml", ".mat", ".log", ".db")


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One part of a set on disk: N pictures. ``labels`` are positions in ``classes``, spelled as on disk."""

    pictures: Pictures
    ids: tuple[str, ...]  # [N], stable names
    labels: Tensor  # [N] int64
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()  # what was left out in reading it, in sentences


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


def images_below(base: Path, folder: str, unread: Counter[str] | None = None) -> list[str]:
    """Return the image files at any depth of ``base / folder`` as names below ``base``, sorted folder by folder.

    ``unread`` counts the suffixes of the other files, but for those of notes and annotations.

    Names and not paths: ImageNet has 1.3 million.
    """
    images: list[str] = []
    for place, names in _walk(base / folder):
        above = os.path.relpath(place, base)
        for name in names:
            if name.lower().endswith(EXTENSIONS):
                images.append(f"{above}/{name}" if above != "." else name)
            elif unread is not None and not name.lower().endswith(BESIDE):
                unread[os.path.splitext(name)[1].lower() or "no suffix"] += 1
    return sorted(images, key=lambda name: name.split("/"))


def unread_text(unread: Counter[str]) -> str:
    """Return how many files of which suffixes are not read, as a clause; empty if there are none."""
    if not unread:
        return ""
    most = sorted(unread.items(), key=lambda one: (-one[1], one[0]))[:SHOWN]
    kinds = ", ".join(f"{n:,} of {shown(suffix)}" for suffix, n in most)
    more = f" and {len(unread) - SHOWN} suffixes more" if len(unread) > SHOWN else ""
    return f"{unread.total():,} files are not read as images: {kinds}{more}"


def written_below(place: Path) -> tuple[int, ...]:
    """Return when a file was written last, or a folder and its sub-folders: by images that came or went."""
    if not place.is_dir():
        return (written(place),)
    with os.scandir(place) as entries:
        below = sorted((entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.is_dir())
    return (written(place), *(when for _, when in below))


def part_of_files(
    base: Path, files: Iterable[Path | str], labels: Sequence[int], classes: Sequence[str], notes: Sequence[str] = ()
) -> Part:
    """Return the part whose pictures are ``files``: paths of files below ``base``, or names there."""
    prefix = f"{base}/"
    names = tuple(str(file).removeprefix(prefix) for file in files)
    return Part(
        pictures=Files(base=base, names=names),
        ids=tuple(map(shown, names)),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=tuple(classes),
        notes=tuple(notes),
    )


def by_folder(base: Path, below: str, label_of: Mapping[str, int], classes: Sequence[str]) -> Part:
    """Return the images below ``base / below``, labelled by the sub-folder they are in."""
    folder = base / below
    files = [(name, file) for name in folders_below(folder) for file in images_below(base, os.path.join(below, name))]
    strange = dict.fromkeys(name for name, _ in files if name not in label_of)
    require(not strange, "root", str(folder), f"the set's class folders, not {', '.join(map(shown, [*strange][:3]))}")
    require(len(files) > 0, "root", str(folder), f"class folders with images; found none{_packed(folder)}")
    return part_of_files(base, [file for _, file in files], [label_of[name] for name, _ in files], classes)


def _packed(folder: Path) -> str:
    """Return, for an error, what lies there still to be unpacked: ImageNet's training set is an archive of archives."""
    packed = sorted(name for name in os.listdir(folder) if name.endswith((".tar", ".tgz", ".gz", ".zip")))
    return f"; unpack {packed[0]}, {len(packed)} such, each into a folder of its name" if packed else ""
