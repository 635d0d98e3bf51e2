"""What of the public sets is on this disk: found, missing or incomplete, counted against what was published."""

from __future__ import annotations

import gzip
import os
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from zsr_core.codec import ConfigError, require
from zsr_core.data.formats.listing import Part, PartName
from zsr_core.data.partition import FOLDER, cut, digest, store, stored_at
from zsr_core.data.pictures import Files, unreadable
from zsr_core.data.prompts import words
from zsr_core.data.tasks import EVERY, ZeroShotTask, needs, read, task, wanted

State = Literal["found", "missing", "incomplete"]
# Compressed archives are read to their end up to this size, to see whether they are whole; of larger ones the start.
READ_TO_END = 512 * 2**20
SHOWN = 3  # names that a line gives


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was seen of one set: its state, and lines that say what."""

    name: str
    state: State
    lines: tuple[str, ...]


def check_sets(
    root: Path, names: Sequence[str] = (), *, decode: bool = False, write_splits: bool = False
) -> list[Finding]:
    """Return a finding per named set, else per set of :data:`zsr_core.data.tasks.EVERY`.

    Args:
        root: the folder that holds them all.
        decode: decode every image, which takes long, and list those that cannot be.
        write_splits: store the selection rows of the sets that are whole, for good.

    Raises:
        ConfigError: if ``root`` is no folder, or a name no set's. What is in the folder raises nothing.
    """
    require(root.is_dir(), "--root", str(root), "the folder that holds the sets")
    rows = [task(name, "--tasks") for name in names] or list(EVERY)
    return [_check(row, root, decode, write_splits) for row in rows]


def _check(row: ZeroShotTask, root: Path, decode: bool, write_splits: bool) -> Finding:
    places = {*row.either, *(path for part in row.counts for path in needs(row, part))}
    if all(not os.path.exists(root / path) for path in places):
        paths = dict.fromkeys(path for part in row.counts for path in wanted(row, part))
        packed = list(_archives(row, root))
        lines = (*packed, f"expected below {root}: {', '.join(paths)}", _where(row))
        return Finding(name=row.name, state="incomplete" if packed else "missing", lines=lines)
    seen: list[str] = []
    faults: list[str] = []
    for part in row.counts:
        try:
            content = read(row, root, part)
            seen.append(_counted(row, part, content))
            faults += _faults(row, part, content, decode)
            if part != "report":
                # Rows of a set that is not whole would not fit the whole one.
                whole = len(content.ids) == row.counts[part]
                seen.append(_split(row, root, content, write_splits and whole))
        except (ConfigError, OSError) as error:
            faults.append(f"{part}: {error}")
    state: State = "incomplete" if faults else "found"
    return Finding(
        name=row.name, state=state, lines=(*seen, *faults, *((*_archives(row, root), _where(row)) if faults else ()))
    )


def _where(row: ZeroShotTask) -> str:
    return f"official page: {row.page}; archives: {', '.join(row.archives)}; licence: {row.licence}"


def _counted(row: ZeroShotTask, part: PartName, content: Part) -> str:
    images = f"{len(content.ids):,} images of {row.counts[part]:,}"
    classes = f"{row.outside} OOD" if row.outside else f"{len(content.classes)} classes of {len(row.classes)}"
    return f"{part} ({row.splits[part]}): {images}, {classes}"


def _faults(row: ZeroShotTask, part: PartName, content: Part, decode: bool) -> Iterator[str]:
    if len(content.ids) != row.counts[part]:
        yield f"{part}: {len(content.ids):,} images, published are {row.counts[part]:,}"
    ours, published = ([words(name) for name in names] for names in (content.classes, row.classes))
    if ours != published:
        more, less = ([name for name in a if name not in b] for a, b in ((ours, published), (published, ours)))
        apart = "; ".join(f"{how} {_first(names)}" for how, names in (("strange", more), ("lacking", less)) if names)
        alike = sorted(ours) == sorted(published)
        what = "in another order" if alike else f"not the {len(published)} published: {apart or 'some twice'}"
        yield f"{part}: classes {what}"
    without = len(set(range(len(content.classes))) - set(content.labels.tolist()))
    if without:
        yield f"{part}: {without} of {len(content.classes)} classes have no image"
    lacking = _lacking(content)
    if lacking:
        yield f"{part}: {len(lacking):,} images are listed and not there, first {content.pictures.place(lacking[0])}"
    if decode:
        gone = set(lacking)
        broken = unreadable(content.pictures, [i for i in range(len(content.ids)) if i not in gone])
        if broken:
            yield f"{part}: {len(broken):,} of {len(content.ids):,} images cannot be read"
        yield from (f"{part}: {content.pictures.place(i)} cannot be read as an image" for i in broken)


def _first(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:SHOWN])) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def _lacking(content: Part) -> list[int]:
    if not isinstance(content.pictures, Files):
        return []
    listed: dict[str, frozenset[str]] = {}
    lacking = []
    for row, name in enumerate(content.pictures.names):
        folder, _, file = name.rpartition("/")
        if folder not in listed:
            listed[folder] = _entries(content.pictures.base / folder)
        if file not in listed[folder]:
            lacking.append(row)
    return lacking


def _entries(folder: Path) -> frozenset[str]:
    """Return the names of the files, links to what is not there not among them."""
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:  # none of its images can be read, which is what the caller says
        return frozenset()


def _split(row: ZeroShotTask, root: Path, content: Part, write: bool) -> str:
    if write:
        store(root, row.name, content.ids)
    rest, selection = cut(root, row.name, content.ids)
    other = "report" if row.cut_by_us else "train"
    kept = stored_at(root, row.name)
    how = f"stored in {FOLDER}/{kept.name}" if kept.is_file() else "drawn by seed"
    rows = digest([str(i) for i in selection.tolist()])
    return f"selection: {len(selection):,} images held out, {len(rest):,} {other}; {how}, digest {rows}"


def _archives(row: ZeroShotTask, root: Path) -> Iterator[str]:
    for name in row.archives:
        for file in dict.fromkeys((root / name, root / row.folder.split("/")[0] / name)):
            if os.path.isfile(file):
                wrong = archive_fault(file)
                yield f"{file} is there, {f'and cannot be read to its end ({wrong})' if wrong else 'not unpacked'}"


def archive_fault(file: Path) -> str:
    """Return what is wrong with an archive, empty if nothing is seen."""
    try:
        if file.suffix == ".zip":
            with zipfile.ZipFile(file) as archive:  # its directory is at the end
                archive.infolist()
            return ""
        if not tarfile.is_tarfile(file):
            return _gzip_fault(file) if file.name.endswith(".h5.gz") else "no tar archive"
        small, packed = file.stat().st_size <= READ_TO_END, file.suffix != ".tar"
        with tarfile.open(file) as archive:
            for seen, member in enumerate(archive):  # of one that is not compressed, from header to header
                if packed and not small and seen:
                    break
                if packed and small and member.isfile():
                    _drain(archive, member)
    except (OSError, EOFError, zipfile.BadZipFile, tarfile.TarError, zlib.error, ValueError) as error:
        return " ".join(str(error).split()) or type(error).__name__
    return ""


def _gzip_fault(file: Path) -> str:
    with gzip.open(file) as packed:
        while file.stat().st_size <= READ_TO_END and packed.read(2**20):
            pass
    return ""


def _drain(archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
    opened = archive.extractfile(member)
    while opened is not None and opened.read(2**20):
        pass


def report(findings: Sequence[Finding]) -> list[str]:
    """Return the findings as lines, then how many of each state."""
    titles = {row.name: row.title for row in EVERY}
    lines = []
    for finding in findings:
        lines.append(f"{finding.state:<10}  {finding.name}  ({titles[finding.name]})")
        lines += [f"            {line}" for line in finding.lines]
    states = [finding.state for finding in findings]
    tally = ", ".join(f"{states.count(state)} {state}" for state in ("found", "incomplete", "missing"))
    return [*lines, tally]
