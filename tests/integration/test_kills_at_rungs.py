"""A sweep with early stopping that is killed (kill -9) at and in rungs goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.running.stops import LOG, read_log
from sweeps.engine.study.folder import read_results, read_study

Write = Callable[..., Path]
Start = Callable[..., subprocess.Popen[str]]
NINE_STEPS = {'"train_data.limit": 64': '"train_data.limit": 576'}  # rungs after steps 1 and 3
FLAGS = ("--local", "--stop", "asha")


def killed_when(what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 240) -> None:
    """Kill the process at the first moment at which ``what`` holds."""
    until = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until, "nothing happened in time"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.slow
def test_a_sweep_that_is_killed_at_rungs_repeats_nothing_and_decides_the_same(
    write: Write, start: Start, tmp_path: Path
) -> None:
    script = write(**NINE_STEPS)
    whole, folder = tmp_path / "whole" / "tiny", tmp_path / "results" / "tiny"
    done = start(script, *FLAGS, "--results", str(whole.parent))
    out, err = done.communicate(timeout=400)
    assert done.returncode == 0, out + err

    def files(name: str) -> int:
        return len(list(folder.glob(f"trials/*/{name}")))

    def lines() -> int:
        return len((folder / LOG).read_bytes().splitlines()) if (folder / LOG).exists() else 0

    kept: dict[Path, int] = {}
    for moment in (lambda: files("rung-1.json") >= 1, lambda: lines() >= 2, lambda: files("rung-2.json") >= 3):
        killed_when(moment, start(script, *FLAGS))
        kept |= {path: path.stat().st_mtime_ns for path in folder.glob("trials/*/result.json") if path not in kept}
    last = start(script, *FLAGS)
    out, err = last.communicate(timeout=400)
    assert last.returncode == 0, out + err
    assert len(kept) >= 2, "the kills left finished trials"
    assert {path: path.stat().st_mtime_ns for path in kept} == kept, "what had finished did not run again"
    assert read_log(folder / LOG) == read_log(whole / LOG)
    seen = [(e["trial"], e.get("rung")) for e in read_log(folder / LOG)]
    assert len(seen) == len(set(seen)) == 4 * 3, "two rungs and an end for each of four cells, each once"
    assert numbers(folder) == numbers(whole)


def numbers(folder: Path) -> dict[str, Any]:
    """Return every trial's measurements and learning curve, to the last bit."""
    results = read_results(folder, read_study(folder))
    return {
        trial_id: (json.dumps([repr(m) for m in result.measurements]), repr([row["loss"] for row in result.history]))
        for trial_id, result in results.items()
    }
