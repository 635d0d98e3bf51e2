"""Random generators named for their purpose, all derived from one seed; nothing here touches a global seed.

A draw depends on (seed, purpose) alone, so adding one purpose never shifts another's numbers, a resumed run draws
what the uninterrupted one would have drawn, and compared trials share data order and attack noise.
"""

from __future__ import annotations

import hashlib

import torch


def seed_for(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for ``purpose``, e.g. ``seed_for(0, "attack", step)``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: str | int, device: torch.device | str = "cpu") -> torch.Generator:
    """Return a generator on ``device`` seeded for ``purpose``."""
    return torch.Generator(device=device).manual_seed(seed_for(seed, *purpose))
