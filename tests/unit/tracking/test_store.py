"""The store behind a tracking address: made whole, and refused if it is damaged."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.tracking.recorder import record_study
from sweeps.engine.tracking.store import connect
from zsr_core.codec import ConfigError

# MLflow 3.17 uses what SQLAlchemy 2.1 has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

ROOT = Path(__file__).resolve().parents[3]


def test_half_a_database_is_named_as_damaged(case: Any) -> None:
    database = case.folder.parent / "mlflow.db"
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match=r"mlflow\.db is damaged .*malformed"):
        record_study(case.folder, case.uri)


def test_an_empty_file_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    assert connect(f"sqlite:///{tmp_path}/mlflow.db").search_experiments()


@pytest.mark.slow
def test_a_store_that_two_processes_open_first_serves_both(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/new/mlflow.db"
    code = f"from sweeps.engine.tracking.store import connect; connect({uri!r}).search_experiments()"
    both = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert {path.name for path in (tmp_path / "new").iterdir()} == {"mlflow.db", ".mlflow.db.lock"}
