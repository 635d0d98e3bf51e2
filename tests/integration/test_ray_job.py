"""A sweep submitted as a job to a local head that asks for a token gives what it gives by itself."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.study.folder import read_results, read_study

pytestmark = pytest.mark.ray
ROOT = Path(__file__).resolve().parents[2]
SUBMIT = [Path(sys.executable).parent / "ray", "job", "submit"]
Write = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]


def test_a_submitted_job_gives_the_same_results(head: dict[str, str], write: Write, run: Run, tmp_path: Path) -> None:
    package = tmp_path / "package"
    for name in ("zsr_core", "search_spaces", "sweeps"):
        shutil.copytree(ROOT / name, package / name, ignore=shutil.ignore_patterns("__pycache__"))
    script = write()
    shutil.copy(script, package / "sweeps" / "tiny.py")
    submit = [*SUBMIT, "--working-dir", ".", "--", "python", "sweeps/tiny.py"]
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
