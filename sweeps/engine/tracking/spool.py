"""Events of a running sweep that wait on disk until the tracker has taken them: one file per study and address."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from sweeps.engine.study.rebuilt import check_trial_id
from zsr_core.files import write_whole

Kind = Literal["start", "progress", "finished", "close"]
OF_A_TRIAL = ("progress", "finished")


@dataclass(frozen=True, kw_only=True)
class Event:
    """What a running sweep reports: that it starts, a trial's progress, that a trial has finished, that it closes."""

    kind: Kind
    time: int  # in ms since 1970
    trial_id: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)
    step: int = 0
    artifacts: tuple[str, ...] = ()


def line_of(event: Event, **more: str) -> bytes:
    """Return an event as a line of the spool, with further fields."""
    fields: dict[str, Any] = {"event": event.kind, "time": event.time}
    if event.kind in OF_A_TRIAL:
        fields["trial_id"] = event.trial_id
    if event.kind == "progress":
        fields |= {"metrics": dict(event.metrics), "step": event.step}
    if event.kind == "close":
        fields["artifacts"] = list(event.artifacts)
    return json.dumps({**fields, **more}).encode() + b"\n"


def parse(line: bytes) -> Event | None:
    """Return the event on a line of the spool, or None if the line is broken."""
    try:
        fields = json.loads(line)
        kind = fields["event"]
        if kind not in get_args(Kind):
            return None
        trial_id = _text(fields["trial_id"] if kind in OF_A_TRIAL else "")
        if kind in OF_A_TRIAL:
            check_trial_id(trial_id)
        return Event(
            kind=kind,
            time=int(fields["time"]),
            trial_id=trial_id,
            metrics={_text(name): float(value) for name, value in fields.get("metrics", {}).items()},
            step=int(fields.get("step", 0)),
            artifacts=tuple(map(_text, fields.get("artifacts", []))),
        )
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"got {value!r}, expected a text")
    return value


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a spool holds: its events in order, and the lines that cannot be read as events."""

    events: tuple[Event, ...] = ()
    broken: tuple[bytes, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Spool:
    """The file of the events that one address has not taken yet, one JSON object a line."""

    path: Path

    @classmethod
    def of(cls, folder: Path, uri: str) -> Spool:
        """Return the spool of the study in ``folder`` for the address ``uri``."""
        key = hashlib.sha256(uri.encode()).hexdigest()[:8]
        return cls(path=folder / "mlflow_spool" / f"events-{key}.jsonl")

    @property
    def aside(self) -> Path:
        """The file of the lines that were set aside: events that the tracker refused, and broken lines."""
        return self.path.with_name(self.path.name.replace("events", "refused"))

    def read(self) -> Contents:
        """Return what the spool holds. A line without its end is broken, because a kill has cut it short."""
        if not self.path.is_file():
            return Contents()
        *lines, torn = self.path.read_bytes().split(b"\n")
        parsed = [(line, parse(line)) for line in lines if line.strip()]
        return Contents(
            events=tuple(event for _, event in parsed if event is not None),
            broken=(*(line for line, event in parsed if event is None), *([torn] if torn else [])),
        )

    def repaired(self) -> Contents:
        """Return what the spool holds, after its broken lines were moved to the file ``aside``."""
        contents = self.read()
        if contents.broken:
            _append(self.aside, b"".join(line + b"\n" for line in contents.broken))
            self.keep(contents.events)
        return contents

    def add(self, events: Sequence[Event]) -> None:
        """Append events."""
        if events:
            _append(self.path, b"".join(map(line_of, events)))

    def keep(self, events: Sequence[Event]) -> None:
        """Replace the contents by ``events``; without any, the file is removed."""
        if events:
            text = b"".join(map(line_of, events))
            write_whole(self.path, lambda part: part.write_bytes(text))
        else:
            self.path.unlink(missing_ok=True)

    def refuse(self, event: Event, reason: str) -> None:
        """Write an event to the file ``aside``, with the reason that the tracker gave."""
        _append(self.aside, line_of(event, reason=reason))


def _append(path: Path, lines: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(lines)


@contextmanager
def only_writer(folder: Path, uri: str) -> Iterator[bool]:
    """Yield whether this process alone writes the study's runs at ``uri``, because two would make every run twice.

    The kernel drops the lock when the process that holds it dies. On a file system without locks the answer is yes.
    """
    path = Spool.of(folder, uri).path.with_suffix(".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            yield error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
        else:
            yield True
