"""optuna-dashboard over the journal of a search: on this machine alone, and only for reading."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import urlsplit
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from sweeps.engine.study.folder import JOURNAL, read_study
from zsr_core.codec import ConfigError, require

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # a page of another site that has its own name point here is refused
READING = ("GET", "HEAD")

App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]  # WSGI


class ReadJournal(JournalFileBackend):
    """A journal that another process may write meanwhile, and that nothing here can write."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise PermissionError("the journal is open for reading only")


def journal_of(study: Path) -> Path:
    """Return the journal of the search in the folder ``study``.

    Raises:
        ConfigError: if the folder holds no study, or the study was not searched, because a grid has no journal.
    """
    journal = study / JOURNAL
    read_study(study)
    require(journal.is_file(), "--study", str(study), f"a study made with --search; this one has no {JOURNAL}")
    return journal


def check_installed() -> None:
    """Raise unless optuna-dashboard is installed.

    Raises:
        ConfigError: naming the package and how to install it.
    """
    if importlib.util.find_spec("optuna_dashboard") is None:
        raise ConfigError("zsr dashboard: got no package optuna-dashboard, expected it: pip install 'zsr[dashboard]'")


def pages(journal: Path) -> App:
    """Return optuna-dashboard's pages of ``journal``."""
    import optuna_dashboard  # noqa: PLC0415 - an extra

    app: App = optuna_dashboard.wsgi(JournalStorage(ReadJournal(str(journal))))
    return app


class ReadOnly:
    """The pages that ``make`` builds of a journal, for requests from this machine that change nothing.

    They are built again when the journal was replaced, as ``--fresh`` and a broken journal make it.
    """

    def __init__(self, journal: Path, make: Callable[[Path], App]) -> None:
        self._journal, self._make = journal, make
        self._seen, self._app = self._file(), make(journal)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] not in READING:
            return _refused(start_response, "405 Method Not Allowed", "The journal is open for reading only.")
        if not _is_here(environ.get("HTTP_HOST", "")):
            return _refused(start_response, "403 Forbidden", f"Open these pages as http://{HOST}.")
        now = self._file()
        if now is None:
            return _refused(start_response, "503 Service Unavailable", "There is no journal at the moment.")
        if now != self._seen:
            self._seen, self._app = now, self._make(self._journal)
        return self._app(environ, start_response)

    def _file(self) -> int | None:
        """Return the number of the journal's file, None while there is none."""
        try:
            return self._journal.stat().st_ino
        except FileNotFoundError:
            return None


def _is_here(host: str) -> bool:
    try:
        return urlsplit(f"//{host}").hostname in NAMES
    except ValueError:
        return False


def _refused(start_response: Callable[..., Any], status: str, text: str) -> list[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), ("Allow", ", ".join(READING))])
    return [f"{text}\n".encode()]


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Print nothing, because a page asks for its data every few seconds."""


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


def server(app: App, port: int) -> WSGIServer:
    """Return a server of ``app`` that listens on 127.0.0.1 alone; port 0 takes any free one.

    Raises:
        ConfigError: if the port is taken or may not be used.
    """
    try:
        return make_server(HOST, port, app, server_class=_Server, handler_class=_Quiet)
    except OSError as error:
        raise ConfigError(f"--port: got {port}, expected a free port of this machine ({error.strerror})") from None
