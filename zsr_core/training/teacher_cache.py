"""The frozen teacher on clean training images: encoded once per (weights, data, preprocessing), read by all trials."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from zsr_core.codec import ConfigError, fingerprint
from zsr_core.data import ImageSet, batches
from zsr_core.data.feeding import gathered_ahead
from zsr_core.files import write_text, write_whole
from zsr_core.model.distributed import ALONE, World, shared
from zsr_core.model.layout import Features
from zsr_core.model.tower import ImageTower

# The caches of one study may fill this share of the free disk; beyond it the teacher is run in every step instead.
DISK_SHARE = 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class TeacherCache:
    """Embeddings [N, D] and projected patch tokens [N, P, D] of a set, fp32, memory-mapped read-only."""

    embeddings: np.ndarray
    patches: np.ndarray | None  # None where the teacher has none
    grid: tuple[int, int]
    asked: set[str] = field(default_factory=set)  # "patches" once a method has asked for them

    def features(self, rows: Tensor, device: torch.device | str) -> Features:
        """Return the teacher's features of the images at ``rows``, as if it had just encoded them."""
        pinned = torch.device(device).type == "cuda"
        return self._sent(rows.numpy(), rows_of(self.embeddings, rows.numpy(), pinned=pinned), None, device)

    def in_order(self, batches_of: Sequence[Tensor], device: torch.device | str) -> Iterator[Features]:
        """Yield the features of one batch of rows after the other.

        On CUDA a thread gathers each batch in pinned memory while the one before is in use; patch tokens too, if a
        batch before has been asked for them.
        """
        if torch.device(device).type != "cuda":
            yield from (self.features(rows, device) for rows in batches_of)
            return

        def gathered() -> Iterator[tuple[np.ndarray, Tensor, Tensor | None]]:
            for rows in batches_of:
                index = rows.numpy()
                tokens = self._patches(index, pinned=True) if "patches" in self.asked else None
                yield index, rows_of(self.embeddings, index, pinned=True), tokens

        for index, embedding, tokens in gathered_ahead(gathered(), device):
            yield self._sent(index, embedding, tokens, device)

    def _sent(
        self, index: np.ndarray, embedding: Tensor, tokens: Tensor | None, device: torch.device | str
    ) -> Features:
        """Return the features on ``device``; the host does not wait for what lies in pinned memory."""

        def patches() -> Tensor:
            self.asked.add("patches")
            gathered = self._patches(index, pinned=embedding.is_pinned()) if tokens is None else tokens
            return gathered.to(device, non_blocking=True)

        return Features(
            embedding=embedding.to(device, non_blocking=True), patches=cache(patches), last_norm=_no_layers,
            grid=self.grid,
        )  # fmt: skip

    def _patches(self, index: np.ndarray, *, pinned: bool) -> Tensor:
        if self.patches is None:
            raise ConfigError("model: the frozen teacher has no patch tokens in the joint space")
        return rows_of(self.patches, index, pinned=pinned)


def rows_of(array: np.ndarray, index: np.ndarray, *, pinned: bool) -> Tensor:
    """Return ``array[index]`` as a tensor on the CPU, in pinned memory where a GPU is to read it."""
    if not pinned:
        return torch.from_numpy(array[index])
    gathered = torch.empty((len(index), *array.shape[1:]), dtype=torch.float32, pin_memory=True)
    np.take(array, index, axis=0, out=gathered.numpy())
    return gathered


def _no_layers() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    raise ValueError("the teacher cache holds embeddings and patch tokens, no inner layers")


def cache_key(tower: ImageTower, weights_sha: str, images: ImageSet) -> str:
    """Return the name of the cache: a hash of the teacher, as weights and as function, and of the pixels it saw.

    With another activation, number of heads or pixel statistics, the same weights are another teacher.
    """
    heads = [module.num_heads for module in tower.modules() if hasattr(module, "num_heads")]
    pixels = [tower.mean.flatten().tolist(), tower.std.flatten().tolist(), tower.image_size]
    return fingerprint([weights_sha, str(tower.visual), heads, pixels, images.key, "fp32"])


def teacher_cache(
    tower: ImageTower,
    weights_sha: str,
    images: ImageSet,
    folder: Path,
    *,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
    world: World = ALONE,
) -> TeacherCache | None:
    """Return the cache below ``folder``, building it first if it is not there; None if the disk has no room for it.

    Safe among processes: each file is written under a name of its own and renamed, ``meta.json`` last. Two that
    build at once write the same bytes.
    """
    place = folder / cache_key(tower, weights_sha, images)
    if not world.lead(lambda: _is_whole(place, with_patches=tower.has_patches)):
        n = len(images.labels)
        with torch.no_grad():
            x, _, _ = next(batches(images, [torch.arange(min(1, n))], device))
            sample = tower.features(x)
            size = 4 * n * (sample.embedding.shape[1] + (sample.patches()[0].numel() if tower.has_patches else 0))
        folder.mkdir(parents=True, exist_ok=True)
        if world.lead(lambda: size > DISK_SHARE * shutil.disk_usage(folder).free):
            return None
        encoded = _encoded(tower, images, world, batch_size=batch_size, device=device)
        if world.leads:
            _write(encoded, n, images.name, place)
        for _ in encoded:  # the other processes encode their share
            pass
        world.agree("the teacher's features", place.name)  # no process reads before all is written
    meta = json.loads((place / "meta.json").read_text(encoding="utf-8"))
    return TeacherCache(
        embeddings=np.load(place / "embeddings.npy", mmap_mode="r"),
        patches=np.load(place / "patches.npy", mmap_mode="r") if tower.has_patches else None,
        grid=(meta["grid"][0], meta["grid"][1]),
    )


def _is_whole(place: Path, *, with_patches: bool) -> bool:
    """Return whether the folder holds features that can be read; torn ones are made again."""
    try:
        json.loads((place / "meta.json").read_text(encoding="utf-8"))
        for name in ("embeddings", *(("patches",) if with_patches else ())):
            np.load(place / f"{name}.npy", mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return False
    return True


Encoding = tuple[np.ndarray, Features, np.ndarray | None]  # rows, features, patch tokens


@torch.no_grad()
def _encoded(
    tower: ImageTower, images: ImageSet, world: World, *, batch_size: int, device: torch.device | str
) -> Iterator[Encoding]:
    features = shared(tower.features, world)
    for x, _, rows in batches(images, torch.arange(len(images.labels)).split(batch_size), device):
        batch = features(x)
        yield rows.numpy(), batch, batch.patches().float().cpu().numpy() if tower.has_patches else None


def _write(encoded: Iterator[Encoding], n: int, name: str, place: Path) -> None:
    rows, seen, tokens = next(encoded)
    embeddings = np.empty((n, seen.embedding.shape[1]), dtype=np.float32)
    embeddings[rows] = seen.embedding.float().cpu().numpy()
    grid = seen.grid

    def write_patches(part: Path, first: np.ndarray) -> None:
        patches = np.lib.format.open_memmap(part, "w+", np.float32, (n, *first.shape[1:]))
        patches[rows] = first
        for more, seen, tokens in encoded:
            embeddings[more] = seen.embedding.float().cpu().numpy()
            patches[more] = tokens
        patches.flush()

    if tokens is not None:
        write_whole(place / "patches.npy", lambda part: write_patches(part, tokens))
    for more, seen, _ in encoded:
        embeddings[more] = seen.embedding.float().cpu().numpy()
    write_whole(place / "embeddings.npy", lambda path: np.save(path, embeddings))
    write_text(place / "meta.json", json.dumps({"grid": list(grid), "images": n, "set": name}))
