"""A table of methods marks the rows that have no recipe of their own beside rows that have one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.matrix import matrix, on_shared_recipe
from sweeps.engine.documents.forms.written import matrix_text
from sweeps.engine.documents.table import table_lines
from sweeps.engine.study.folder import Study, open_study
from zsr_core.methods import Ucat
from zsr_core.trial import presets

MakeStudy = Callable[..., Study]
LEGEND = "‡ trained by the shared recipe; other methods here have a recipe that was tuned for them or published."


def test_the_new_methods_row_is_marked_with_a_note(
    tmp_path: Path, make_methods_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_methods_study(tmp_path)
    assert not any(row.untuned for row in matrix(open_study(tmp_path)).rows)
    monkeypatch.setattr(presets, "MINIATURE", {k: v for k, v in presets.MINIATURE.items() if k is not Ucat})
    folder = open_study(tmp_path)
    assert [row.label for row in matrix(folder).rows if row.untuned] == ["UCAT"]
    lines = table_lines(folder)
    assert LEGEND in lines
    assert len([line for line in lines if line.startswith("|") and "‡ shared recipe" in line and "UCAT" in line]) >= 1
    assert "\\ddag{}" in matrix_text(folder, "latex")


def test_a_row_that_brings_its_own_recipe_and_a_study_of_one_method_are_not_marked(
    tmp_path: Path, make_methods_study: MakeStudy, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_methods_study(tmp_path / "a")
    monkeypatch.setattr(presets, "MINIATURE", {k: v for k, v in presets.MINIATURE.items() if k is not Ucat})
    row = next(row for row in study.rows(role="cell") if row.cell == "UCAT")
    assert on_shared_recipe(study, row)
    assert not on_shared_recipe(study, replace(row, overrides={**row.overrides, "optim.lr": 1e-3}))
    one = make_study(tmp_path / "b", levels=(0.1,), report=False)
    assert not any(on_shared_recipe(one, row) for row in one.rows())
