"""Where runs are tracked: which URI is used, whether it can be used before anything starts, and how it may be shown.

This file imports no MLflow, because printing a plan and refusing a bad address must not wait for that import.
"""

from __future__ import annotations

import os
import re
import socket
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from zsr_core.codec import ConfigError, did_you_mean, require

FIELD = "--tracking"
VARIABLE = "MLFLOW_TRACKING_URI"
ANSWER_WITHIN_S = 15.0  # for a slow server; a refused connection is reported at once
SQLITE_MAGIC = b"SQLite format 3\0"
DATABASES: Mapping[str, int] = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}  # the port that each listens on
HIDDEN = "***"
SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
SHORTEST_SECRET = 3  # hiding a shorter text wherever it occurs would make a message unreadable
LOGIN = re.compile(r"(?<=://)(?!/)[^\s'\"]*@")  # up to the last @: a password may hold / # and @ unescaped
LOGIN_ALONE = re.compile(r"^[^/@:]+:[^/@]+@")  # of an address without a scheme
QUERY = re.compile(r"([?&;][^=&;\s]+=)[^&;\s'\"]+")
START_ONE = "start one with `mlflow/serve.sh`, or leave --tracking out to record in a local SQLite file"


def resolve_tracking(flag: str | None, results: Path) -> str | None:
    """Return the tracking URI from the flag, else from the environment, else SQLite in ``results``; None for "none"."""
    uri = flag or os.environ.get(VARIABLE) or f"sqlite:///{results.resolve() / 'mlflow.db'}"
    return None if uri.strip().lower() == "none" else uri.strip()


def check_tracking(uri: str) -> None:
    """Raise unless ``uri`` has a form that MLflow accepts, and its server or folder exists.

    Raises:
        ConfigError: naming the field, the URI, and what was expected.
    """
    scheme, separator, _ = uri.partition("://")
    if not separator:
        raise _refused(uri, f"a URI; MLflow keeps no plain folders, write {_as_sqlite(uri)}")
    engine = scheme.lower().partition("+")[0]
    checks: dict[str, Callable[[str], None]] = {
        "http": _check_server,
        "https": _check_server,
        "sqlite": _check_sqlite,
        **dict.fromkeys(DATABASES, _check_database),
        "file": _refuse_folder,
    }
    _check_login(uri)
    if engine not in checks:
        known = [name for name in checks if name != "file"]
        raise _refused(uri, f"one of the schemes {', '.join(known)}{did_you_mean(engine, known)}")
    checks[engine](uri)


def sqlite_file(uri: str) -> Path | None:
    """Return the file behind a SQLite URI, or None for any other."""
    scheme, _, rest = uri.partition("://")
    if scheme.lower().partition("+")[0] != "sqlite":
        return None
    return Path(rest[1:].partition("?")[0])


def _refused(uri: str, expected: str) -> ConfigError:
    return ConfigError(f"{FIELD}: got {shown(uri)!r}, expected {without_secrets(expected, uri)}")


def shown(uri: str) -> str:
    """Return ``uri`` as it may be printed: without user, password and token, and without the values of its query."""
    alone = LOGIN_ALONE.sub(f"{HIDDEN}@", uri)
    return QUERY.sub(rf"\g<1>{HIDDEN}", LOGIN.sub(f"{HIDDEN}@", alone))


def without_secrets(text: str, uri: str) -> str:
    """Return a message, such as a library's error, without what is secret in ``uri`` and in the environment."""
    text = LOGIN.sub(f"{HIDDEN}@", text.replace(uri, shown(uri)))
    for secret in sorted(_secrets(uri), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text


def _secrets(uri: str) -> set[str]:
    login = LOGIN.search(uri) or LOGIN_ALONE.search(uri)
    user, _, password = login[0][:-1].partition(":") if login else ("", "", "")
    texts = [password or user, *(value for _, value in _query(uri)), *map(os.environ.get, SECRET_VARIABLES)]
    both = {form for text in texts if text for form in (text, unquote(text))}
    return {text for text in both if len(text) >= SHORTEST_SECRET}


def _query(uri: str) -> list[tuple[str, str]]:
    pairs = (part.partition("=") for part in re.split("[&;]", uri.partition("?")[2]))
    return [(name, value) for name, _, value in pairs]


def _check_login(uri: str) -> None:
    """Refuse a password that ends the address early, because its parts would be taken for host, path and port."""
    try:
        understood = urlsplit(f"//{uri.partition('://')[2]}").username is not None
    except ValueError:
        understood = False
    if LOGIN.search(uri) and not understood:
        raise _refused(uri, "a user and password in which / ? # [ ] and @ are percent-encoded, like %2F for /")


def _as_sqlite(folder: str) -> str:
    return f"sqlite:///{Path(folder or '.').resolve() / 'mlflow.db'}"


def _refuse_folder(uri: str) -> None:
    raise _refused(uri, f"a database or a server; MLflow keeps no file stores, write {_as_sqlite(urlsplit(uri).path)}")


def _check_sqlite(uri: str) -> None:
    file = sqlite_file(uri)
    if file is None or not file.is_absolute():
        wanted = (file or Path("mlflow.db")).resolve()
        raise _refused(uri, f"an absolute path (a worker's current folder is not yours): sqlite:///{wanted}")
    if file.exists():
        _check_database_file(uri, file)
        return
    folder = next(parent for parent in file.parents if parent.exists())
    if not folder.is_dir():
        raise _refused(uri, f"a file in a folder; {folder} is not one")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(uri, f"a folder that can be written; {folder} cannot ({error.strerror})") from None


def _check_database_file(uri: str, file: Path) -> None:
    if not file.is_file():
        raise _refused(uri, f"a file; {file} is a folder")
    if not os.access(file, os.R_OK | os.W_OK):
        raise _refused(uri, f"a file that can be written; {file} cannot")
    with file.open("rb") as stream:
        start = stream.read(len(SQLITE_MAGIC))
    if start and start != SQLITE_MAGIC:
        raise _refused(uri, f"a SQLite database; {file} holds something else")


def _check_server(uri: str) -> None:
    if not urlsplit(uri).hostname:
        raise _refused(uri, "a host, like http://127.0.0.1:5000")
    # without the login, which urllib would take for a part of the host's name
    health = f"{LOGIN.sub('', uri).rstrip('/')}/health"
    try:
        with urllib.request.urlopen(health, timeout=ANSWER_WITHIN_S) as answer:
            answer.read(64)
    except urllib.error.HTTPError as error:
        error.close()
        # A server that asks for a login is running; the MLflow client sends the login later.
        if error.code not in (401, 403):
            raise _refused(uri, f"an MLflow server; {health} answered {error.code}") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        wanted = f"a tracking server that answers within {ANSWER_WITHIN_S:g} s ({reason}); {START_ONE}"
        raise _refused(uri, wanted) from None


def _check_database(uri: str) -> None:
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise _refused(uri, f"a database URI ({error})") from None
    engine = uri.partition("://")[0].lower().partition("+")[0]
    usual_port = DATABASES[engine]
    missing = _missing_driver(uri)
    if missing:
        raise _refused(uri, f"the Python driver {missing!r} to be installed, which this database needs")
    require(bool(host), FIELD, shown(uri), f"a host, like {engine}://user@host:{usual_port}/mlflow")
    try:
        socket.create_connection((host or "", port or usual_port), timeout=ANSWER_WITHIN_S).close()
    except OSError as error:
        raise _refused(uri, f"a database that answers at {host}:{port or usual_port} ({error})") from None


def _missing_driver(uri: str) -> str:
    """Return the name of the Python driver that the database needs and that is not installed, or an empty string.

    SQLAlchemy chooses the driver of a URI that names none, because that default changed between its versions.
    """
    from sqlalchemy.engine import make_url  # noqa: PLC0415 - only databases need it
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError  # noqa: PLC0415

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return error.name or uri.partition("://")[0]
    except (ArgumentError, NoSuchModuleError):
        return uri.partition("://")[0].partition("+")[2]
    return ""
