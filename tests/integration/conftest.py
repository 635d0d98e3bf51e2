"""A sweep that trains for real in about a second a trial, as a value and as a script."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zsr_core.codec import ConfigError

SCRIPT = '''
"""Does the engine run?"""

from sweeps.engine import Sweep, launch
from zsr_core.data import DataRef
from zsr_core.methods import TgaZsr
from zsr_core.trial.presets import base
from zsr_core.space import Real, Variant

TASKS = tuple(DataRef(source="miniature", name=name) for name in ("source", "sport"))
BASE = base(TgaZsr(), "miniature").with_(
    {"train_data.limit": 64, "epochs": 1, "batch_size": 64, "optim.lr": 1e-3}
).with_({"eval_suite.tasks": TASKS, "eval_suite.n": 8}
)
AXES = {"method.alpha": Real(low=0.01, high=1.0, log=True), "method.beta": Real(low=0.01, high=1.0, log=True)}
SWEEP = Sweep(name="tiny", question="Does the engine run?", base={"miniature": BASE}, SHAPE)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
'''
GRID = 'space=AXES, levels=2, surfaces=(("method.alpha", "method.beta"),)'
BIN = Path(sys.executable).parent
Write = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return a writer of the tiny sweep as a script: ``write(shape)`` with the fields that give it its trials."""

    def write_script(shape: str = GRID, **replaced: str) -> Path:
        text = SCRIPT.replace("SHAPE", shape)
        for old, new in replaced.items():
            text = text.replace(old, new)
        path = tmp_path / "tiny.py"
        path.write_text(text, encoding="utf-8")
        return path

    return write_script


def environment(**extra: str) -> dict[str, str]:
    """Return the environment of a launch that finds this checkout and no cluster."""
    root = str(Path(__file__).resolve().parents[2])
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    return {**kept, "PYTHONPATH": root, "OMP_NUM_THREADS": "1", **extra}


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Return a starter of scripts: ``start(script, *flags)``; results go to ``results`` beside it, runs to nowhere."""

    def popen(script: Path, *flags: str, **kwargs: Any) -> subprocess.Popen[str]:
        given = [*flags] if "--tracking" in flags else [*flags, "--tracking", "none"]
        return subprocess.Popen(
            [sys.executable, str(script), *given],
            cwd=tmp_path, env=environment(), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs,
        )  # fmt: skip

    return popen


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Return a runner of scripts in this process, where all is imported already: its exit code and what it printed."""

    def to_the_end(script: Path, *flags: str) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(tmp_path)
        given = [*flags] if "--tracking" in flags else [*flags, "--tracking", "none"]
        monkeypatch.setattr(sys, "argv", [str(script), *given])
        monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)  # a script sets its own, for its process
        try:
            runpy.run_path(str(script), run_name="__main__")
        except SystemExit as end:
            code = end.code
        except ConfigError as error:
            with pytest.raises(SystemExit) as ended:
                sys.excepthook(ConfigError, error, None)
            code = ended.value.code
        out, err = capfd.readouterr()
        return subprocess.CompletedProcess(sys.argv, int(code or 0), out, err)

    return to_the_end


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start a head with a token of its own; yield the environment of those who may use it; stop it.

    For tests alone, it also has the head's address as ``HEAD`` and its process as ``HEAD_PROCESS``.
    """
    home, port, gcs = tmp_path / "home", free_port(), free_port()
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTHONPATH"))}
    env = {
        **kept, "HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run([BIN / "ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    command = [
        BIN / "ray", "start", "--head", "--block", "--port", str(gcs), "--dashboard-host", "127.0.0.1",
        "--dashboard-port", str(port), "--dashboard-agent-listen-port", str(free_port()),
        "--num-cpus", "2", "--object-store-memory", str(128 * 2**20),
    ]  # fmt: skip
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            env |= {"HEAD": f"127.0.0.1:{gcs}", "HEAD_PROCESS": str(process.pid)}
            env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
            wait_for_head(env, process, tmp_path / "head.log")
            yield env
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:  # a head whose server was killed waits for it
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(20)


def wait_for_head(env: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the head takes jobs, which is some seconds after its port answers."""
    until = time.monotonic() + 240
    submit = [BIN / "ray", "job", "submit", "--", "true"]
    while subprocess.run(submit, env=env, capture_output=True, timeout=120, check=False).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(1)
