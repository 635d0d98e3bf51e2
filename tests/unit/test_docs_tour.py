"""The notebook ``docs/tour.ipynb`` runs from top to bottom, and holds no outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import matplotlib.figure
import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs" / "tour.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]


def test_the_notebook_holds_no_outputs() -> None:
    code = [cell for cell in CELLS if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert len({cell["id"] for cell in CELLS}) == len(CELLS)


def test_the_notebook_runs_and_its_numbers_are_what_its_words_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for cell in CELLS:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"tour.ipynb {cell['id']}", "exec"), names)
    assert names["run"].exit_code == 0
    assert len(names["study"].results) == 5  # two cells, the chosen one again, the untouched model on both splits
    assert not names["ranking"](names["study"])["robust_gap_holds"].any()
    assert isinstance(names["drawn"]["clean_vs_robust"], matplotlib.figure.Figure)
    assert names["Picture"](names["drawn"]["clean_vs_robust"])._repr_png_().startswith(b"\x89PNG")
    assert names["file"].is_file()
    robust = {m.attack: m.value for m in names["result"].measurements if m.metric == "robust" and m.task == "animals"}
    assert robust["worst"] <= min(robust["pgd10"], robust["apgd-ce"])
