"""Files that are whole or absent: written beside their place, flushed, then renamed."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# ``.NAME.part-RANDOM`` and the suffix of NAME; earlier versions wrote it without "part-".
TEMPORARY = re.compile(r"\..+\.part-[a-z0-9_]{8}(\.[^.]+)?|\..+(\.[^.]+)\.[a-z0-9_]{8}\2")
FRESH_SECONDS = 60.0  # younger temporaries may belong to a process that has not locked them yet


def write_whole(path: Path, write: Callable[[Path], object]) -> Path:
    """Call ``write`` with a temporary path beside ``path``, then rename it into place. Returns ``path``.

    A killed process leaves the temporary file, which :func:`remove_stale` removes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.part-", suffix=path.suffix, dir=path.parent)
    part = Path(name)
    try:
        _lock(handle)
        write(part)
        with part.open("rb") as f:
            os.fsync(f.fileno())
        part.chmod(0o644)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
        os.close(handle)
    return path


def write_text(path: Path, text: str) -> Path:
    """Write ``text`` (UTF-8) to ``path``, whole or not at all."""
    return write_whole(path, lambda part: part.write_text(text, encoding="utf-8"))


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside ``path`` and remove it; that of a killed process goes with ``remove_stale``."""
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.part-", dir=path.parent) as name:
        handle = os.open(name, os.O_RDONLY)
        try:
            _lock(handle)
            yield Path(name)
        finally:
            os.close(handle)


def remove_stale(folder: Path) -> None:
    """Remove the temporary files and folders in ``folder`` whose processes have ended; those below it stay."""
    if not folder.is_dir():
        return
    for entry in folder.iterdir():
        if TEMPORARY.fullmatch(entry.name):
            with suppress(OSError):  # in use, of another user, or just gone
                _remove_if_unlocked(entry)


def _remove_if_unlocked(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        if time.time() - os.fstat(handle).st_mtime > FRESH_SECONDS:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    finally:
        os.close(handle)


def _lock(handle: int) -> None:
    """Hold a lock for as long as ``handle`` is open, which the kernel releases when this process ends."""
    with suppress(OSError):  # a file system without locks, where nothing can be removed as stale either
        fcntl.flock(handle, fcntl.LOCK_EX)
