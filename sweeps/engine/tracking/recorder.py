"""Studies recorded in MLflow: a run per study and a child run per trial, as a sweep runs or from its folders alone.

The study's folders hold the results, and the runs can be made from them at any time. So a tracker that does not answer
delays no sweep and loses nothing.
"""

from __future__ import annotations

import gc
import logging
import queue
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sweeps.engine.format import counted
from sweeps.engine.tracking.address import shown, without_secrets
from sweeps.engine.tracking.delivery import PAUSES_S, Delivery, SharedSpool, by_hand, reason
from sweeps.engine.tracking.mirror import Mirror
from sweeps.engine.tracking.spool import Contents, Event, Spool, only_writer
from sweeps.engine.tracking.store import is_server
from zsr_core.codec import ConfigError

__all__ = ["RecordReport", "Recorder", "record_study"]

AT_ONCE = 4  # trials sent to a server at the same time, because most of the time is waiting; SQLite has one writer
LAST_PAUSES_S = (0.5, 1.0)  # between the attempts after the sweep has ended
ARTIFACTS = ("table.md", "study.parquet", "study.json", "figures/*")

LOG = logging.getLogger("zsr.record")


@dataclass(frozen=True, kw_only=True)
class RecordReport:
    """What recording a study did, counted in runs: the study's own run, and one run per trial that has a result."""

    uri: str  # as it may be printed
    created: int
    updated: int
    already_there: int
    weights: int | None = None  # runs that have their tuned weights as a file; None if these were not asked for
    warning: str = ""

    def __str__(self) -> str:
        counts = f"{self.created} created, {self.updated} updated, {self.already_there} already there"
        weights = "" if self.weights is None else f"; tuned weights with {self.weights}"
        warning = f"\n{self.warning}" if self.warning else ""
        return f"recorded to {self.uri}: runs {counts}{weights}{warning}"


def record_study(folder: Path, uri: str, *, weights: bool = False) -> RecordReport:
    """Bring the runs of the study in ``folder`` up to date at ``uri``, from the folder alone.

    With ``weights``, the tuned weights of the final choice, one file per seed, go with their runs and are registered
    as versions of a model that is named after the study.

    Raises:
        ConfigError: if the folder holds no study, a running sweep records it to ``uri``, or the SQLite file is damaged.
    """
    with _errors_without_secrets(uri), only_writer(folder, uri) as alone:
        if not alone:
            at = f"{folder} is being recorded to {shown(uri)} by a running sweep"
            raise ConfigError(f"study: {at}; wait for it or stop it")
        mirror = Mirror.open(folder, uri, at_once=AT_ONCE if is_server(uri) else 1)
        spool = Spool.of(folder, uri)
        waiting = spool.repaired()
        with _without_old_objects():
            for event in waiting.events:
                mirror.apply(event)
            changed = mirror.bring_up(derived_files(folder))
        kept = [mirror.weights(trial) for trial in mirror.study.plan] if weights else []
        spool.keep([])
    existing = [change for key, change in changed.items() if key not in mirror.made]
    return RecordReport(
        uri=shown(uri),
        created=len(mirror.made),
        updated=sum(existing),
        already_there=len(existing) - sum(existing),
        weights=sum(kept) if weights else None,
        warning=_broken_lines(spool, waiting),
    )


@contextmanager
def _errors_without_secrets(uri: str) -> Iterator[None]:
    """Replace an error that shows the login of ``uri``, because MLflow and requests put whole addresses in theirs."""
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:
        report = "".join(traceback.format_exception(error))
        if without_secrets(report, uri) == report:
            raise
        raise ConfigError(f"tracking: {shown(uri)} cannot be used ({reason(error, uri)})") from None


@contextmanager
def _without_old_objects() -> Iterator[None]:
    """Keep the garbage collector away from older objects meanwhile, because a store makes many thousand new ones."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def derived_files(folder: Path) -> list[Path]:
    """Return the study's tables, Parquet file and figures, in reading order."""
    return [path for pattern in ARTIFACTS for path in sorted(folder.glob(pattern)) if path.is_file()]


def _broken_lines(spool: Spool, contents: Contents) -> str:
    lines = counted(len(contents.broken), "broken line")
    return f"tracking: {lines} of {spool.path} set aside in {spool.aside}" if contents.broken else ""


class Recorder:
    """Records a running sweep from a background thread: nothing here makes the sweep wait or fail.

    An event is queued, written to the spool, sent, and only then dropped. While the address fails, the spool grows,
    and it is sent once the address works again. What is left at the end is sent by ``record_study`` or the next launch.
    """

    def __init__(
        self,
        folder: Path,
        uri: str,
        say: Callable[[str], None] = LOG.warning,
        *,
        pauses: Sequence[float] = PAUSES_S,
    ) -> None:
        self.folder, self.uri, self._say = folder, uri, say
        self._queue: queue.Queue[Event] = queue.Queue()
        self._news = threading.Event()  # set when something was queued
        self._spool = SharedSpool(Spool.of(folder, uri))
        self._delivery = Delivery(folder=folder, uri=uri, spool=self._spool, say=say, pauses=pauses)
        self._elsewhere = False  # another process records this study to this address
        self._open = 0  # events that were neither recorded nor set aside yet
        self._ended = False  # the thread has no more to do
        self._settled = threading.Condition()  # notified when ``_open`` or ``_ended`` changes
        self._thread = threading.Thread(target=self._work, name="zsr-record", daemon=True)

    def start(self) -> None:
        """Begin recording. A study that an earlier launch left half recorded is brought up to date first."""
        self._put(Event(kind="start", time=_now()))
        self._thread.start()

    def trial_progress(self, trial_id: str, metrics: Mapping[str, float], step: int) -> None:
        """Record what a running trial reports; ``step`` is its epoch."""
        values = {name: float(value) for name, value in metrics.items()}
        self._put(Event(kind="progress", time=_now(), trial_id=trial_id, metrics=values, step=int(step)))

    def trial_finished(self, trial_id: str) -> None:
        """Record a trial whose folder holds its result now."""
        self._put(Event(kind="finished", time=_now(), trial_id=trial_id))

    def wait(self, seconds: float | None = None) -> bool:
        """Wait at most ``seconds`` until all events so far are recorded or set aside; return whether they are."""
        with self._settled:
            self._settled.wait_for(lambda: not self._open or self._ended, seconds)
            return not self._open

    def close(self, artifacts: Iterable[Path], wait_s: float = 30.0) -> list[str]:
        """Record the end of the study with its files, stop within ``wait_s``, and return what was not recorded."""
        self._put(Event(kind="close", time=_now(), artifacts=tuple(str(path) for path in artifacts)))
        self._thread.join(wait_s)
        if self._elsewhere:
            return []
        failure = self._delivery.failure
        try:
            left = self._spool.close(self._queued)
        except OSError as error:
            failed = f"what is left to record cannot be kept ({reason(error, self.uri)})"
            return [f"tracking: {failed}; {by_hand(self.folder)}"]
        why = f" ({failure})" if failure else ""
        if left:
            return [f"tracking: {left} events have not reached {shown(self.uri)}{why}; {by_hand(self.folder)}"]
        return [f"tracking: the study is not recorded in full{why}; {by_hand(self.folder)}"] if failure else []

    def _put(self, event: Event) -> None:
        with self._settled:
            self._open += 1
        self._queue.put(event)
        self._news.set()

    def _queued(self) -> list[Event]:
        """Take what is queued, without waiting."""
        taken = []
        while not self._queue.empty():
            taken.append(self._queue.get())
        return taken

    def _work(self) -> None:
        try:
            with only_writer(self.folder, self.uri) as alone:
                self._elsewhere = not alone
                if alone:
                    self._deliver()
                else:
                    at = f"{self.folder} to {shown(self.uri)}"
                    self._say(f"tracking: another process already records {at}, so this one does not")
        except Exception as error:  # a thread has no caller to raise to
            self._delivery.failure = reason(error, self.uri)
            self._say(f"tracking: recording has stopped ({self._delivery.failure}); {by_hand(self.folder)}")
        finally:
            with self._settled:
                self._ended = True
                self._settled.notify_all()

    def _deliver(self) -> None:
        """Send events as they come until the sweep closes, and then try a few times more."""
        self._resume()
        closing = False
        while not closing:
            self._news.wait(self._delivery.pause())
            self._news.clear()
            events = self._spool.take(self._queued)
            self._delivery.backlog += events
            closing = self._spool.closed or any(event.kind == "close" for event in events)
            if closing or not self._delivery.pause():
                self._attempt()
        for pause in LAST_PAUSES_S:
            if self._delivery.backlog and not self._spool.closed:
                time.sleep(pause)
                self._attempt()

    def _resume(self) -> None:
        """Take over the events that an earlier launch has left in the spool."""
        left = self._spool.repaired()
        self._delivery.backlog += left.events
        with self._settled:
            self._open += len(left.events)
        if left.broken:
            self._say(_broken_lines(self._spool.spool, left))

    def _attempt(self) -> None:
        before = len(self._delivery.backlog)
        self._delivery.attempt()
        with self._settled:
            self._open -= before - len(self._delivery.backlog)
            self._settled.notify_all()


def _now() -> int:
    return round(1000 * time.time())
