"""The built wheel, installed in an environment of its own, works outside a checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = ("zsr_core", "sweeps", "search_spaces")
TRIAL = """
import sys
from pathlib import Path

import zsr_core
from zsr_core.attacks import Pgd
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.run import run_trial

attack = Pgd(steps=1)
config = TrialConfig(
    method=TgaZsr(), train_attack=attack, train_data=DataRef(limit=16), batch_size=16, epochs=1,
    eval_suite=EvalSuite(tasks=(DataRef(),), n=4, attacks=(attack,), eps=(1 / 255,)),
)
result = run_trial(config, Path(sys.argv[1]), RunContext(device="cpu"))
print(zsr_core.__file__)
print(len(result.measurements))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of a fresh environment that has the wheel, and the dependencies of this one."""
    base = tmp_path_factory.mktemp("wheel")
    source = base / "source"
    for folder in SOURCES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / file).exists():
            shutil.copy(ROOT / file, source)
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check"]
    alone = ["--no-deps", "--no-index"]
    run([*pip, "wheel", *alone, "--no-build-isolation", "-w", str(base), str(source)], base)
    environment = base / "environment"
    run([sys.executable, "-m", "venv", "--without-pip", str(environment)], base)
    run([*pip, "--python", str(environment / "bin" / "python"), "install", *alone, str(*base.glob("zsr-*.whl"))], base)
    # A path in a .pth file is not searched for further .pth files, so the checkout's editable install stays out.
    site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    (site / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return environment / "bin"


def test_every_package_of_the_tree_is_in_the_wheel() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for tree in SOURCES for p in (ROOT / tree).rglob("__init__.py")}
    assert set(listed) == there


def run(command: list[str], folder: Path) -> str:
    """Run a command in a folder that is no checkout, and return what it printed."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_installed_command_lists_its_subcommands(installed: Path, tmp_path: Path) -> None:
    assert "sensitivity" in run([str(installed / "zsr"), "--help"], tmp_path)


@pytest.mark.slow
def test_an_installed_sweep_plans_its_trials(installed: Path, tmp_path: Path) -> None:
    plan = run([str(installed / "python"), "-m", "sweeps.tga_alpha_beta", "--plan"], tmp_path)
    assert "trials" in plan
    assert not list(tmp_path.iterdir()), "a plan writes nothing"


@pytest.mark.slow
def test_an_installed_package_runs_a_trial_on_the_miniature(installed: Path, tmp_path: Path) -> None:
    printed = run([str(installed / "python"), "-c", TRIAL, str(tmp_path / "trial")], tmp_path).split()
    assert Path(printed[-2]).is_relative_to(installed.parent), "the package is the wheel's, not the checkout's"
    assert int(printed[-1]) > 0
    assert (tmp_path / "trial" / "result.json").is_file()
