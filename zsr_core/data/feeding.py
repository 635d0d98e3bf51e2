"""From sets to batches of floats on the device, in the order asked for, at the speed of memory where it can be."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from zsr_core.data.kept import Kept
from zsr_core.data.open import ImageSet, Picked
from zsr_core.data.workers import MOST, cores, in_workers

T = TypeVar("T")
Batch = tuple[Tensor, Tensor, Tensor]  # pixels [b, 3, S, S], labels [b], rows [b]
# Bytes of pixels that become floats at a time: so few, with the floats four times as many, stay near the core, and a
# copy of them comes from memory at hand; a larger one the allocator asks the system for, each time anew.
AT_ONCE = 2**16


@dataclass(frozen=True, kw_only=True, eq=False)
class _Batches(Dataset[Batch]):
    images: ImageSet
    rows: Sequence[Tensor]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Batch:
        rows = self.rows[index]
        return self.images.pixels(rows.tolist()), self.images.labels[rows], rows


def batches(images: ImageSet, rows: Sequence[Tensor], device: torch.device | str = "cpu") -> Iterator[Batch]:
    """Yield (x [b, 3, S, S] float32 in [0, 1], y [b], rows [b]) for each non-empty tensor of row numbers, in order.

    Sets on disk are decoded by worker processes, one a core up to eight; order and values do not depend on how many.
    Where decoded pixels are kept (:mod:`zsr_core.data.kept`), all of the set is decoded first if it is not there yet,
    and then read without workers.
    """
    groups = [group for group in rows if len(group)]  # no image may be left standing
    kept = _stored(images.pixels) if groups else None
    if torch.device(device).type == "cuda":
        if kept is None:
            seen = _loaded(images, groups, pinned=True)
        else:
            seen = gathered_ahead(_gathered(images, *kept, groups), device)
        for x, y, index in seen:
            there = x.to(device, non_blocking=True)
            there = there.float() if there.is_floating_point() else there.float().div_(255)
            yield there, y.to(device, non_blocking=True), index
        return
    floats = Floats()
    if kept is None:
        for x, y, index in _loaded(images, groups, pinned=False):
            yield floats.of(x, None).to(device), y.to(device), index
    else:
        pixels, own = kept
        for group in groups:
            yield floats.of(pixels, own[group]).to(device), images.labels[group].to(device), group


def _loaded(images: ImageSet, groups: Sequence[Tensor], *, pinned: bool) -> Iterator[Batch]:
    workers = 0 if images.in_memory else min(MOST, cores())
    return in_workers(_Batches(images=images, rows=groups), len(groups), workers, pinned=pinned)


def _stored(pixels: Callable[[Sequence[int]], Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return all pixels of a set that keeps them, and where each of its rows is there; None of any other set."""
    if isinstance(pixels, Picked):
        below = _stored(pixels.pixels)
        return None if below is None else (below[0], below[1][list(pixels.rows)])
    if not isinstance(pixels, Kept):
        return None
    stored = pixels.build()
    return stored, torch.arange(len(stored))


def _gathered(images: ImageSet, pixels: Tensor, own: Tensor, groups: Sequence[Tensor]) -> Iterator[Batch]:
    """Yield batches in pinned memory: torch's own pool of it, which waits until the device has read them."""
    for group in groups:
        x = torch.empty((len(group), *pixels.shape[1:]), dtype=torch.uint8, pin_memory=True)
        yield torch.index_select(pixels, 0, own[group], out=x), images.labels[group].pin_memory(), group


def gathered_ahead(values: Iterator[T], device: torch.device | str) -> Iterator[T]:
    """Yield the same values, each made while the one before is in use, in a thread that pins memory for ``device``."""
    return ahead(values, _same_device(device))


def _same_device(device: torch.device | str) -> Callable[[], None]:
    """Return what gives a new thread this one's GPU: each starts on the first, where pinning would take memory."""
    index = torch.device(device).index
    return partial(torch.cuda.set_device, torch.cuda.current_device() if index is None else index)


def ahead(values: Iterator[T], begin: Callable[[], None]) -> Iterator[T]:
    """Yield the same values, each made in a thread, which ``begin`` starts, while the one before is in use."""
    end = object()
    with ThreadPoolExecutor(max_workers=1, initializer=begin) as thread:
        coming = thread.submit(next, values, end)
        while (value := coming.result()) is not end:
            coming = thread.submit(next, values, end)
            yield cast(T, value)


class Floats:
    """Turns pixels into floats in [0, 1], in memory that is used again once no tensor in it is left.

    The system hands out large blocks page by page, each cleared first: for a batch of pictures that takes several
    times as long as the copy into it.
    """

    def __init__(self) -> None:
        self.free: list[np.ndarray] = []

    def of(self, pixels: Tensor, picked: Tensor | None) -> Tensor:
        """Return ``pixels[picked]``, else all of ``pixels`` [b, 3, S, S], as float32: bytes over 255, floats as is."""
        n = len(pixels) if picked is None else len(picked)
        x = self._room((n, *pixels.shape[1:]))
        step = max(1, AT_ONCE // pixels[0].numel())
        for first in range(0, n, step):
            part = slice(first, first + step)
            which = part if picked is None else picked[part] if step > 1 else int(picked[first])
            copied = x[part].copy_(pixels[which])
            if not pixels.is_floating_point():
                copied.div_(255)
        return x

    def _room(self, shape: tuple[int, ...]) -> Tensor:
        size = math.prod(shape)
        block = next((block for block in self.free if len(block) >= size), None)
        if block is None:
            block = np.empty(size, dtype=np.float32)
        else:
            self.free = [other for other in self.free if other is not block]
        lent = block[:size]
        # The tensor's storage holds ``lent``, and so do all views of the tensor: it goes when the last of them goes.
        weakref.finalize(lent, self._back, block).atexit = False
        return torch.from_numpy(lent).view(shape)

    def _back(self, block: np.ndarray) -> None:
        self.free = [*self.free[-1:], block]
