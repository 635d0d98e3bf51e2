"""The core runs on a bare GPU box: torch and open_clip with what they bring, and pyarrow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

SCRIPT = """
import importlib, pkgutil, sys
absent = ("ray", "mlflow", "optuna", "pandas", "scipy", "matplotlib", "rich", "sweeps", "search_spaces")
for name in absent:
    sys.modules[name] = None  # importing it fails, looking for it finds nothing
import zsr_core

def stop(name):
    raise RuntimeError(name)

found = [module.name for module in pkgutil.walk_packages(zsr_core.__path__, "zsr_core.", onerror=stop)]
for name in found:
    importlib.import_module(name)
assert all(sys.modules[name] is None for name in absent)
print(zsr_core.__file__, len(found))
"""


def test_every_module_of_the_core_imports_without_what_the_sweeps_need() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    place, count = done.stdout.split()
    assert Path(place).parent == ROOT / "zsr_core"
    modules = [p for p in (ROOT / "zsr_core").rglob("*.py") if p != ROOT / "zsr_core" / "__init__.py"]
    assert int(count) == len(modules)
