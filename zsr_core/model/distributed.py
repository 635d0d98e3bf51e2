"""One trial over several processes: they share the image encoder's work, and all else is as in one process.

Every process holds the whole global batch, in its one order, with its one attack noise. The encoder, which costs the
time, runs on each process's share of the images; features are gathered, and so are gradients of pixels. Every process
therefore computes losses, attacks and decisions on the global batch, and a method whose loss couples the batch
(contrastive ones, UCAT's mean evidence, PMG-AFT's sum) is exact without any change. Gradients of weights are the sum
over processes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from zsr_core.model.layout import Features

T = TypeVar("T")
BUCKET = 1 << 25  # bytes of gradients summed in one go: fewer, larger messages


@dataclass(frozen=True, kw_only=True)
class World:
    """Which of how many processes this one is. Alone, every operation returns its input."""

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that writes files and reports."""
        return self.rank == 0

    def share(self, x: Tensor) -> Tensor:
        """Return this process's rows of ``x`` [n, ...]: ceil(n / size), with zeros where the rows run out.

        Its gradient is the gathered gradient of all rows, in every process.
        """
        if self.size == 1:
            return x
        out: Tensor = _Share.apply(x, self)
        return out

    def gather(self, part: Tensor, n: int) -> Tensor:
        """Return all ``n`` rows, in order, from every process's share of them. Its gradient is this share's own."""
        if self.size == 1:
            return part
        out: Tensor = _Gather.apply(part, self, n)
        return out

    def sum_gradients(self, weights: Sequence[Tensor]) -> None:
        """Replace each weight's gradient by its sum over the processes, which have gradients of the same weights."""
        if self.size == 1:
            return
        for bucket in _buckets([w for w in weights if w.grad is not None]):
            flat = torch.cat([w.grad.flatten() for w in bucket if w.grad is not None])
            dist.all_reduce(flat)
            for w, grad in zip(bucket, flat.split([w.numel() for w in bucket]), strict=True):
                w.grad = grad.view_as(w)

    def lead(self, decide: Callable[[], T]) -> T:
        """Return in every process what ``decide`` returns in the leading one, because disks may differ."""
        if self.size == 1:
            return decide()
        sent: list[Any] = [decide() if self.leads else None]
        dist.broadcast_object_list(sent, src=0)
        decision: T = sent[0]
        return decision

    def collect(self, value: T) -> list[T]:
        """Return every process's ``value``, in order of rank, in the leading one; an empty list in the others."""
        if self.size == 1:
            return [value]
        values: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, values, dst=0)
        return values or []

    def agree(self, what: str, value: str) -> None:
        """Wait for all processes; raise ``ArithmeticError`` unless each has the same ``value`` of ``what``."""
        if self.size == 1:
            return
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        if len(set(values)) > 1:
            raise ArithmeticError(f"{what}: the {self.size} processes differ, with {', '.join(map(str, values))}")


ALONE = World()


def shared(features: Callable[[Tensor], Features], world: World) -> Callable[[Tensor], Features]:
    """Return ``features`` of a tower over ``world``: each process encodes its share, and all get the whole batch's."""
    if world.size == 1:
        return features

    def over_world(x: Tensor) -> Features:
        n, own = len(x), features(world.share(x))

        def last_norm() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            source, embed_from = own.last_norm()
            return world.gather(source, n), lambda whole: world.gather(embed_from(world.share(whole)), n)

        return Features(
            embedding=world.gather(own.embedding, n), patches=lambda: world.gather(own.patches(), n),
            last_norm=last_norm, grid=own.grid,
        )  # fmt: skip

    return over_world


class _Share(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, world: World) -> Tensor:
        ctx.world, ctx.n = world, len(x)
        each = math.ceil(len(x) / world.size)
        own = x[world.rank * each : (world.rank + 1) * each]
        short = each - len(own)
        return own.clone() if short == 0 else torch.cat([own, own.new_zeros(short, *x.shape[1:])])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return ctx.world.gather(grad, ctx.n), None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor, world: World, n: int) -> Tensor:
        ctx.world = world
        whole = part.new_empty(world.size * len(part), *part.shape[1:])
        dist.all_gather_into_tensor(whole, part.contiguous())
        return whole[:n]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        return ctx.world.share(grad), None, None


def _buckets(weights: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return the weights in order, cut into lists of one type and about ``BUCKET`` bytes."""
    buckets: list[list[Tensor]] = []
    size = BUCKET
    for w in weights:
        if size >= BUCKET or buckets[-1][0].dtype != w.dtype:
            buckets.append([])
            size = 0
        buckets[-1].append(w)
        size += w.numel() * w.element_size()
    return buckets
