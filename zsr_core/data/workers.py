"""Worker processes for what takes a core's time per image: one a core, their errors as if there were none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from torch.utils.data import DataLoader, Dataset

from zsr_core.codec import ConfigError

# Beyond so many the disk, or whoever takes what they bring, is the slower side.
MOST = 8


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_workers(items: Dataset[Any], count: int, workers: int, *, pinned: bool = False) -> Iterator[Any]:
    """Yield ``items[0]`` to ``items[count - 1]`` in order, made by ``workers`` processes; by this one if 0.

    Raises:
        ConfigError: with its one line, where a worker raised it.
    """
    loader = DataLoader(
        items, batch_size=None, shuffle=False, num_workers=workers if count > 1 else 0, pin_memory=pinned
    )
    try:
        yield from loader
    except ConfigError as error:  # a worker's comes with its traceback before it
        raise ConfigError(str(error).strip().splitlines()[-1].rpartition("ConfigError: ")[2]) from None
