"""A sweep submitted as a job to a local head that asks for a token gives what it gives by itself."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sweeps.engine.study.folder import read_results, read_study

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
SUBMIT = [BIN / "ray", "job", "submit", "--"]
Write = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def head(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Start a head with a token of its own; yield the environment of those who may use it; stop it."""
    home, port = tmp_path / "home", free_port()
    home.mkdir()
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "PYTHONPATH"))}
    env = {
        **kept, "HOME": str(home), "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "RAY_AUTH_MODE": "token",
        "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    subprocess.run([BIN / "ray", "get-auth-token", "--generate"], env=env, check=True, capture_output=True)
    command = [
        BIN / "ray", "start", "--head", "--block", "--port", str(free_port()), "--dashboard-host", "127.0.0.1",
        "--dashboard-port", str(port), "--dashboard-agent-listen-port", str(free_port()),
        "--num-cpus", "2", "--object-store-memory", str(128 * 2**20),
    ]  # fmt: skip
    with (tmp_path / "head.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            env["RAY_API_SERVER_ADDRESS"] = f"http://127.0.0.1:{port}"
            wait_for_head(env, process, tmp_path / "head.log")
            yield env
        finally:
            process.terminate()
            process.wait(60)


def wait_for_head(env: dict[str, str], process: subprocess.Popen[bytes], log: Path) -> None:
    """Return once the head takes jobs, which is some seconds after its port answers."""
    until = time.monotonic() + 240
    while subprocess.run([*SUBMIT, "true"], env=env, capture_output=True, timeout=120, check=False).returncode:
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(1)


def test_a_submitted_job_gives_the_same_results(head: dict[str, str], write: Write, run: Run, tmp_path: Path) -> None:
    package = tmp_path / "package"
    for name in ("zsr_core", "search_spaces", "sweeps"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = write()
    shutil.copy(script, package / "sweeps" / "tiny.py")
    submit = [*SUBMIT[:-1], "--working-dir", ".", "--", "python", "sweeps/tiny.py"]
    done = subprocess.run(
        [*submit, "--tracking", "none"], cwd=package, env=head, capture_output=True, text=True, timeout=400, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    submitted = tmp_path / "home" / "zsr-results" / "tiny"
    assert str(submitted / "table.md") in done.stdout
    study = read_study(submitted)
    there = read_results(submitted, study)
    assert run(script, "--local").returncode == 0
    here = read_results(tmp_path / "results" / "tiny", study)
    assert list(there) == list(here) == [trial.trial_id for trial in study.plan]
    for trial_id, result in here.items():
        assert [(m.task, m.metric, m.value) for m in result.measurements] == [
            (m.task, m.metric, m.value) for m in there[trial_id].measurements
        ]
    refused = subprocess.run(
        [*submit, "--search", "tep"], cwd=package, env=head, capture_output=True, text=True, timeout=200, check=False
    )
    assert refused.returncode == 1, "the job's failure is the command's"
    assert "did you mean 'tpe'?" in refused.stdout
