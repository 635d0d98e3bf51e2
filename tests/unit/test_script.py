"""What a sweep script shows of a mistake that it makes before it calls ``launch``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sweeps.engine.running.script import place

SCRIPT = """from sweeps.engine import Sweep, launch
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig

SWEEP = Sweep(
    name="s",
    question="?",
    base={"miniature": TrialConfig(method=TgaZsr())},
    space={"method.alpha": Real(low=0.1, high=1.0)},
)

if __name__ == "__main__":
    raise SystemExit(launch(SWEEP))
"""
MISTAKES = [
    ("low=0.1", "low=3.0", "error: low: got 3.0, expected a number below high (1) (s.py, line 10)\n"),
    ('"method.alpha"', '"method.alhpa"', "error: config.method: TgaZsr has no field 'alhpa'; it has: "),
]


@pytest.mark.parametrize(("sound", "mistaken", "line"), MISTAKES)
def test_a_mistake_in_the_scripts_values_is_one_line_that_names_its_place(
    tmp_path: Path, sound: str, mistaken: str, line: str
) -> None:
    script = tmp_path / "s.py"
    script.write_text(SCRIPT.replace(sound, mistaken))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(line)


def test_any_other_error_keeps_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("from sweeps.engine import launch\nlaunch.nothing\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "AttributeError" in done.stderr


def test_an_error_from_elsewhere_names_no_line() -> None:
    assert place("s.py", None) == ""
