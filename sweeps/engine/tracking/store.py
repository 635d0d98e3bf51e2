"""The MLflow store behind a tracking URI: a client of it, its SQLite file, a study's experiment, where files go."""

from __future__ import annotations

import fcntl
import logging
import sqlite3
from contextlib import closing
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException

from sweeps.engine.study.folder import Study
from sweeps.engine.tracking.address import sqlite_file
from zsr_core.codec import ConfigError
from zsr_core.files import write_whole

QUIET = {"mlflow": logging.WARNING, "alembic": logging.WARNING, "urllib3.connectionpool": logging.ERROR}


def is_server(uri: str) -> bool:
    """Return whether ``uri`` is of a tracking server, not of a database that this process opens itself."""
    return uri.startswith(("http://", "https://"))


def connect(uri: str) -> MlflowClient:
    """Return a client of the store at ``uri``. A SQLite file that does not exist is made first, whole or not at all.

    Raises:
        ConfigError: if the SQLite file is damaged, or ``mlflow`` is another package than MLflow.
    """
    _check_import()
    for name, level in QUIET.items():
        logging.getLogger(name).setLevel(level)
    file = sqlite_file(uri)
    if file is not None:
        if _is_filled(file):
            _check_readable(file)
        else:
            _make_sqlite(file)
    return MlflowClient(tracking_uri=uri)


def _check_import() -> None:
    if not hasattr(mlflow, "__version__"):
        where = list(getattr(mlflow, "__path__", ["?"]))
        raise ConfigError(f"mlflow: {where} was imported, which is not the package; expected `pip install mlflow`")


def _is_filled(file: Path) -> bool:
    return file.is_file() and file.stat().st_size > 0


def _check_readable(file: Path) -> None:
    """Raise unless SQLite can read the file's schema, which it refuses of a file that was cut short."""
    try:
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as database:
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return  # for example locked by a writer: MLflow waits for that, and reports other reasons itself
    except sqlite3.DatabaseError as error:
        raise ConfigError(f"{file} is damaged ({error}); move it away and a new one is made") from None


def _make_sqlite(file: Path) -> None:
    """Make an empty store at ``file``, under a lock and by rename.

    MLflow makes the schema in dozens of steps. Two processes at once, or a kill in between, would leave it unusable.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(f".{file.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_filled(file):
            write_whole(file, lambda part: MlflowClient(tracking_uri=f"sqlite:///{part}").search_experiments())


def artifact_root(uri: str, folder: Path) -> str | None:
    """Return the folder for artifacts, which is beside the database; None means that the server chooses it."""
    if is_server(uri):
        return None
    file = sqlite_file(uri)
    return str((file.parent if file else folder.resolve().parent) / "mlartifacts")


def experiment_id(client: MlflowClient, study: Study, artifacts: str | None) -> str:
    """Return the id of the study's experiment, which is made if it does not exist and restored if it was deleted."""
    experiment = client.get_experiment_by_name(study.name)
    if experiment is None:
        tags = {"mlflow.experimentKind": "custom_model_development", "mlflow.note.content": study.question}
        try:
            return str(client.create_experiment(study.name, artifact_location=artifacts, tags=tags))
        except MlflowException:
            experiment = client.get_experiment_by_name(study.name)  # another sweep has made it in the meantime
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
