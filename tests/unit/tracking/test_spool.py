"""Events on disk: read back as they were written, and one broken line hides no other."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.tracking.recorder import Recorder, record_study
from sweeps.engine.tracking.spool import Contents, Event, Spool, line_of, parse

# MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

EVENTS = (
    Event(kind="start", time=1),
    Event(kind="progress", time=2, trial_id="a", metrics={"loss": 0.5, "epoch": 3.0}, step=3),
    Event(kind="finished", time=3, trial_id="a"),
    Event(kind="close", time=4, artifacts=("/x/table.md",)),
)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool.of(tmp_path, "http://127.0.0.1:9")


def test_events_come_back_in_order(spool: Spool) -> None:
    assert spool.read() == Contents()
    spool.add(EVENTS[:2])
    spool.add(EVENTS[2:])
    assert spool.read() == Contents(events=EVENTS)
    spool.keep(EVENTS[3:])
    assert spool.read() == Contents(events=EVENTS[3:])
    spool.keep([])
    assert not spool.path.exists()


def test_a_loss_that_is_not_a_number_comes_back_as_such() -> None:
    event = parse(line_of(Event(kind="progress", time=1, trial_id="a", metrics={"loss": math.nan})))
    assert event is not None
    assert math.isnan(event.metrics["loss"])


def test_two_addresses_have_two_spools(tmp_path: Path) -> None:
    assert Spool.of(tmp_path, "http://one") != Spool.of(tmp_path, "http://two")


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'{"event": "fin',
        b'{"event": "finished", "time": 1}',
        b'{"event": "finished", "time": 1, "trial_id": 7}',
        b'{"event": "progress", "time": 1, "trial_id": "a", "metrics": [1]}',
        b'{"event": "progress", "time": 1, "trial_id": "a", "metrics": {"loss": "low"}}',
        b'{"event": "close", "time": 1, "artifacts": 3}',
        b'{"event": "other", "time": 1}',
        b'{"event": "start", "time": "noon"}',
        b'{"event": "start", "time": 1e999}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
    ids=range(14),
)
def test_a_line_that_is_no_event_is_broken(line: bytes) -> None:
    assert parse(line) is None


def test_broken_and_torn_lines_are_set_aside_and_the_others_stay(spool: Spool) -> None:
    spool.add(EVENTS[:1])
    with spool.path.open("ab") as file:
        file.write(b"\xff{not json}\n")
    spool.add(EVENTS[1:2])
    with spool.path.open("ab") as file:
        file.write(b'{"event": "fin')
    assert spool.repaired() == Contents(events=EVENTS[:2], broken=(b"\xff{not json}", b'{"event": "fin'))
    assert spool.read() == Contents(events=EVENTS[:2])
    assert spool.aside.read_bytes() == b'\xff{not json}\n{"event": "fin\n'


def test_an_event_that_is_set_aside_keeps_its_reason(spool: Spool) -> None:
    spool.refuse(EVENTS[2], "not this one")
    assert json.loads(spool.aside.read_text()) == {
        "event": "finished", "time": 3, "trial_id": "a", "reason": "not this one",
    }  # fmt: skip


@pytest.fixture
def broken(case: Any) -> Spool:
    """A spool of the case with a broken line."""
    spool = Spool.of(case.folder, case.uri)
    spool.path.parent.mkdir()
    spool.path.write_bytes(b"{broken\n")
    return spool


def test_a_broken_line_is_reported_and_the_study_is_recorded(case: Any, broken: Spool) -> None:
    case.finish_all()
    report = record_study(case.folder, case.uri)
    assert report.created == 6
    assert f"1 broken line of {broken.path} set aside in {broken.aside}" in str(report)
    assert "set aside" not in str(record_study(case.folder, case.uri))


def test_a_sweep_reports_a_broken_line_and_is_recorded(
    case: Any, broken: Spool, recorder: Recorder, said: list[str]
) -> None:
    case.finish_all()
    recorder.start()
    assert recorder.close([]) == []
    assert len(said) == 1
    assert str(broken.aside) in said[0]
    assert len(case.runs()) == 6
    assert broken.read() == Contents()


def test_a_line_that_breaks_while_a_sweep_runs_does_not_hide_its_answer(case: Any, said: list[str]) -> None:
    recorder = Recorder(case.folder, "http://127.0.0.1:9", said.append)
    recorder.start()
    assert not recorder.wait(0.5)
    spool = Spool.of(case.folder, "http://127.0.0.1:9")
    with spool.path.open("ab") as file:
        file.write(b"{broken\n")
    (trouble,) = recorder.close([], wait_s=0.1)
    assert "have not reached http://127.0.0.1:9" in trouble
