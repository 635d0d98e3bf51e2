"""Starting the processes of one machine that run a trial together, and saying what broke when one breaks."""

from __future__ import annotations

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
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from zsr_core.codec import ConfigError
from zsr_core.events import Event, OnEvent, ignore
from zsr_core.model.distributed import World

PATIENCE = timedelta(hours=2)  # how long one process waits for another, which may be writing a cache
POLL_SECONDS = 0.1


class Broken(RuntimeError):
    """A process ended before its work did. ``killed``: by a signal, so that another try may end well."""

    def __init__(self, reason: str, trace: str = "", *, killed: bool = False) -> None:
        super().__init__(reason)
        self.trace, self.killed = trace, killed


@dataclass(frozen=True, kw_only=True)
class Member:
    """One of the processes: its place in the world, its device, and where its events go."""

    world: World
    device: str
    on_event: OnEvent  # of the leading process; the others' events go nowhere


# (this process, the given values); a function of a module, because it is pickled.
Work = Callable[..., None]


@dataclass(frozen=True, kw_only=True)
class _Start:
    """What each process is started with; it is pickled."""

    size: int
    folder: str  # where the processes meet and leave their errors
    cuda: bool
    threads: int
    send: Connection
    work: Work
    given: tuple[Any, ...]


def together(
    size: int, work: Work, given: tuple[Any, ...], *, cuda: bool, on_event: OnEvent = ignore, threads: int = 1
) -> None:
    """Run ``work(member, *given)`` in ``size`` processes of this machine, each on a GPU of its own.

    Args:
        work: a function of a module; it and ``given`` are pickled.
        cuda: else all run on the CPU, with ``threads`` threads each.
        on_event: is called here with the events of the leading process.

    Raises:
        Broken: as soon as one process fails or dies; the others are ended.
    """
    with tempfile.TemporaryDirectory(prefix="zsr-") as folder:
        receive, send = multiprocessing.get_context("spawn").Pipe(duplex=False)
        start = _Start(size=size, folder=folder, cuda=cuda, threads=threads, send=send, work=work, given=given)
        running = spawn(_one, (start,), nprocs=size, join=False)
        assert running is not None
        try:
            _watch(running.processes, receive, Path(folder), on_event)
        finally:
            for process in running.processes:
                process.kill()
                process.join()
            send.close()
            receive.close()


def _watch(processes: Sequence[Any], receive: Connection, folder: Path, on_event: OnEvent) -> None:
    """Pass events on until all processes have ended well."""
    while True:
        codes = [process.exitcode for process in processes]
        while receive.poll():
            event: Event = receive.recv()
            on_event(event)
        if any(codes):
            raise _why(codes, folder)
        if all(code == 0 for code in codes):
            return
        time.sleep(POLL_SECONDS)


def _why(codes: Sequence[int | None], folder: Path) -> Broken:
    """Return what broke first, because the processes that waited for it break after it for that reason alone."""
    errors = sorted(folder.glob("error-*"), key=lambda file: file.stat().st_mtime_ns)
    killed = [(i, -code) for i, code in enumerate(codes) if code is not None and code < 0]
    killed = [(i, number) for i, number in killed if number != signal.SIGABRT or not errors]  # NCCL aborts a wait so
    if killed:
        i, number = killed[0]
        return Broken(f"process {i + 1} of {len(codes)} was ended by {signal.Signals(number).name}", killed=True)
    if errors:
        reason, _, trace = errors[0].read_text(encoding="utf-8").partition("\n")
        return Broken(reason, trace)
    code = next(code for code in codes if code)
    return Broken(f"process {codes.index(code) + 1} of {len(codes)} ended with exit code {code}")


def _one(rank: int, start: _Start) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # sent when the parent dies; a Python handler would not run in a wait
    torch.set_num_threads(start.threads)
    device = torch.device("cuda", rank) if start.cuda else torch.device("cpu")
    if start.cuda:
        torch.cuda.set_device(device)
    leads = rank == 0
    member = Member(
        world=World(rank=rank, size=start.size), device=str(device), on_event=start.send.send if leads else ignore
    )
    try:
        dist.init_process_group(
            "nccl" if start.cuda else "gloo", init_method=f"file://{start.folder}/meet", rank=rank,
            world_size=start.size, timeout=PATIENCE, device_id=device if start.cuda else None,
        )  # fmt: skip
        start.work(member, *start.given)
        dist.destroy_process_group()
    except Exception as error:
        reason = reason_of(error).replace("\n", " ")
        part = Path(start.folder) / f"part-{rank}"
        part.write_text(f"{reason}\n{traceback.format_exc()}", encoding="utf-8")
        part.replace(Path(start.folder) / f"error-{rank}")
        os._exit(1)  # at once, because an orderly end would wait for processes that wait for this one


def reason_of(error: Exception) -> str:
    """Return why a trial failed, without the error's class where its message was written for readers."""
    kind = "" if isinstance(error, (ConfigError, ArithmeticError)) else f"{type(error).__name__}: "
    return f"{kind}{str(error).strip() or type(error).__name__}"
