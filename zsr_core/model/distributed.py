"""One trial over several processes: the image encoder's work is shared out, and all else is as in one process.

Every process holds the whole global batch, in its one order, with its one attack noise. What costs time, the encoder,
runs on each process's share of the images; features are gathered, and so are gradients of pixels. Losses, attacks and
decisions are therefore computed on the global batch by every process alike, and methods whose loss couples the batch
(contrastive ones, UCAT's mean evidence, PMG-AFT's sum) are exact without knowing of any of it. Gradients of weights
are the sum over processes.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import signal
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from zsr_core.codec import ConfigError

T = TypeVar("T")
BUCKET = 1 << 25  # bytes of gradients summed in one go: fewer, larger messages
PATIENCE = timedelta(hours=2)  # how long one process waits for another, which may be writing a cache
POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class World:
    """Which of how many processes this one is. Alone, every operation gives back what it was given."""

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
        """Return what ``decide`` says in the leading process, in all of them: for what a disk may say differently."""
        if self.size == 1:
            return decide()
        told: list[Any] = [decide() if self.leads else None]
        dist.broadcast_object_list(told, src=0)
        found: T = told[0]
        return found

    def collect(self, value: T) -> list[T]:
        """Return every process's ``value``, in order of rank, in the leading one; an empty list in the others."""
        if self.size == 1:
            return [value]
        told: list[Any] | None = [None] * self.size if self.leads else None
        dist.gather_object(value, told, dst=0)
        return told or []

    def agree(self, what: str, value: str) -> None:
        """Wait for all processes; raise ``ArithmeticError`` unless each has the same ``value`` of ``what``."""
        if self.size == 1:
            return
        told: list[Any] = [None] * self.size
        dist.all_gather_object(told, value)
        if len(set(told)) > 1:
            raise ArithmeticError(f"{what}: the {self.size} processes came apart, with {', '.join(map(str, told))}")


ALONE = World()


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
    found: list[list[Tensor]] = []
    size = BUCKET
    for w in weights:
        if size >= BUCKET or found[-1][0].dtype != w.dtype:
            found.append([])
            size = 0
        found[-1].append(w)
        size += w.numel() * w.element_size()
    return found


# Starting the processes.


class Broken(RuntimeError):
    """A process ended before its work did. ``killed``: by a signal, so that another try may end well."""

    def __init__(self, reason: str, trace: str = "", *, killed: bool = False) -> None:
        super().__init__(reason)
        self.trace, self.killed = trace, killed


Said = Callable[[dict[str, float]], None]
# (this process's place, its device, whom the leading one reports to, what else it was given)
Work = Callable[..., None]


def together(
    size: int, work: Work, given: tuple[Any, ...], *, cuda: bool, report: Said | None = None, threads: int = 1
) -> None:
    """Run ``work(world, device, report, *given)`` in ``size`` processes of this machine, each on a GPU of its own.

    Args:
        work: a function of a module; it and ``given`` are pickled.
        cuda: else all run on the CPU, with ``threads`` threads each.
        report: is called here with what the leading process reports.

    Raises:
        Broken: as soon as one process fails or dies; the others are ended.
    """
    with tempfile.TemporaryDirectory(prefix="zsr-") as place:
        receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
        running = spawn(_one, (size, place, cuda, threads, send, work, given), nprocs=size, join=False)
        assert running is not None
        try:
            _watch(running.processes, receive, Path(place), report)
        finally:
            for process in running.processes:
                process.kill()
                process.join()
            send.close()
            receive.close()


def _watch(processes: Sequence[Any], receive: Connection, place: Path, report: Said | None) -> None:
    """Pass reports on until all have ended well."""
    while True:
        codes = [process.exitcode for process in processes]
        while receive.poll():
            said = receive.recv()
            if report is not None:
                report(said)
        if any(codes):
            raise _why(codes, place)
        if all(code == 0 for code in codes):
            return
        time.sleep(POLL_SECONDS)


def _why(codes: Sequence[int | None], place: Path) -> Broken:
    """Return what broke first: the processes that waited for it break after it, for that reason alone."""
    told = sorted(place.glob("error-*"), key=lambda file: file.stat().st_mtime_ns)
    killed = [(i, -code) for i, code in enumerate(codes) if code is not None and code < 0]
    killed = [(i, number) for i, number in killed if number != signal.SIGABRT or not told]  # NCCL's way to end a wait
    if killed:
        i, number = killed[0]
        return Broken(f"process {i + 1} of {len(codes)} was ended by {signal.Signals(number).name}", killed=True)
    if told:
        reason, _, trace = told[0].read_text(encoding="utf-8").partition("\n")
        return Broken(reason, trace)
    code = next(code for code in codes if code)
    return Broken(f"process {codes.index(code) + 1} of {len(codes)} ended with exit code {code}")


def _one(
    rank: int, size: int, place: str, cuda: bool, threads: int, send: Connection, work: Work, given: tuple[Any, ...]
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # sent when the parent dies; a Python handler would not run in a wait
    torch.set_num_threads(threads)
    device = torch.device("cuda", rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    world = World(rank=rank, size=size)
    try:
        dist.init_process_group(
            "nccl" if cuda else "gloo", init_method=f"file://{place}/meet", rank=rank, world_size=size,
            timeout=PATIENCE, device_id=device if cuda else None,
        )  # fmt: skip
        work(world, str(device), send.send if world.leads else None, *given)
        dist.destroy_process_group()
    except Exception as error:
        kind = "" if isinstance(error, (ConfigError, ArithmeticError)) else f"{type(error).__name__}: "
        reason = (str(error).strip() or type(error).__name__).replace("\n", " ")
        part = Path(place) / f"part-{rank}"
        part.write_text(f"{kind}{reason}\n{traceback.format_exc()}", encoding="utf-8")
        part.replace(Path(place) / f"error-{rank}")
        os._exit(1)  # at once: a tidy end would wait for processes that wait for this one
