"""The processes of Ray that a sweep stands on. Ray's own driver would wait for minutes, or for ever, once one dies."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from ray._private import worker

from sweeps.engine.running.jobs import ClusterLost

T = TypeVar("T")
CHECK_SECONDS = 1.0
CONNECT_SECONDS = 3.0
PATIENCE_SECONDS = 15.0  # a head on another machine may be out of reach for so long, for instance while it restarts
STOP_SECONDS = 10.0  # for Tune to reach the end of a step after Ctrl-C
NEEDED = {"raylet": "raylet", "gcs_server": "GCS"}  # Ray's name of a process -> its name in Ray's documentation


class Health:
    """Whether the raylet of this machine and the cluster's GCS are alive."""

    def __init__(self) -> None:
        self._node: Any = worker._global_node
        self._silent_since: float | None = None

    def check(self) -> None:
        """Raise ``ClusterLost``, saying which process is lost and how it ended where that is known."""
        for kind, process in self._node.dead_processes():  # those that this launch has started
            if kind in NEEDED:
                raise ClusterLost(f"Ray's {NEEDED[kind]} (process {process.pid}) {_end(process.returncode)}")
        if self._node.head:
            return
        address = self._node.gcs_address
        if _refuses(self._node.raylet_socket_name):
            raise ClusterLost(f"the raylet of this machine, which belongs to the cluster at {address}, has ended")
        if _answers(address):
            self._silent_since = None
            return
        now = time.monotonic()
        self._silent_since = now if self._silent_since is None else self._silent_since
        if now - self._silent_since >= PATIENCE_SECONDS:
            raise ClusterLost(f"the GCS of the cluster at {address} has not answered for {PATIENCE_SECONDS:.0f} s")


def _end(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _refuses(path: str) -> bool:
    """Return whether no process listens on the Unix socket at ``path`` any more."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(CONNECT_SECONDS)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:  # a full backlog of a busy raylet
            return False
    return False


def _answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    with suppress(OSError), socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS):
        return True
    return False


class Stopped(BaseException):
    """The launch no longer waits for this thread's work."""


def watched(work: Callable[[Callable[[], None]], T]) -> T:
    """Return ``work(go_on)``, which runs in a thread while this one watches Ray.

    The calls of Ray's core hold the thread that makes them, and neither a signal nor an exception reaches it there.
    ``work`` calls ``go_on`` often; it raises :class:`Stopped` once this thread has given up.

    Raises:
        ClusterLost: within seconds, if a process of Ray that the sweep needs has died.
        Whatever ``work`` raises, or an interrupt of this thread.
    """
    answer: Future[T] = Future()
    given_up = threading.Event()
    health = Health()

    def go_on() -> None:
        if given_up.is_set():
            raise Stopped

    def run() -> None:
        try:
            answer.set_result(work(go_on))
        except BaseException as error:
            answer.set_exception(error)

    thread = threading.Thread(target=run, name="zsr-ray", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(CHECK_SECONDS)
            health.check()
    except ClusterLost:
        given_up.set()
        raise
    except BaseException:
        given_up.set()
        thread.join(STOP_SECONDS)
        raise
    return answer.result()
