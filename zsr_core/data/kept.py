"""Decoded once: a set's pixels as the model sees them, in one memory-mapped file that all processes share.

Opt-in, by the environment's ``ZSR_CACHE``: a folder. What is read from there is bitwise what decoding gives, so
neither a trial's identity nor its numbers depend on it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import features
from torch import Tensor
from torch.utils.data import Dataset

from zsr_core.codec import ConfigError, fingerprint
from zsr_core.data.pictures import Decoded, Pictures, unreadable
from zsr_core.data.workers import cores, in_workers
from zsr_core.files import write_text, write_whole

VARIABLE = "ZSR_CACHE"
# Images that a worker decodes at a time: 5 MB of them at 224 pixels.
CHUNK = 32
# Suffixes of files that may have more than 8 bits a channel.
WIDE = (".png", ".tif", ".tiff", ".pgm", ".ppm")
# Share of the free space that decoded pixels may take, because results are written to the same disk.
DISK_SHARE = 0.9
# The time of writing is read of so many files of a set at most.
ASKED = 20_000


def cache_folder() -> Path | None:
    """Return the folder that the environment names, None if it names none."""
    named = os.environ.get(VARIABLE, "")
    return Path(named).expanduser().absolute() if named else None


def kept_file(folder: Path, called: str, key: str, decoded: Decoded) -> Path:
    """Return where the pixels of a set are kept: ``called`` is for the reader, all else for the machine.

    ``key`` says which data and which preprocessing.
    """
    made = _made(key, decoded.pictures, decoded.rows.tolist(), list(_shape(decoded)))
    return folder / f"{_readable(called)}-{made}.npy"


def _readable(called: str) -> str:
    return re.sub(r"[^A-Za-z0-9.-]+", "_", called)


def _made(key: str, pictures: Pictures, rows: Sequence[int], how: Sequence[int]) -> str:
    """Return 16 hex digits of what was decoded, and by what.

    When the files were written is part of it, since another image of the same name may have the same size; and the
    decoders are, since two versions may round differently.
    """
    decoders = [PIL.__version__, *(features.version(name) for name in ("libjpeg_turbo", "jpg", "webp"))]
    # Marks pixels that were scaled by their set's range; earlier versions scaled each picture by itself.
    scaled = [2] if any(name.lower().endswith(WIDE) for name in getattr(pictures, "names", ())) else []
    asked = rows[:: max(1, -(-len(rows) // ASKED))]
    return fingerprint([key, pictures.stamp(asked), decoders, [*how, *scaled]], 16)


def kept_unreadable(
    folder: Path | None, called: str, key: str, pictures: Pictures, rows: Sequence[int], find: Callable[[], list[int]]
) -> list[int]:
    """Return which ``rows`` cannot be decoded: as listed in ``folder``, else as ``find`` finds them, and listed then.

    Those listed are tried again: if one has been repaired, all are.
    """
    if folder is None:
        return find()
    file = folder / f"{_readable(called)}-{_made(key, pictures, rows, [])}.unreadable.json"
    if file.is_file():
        listed = _listed(file)
        if listed is not None and unreadable(pictures, listed) == listed:
            return listed
    broken = find()
    try:
        write_text(file, json.dumps(broken) + "\n")
    except OSError as error:
        raise ConfigError(f"{VARIABLE}: {folder} cannot hold decoded images ({error})") from error
    return broken


def _listed(file: Path) -> list[int] | None:
    """Return the row numbers in a file; None of one that is torn, which is made again."""
    try:
        listed = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return listed if isinstance(listed, list) and all(isinstance(row, int) for row in listed) else None


def _shape(decoded: Decoded) -> tuple[int, int, int, int]:
    return (len(decoded.rows), 3, decoded.size, decoded.size)


@dataclass(frozen=True, kw_only=True, eq=False)
class Kept:
    """Rows to pixels, as :class:`Decoded`, from ``file`` once that is there; :meth:`build` makes it."""

    decoded: Decoded
    file: Path

    def __call__(self, rows: Sequence[int]) -> Tensor:
        stored = self.stored()
        return self.decoded(rows) if stored is None else stored[list(rows)]

    def stored(self) -> Tensor | None:
        """Return all pixels, uint8 [N, 3, S, S], read when touched; None if they are not there, or not whole."""
        if not self.file.is_file():
            return None
        try:
            pixels = _mapped(self.file, self.file.stat().st_mtime_ns)
        except (ValueError, EOFError):  # cut short, or another format: it is built again
            return None
        return pixels if pixels.shape == _shape(self.decoded) and pixels.dtype == torch.uint8 else None

    def build(self) -> Tensor:
        """Return all pixels, decoding them first if the file is not there; other processes wait for it meanwhile.

        Raises:
            ConfigError: naming the image that cannot be decoded, or the folder if it cannot be written or is too full.
        """
        stored = self.stored()
        if stored is not None:
            return stored
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with alone(self.file):
                if self.stored() is None:
                    self._decode()
        except OSError as error:
            raise ConfigError(f"{VARIABLE}: {self.file.parent} cannot hold decoded images ({error})") from error
        stored = self.stored()
        if stored is None:
            raise ConfigError(f"{VARIABLE}: {self.file} was written and cannot be read back; use another disk")
        return stored

    def _decode(self) -> None:
        for left in self.file.parent.glob(f".{self.file.name}.*.npy"):  # of a process that was killed
            left.unlink()
        n, _, size, _ = _shape(self.decoded)
        needed, free = 3 * n * size * size, shutil.disk_usage(self.file.parent).free
        if needed > DISK_SHARE * free:
            raise ConfigError(
                f"{VARIABLE}: {self.file.parent} has {free / 1e9:.1f} GB free, expected {needed / DISK_SHARE / 1e9:.1f}"
                f" for {n:,} decoded images of {size} x {size} pixels; name another folder, or none"
            )
        write_whole(self.file, self._write)

    def _write(self, part: Path) -> None:
        shape = _shape(self.decoded)
        offset = np.lib.format.open_memmap(part, "w+", np.uint8, shape).offset
        with part.open("r+b") as file:  # all of it reserved: a disk that fills up now says so here
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, offset + int(np.prod(shape)))
        chunks = _Chunks(decoded=self.decoded, part=part, offset=offset)
        for _ in in_workers(chunks, len(chunks), cores()):
            pass


@lru_cache(maxsize=64)
def _mapped(file: Path, written: int) -> Tensor:
    """Copy-on-write: no process can change what the others read, and no page is copied as long as none tries."""
    return torch.from_numpy(np.lib.format.open_memmap(file, "c"))


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """Hold the lock of ``file``, which need not be there; the kernel releases it however the process ends."""
    import fcntl  # noqa: PLC0415  not on every system that the core runs on

    with file.with_name(f".{file.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chunks(Dataset[int]):
    """Decodes its rows into their place in the file: the pixels themselves travel between no processes."""

    decoded: Decoded
    part: Path
    offset: int

    def __len__(self) -> int:
        return -(-len(self.decoded.rows) // CHUNK)

    def __getitem__(self, index: int) -> int:
        first = index * CHUNK
        pixels = self.decoded(range(first, min(first + CHUNK, len(self.decoded.rows)))).numpy()
        with self.part.open("r+b") as file:
            file.seek(self.offset + first * pixels[0].nbytes)
            file.write(pixels.data)
        return len(pixels)
