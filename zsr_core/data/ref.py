"""A reference to an image set that a config can hold, and which references mean one set.

A set is what it reads: its name in tables says nothing about whether a model was trained on it.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, Literal, get_args

from zsr_core.codec import LATER, require, unknown
from zsr_core.data import miniature, tasks
from zsr_core.data.folders import KINDS, Kind, has_splits, kind_of
from zsr_core.data.pictures import Preprocessing, shown
from zsr_core.data.remote import local, on_disk
from zsr_core.names import PROMPT_SETS, OodKind, PromptSet

OnCorrupt = Literal["fail", "skip"]
Source = Literal["miniature", "imagefolder", "cifar10", "cifar100", "task", "webdataset", "huggingface"]
SOURCES: tuple[Source, ...] = get_args(Source)
RESERVED = ("zero_shot_mean",)  # what tables call the mean over sets


@dataclass(frozen=True, kw_only=True)
class DataRef:
    """An image set: ``source`` says how to read it, ``name`` which miniature set, or how to call it, ``root`` where.

    Source "task" is a public set, ``name`` a row of :mod:`zsr_core.data.tasks`, ``root`` the folder that holds all
    sets; "cifar10" and "cifar100" are two of them. "webdataset" is a folder of tar shards, "huggingface" one that
    ``datasets`` saved, or of Parquet files as its hub keeps them; both are split as "imagefolder" is. The root of these
    three may be a URL of object storage (:mod:`zsr_core.data.remote`). ``prompts`` (names and templates) and
    ``preprocessing`` are those of a paper; None is TGA-ZSR's of the set, of a folder its template and Resize(256),
    CenterCrop(224), and of the miniature its own three templates. Of the miniature and of a folder ``prompts`` are
    templates alone; the miniature's images are prepared in one way.

    ``on_corrupt``: "fail" stops with the path of an image that cannot be decoded, when it is met; "skip" decodes every
    image when the set is opened, leaves those out, and lists them in ``ImageSet.skipped`` and the trial's provenance.

    ``limit`` keeps so many images of the split: the first ones of the miniature, which are of all classes; on disk,
    where files are sorted by class, a seeded choice. A smaller limit keeps some of a larger one's.

    ``corrupted`` is a folder of the set's images under corruptions, laid out as ImageNet-C is; without it corruptions
    are made from the set's own images.
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
    corrupted: str | None = field(default=None, metadata=LATER)

    def __post_init__(self) -> None:
        if self.source not in SOURCES:
            raise unknown("source", self.source, SOURCES)
        if self.source == "miniature" and self.called not in miniature_names():
            raise unknown("name", self.name, miniature_names())
        if self.source == "task":
            tasks.task(self.name)
        for path, text in (("name", self.name), ("root", self.root or ""), ("corrupted", self.corrupted or "")):
            require(_is_text(text), path, shown(text), "text in UTF-8: rename the folder, or give a link to it")
        require("\0" not in (self.root or ""), "root", self.root, "a path, which holds no zero byte")
        on_disk = self.source != "miniature"
        require(not on_disk or bool(self.root), "root", self.root, f"the folder of the {self.source} data")
        for part, value, known in (
            ("prompts", self.prompts, PROMPT_SETS), ("preprocessing", self.preprocessing, get_args(Preprocessing)),
        ):  # fmt: skip
            if value is not None and value not in known:
                raise unknown(part, value, known)
            worded = part == "prompts" and self.outside is None
            why = "the miniature brings its own" if part == "preprocessing" else f"{self.called} has no classes"
            require(on_disk or worded or value is None, part, value, f"none: {why}")
        if self.on_corrupt not in get_args(OnCorrupt):
            raise unknown("on_corrupt", self.on_corrupt, get_args(OnCorrupt))
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "at least 1 image")
        apart = f"the folder of the corrupted images of {self.source} data"
        require(self.corrupted is None or (on_disk and bool(self.corrupted)), "corrupted", self.corrupted, apart)
        require(bool(self.called), "root", self.root, "a folder that has a name, or a name for the set")
        require(self.called not in RESERVED, "name", self.called, "a name that no mean over sets has")

    @property
    def called(self) -> str:
        """The name that tables use: ``name``, else the miniature's source set, the folder's name or the set's."""
        if self.name:
            return self.name
        if self.source in KINDS:
            return on_disk(str(self.root)).name
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
    def outside(self) -> OodKind | None:
        """Whether it is a set of near or far out-of-distribution images, which has no classes; None for all others."""
        if self.source == "miniature":
            return miniature.OUTSIDE.get(self.called)
        return None if self.row is None else self.row.outside

    @property
    def row(self) -> tasks.ZeroShotTask | None:
        """The public set's row, if it is one."""
        if self.source == "miniature" or self.source in KINDS:
            return None
        return tasks.task(self.name if self.source == "task" else self.source)

    @property
    def kind(self) -> Kind | None:
        """How a folder is read, if it is one."""
        return self.source if self.source in KINDS else None


def _is_text(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # bytes of a path that are no UTF-8
        return False
    return True


def miniature_names() -> tuple[str, ...]:
    """Return the names of the miniature's sets, in reading order; those out of distribution come last."""
    return (*(spec.name for spec in miniature.SETS), *miniature.OUTSIDE)


# --- which references mean one set -----------------------------------------------------------------------------------


def same_set(one: DataRef, other: DataRef) -> bool:
    """Return whether both read one set: one of the miniature's, one public set, or folders within one another.

    Names in tables, limits, prompts and splits do not matter. Nothing is read, so that a study can be looked at where
    its data is not; two copies of a folder are found by :func:`zsr_core.data.open.check_apart` before a trial starts.
    """
    if "miniature" in (one.source, other.source):
        return one.source == other.source and one.called == other.called
    if one.row is not None and other.row is not None:
        return one.row.name == other.row.name
    here, there = _place(one), _place(other)
    return here == there or here in there.parents or there in here.parents


def overlap(one: DataRef, other: DataRef) -> bool:
    """Return whether two references share images: they read one set, or public ones of which one holds the other's."""
    rows = (one.row, other.row)
    shared = any(a is not None and b is not None and b.name in a.shares for a, b in (rows, rows[::-1]))
    return shared or same_set(one, other)


def _place(ref: DataRef) -> PurePath:
    root = str(ref.root)
    place = PurePath(root) if "://" in root else on_disk(root)
    return place / ref.row.folder if ref.row is not None else place


def is_training_set(ref: DataRef, train: DataRef) -> bool:
    """Return whether ``ref`` reads what is trained on, so that its numbers are not zero-shot."""
    return same_set(ref, train)


def zero_shot_names(refs: Sequence[DataRef], train: DataRef) -> tuple[str, ...]:
    """Return what tables call those of ``refs`` that are not what is trained on."""
    return tuple(ref.called for ref in refs if not is_training_set(ref, train))


def trained_names(refs: Sequence[DataRef], train: DataRef) -> tuple[str, ...]:
    """Return what tables call those of ``refs`` that are what is trained on."""
    return tuple(ref.called for ref in refs if is_training_set(ref, train))


def check_names(refs: Sequence[DataRef]) -> None:
    """Raise ``ConfigError`` if two sets have one name, or one set has two."""
    seen: dict[str, DataRef] = {}
    bare: dict[DataRef, str] = {}
    for ref in refs:
        before = seen.get(ref.called)
        if before is not None:
            two = (ref.kind is not None or before.kind is not None) and not same_set(ref, before)
            of = f"{before.root or before.source} and {ref.root or ref.source}"
            where = f"a name for each of {of}; --tasks name=PATH gives one"
            require(False, "tasks", [other.called for other in refs], where if two else "every task once")
        seen[ref.called] = ref
        alike = bare.setdefault(replace(ref, name="") if ref.kind else ref, ref.called)
        require(alike == ref.called, "tasks", [alike, ref.called], f"one name for {ref.root}")


# --- sets as a command line names them -------------------------------------------------------------------------------


def task_refs(
    text: str, root: str | Path, *, prompts: PromptSet | None = None, on_corrupt: OnCorrupt = "fail"
) -> tuple[DataRef, ...]:
    """Return the sets of a list with commas: names of sets, paths of folders, or ``name=path``.

    A path may hold a comma: the longest piece of the list that is a folder is taken for one.

    Raises:
        ConfigError: for a piece that is no set and no folder, with the nearest name, or if there is none.
    """
    pieces = text.split(",")
    refs: list[DataRef] = []
    first = 0
    while first < len(pieces):
        lengths = range(len(pieces), first, -1)
        end = next((end for end in lengths if _is_folder(",".join(pieces[first:end]), root)), first + 1)
        piece = ",".join(pieces[first:end]) if end > first + 1 else pieces[first].strip() or pieces[first]
        if piece.strip():
            refs.append(task_ref(piece, root, prompts=prompts, on_corrupt=on_corrupt))
        first = end
    require(bool(refs), "tasks", text, "at least one set, e.g. cifar10,cifar100")
    return tuple(refs)


def task_ref(
    name: str, root: str | Path, *, prompts: PromptSet | None = None, on_corrupt: OnCorrupt = "fail"
) -> DataRef:
    """Return the set that a command line calls ``name``, looked for below ``root``; a path is a folder of images.

    ``name=path`` is a folder that tables call so.

    Raises:
        ConfigError: for a name that is no set and no folder, with the nearest name.
    """
    how: dict[str, Any] = {"prompts": prompts, "on_corrupt": on_corrupt}
    if name in miniature_names():
        return DataRef(source="miniature", name=name, **how)
    if name in tasks.EVERY_NAME:
        return DataRef(source="task", name=name, root=str(root), **how)
    folder, given = _folder(name, root), ""
    if folder is None and "=" in name:
        given, _, path = name.partition("=")
        named_set = path in (*tasks.EVERY_NAME, *miniature_names())
        require(not named_set, "task", name, f"a folder to call {given!r}: {path} keeps its own name")
        folder, name = _folder(path, root), path
        require(_is_name(given), "task", given, "a name of letters, digits, blanks and . _ + - before the '='")
    if folder is None:
        raise unknown("task", shown(name), (*tasks.EVERY_NAME, *miniature_names()))
    return DataRef(source=kind_of(folder), name=given, root=str(folder), **how)


def _is_name(given: str) -> bool:
    return bool(given.strip()) and all(letter.isalnum() or letter in " ._+-" for letter in given)


def _is_folder(text: str, root: str | Path) -> bool:
    given, sign, path = text.partition("=")
    return _folder(text, root) is not None or (bool(sign) and _is_name(given) and _folder(path, root) is not None)


def _folder(name: str, root: str | Path) -> Path | None:
    """Return the folder ``name`` as a path, else below ``root``. Paths that no system has are no folders."""
    if not name.strip():
        return None
    places = (os.path.expanduser(name), os.path.join(os.path.expanduser(root), name))
    return next((Path(place) for place in places if os.path.isdir(place)), None)


def is_flat(ref: DataRef) -> bool:
    """Return whether ``ref`` is a folder without splits of its own, such as ``train`` and ``val``."""
    return ref.kind is not None and not has_splits(local(str(ref.root)), ref.kind)
