"""Sets in object storage, for instance ``s3://bucket/set``: copied once to where decoded pixels are kept."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from zsr_core.codec import ConfigError, fingerprint, require
from zsr_core.data.kept import DISK_SHARE, VARIABLE, alone, cache_folder


def on_disk(root: str) -> Path:
    """Return the folder with ``~`` and links resolved. Raises ``ConfigError`` for a home that is not there."""
    try:
        return Path(root).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # no such user; links in a circle
        raise ConfigError(f"root: got {root!r}, expected a folder that can be found ({error})") from None


def local(root: str) -> Path:
    """Return the folder ``root``, which of a URL is its copy below ``ZSR_CACHE``, whole or not there.

    A copy is never compared with what is stored now: sets do not change, and one that does has another name.

    Raises:
        ConfigError: naming the URL, if fsspec or the storage's own package is not installed, or it cannot be read.
    """
    if "://" not in root:
        return on_disk(root)
    folder = cache_folder()
    if folder is None:
        raise ConfigError(f"root: got {root!r}, expected a folder on this machine, or {VARIABLE}: where to copy it to")
    name = PurePosixPath(root.partition("://")[2]).name
    require(bool(name), "root", root, "a folder in a bucket")
    place = folder / "copied" / fingerprint(root) / name
    if place.is_dir():
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with alone(place):
            if not place.is_dir():
                _copy(root, place)
    except ConfigError:
        raise
    except Exception as error:  # every storage has errors of its own; each becomes one line with the URL
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ConfigError(f"root: {root} cannot be copied to {place} ({reason})") from error
    return place


def _copy(root: str, place: Path) -> None:
    storage, path = _storage(root)
    sizes: dict[str, int] = {name: int(about["size"] or 0) for name, about in storage.find(path, detail=True).items()}
    require(len(sizes) > 0, "root", root, "a folder that holds files")
    needed, free = sum(sizes.values()), shutil.disk_usage(place.parent).free
    if needed > DISK_SHARE * free:
        expected = f"{needed / DISK_SHARE / 1e9:.1f} for {root}"
        raise ConfigError(f"{VARIABLE}: {place.parent} has {free / 1e9:.1f} GB free, expected {expected}")
    part = place.with_name(f".{place.name}.part")
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    for name in sizes:
        file = part / PurePosixPath(name).relative_to(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        storage.get_file(name, str(file))
    part.replace(place)


def _storage(root: str) -> tuple[Any, str]:
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415  an extra: most sets are on this machine
    except ImportError:
        raise ConfigError(f"root: got {root!r}, which needs the package fsspec (and for s3:// s3fs)") from None
    storage, path = url_to_fs(root)
    return storage, str(path).rstrip("/")
