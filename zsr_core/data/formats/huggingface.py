"""Folders that Hugging Face ``datasets`` saved, and the Parquet files of its hub.

Formats: ``Dataset.save_to_disk`` (Arrow IPC streams, ``dataset_info.json``, ``state.json``; ``dataset_dict.json`` above
splits), and the hub's Parquet files, ``data/train-00000-of-00002.parquet``, whose schema holds the column types as
JSON. A picture is read where it lies, so any order is as quick as the file's own; of Parquet by the row group.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from zsr_core.codec import ConfigError, require
from zsr_core.data.formats.listing import Part
from zsr_core.data.formats.webdataset import LABELS
from zsr_core.data.lists import composed
from zsr_core.data.partition import OWN
from zsr_core.data.pictures import Extents, rgb, written
from zsr_core.lazy import LazyModule

pa, pq = LazyModule("pyarrow"), LazyModule("pyarrow.parquet")
INFO, STATE = "dataset_info.json", "state.json"


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Pictures in a column of Arrow or Parquet files: encoded bytes, or the path of a file."""

    files: tuple[Path, ...]
    starts: tuple[int, ...]  # the first row of each file
    column: str
    count: int  # rows of all files

    def place(self, row: int) -> str:
        which = self._which(row)
        return f"{self.files[which]}[{row - self.starts[which]}].{self.column}"

    def read(self, row: int) -> Image.Image:
        with self.opened(row) as image:
            return rgb(image, self.extents)

    def opened(self, row: int) -> Image.Image:
        """Return the picture as its cell has it."""
        content, path = self._cell(row)
        if content is None and not path:
            raise ValueError("neither bytes nor a path")
        file = self.files[self._which(row)].parent / str(path)
        return Image.open(io.BytesIO(content) if content is not None else file)

    @cached_property
    def extents(self) -> Extents:
        """The range of the stored numbers of all of them."""
        return Extents(count=self.count, opened=self.opened)

    def known_by(self, rows: Sequence[int]) -> str:
        """Return a digest of how long the files are, and of the first of these pictures."""
        sizes = [file.stat().st_size for file in self.files]
        first = [self._cell(row) for row in rows[:16]]
        return hashlib.blake2b(repr([sizes, first]).encode(), digest_size=8).hexdigest()

    def _cell(self, row: int) -> tuple[bytes | None, str | None]:
        which = self._which(row)
        cell = _value(self.files[which], self.column, row - self.starts[which])
        return (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (cell, None)

    def stamp(self, rows: Sequence[int]) -> list[int] | str:
        return [written(file) for file in self.files]

    def _which(self, row: int) -> int:
        return bisect_right(self.starts, row) - 1


def _table(file: Path) -> Any:
    """Return the Arrow table, memory-mapped."""
    return _mapped_table(file, os.getpid(), written(file))


@lru_cache(maxsize=256)
def _mapped_table(file: Path, process: int, stamp: int) -> Any:
    """``process`` and ``stamp``: a table opened before a fork, or before the file changed, is not used."""
    try:
        table = pa.ipc.open_stream(pa.memory_map(str(file))).read_all()
        table.validate(full=True)  # without it a damaged offset would read anywhere; no picture is read for it
        return table
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"root: {file} cannot be read as an Arrow stream ({reason})") from None


def _value(file: Path, column: str, row: int) -> Any:
    if file.suffix != ".parquet":
        return _table(file)[column][row].as_py()
    starts = _groups(file, written(file))
    group = bisect_right(starts, row) - 1
    return _group(file, group, column, written(file))[row - starts[group]].as_py()


@lru_cache(maxsize=256)
def _groups(file: Path, stamp: int) -> tuple[int, ...]:
    """Return the first row of each row group of a Parquet file."""
    about = pq.read_metadata(file)
    sizes = [about.row_group(i).num_rows for i in range(about.num_row_groups)]
    return tuple(sum(sizes[:i]) for i in range(len(sizes)))


@lru_cache(maxsize=4)
def _group(file: Path, group: int, column: str, stamp: int) -> Any:
    """Parquet is read by row groups, of a hundred pictures as the hub writes them: quick in order, slow at random."""
    return pq.ParquetFile(file).read_row_group(group, columns=[column])[column]


def parquet_files(root: Path, split: str = "") -> tuple[Path, ...]:
    """Return the Parquet files of a split, or all of a folder, in the folder itself or its ``data``."""
    files = sorted(file for folder in (root, root / "data") for file in folder.glob("*.parquet"))
    return tuple(file for file in files if not split or re.split(r"[-.]", file.name)[0] == split)


def arrow_splits(root: Path) -> tuple[str, ...]:
    """Return the splits that ``dataset_dict.json`` or Parquet files' names list; none where the folder is one set."""
    file = root / "dataset_dict.json"
    if not file.is_file():
        return tuple(name for name in OWN if parquet_files(root, name))
    splits = _json(file).get("splits")
    sound = isinstance(splits, list) and all(isinstance(name, str) for name in splits)
    require(sound, "root", str(file), "splits: a list of names")
    return tuple(splits or ())


def arrow_part(root: Path, split: str, classes: tuple[str, ...] | None) -> Part:
    """Return the rows of a saved data set, whose columns' types are those of its info file or schema.

    The picture is its ``Image``. The class is its ``ClassLabel``, else a column of text called label or the like.
    """
    packed = parquet_files(root, split)
    if packed and not (root / split / INFO).is_file():
        return _parquet_part(root, split, classes, packed, tuple(written(file) for file in packed))
    folder = root / split
    saved = (folder / INFO, folder / STATE, *sorted(folder.glob("*.arrow")))
    return _arrow_part(root, split, classes, tuple((file.name, written(file)) for file in saved))


@lru_cache(maxsize=16)
def _arrow_part(root: Path, split: str, classes: tuple[str, ...] | None, stamp: tuple[tuple[str, int], ...]) -> Part:
    folder = root / split
    info, state = _json(folder / INFO), _json(folder / STATE)
    require(
        not state.get("_indices_data_files"), "root", str(folder / STATE),
        "rows in the order of the files; save it again with a newer datasets, which writes them so",
    )  # fmt: skip
    entries = state.get("_data_files") or ()
    files = tuple(folder / str(entry.get("filename")) for entry in entries)
    require(len(files) > 0, "root", str(folder / STATE), "_data_files: the Arrow files")
    for file in files:
        require(file.is_file(), "root", str(file), "a file, as state.json lists it")
    return _typed(files, info.get("features"), folder / INFO, classes, root, split)


@lru_cache(maxsize=16)
def _parquet_part(
    root: Path, split: str, classes: tuple[str, ...] | None, files: tuple[Path, ...], stamp: tuple[int, ...]
) -> Part:
    try:
        about = pq.read_schema(files[0]).metadata or {}
        features = json.loads(about.get(b"huggingface", b"{}")).get("info", {}).get("features")
        return _typed(files, features, files[0], classes, root, split)
    except (OSError, pa.ArrowInvalid) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"root: {files[0].parent} holds Parquet files that cannot be read ({reason})") from None


def _typed(
    files: tuple[Path, ...], features: Any, types_file: Path, classes: tuple[str, ...] | None, root: Path, split: str
) -> Part:
    """Return the rows of ``files``; ``types_file`` states the types of their columns."""
    require(isinstance(features, dict), "root", str(types_file), "features: its columns and types")
    image, label = _column(types_file, features, "Image"), _column(types_file, features, "ClassLabel")
    for file in files:
        known = pq.read_schema(file).names if file.suffix == ".parquet" else _table(file).column_names
        for column in (image, label):
            require(column in known, "root", str(file), f"a column {column!r} as {types_file.name} says")
    if features[label]["_type"] == "ClassLabel":
        listed = tuple(composed(str(name)) for name in features[label].get("names") or ())
        require(len(listed) > 0, "root", str(types_file), f"features.{label}.names: the class names")
        same = classes is None or listed == classes
        require(same, "root", str(types_file), f"features.{label}.names as in {root / 'train'}")
        return _rows(files, image, label, listed, split, named=False)
    said = {str(name) for file in files for name in _whole(file, label)}
    return _rows(files, image, label, classes or tuple(sorted(said)), split, named=True)


def _whole(file: Path, column: str) -> list[Any]:
    """Return all of a column."""
    table = pq.read_table(file, columns=[column]) if file.suffix == ".parquet" else _table(file)
    values: list[Any] = table[column].to_pylist()
    return values


def _rows(
    files: tuple[Path, ...], image: str, label: str, classes: tuple[str, ...], split: str, *, named: bool
) -> Part:
    """``named``: labels are class names, and not positions in ``classes``."""
    label_of: dict[Any, int] = {name: i for i, name in enumerate(classes)} if named else {}
    values: list[Any] = []
    starts: list[int] = []
    for file in files:
        starts.append(len(values))
        values += _whole(file, label)
    require(len(values) > 0, "root", str(files[0]), "rows; found none")
    labels = [label_of.get(y, -1) if named else y for y in values]
    strange = next((i for i, y in enumerate(labels) if not (isinstance(y, int) and 0 <= y < len(classes))), None)
    cells = Cells(files=files, starts=tuple(starts), column=image, count=len(values))
    if strange is not None:
        place = cells.place(strange).removesuffix(image) + label
        raise ConfigError(f"root: {place} is {values[strange]}, expected one of its {len(classes)} classes")
    return Part(
        pictures=cells,
        ids=tuple(f"{split or 'row'}-{row}" for row in range(len(labels))),
        labels=torch.tensor(labels, dtype=torch.int64),
        classes=classes,
    )


def _column(types_file: Path, features: Mapping[str, Any], kind: str) -> str:
    usual = {"Image": ("image", "img"), "ClassLabel": ("label", "labels", "fine_label")}[kind]
    types = {name: what if isinstance(what, dict) else {} for name, what in features.items()}
    fitting = [name for name, what in types.items() if what.get("_type") == kind]
    if not fitting and kind == "ClassLabel":
        fitting = [name for name in (*usual, *LABELS) if types.get(name, {}).get("dtype") in ("string", "large_string")]
    best = [name for name in usual if name in fitting] or fitting
    has = ", ".join(f"{name} ({types[name].get('_type', what)})" for name, what in features.items())
    require(len(best) > 0, "root", str(types_file), f"a feature of type {kind}; it has {has}")
    return best[0]


def _json(file: Path) -> dict[str, Any]:
    expected = "what datasets' save_to_disk writes: dataset_info.json, state.json and Arrow files"
    require(file.is_file(), "root", str(file), f"a file of {expected}")
    try:
        plain = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConfigError(f"root: {file} is not JSON ({error})") from None
    require(isinstance(plain, dict), "root", str(file), f"an object, of {expected}")
    content: dict[str, Any] = plain
    return content
