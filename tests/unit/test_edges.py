"""A best cell on the edge of its space is said, and can be extended by one level; the demo's grid has an off cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces import Axis
from sweeps.engine.analysis.cliffs import between, refined
from sweeps.engine.analysis.score_query import Reading
from sweeps.engine.analysis.searching.edges import best_on_edge, next_level
from sweeps.engine.documents.table import table_lines
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.edges import edges_text
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.codec import ConfigError
from zsr_core.methods import TgaZsr
from zsr_core.space import Int, Real
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]
LOG = Real(low=0.003, high=0.3, log=True)
EDGE = (
    "The best cell stands on the edge of the space, at alpha = 0.1: the harmonic mean still rises towards larger alpha"
)


def on_edge(path: Path, make_study: MakeStudy) -> StudyFolder:
    """A grid whose best levels, 0.1, are the largest of both axes."""
    make_study(path, levels=(0.01, 0.1))
    return open_study(path)


def test_a_best_cell_inside_its_grid_has_no_edge(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    assert best_on_edge(open_study(tmp_path)) == ()
    assert edges_text(()) == ""


def test_the_edge_is_named_with_what_the_score_does_there(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = on_edge(tmp_path, make_study)
    alpha, beta = best_on_edge(folder)
    assert (alpha.path, alpha.value, alpha.end, alpha.beyond) == ("method.alpha", 0.1, "larger", 1.0)
    assert (beta.path, beta.neighbour) == ("method.beta", "alpha=0.1 beta=0.01")
    assert alpha.rise is not None
    assert alpha.rise > 0
    assert any(EDGE in line for line in answer(folder))
    assert any(EDGE in line for line in table_lines(folder))


def test_one_measured_level_of_an_axis_is_no_edge_and_an_unfinished_grid_says_so_first(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.01, 0.1), missing=lambda trial: "alpha=0.01" in trial.cell, report=False)
    folder = open_study(tmp_path)
    assert [edge.path for edge in best_on_edge(folder)] == ["method.beta"]
    lines = answer(folder)
    assert lines[0] == "Unfinished: 2 of 4 planned cells have not run, and a better one may be among them."
    assert lines[1].startswith("Best of 2 cells")
    make_study(tmp_path / "one", levels=(0.01, 0.1), missing=lambda t: t.cell != "alpha=0.1 beta=0.1", report=False)
    one = open_study(tmp_path / "one")
    assert best_on_edge(one) == ()
    assert "3 of 4 planned cells have not run" in answer(one)[0]
    assert not any("edge" in line for line in answer(one))


def test_refining_extends_the_grid_by_one_level_and_not_by_two(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = on_edge(tmp_path, make_study)
    first = [p for p in between(folder, [Reading(name="robust")], 90.0) if p.edge]
    assert [p.label for p in first] == ["alpha=1 beta=0.1", "alpha=0.1 beta=1"]
    space = {path: Real(low=0.01, high=0.05, log=True) for path in folder.study.space}
    outside = StudyFolder(path=folder.path, study=replace(folder.study, space=space), results=folder.results)
    assert [edge.beyond for edge in best_on_edge(outside)] == [None, None]
    assert edges_text(best_on_edge(outside)).endswith("Widen the space to find out.")
    grown = refined(folder.study, first)
    assert {p.label for p in first} <= {trial.cell for trial in grown.plan}


def test_one_level_beyond_keeps_the_ratio_and_never_crosses_zero() -> None:
    assert next_level(0.003, 0.01, LOG, -1, None) == pytest.approx(0.0009)
    assert next_level(0.3, 0.1, LOG, 1, None) == pytest.approx(0.9)
    assert next_level(0.25, 0.5, Real(low=0.0, high=1.0), -1, None) == 0.125
    assert next_level(0.0, 0.5, Real(low=0.0, high=1.0), -1, None) is None
    assert next_level(5, 3, Int(low=1, high=5), 1, None) == 7


def test_an_end_that_the_configuration_refuses_is_no_edge(tmp_path: Path, make_study: MakeStudy) -> None:
    folder = on_edge(tmp_path, make_study)
    base = replace(folder.study.base, method=TgaZsr())
    bounded = replace(folder.study, base=base, space={"optim.momentum": Real(low=0.0, high=1.0)})
    assert best_on_edge(StudyFolder(path=folder.path, study=bounded, results=folder.results)) == ()


def test_the_demo_has_one_cell_with_both_weights_off() -> None:
    cells = SWEEP.cells("miniature")
    assert len(cells) == 26
    assert dict(cells[-1].overrides) == {"method.alpha": 0.0, "method.beta": 0.0}


def test_axes_that_can_be_off_are_off_together_and_others_keep_their_levels() -> None:
    axes = (
        Axis(path="method.alpha", domain=LOG, levels=(0.01, 0.1), off=True),
        Axis(path="optim.lr", domain=LOG, levels=(0.01, 0.1)),
    )
    base = {"miniature": TrialConfig(method=TgaZsr())}
    cells = Sweep(name="s", question="?", space=axes, base=base).cells("miniature")
    assert [cell.label for cell in cells[4:]] == ["alpha=0 lr=0.01", "alpha=0 lr=0.1"]


def test_off_is_refused_where_the_axis_holds_zero_anyway() -> None:
    with pytest.raises(ConfigError, match="off only where the axis itself leaves out 0"):
        Axis(path="method.alpha", domain=Real(low=0.0, high=1.0), off=True)
