"""One launch at a time per study: a lock that the kernel releases when its process ends, even if it is killed."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from zsr_core.codec import ConfigError


@contextmanager
def only_launch(folder: Path) -> Iterator[None]:
    """Hold the lock of the study in ``folder`` for the length of the block.

    The lock file is beside the folder, so that it stays when the folder is renamed. The kernel's lock counts, not the
    file's existence: the file that a killed launch leaves does not block the next one.

    Raises:
        ConfigError: if another launch holds it, saying which.
    """
    real = folder.resolve()  # otherwise a study and a symbolic link to it would have two locks
    path = real.parent / f".{real.name}.lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                raise ConfigError(f"results: {path} cannot be locked ({error.strerror}); use another disk") from None
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise ConfigError(
                f"results: another launch is running {folder.name} ({holder}); "
                "wait for it, stop it, or give another --results"
            ) from None
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        yield
