"""Which images of a set select and which train or report: drawn by a seed, stored if asked, never both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.files import write_text
from zsr_core.rng import generator

# "all" is for sets that nothing trains on and that have no splits of their own: every image. Of others it is "report".
Split = Literal["train", "selection", "report", "all"]
SPLITS: tuple[Split, ...] = ("train", "selection", "report", "all")
HELD_OUT = 0.2  # share of a training set kept for selection, truly held out
FOLDER = "zsr-splits"  # beside the sets
# How a folder may call the splits it has. The first of HELD that is there is what is reported.
HELD = ("val", "validation", "valid", "test")
OWN = ("train", *HELD)


def held_out(n: int, name: str) -> tuple[Tensor, Tensor]:
    """Return (train rows, selection rows) of ``n``: a seeded choice of 80 % and 20 %, each in ascending order."""
    order = torch.randperm(n, generator=generator(0, "held-out", name))
    cut = n - round(HELD_OUT * n)
    return order[:cut].sort().values, order[cut:].sort().values


def trained_parts(n: int, name: str) -> dict[Split, Tensor]:
    """Return the rows of each split of a set that is trained on and has none: 60, 20 and 20 % of ``n``."""
    rest, selection = held_out(n, name)
    kept = round(len(rest) * 0.75)
    order = rest[torch.randperm(len(rest), generator=generator(0, "flat", name))]
    report = order[kept:].sort().values
    return {"train": order[:kept].sort().values, "selection": selection, "report": report, "all": report}


def untrained_parts(n: int, name: str) -> dict[Split, Tensor]:
    """Return the rows of each split of a set without splits that nothing trains on: a half selects, a half reports."""
    order = torch.randperm(n, generator=generator(0, "halves", name))
    selection, report = order[: n // 2].sort().values, order[n // 2 :].sort().values
    return {"selection": selection, "report": report, "all": torch.arange(n)}


def digest(ids: Sequence[str]) -> str:
    """Return 16 hex digits of which images these are, in which order."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]


def stored_at(root: Path, name: str) -> Path:
    """Return the file that holds the selection rows of the set ``name``, if they are stored."""
    return root / FOLDER / f"{name}.json"


def cut(root: Path, name: str, ids: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Return (the other rows, selection rows) of the images ``ids``: as stored below ``root``, else as drawn.

    Raises:
        ConfigError: naming the file, if what is stored is not of these images.
    """
    file = stored_at(root, name)
    if not file.is_file():
        return held_out(len(ids), name)
    rows = _read(file)
    expected = (len(ids), digest(ids))
    require(
        (rows.get("images"), rows.get("digest")) == expected,
        "root",
        str(file),
        f"the split of the {expected[0]} images that are there (digest {expected[1]}), not of "
        f"{rows.get('images')} (digest {rows.get('digest')}): restore the images, or delete the file",
    )
    chosen = rows.get("held_out")
    whole = isinstance(chosen, list) and all(isinstance(i, int) and 0 <= i < len(ids) for i in chosen)
    require(whole and len(set(chosen or ())) == len(chosen or ()), "root", str(file), "held_out: different row numbers")
    selection = torch.tensor(sorted(chosen or ()), dtype=torch.int64)
    rest = torch.ones(len(ids), dtype=torch.bool)
    rest[selection] = False
    return rest.nonzero()[:, 0], selection


def _read(file: Path) -> dict[str, Any]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"root: {file} cannot be read as a stored split ({error})") from None
    require(isinstance(stored, dict), "root", str(file), "a stored split")
    plain: dict[str, Any] = stored
    return plain


def store(root: Path, name: str, ids: Sequence[str]) -> Path:
    """Write the selection rows, once: what is stored stays."""
    file = stored_at(root, name)
    _, selection = cut(root, name, ids)
    if file.is_file():
        return file
    plain = {"set": name, "images": len(ids), "digest": digest(ids), "held_out": selection.tolist()}
    return write_text(file, json.dumps(plain) + "\n")
