"""What training does when a device has no memory left: it encodes the batch in two pieces, and the loss sees it whole.

A piece of the batch is encoded without keeping what its backward needs, and encoded again when the backward comes to
it (gradient checkpointing), so that the inner values of one piece are in memory at a time. Losses, also those that
couple the images of a batch, and attacks are computed on the whole batch from the pieces' features: the numbers are
those of one piece up to the order of sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NoReturn, TypeVar

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from zsr_core.model.layout import Features

Result = TypeVar("Result")
ADVICE = "set a smaller batch_size, precision to 'bf16', or give the trial more of a GPU (--gpus-per-trial)"


class OutOfMemory(RuntimeError):
    """A training step does not fit into memory, also not in pieces; the message says what to set."""


@dataclass(kw_only=True)
class Room:
    """In how many pieces a batch is encoded: one, and two once memory has run out."""

    pieces: int = 1

    def fit(self, work: Callable[[], Result], *, place: str, batch: int, whole: str = "") -> Result:
        """Return ``work()``, which is done again with the batch in two pieces if memory runs out.

        Args:
            place: the step, for the error.
            batch: images of the step.
            whole: why this batch cannot be encoded in pieces; empty if it can.

        Raises:
            OutOfMemory: if memory runs out in two pieces too, or no pieces can be made.
        """
        try:
            return work()
        except torch.OutOfMemoryError as error:
            said = (str(error).splitlines() or [""])[0]
            whole = whole or ("it is one image" if batch < 2 else "")
            if self.pieces > 1 or whole:
                how = f"in {self.pieces} pieces" if self.pieces > 1 else f"whole, because {whole}"
                raise OutOfMemory(
                    f"{place}: out of memory with {batch} images encoded {how}; {ADVICE} ({said})"
                ) from None
        # After the except clause, because the error's traceback would keep the tensors of the failed try in memory.
        self.pieces = 2
        torch.cuda.empty_cache()
        return self.fit(work, place=place, batch=batch)


def in_pieces(features: Callable[[Tensor], Features], pieces: int) -> Callable[[Tensor], Features]:
    """Return ``features`` of a tower that encodes ``pieces`` parts of the batch one after the other."""
    if pieces == 1:
        return features

    def whole(x: Tensor) -> Features:
        grids: list[tuple[int, int]] = []

        def embedding(part: Tensor) -> Tensor:
            seen = features(part)
            grids.append(seen.grid)
            return seen.embedding

        def patches(part: Tensor) -> Tensor:
            return features(part).patches()

        def of_parts(read: Callable[[Tensor], Tensor]) -> Tensor:
            return torch.cat([checkpoint(read, part, use_reentrant=False) for part in x.chunk(pieces)])

        return Features(
            embedding=of_parts(embedding), patches=lambda: of_parts(patches), last_norm=_no_inner_layers, grid=grids[0]
        )

    return whole


def _no_inner_layers() -> NoReturn:
    raise OutOfMemory(
        f"out of memory; a loss that reads inner layers of the tower (method.attention) needs its batch whole: {ADVICE}"
    )
