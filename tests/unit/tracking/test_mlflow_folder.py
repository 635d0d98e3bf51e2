"""The folder ``mlflow/`` serves the tracking UI and does not hide the ``mlflow`` package."""

from __future__ import annotations

import os
import re
import socket
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml
from sqlalchemy.engine import make_url

ROOT = Path(__file__).resolve().parents[3]
FOLDER = ROOT / "mlflow"
SERVE = FOLDER / "serve.sh"


def serve(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    plain = {name: value for name, value in os.environ.items() if name not in ("HOST", "PORT", "RESULTS")}
    return subprocess.run(
        [str(SERVE), *arguments], env={**plain, **environment}, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_folder_holds_no_python() -> None:
    assert [path.name for path in FOLDER.rglob("*") if path.suffix in (".py", ".pyi", ".so")] == []
    assert SERVE.is_file()


def test_the_package_is_the_real_one() -> None:
    assert mlflow.__version__.startswith("3.17")
    assert FOLDER not in Path(str(mlflow.__file__)).parents


def test_without_a_database_it_says_that_a_sweep_comes_first(tmp_path: Path) -> None:
    ran = serve("--results", str(tmp_path))
    assert ran.returncode == 1
    assert "no mlflow.db" in ran.stderr
    assert "make demo" in ran.stderr
    assert serve(RESULTS=str(tmp_path / "absent")).returncode == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--port",), "--port: got nothing"), (("--port", "http"), "'http'"), (("--prot", "1"), "'--prot'")],
)
def test_a_wrong_flag_is_named(arguments: tuple[str, ...], said: str) -> None:
    ran = serve(*arguments)
    assert ran.returncode == 2
    assert said in ran.stderr


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "mlflow.db") as database:
        database.execute("CREATE TABLE runs (experiment_id INTEGER, lifecycle_stage TEXT, start_time INTEGER)")
    database.close()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        ran = serve("--results", str(tmp_path), PORT=port)
    assert ran.returncode == 1
    assert f"127.0.0.1:{port}" in ran.stderr


def test_half_a_database_is_named(tmp_path: Path) -> None:
    database = tmp_path / "mlflow.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE TABLE runs (experiment_id INTEGER, lifecycle_stage TEXT, start_time INTEGER)")
    connection.close()
    whole = database.read_bytes()
    database.write_bytes(whole[: len(whole) // 2])
    ran = serve("--results", str(tmp_path))
    assert ran.returncode == 1
    assert f"error: {database} is damaged (database disk image is malformed)" in ran.stderr
    assert "zsr record" in ran.stderr


def compose() -> dict[str, Any]:
    text = (FOLDER / "compose.yaml").read_text(encoding="utf-8")
    services: dict[str, Any] = yaml.safe_load(text)
    return services


def test_the_compose_file_binds_every_port_to_loopback() -> None:
    ports = [port for service in compose()["services"].values() for port in service.get("ports", [])]
    assert len(ports) >= 2
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_compose_file_knows_no_password() -> None:
    settings = [
        f"{name}={value}"
        for service in compose()["services"].values()
        for name, value in service.get("environment", {}).items()
    ]
    secret = [line for line in settings if "PASSWORD" in line or "SECRET" in line]
    assert len(secret) >= 4
    assert all(":?" in line for line in secret), "a secret must be asked for, never defaulted"


def test_the_server_of_the_compose_file_has_the_driver_that_its_address_names() -> None:
    """Which driver an address without one means has changed with SQLAlchemy's versions."""
    server = compose()["services"]["tracking"]
    dialect = make_url(re.sub(r"\$\{.*?\}", "x", server["environment"]["MLFLOW_BACKEND_STORE_URI"])).get_dialect()
    installed = re.findall(r"[\w-]+", server["build"]["dockerfile_inline"].partition("pip install")[2])
    assert f"{dialect.driver}-binary" in installed


def test_what_the_compose_file_waits_for_is_there() -> None:
    services = compose()["services"]
    for service in services.values():
        for name, wait in service.get("depends_on", {}).items():
            healthy = wait["condition"] == "service_healthy"
            assert name in services
            assert not healthy or "healthcheck" in services[name]
