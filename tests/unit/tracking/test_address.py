"""Where runs are tracked: which address counts, and what is refused before anything starts."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import pytest

from sweeps.engine.tracking.address import check_tracking, resolve_tracking, shown, sqlite_file, without_secrets
from zsr_core.codec import ConfigError

VARIABLE = "MLFLOW_TRACKING_URI"


@pytest.fixture(autouse=True)
def _no_address_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, int]]]:
    """A server whose answer to /health a test chooses; yields its address and that choice."""
    answer = {"status": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(answer["status"] if self.path == "/health" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Print nothing."""

    serving = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", answer
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_the_flag_counts_before_the_environment_and_that_before_the_results_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert resolve_tracking(None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv(VARIABLE, "http://one:5000")
    assert resolve_tracking(None, tmp_path) == "http://one:5000"
    assert resolve_tracking("http://two:5000", tmp_path) == "http://two:5000"


def test_a_relative_results_folder_gives_an_absolute_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    uri = resolve_tracking(None, Path("results"))
    assert uri == f"sqlite:///{tmp_path}/results/mlflow.db"
    check_tracking(uri)


def test_none_keeps_no_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "http://one:5000")
    assert resolve_tracking("none", tmp_path) is None
    monkeypatch.setenv(VARIABLE, "none")
    assert resolve_tracking(None, tmp_path) is None


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("sqlite:///mlflow.db", "an absolute path"),
        ("sqlite://", "an absolute path"),
        ("sqlite:///:memory:", "an absolute path"),
        ("mlruns", "no plain folders"),
        ("/srv/mlruns", "sqlite:////srv/mlruns/mlflow.db"),
        ("file:///srv/mlruns", "sqlite:////srv/mlruns/mlflow.db"),
        ("htp://127.0.0.1:5000", "did you mean 'http'"),
        ("http://", "a host"),
        ("ftp://host/x", "one of the schemes"),
    ],
)
def test_an_address_that_cannot_work_is_refused_by_its_form(uri: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(expected)) as refused:
        check_tracking(uri)
    assert str(refused.value).startswith(f"--tracking: got {uri!r}, expected ")


def test_a_server_that_answers_is_accepted(server: tuple[str, dict[str, int]]) -> None:
    uri, answer = server
    check_tracking(uri)
    check_tracking(f"{uri}/")
    answer["status"] = 401  # a server that asks for a login is running
    check_tracking(uri)


def test_something_else_at_the_address_is_refused(server: tuple[str, dict[str, int]]) -> None:
    uri, answer = server
    answer["status"] = 404
    with pytest.raises(ConfigError, match=r"an MLflow server; .*/health answered 404"):
        check_tracking(uri)


def test_a_silent_address_is_refused_with_how_to_start_a_server(server: tuple[str, dict[str, int]]) -> None:
    uri, _ = server
    unused = "http://127.0.0.1:9"
    with pytest.raises(ConfigError, match=r"refused.*mlflow/serve\.sh"):
        check_tracking(unused)
    check_tracking(uri)


def test_a_database_needs_a_file_in_a_folder_that_can_be_written(tmp_path: Path) -> None:
    check_tracking(f"sqlite:///{tmp_path}/not/yet/there/mlflow.db")
    (tmp_path / "file").write_text("text that is no database")
    for uri, expected in {
        f"sqlite:///{tmp_path}/file/mlflow.db": "is not one",
        f"sqlite:///{tmp_path}": "is a folder",
        f"sqlite:///{tmp_path}/file": "holds something else",
        "sqlite:////proc/zsr/mlflow.db": "/proc cannot",
    }.items():
        with pytest.raises(ConfigError, match=expected):
            check_tracking(uri)


def test_a_database_server_needs_its_driver_and_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="driver 'no_such_driver'"):
        check_tracking("postgresql+no_such_driver://me:hidden@127.0.0.1/mlflow")
    monkeypatch.setitem(sys.modules, "psycopg", None)
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    for uri, driver in {
        "postgresql://me:hidden@127.0.0.1:9/mlflow": "psycopg2?",  # which of the two, SQLAlchemy says
        "postgresql+psycopg2://me:hidden@127.0.0.1:9/mlflow": "psycopg2",
    }.items():
        with pytest.raises(ConfigError, match=f"driver '{driver}'"):
            check_tracking(uri)
    for name in ("psycopg", "psycopg2"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    with pytest.raises(ConfigError, match=r"answers at 127\.0\.0\.1:9 ") as refused:
        check_tracking("postgresql+psycopg2://me:hidden@127.0.0.1:9/mlflow")
    assert "hidden" not in str(refused.value)


def test_the_file_of_a_sqlite_address_is_found() -> None:
    assert sqlite_file("sqlite:////srv/a b/mlflow.db") == Path("/srv/a b/mlflow.db")
    assert sqlite_file("http://host/x") is None


@pytest.mark.slow
def test_checking_an_address_imports_no_tracker() -> None:
    code = "import sys, sweeps.engine.tracking; sys.exit('mlflow' in sys.modules or 'sqlalchemy' in sys.modules)"
    root = Path(__file__).resolve().parents[3]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


@pytest.mark.parametrize(
    ("uri", "as_printed"),
    [
        ("http://me:hidden@host:5000", "http://***@host:5000"),
        ("https://hidden@host/mlflow", "https://***@host/mlflow"),
        ("postgresql://me:hid/d#e@n@host/db", "postgresql://***@host/db"),
        ("postgresql://host/db?sslpassword=hidden&user=me", "postgresql://host/db?sslpassword=***&user=***"),
        ("mssql+pyodbc:///?odbc_connect=PWD%3Dhidden", "mssql+pyodbc:///?odbc_connect=***"),
        ("me:hidden@host", "***@host"),
        ("sqlite:////srv/me@home/mlflow.db", "sqlite:////srv/me@home/mlflow.db"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
    ],
)
def test_an_address_is_printed_without_its_login(uri: str, as_printed: str) -> None:
    assert shown(uri) == as_printed


def test_a_library_error_is_printed_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "t0k3n")
    error = "API request to http://me:p%40ss@host/api failed: p@ss is wrong, Bearer t0k3n too"
    assert without_secrets(error, "http://me:p%40ss@host") == (
        "API request to http://***@host/api failed: *** is wrong, Bearer *** too"
    )


def test_a_login_is_not_taken_for_the_name_of_the_server(server: tuple[str, dict[str, int]]) -> None:
    uri, answer = server
    with_login = uri.replace("http://", "http://me:hidden@")
    check_tracking(with_login)
    answer["status"] = 404
    with pytest.raises(ConfigError, match="health answered 404") as refused:
        check_tracking(with_login)
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize("uri", ["http://me:hid/den@host", "postgresql://me:hid#den@host/db"])
def test_a_password_that_would_end_the_address_early_is_refused(uri: str) -> None:
    with pytest.raises(ConfigError, match="percent-encoded") as refused:
        check_tracking(uri)
    assert "hid" not in str(refused.value)
