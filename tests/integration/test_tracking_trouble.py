"""A launch whose tracker cannot be used: the trials run, the answer is printed, and the exit code tells of the rest."""

from __future__ import annotations

import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.running.options import command_again
from sweeps.engine.tracking.spool import Spool
from sweeps.engine.tracking.store import connect

# MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ONE = 'variants=(Variant(label="sound"),)'
Write = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def uri(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.mark.slow
def test_half_a_database_is_said_at_the_end_with_exit_code_1(write: Write, run: Run, tmp_path: Path, uri: str) -> None:
    connect(uri)
    database = tmp_path / "mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    done = run(write(ONE), "--local", "--tracking", uri)
    assert done.returncode == 1
    assert "Best of 1 cell" in done.stdout
    assert "make ui" not in done.stdout
    assert f"{database} is damaged" in done.stderr
    assert f"`zsr record --study {tmp_path / 'results' / 'tiny'}`" in done.stderr
    database.write_bytes(whole)
    again = run(write(ONE), "--local", "--tracking", uri)
    assert (again.returncode, again.stderr) == (0, "")
    assert "make ui" in again.stdout


@pytest.mark.slow
def test_a_broken_line_of_the_spool_is_said_and_hides_no_answer(
    write: Write, run: Run, tmp_path: Path, uri: str, caplog: pytest.LogCaptureFixture
) -> None:
    spool = Spool.of(tmp_path / "results" / "tiny", uri)
    assert run(write(ONE), "--local", "--limit", "1").returncode == 1
    spool.path.parent.mkdir()
    spool.path.write_text('{"event": "fin\n')
    done = run(write(ONE), "--local", "--tracking", uri)
    assert done.returncode == 0
    assert "Best of 1 cell" in done.stdout
    assert f"1 broken line of {spool.path} set aside in {spool.aside}" in caplog.text
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        statuses = database.execute("SELECT DISTINCT status FROM runs").fetchall()
    database.close()
    assert statuses == [("FINISHED",)]


@pytest.mark.slow
def test_the_target_of_notices_is_kept_nowhere(write: Write, run: Run, tmp_path: Path, uri: str) -> None:
    secret = "T0KEN-of-the-hook"
    done = run(write(ONE), "--local", "--tracking", uri, "--notify", f"http://127.0.0.1:9/services/{secret}")
    assert (done.returncode, secret in done.stdout + done.stderr) == (0, False)
    assert done.stderr == "--notify: http://127.0.0.1/*** did not take the message (Connection refused)\n"
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(kept) > 10
    assert not [path for path in kept if secret.encode() in path.read_bytes()]


def test_the_command_to_go_on_with_shows_no_login() -> None:
    shown = command_again("tiny.py", ["--tracking", "http://me:hidden@host:5000", "--tracking=http://me:hidden@host"])
    assert shown == "python tiny.py --tracking http://***@host:5000 --tracking=http://***@host"
