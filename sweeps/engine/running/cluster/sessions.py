"""The session folders of the Ray that launches start: removed when their launch has ended, however it ended."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import TextIO

OWNER = "zsr.lock"  # in a session's folder: locked by the launch that started that Ray, for as long as it lives


def own_session(session: Path) -> TextIO:
    """Mark a session's folder as that of a Ray which this process has started, and return the file that holds its lock.

    The kernel releases the lock when this process ends, even if it is killed.
    """
    file = (session / OWNER).open("w", encoding="utf-8")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def remove_ended_sessions(folder: Path) -> None:
    """Remove the marked sessions in Ray's ``folder`` whose launch has ended and that no process uses any more."""
    for owner in folder.glob(f"session_*/{OWNER}"):
        if owner.parent.is_symlink():  # session_latest
            continue
        with suppress(OSError), owner.open("r+", encoding="utf-8") as file:  # another user's, or just removed
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if set(_users(owner.parent)) <= {os.getpid()}:  # this process has its lock open
                remove_session(owner.parent)


def remove_session(session: Path) -> None:
    """Remove a session's folder, and the link to it as the latest one."""
    shutil.rmtree(session, ignore_errors=True)
    latest = session.parent / "session_latest"
    if latest.is_symlink() and Path(os.readlink(latest)).name == session.name:
        latest.unlink(missing_ok=True)


def end_session(session: Path) -> None:
    """Kill the processes of Ray that have a file of the session open: its agents outlive a dead GCS by minutes."""
    for process in _users(session):
        with suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes()
            if process != os.getpid() and (command.startswith(b"ray::") or b"/ray/" in command):
                os.kill(process, signal.SIGKILL)


def _users(session: Path) -> list[int]:
    """Return the processes of this user that have a file of the session open; none where there is no ``/proc``."""
    return [int(process.name) for process in Path("/proc").glob("[0-9]*") if _has_open(process, session)]


def _has_open(process: Path, session: Path) -> bool:
    with suppress(OSError):  # another user's process, or one that has just ended
        for handle in (process / "fd").iterdir():
            with suppress(OSError):
                if Path(os.readlink(handle)).is_relative_to(session):
                    return True
    return False
