"""The first half hour on a GPU, rehearsed on the CPU: every part runs, says what is odd, and keeps its tables."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("gpu_first")


def rehearse(script: ModuleType, folder: Path, *parts: str) -> dict[str, dict[str, object]]:
    script.run(script.parse([*parts, "--device", "cpu", "--quick", "--out", str(folder)]))
    found: dict[str, dict[str, object]] = json.loads((folder / "gpu_first.json").read_text())["parts"]
    return found


def test_on_the_cpu_the_cpu_agrees_with_itself(script: ModuleType, tmp_path: Path) -> None:
    agree = rehearse(script, tmp_path, "agree")["agree"]
    assert agree["look"] == [False, False]
    assert [row[1] for row in agree["rows"]] == ["0.0e+00", "0.0e+00"]  # type: ignore[attr-defined]
    assert "| TgaZsr |" in (tmp_path / "gpu_first.md").read_text()


def test_a_part_that_breaks_is_a_row_and_the_next_one_runs(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(bench: object) -> object:
        raise RuntimeError("no such kernel")

    monkeypatch.setitem(script.PARTS, "same", breaks)
    found = rehearse(script, tmp_path, "same", "memory")
    assert found["same"]["look"] == [True]
    assert "no such kernel" in str(found["same"]["rows"])
    assert found["memory"]["look"] == [False]


@pytest.mark.parametrize("words", [["sped"], ["--device", "cuda"]])
def test_wrong_words_are_refused_before_anything_runs(script: ModuleType, words: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        script.parse(words)


LACKING = "pyarrow ray optuna mlflow pandas scipy sklearn matplotlib rich pyautoattack h5py"
IMPORTED = """
import sys
sys.modules.update(dict.fromkeys({lacking!r}.split()))
sys.path.insert(0, {folder!r})
import gpu_first
"""


@pytest.mark.slow
def test_it_is_imported_without_what_a_bare_box_lacks() -> None:
    code = IMPORTED.format(lacking=LACKING, folder=str(BENCHMARKS))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=BENCHMARKS.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_part_can_be_rehearsed(script: ModuleType, tmp_path: Path) -> None:
    found = rehearse(script, tmp_path)
    assert found.keys() == script.PARTS.keys()
    for name, part in found.items():
        assert part["columns"] != ["error"], (name, part["rows"])
        assert part["rows"], name
    assert not any(found["same"]["look"])  # type: ignore[arg-type]
    assert not any(found["ddp"]["look"])  # type: ignore[arg-type]
    assert not any(found["attacks"]["look"])  # type: ignore[arg-type]
