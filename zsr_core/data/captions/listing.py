"""Strict readers of what images have which captions: Karpathy's JSON, and a captions file in a folder of images.

An error names the file and the place in it. Nothing is guessed, because a caption that moves to another image changes
every number.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from zsr_core.codec import ConfigError, parse_json
from zsr_core.data.lists import numbered_lines, refused

SPLITS = ("train", "restval", "val", "test")  # of Karpathy's files
BELOW = "a path below the folder of images"
Captions = dict[str, list[str]]  # image, relative to the folder of images -> its captions, in the file's order


@dataclass(frozen=True, kw_only=True)
class _At:
    """A place in a JSON file, for errors."""

    file: Path
    place: str = ""

    def __truediv__(self, step: str | int) -> _At:
        dot = "." if self.place and isinstance(step, str) else ""
        return _At(file=self.file, place=f"{self.place}{dot}{step}" if dot or isinstance(step, str) else
                   f"{self.place}[{step}]")  # fmt: skip

    def refused(self, value: object, expected: str) -> ConfigError:
        where = f", {self.place}" if self.place else ""
        return ConfigError(f"root: {self.file}{where}: got {_short(value)}, expected {expected}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _json(file: Path) -> Any:
    try:
        return parse_json(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"root: {file} cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"root: {file} is not JSON ({error})") from None


def _item(owner: Any, name: str, kind: type, at: _At, what: str) -> Any:
    if not isinstance(owner, Mapping):
        raise at.refused(owner, "an object")
    if not isinstance(owner.get(name), kind):
        raise (at / name).refused(owner.get(name), what)
    return owner[name]


def karpathy(file: Path, split: str) -> Captions:
    """Return the images of a split of ``dataset_coco.json`` or ``dataset_flickr30k.json`` with their captions.

    Raises:
        ConfigError: naming the file and the place in it.
    """
    return _karpathy(file, split, file.stat().st_mtime_ns if file.is_file() else 0)


@lru_cache(maxsize=4)
def _karpathy(file: Path, split: str, stamp: int) -> Captions:
    """``stamp``: when the file was written last. Parsing COCO's takes seconds, and a trial asks several times."""
    at = _At(file=file)
    found: Captions = {}
    for i, image in enumerate(_item(_json(file), "images", list, at, "a list of images")):
        here = at / "images" / i
        own = _item(image, "split", str, here, f"one of {', '.join(SPLITS)}")
        if own not in SPLITS:
            raise (here / "split").refused(own, f"one of {', '.join(SPLITS)}")
        if own != split:
            continue
        folder = image.get("filepath", "")
        if not isinstance(folder, str):
            raise (here / "filepath").refused(folder, "the image's folder")
        name = "/".join(p for p in (folder, _item(image, "filename", str, here, "a file's name")) if p)
        if _leaves(name):
            raise (here / "filename").refused(name, BELOW)
        if name in found:
            raise (here / "filename").refused(name, "every image once")
        found[name] = [
            _caption(_item(one, "raw", str, here / "sentences" / k, "a caption"), here / "sentences" / k / "raw")
            for k, one in enumerate(_item(image, "sentences", list, here, "a list of captions"))
        ]
        if not found[name]:
            raise (here / "sentences").refused([], "at least one caption")
    if not found:
        raise (at / "images").refused(0, f"images of the split {split!r}")
    return found


def in_folder(root: Path) -> Captions:
    """Return the images of a folder with their captions, of its one captions file.

    ``captions.tsv`` has the image's path, a tab and a caption in each line; ``captions.csv`` has the columns ``image``
    and ``caption``; ``captions.json`` maps an image's path to a list of captions. Several captions of an image are
    several lines. Paths are relative to the folder.

    Raises:
        ConfigError: naming the file and the line or key; or if there is none of the three files, or several.
    """
    there = [name for name in READERS if (root / name).is_file()]
    if len(there) != 1:
        raise ConfigError(f"root: {root} holds {', '.join(there) or 'no captions file'}; expected one of "
                          f"{', '.join(READERS)}")  # fmt: skip
    found: Captions = {}
    for image, caption in READERS[there[0]](root / there[0]):
        found.setdefault(image, []).append(caption)
    if not found:
        raise ConfigError(f"root: {root / there[0]} holds no caption")
    return found


def _of_tsv(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in numbered_lines(file):
        image, tab, caption = line.partition("\t")
        if not (tab and caption.strip()):
            raise refused(file, number, line, "an image's path, a tab and a caption")
        if _leaves(image.strip()):
            raise refused(file, number, image.strip(), BELOW)
        yield image.strip(), caption.strip()


def _of_csv(file: Path) -> Iterator[tuple[str, str]]:
    lines = [line for _, line in numbered_lines(file)]
    rows = csv.reader(lines, strict=True)
    try:
        head = [name.strip().lower() for name in next(rows, [])]
        if head != ["image", "caption"]:
            raise refused(file, 1, lines[0] if lines else "", "the columns image,caption")
        for row in rows:
            if len(row) != 2 or not all(cell.strip() for cell in row):
                raise refused(file, rows.line_num, ",".join(row), "an image's path and a caption")
            if _leaves(row[0].strip()):
                raise refused(file, rows.line_num, row[0].strip(), BELOW)
            yield row[0].strip(), row[1].strip()
    except csv.Error as error:
        raise refused(file, rows.line_num, lines[rows.line_num - 1], f"a line of CSV ({error})") from None


def _of_json(file: Path) -> Iterator[tuple[str, str]]:
    at, content = _At(file=file), _json(file)
    if not isinstance(content, Mapping):
        raise at.refused(content, "an object of image: captions")
    for image, captions in content.items():
        here = at / repr(image)
        if not isinstance(captions, list) or not captions:
            raise here.refused(captions, "a list of at least one caption")
        if _leaves(image):
            raise here.refused(image, BELOW)
        for k, caption in enumerate(captions):
            yield image, _caption(caption, here / k)


READERS: Mapping[str, Callable[[Path], Iterator[tuple[str, str]]]] = {
    "captions.tsv": _of_tsv, "captions.csv": _of_csv, "captions.json": _of_json
}  # fmt: skip


def _caption(text: Any, at: _At) -> str:
    if not isinstance(text, str) or not text.strip():
        raise at.refused(text, "a caption")
    return text.strip()


def _leaves(name: str) -> bool:
    """Return whether a path leaves the folder of images; such a path could read any file of the machine."""
    return not name or name.startswith(("/", "\\")) or ".." in Path(name).parts or "\0" in name
