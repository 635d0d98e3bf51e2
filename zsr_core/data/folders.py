"""Folders of one's own: which splits they have, what is in one, and what their classes are called.

A folder holds one sub-folder of images a class, webdataset's tar shards, or what Hugging Face ``datasets`` saved.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.data.formats import huggingface, webdataset
from zsr_core.data.formats.listing import Part, folders_below, images_below, part_of_files, unread_text, written_below
from zsr_core.data.imagenet_names import wordnet_name
from zsr_core.data.lists import WORDNET_ID, WORDS, composed, words_of
from zsr_core.data.partition import HELD, OWN, Split, held_out, trained_parts, untrained_parts
from zsr_core.data.pictures import shown
from zsr_core.data.prompts import words

Kind = Literal["imagefolder", "webdataset", "huggingface"]
KINDS: tuple[Kind, ...] = ("imagefolder", "webdataset", "huggingface")
NUMBER = re.compile(r"[\W_]*\d+[\W_]*")


def kind_of(folder: Path) -> Kind:
    """Return how the folder is read, by the files in it."""
    saved = any((folder / name).is_file() for name in ("dataset_dict.json", "dataset_info.json"))
    if saved or any(huggingface.parquet_files(folder, split) for split in OWN):
        return "huggingface"
    return "webdataset" if any(folder.glob("*.tar")) or webdataset.tar_splits(folder) else "imagefolder"


def has_splits(root: Path, kind: Kind) -> bool:
    """Return whether the folder has splits of its own, such as ``train`` and ``val``."""
    return bool(_LAYOUTS[kind].splits(root))


def folder_split(root: Path, split: Split, kind: Kind, *, trained: bool) -> tuple[Part, Tensor]:
    """Return the part of a folder that a split is taken from, and its rows there.

    With a split of its own to train on: 80 % of it train, 20 % select, and what the folder holds out is reported.
    Without splits: 60, 20 and 20 % if a trial trains on it, else a half selects and a half reports.

    Raises:
        ConfigError: naming the folder, where it does not have the split or cannot be read.
    """
    require(os.path.isdir(root), "root", shown(str(root)), "a folder that exists")
    try:
        part, rows = _split(root, split, kind, trained)
    except OSError as error:
        place = shown(str(error.filename or root))
        raise ConfigError(f"root: {place} cannot be read ({error.strerror or type(error).__name__})") from None
    require(len(rows) > 0, "root", str(root), f"enough images for a {split!r} split; found {len(part.ids)}")
    return part, rows


def _split(root: Path, split: Split, kind: Kind, trained: bool) -> tuple[Part, Tensor]:
    layout = _LAYOUTS[kind]
    own = layout.splits(root)
    held = next((name for name in HELD if name in own), "val")
    reported = split in ("report", "all")
    if "train" in own:
        of_train = layout.part(root, "train", None)
        if reported:
            alone = f"a split to report beside 'train', called {', '.join(HELD)}; it has only {', '.join(own)}"
            require(held in own, "root", str(root), alone)
            of_held = layout.part(root, held, of_train.classes)
            return of_held, torch.arange(len(of_held.ids))
        train, selection = held_out(len(of_train.ids), root.name)
        return of_train, train if split == "train" else selection
    if own:
        alone = f"a folder with a split 'train'; it has only {', '.join(own)}, which can be reported"
        require(reported and held in own, "root", str(root), alone)
        of_held = layout.part(root, held, None)
        return of_held, torch.arange(len(of_held.ids))
    flat = layout.part(root, "", None)
    parts = (trained_parts if trained or split == "train" else untrained_parts)(len(flat.ids), root.name)
    return flat, parts[split]


def every_part(root: Path, kind: Kind) -> tuple[Part, ...]:
    """Return all parts of a folder, whatever they are for."""
    layout = _LAYOUTS[kind]
    return tuple(layout.part(root, name, None) for name in layout.splits(root) or ("",))


def _listing(root: Path, below: str, classes: tuple[str, ...] | None) -> Part:
    """Return the images of class folders; ``classes``: what a label is a position in, else the folder's own."""
    folder = root / below
    require(folder.is_dir(), "root", str(folder), "a folder with one sub-folder of images per class")
    return _listed(root, below, classes, written_below(folder))


@lru_cache(maxsize=32)
def _listed(root: Path, below: str, classes: tuple[str, ...] | None, stamp: tuple[int, ...]) -> Part:
    """``stamp``: when its folders were written last; a folder that images came to is listed anew."""
    folder, unread = root / below, Counter[str]()
    images = {name: images_below(root, os.path.join(below, name), unread) for name in folders_below(folder)}
    # A folder without images is no class: its name would be one more text that draws images away from theirs.
    images = {name: files for name, files in images.items() if files}
    left = unread_text(unread)
    none = f"a folder with one sub-folder of images per class; found no image{'; ' if left else ''}{left}"
    require(len(images) > 0, "root", str(folder), none)
    spelled = {name: _text(name, folder) for name in images}
    twice = [name for name, n in Counter(spelled.values()).items() if n > 1]
    require(not twice, "root", str(folder), f"one folder a class; two are called {twice[:1]}, in two Unicode forms")
    strange = [name for name in spelled.values() if classes is not None and name not in classes]
    require(not strange, "root", str(folder), f"the class folders of {root / 'train'}, not {strange[:3]}")
    label_of = {name: i for i, name in enumerate(classes or spelled.values())}
    files = [(file, label_of[spelled[name]]) for name in images for file in images[name]]
    labels = [label for _, label in files]
    return part_of_files(root, [file for file, _ in files], labels, [*label_of], [left] if left else [])


def _text(name: str, folder: Path) -> str:
    """Return a folder's name as the name of a class."""
    printable = name.encode("utf-8", "surrogateescape") == name.encode("utf-8", "replace")
    require(printable, "root", shown(str(folder / name)), "a class folder whose name is UTF-8, because it is a word")
    return composed(name)


def _own_splits(root: Path) -> tuple[str, ...]:
    return tuple(name for name in OWN if (root / name).is_dir()) if (root / "train").is_dir() else ()


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """How a folder says which splits it has, and what is in one; "" is all of a folder that has none."""

    splits: Callable[[Path], tuple[str, ...]]
    part: Callable[[Path, str, tuple[str, ...] | None], Part]


_LAYOUTS = {
    "imagefolder": _Layout(splits=_own_splits, part=_listing),
    "webdataset": _Layout(splits=webdataset.tar_splits, part=webdataset.tar_part),
    "huggingface": _Layout(splits=huggingface.arrow_splits, part=huggingface.arrow_part),
}


def named(root: Path, part: Part) -> Part:
    """Return the part with its classes as words, and notes on names that are none.

    A name is the first that ``words.txt`` in the root lists for it, else that of a WordNet id, else itself.

    Raises:
        ConfigError: naming the list and the classes, where two classes get one name or the list cannot be read.
    """
    file = root / WORDS
    listed = words_of(file, part.classes) if file.is_file() else {}
    ids = [name for name in part.classes if name not in listed and WORDNET_ID.fullmatch(name)]
    lemmas = {name: lemma for name in ids if (lemma := wordnet_name(name))}
    spoken = tuple(words(listed.get(name) or lemmas.get(name) or name) for name in part.classes)
    _check_apart(file if listed else root, part.classes, spoken)
    left = [name for name in part.classes if name not in listed and name not in lemmas]
    notes = (
        _said(list(lemmas), f"WordNet ids are read as their first names ({_pairs(lemmas)})"),
        _said([name for name in ids if name not in lemmas], "WordNet ids are unknown and stand in the prompts as text"),
        _said([name for name in left if NUMBER.fullmatch(name)], f"classes are numbers; {WORDS} can name them"),
        _said(left if listed else [], f"classes have no line in {WORDS}"),
    )
    return replace(part, classes=spoken, notes=(*part.notes, *(note for note in notes if note)))


def _said(names: Sequence[str], what: str) -> str:
    return f"{len(names):,} {what}, first {names[0]!r}" if names else ""


def _pairs(lemmas: dict[str, str]) -> str:
    return ", ".join(f"{wnid}: {name}" for wnid, name in [*lemmas.items()][:3])


def _check_apart(place: Path, folders: Sequence[str], spoken: Sequence[str]) -> None:
    first: dict[str, str] = {}
    for folder, name in zip(folders, spoken, strict=True):
        require(bool(name), "root", str(place), f"a name for the class {folder!r}")
        if name in first:
            both = f"the classes {first[name]!r} and {folder!r} both {name!r}"
            raise ConfigError(f"root: {place} calls {both}, expected every class name once")
        first[name] = folder
