"""Events on their way from a running sweep to the tracker: kept on disk, sent in order, tried again after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sweeps.engine.tracking.address import shown, without_secrets
from sweeps.engine.tracking.mirror import Mirror
from sweeps.engine.tracking.spool import Contents, Event, Spool

PAUSES_S = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # between attempts to reach an address that failed
REFUSALS = 3  # an event that was refused as often is set aside
REASON_LIMIT = 200  # characters


class SharedSpool:
    """A spool that the recording thread writes until it is closed.

    A thread that hangs in a call cannot be ended. After :meth:`close` it can no longer change the file.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.closed = False
        self._lock = threading.Lock()

    def repaired(self) -> Contents:
        """Return what an earlier launch has left, after broken lines were set aside."""
        with self._lock:
            return Contents() if self.closed else self.spool.repaired()

    def take(self, queued: Callable[[], Sequence[Event]]) -> list[Event]:
        """Return what is queued, written to the spool. No event is lost, because both happen under one lock."""
        with self._lock:
            if self.closed:
                return []
            events = list(queued())
            self.spool.add(events)
            return events

    def keep(self, events: Sequence[Event]) -> None:
        """Replace the contents by ``events``."""
        with self._lock:
            if not self.closed:
                self.spool.keep(events)

    def close(self, queued: Callable[[], Sequence[Event]]) -> int:
        """Write what is queued, refuse every later change, and return how many events the spool holds."""
        with self._lock:
            self.closed = True
            self.spool.add(queued())
            return len(self.spool.read().events)


@dataclass(kw_only=True)
class Delivery:
    """The events that one address has not taken yet, and the connection to it. One thread uses it."""

    folder: Path
    uri: str
    spool: SharedSpool
    say: Callable[[str], None]
    pauses: Sequence[float] = PAUSES_S
    backlog: list[Event] = field(default_factory=list, init=False)
    failure: str = field(default="", init=False)  # why the last attempt failed, or why the study's end was refused
    _mirror: Mirror | None = field(default=None, init=False)
    _failures: int = field(default=0, init=False)  # attempts since the address last took everything
    _refusals: int = field(default=0, init=False)  # of the first event of the backlog, each on a connection that worked
    _next_at: float = field(default=0.0, init=False)  # the time of the next attempt, on the monotonic clock

    def pause(self) -> float | None:
        """Return the seconds until the next attempt after a failure, or None if there was no failure."""
        return max(0.0, self._next_at - time.monotonic()) if self._failures else None

    def attempt(self) -> None:
        """Send the backlog. Whatever the tracker does, the sweep goes on; the first failure in a row is reported."""
        try:
            self._send()
        except Exception as error:
            self._mirror = None
            self._next_at = time.monotonic() + self.pauses[min(self._failures, len(self.pauses) - 1)]
            self._failures += 1
            self.failure = reason(error, self.uri)
            self.spool.keep(self.backlog)
            if self._failures == 1 and not self.spool.closed:
                self.say(
                    f"tracking: {shown(self.uri)} cannot be used now ({self.failure}); the sweep goes on, "
                    f"and what is to be recorded is kept in {self.spool.spool.path}"
                )

    def _send(self) -> None:
        """Send the backlog in order; set an event aside that was refused REFUSALS times, so that the rest is sent."""
        before = len(self.backlog)
        while self.backlog and not self.spool.closed:
            self._send_first()
        if self.spool.closed:
            return
        self.spool.keep(self.backlog)
        if self._failures:
            sent = before - len(self.backlog)
            self.say(f"tracking: {shown(self.uri)} can be used again; {sent} events that waited are recorded")
        self._failures = 0

    def _send_first(self) -> None:
        self._mirror = self._mirror or Mirror.open(self.folder, self.uri)
        event = self.backlog[0]
        try:
            self._mirror.apply(event)
            self.failure = ""
        except Exception as error:
            self._mirror, self._refusals = None, self._refusals + 1
            if self._refusals < REFUSALS:
                raise
            self.failure = reason(error, self.uri) if event.kind == "close" else ""
            self.spool.spool.refuse(event, reason(error, self.uri))
            self.say(
                f"tracking: {shown(self.uri)} refuses an event ({reason(error, self.uri)}); {by_hand(self.folder)}"
            )
        del self.backlog[0]
        self._refusals = 0


def by_hand(folder: Path) -> str:
    """Return the sentence that names the command that records a study from its folders."""
    return f"`zsr record --study {folder}` brings its runs up to date"


def reason(error: BaseException, uri: str) -> str:
    """Return an error in one short line, without the password of the address."""
    text = without_secrets(" ".join(str(error).split()), uri) or type(error).__name__
    return text if len(text) <= REASON_LIMIT else f"{text[:REASON_LIMIT]}..."
