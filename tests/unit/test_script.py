"""What a sweep script shows of a mistake that it makes before it calls ``launch``."""

from __future__ import annotations

import ast
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
    pytest.param(
        '"method.alpha"',
        '"method.alhpa"',
        "error: config.method: TgaZsr has no field 'alhpa' (did you mean 'alpha'?); it has: ",
        marks=pytest.mark.slow,
    ),
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


HEAVY = ("torch", "open_clip", "numpy", "pyarrow", "pandas", "mlflow", "optuna", "ray")
SWEEPS = Path(__file__).parents[2] / "sweeps"
SCRIPTS = sorted([*SWEEPS.glob("[!_]*.py"), *SWEEPS.glob("reproductions/[!_]*.py"), *SWEEPS.glob("replays/[!_]*.py")])


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_the_help_of_a_sweep_shows_question_and_flags_and_imports_nothing_heavy(script: Path) -> None:
    command = (
        f"import runpy, sys\nsys.argv = [{str(script)!r}, '--help']\n"
        f"try:\n    runpy.run_path({str(script)!r}, run_name='__main__')\n"
        "except SystemExit as end:\n    code = end.code\n"
        f"print('loaded', [name for name in {HEAVY!r} if name in sys.modules], code)"
    )
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "loaded [] 0"
    question = (ast.get_docstring(ast.parse(script.read_text())) or "").split("\n\n")[0]
    assert " ".join(question.split()) in " ".join(done.stdout.split())
    assert "--gpus-per-trial X" in done.stdout


@pytest.mark.slow
def test_the_help_of_a_program_that_is_no_sweep_script_is_its_own(tmp_path: Path) -> None:
    script = tmp_path / "tool.py"
    script.write_text("import sys\nfrom sweeps.engine import Sweep\nprint(Sweep.__name__, sys.argv[1])\n")
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert done.stdout == "Sweep --help\n"


@pytest.mark.slow
def test_any_other_error_keeps_its_traceback(tmp_path: Path) -> None:
    script = tmp_path / "s.py"
    script.write_text("from sweeps.engine import launch\nlaunch.nothing\n")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Traceback")
    assert "AttributeError" in done.stderr


def test_an_error_from_elsewhere_names_no_line() -> None:
    assert place("s.py", None) == ""
