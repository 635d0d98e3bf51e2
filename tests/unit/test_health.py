"""``zsr health`` finds what was planted in a study, and nothing in a sound one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.ranking import ranked, rivals_among
from sweeps.engine.analysis.searching.duplicates import placed, repeated
from sweeps.engine.analysis.searching.health import seeds_of, unequal
from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.wording.health import findings
from zsr_core.space import Choice, Real

MakeStudy = Callable[..., Study]
SPACE = {"a": Real(low=0.01, high=1.0, log=True), "b": Choice(values=("x", "y"))}


def about(folder: StudyFolder) -> list[str]:
    return [finding.about for finding in findings(folder)]


def test_a_point_has_its_place_on_the_drawn_axes() -> None:
    assert placed({"a": 0.1, "b": "y"}, SPACE) == pytest.approx((0.5, 1.0))
    assert placed({"a": 0.0, "b": "z"}, SPACE) == (-2.0, -2.0)


def test_points_within_a_percent_on_every_axis_repeat_each_other() -> None:
    points = [{"a": 0.1, "b": "x"}, {"a": 0.104, "b": "x"}, {"a": 0.104, "b": "y"}, {"a": 0.2, "b": "x"}]
    assert repeated(points, SPACE) == 1


def test_a_study_of_one_seed_without_other_trouble_is_told_so_alone(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    assert about(open_study(tmp_path)) == ["seeds"]


def test_failures_missing_trials_and_edges_are_found(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.01, 0.1), fails=lambda t: t.cell == "alpha=0.01 beta=0.01",
               missing=lambda t: t.is_report)  # fmt: skip
    found = about(open_study(tmp_path))
    assert found == ["failures", "missing", "seeds", "edge", "edge", "report split"]


def test_repeated_proposals_are_found_by_their_share(tmp_path: Path, make_study: MakeStudy) -> None:
    points = [(0.1, 0.1), (0.1001, 0.1), (0.03, 0.3), (0.3, 0.03), (0.2, 0.2)]
    make_study(tmp_path, points=points, report=False)
    (finding,) = [each for each in findings(open_study(tmp_path)) if each.about == "proposals"]
    assert finding.what == "1 of 5 proposals (20 %) are within 1 % of an earlier one on every axis.".replace(
        " %)", "%)"
    )


def test_the_seeds_that_would_tell_the_best_two_apart_are_counted(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, seeds=(0, 1, 2))
    found = seeds_of(open_study(tmp_path))
    assert found is not None
    assert found.least == 3
    assert found.sd is not None
    assert found.needed is not None
    assert found.needed == max(2, -(-2 * (2.8 * found.sd / found.gap) ** 2 // 1))


def test_unequal_training_budgets_are_counted(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    folder = open_study(tmp_path)
    assert unequal(folder) == {}
    longer = [replace(t, overrides={**t.overrides, "epochs": 9}) if t.role == "cell" and i % 2 else t
              for i, t in enumerate(study.plan)]  # fmt: skip
    uneven = StudyFolder(path=tmp_path, study=replace(study, plan=tuple(longer)), results=folder.results)
    assert sorted(unequal(uneven).values()) == [4, 5]
    assert "budgets" in about(uneven)


def test_the_command_writes_a_page_with_what_to_do(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path)
    assert main(["health", "--study", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.startswith("# Health of weights")
    assert "To do: Give --seeds 3 or more" in out
    assert (tmp_path / "health.md").is_file()


def test_the_rivals_among_some_cells_are_those_of_the_whole_ranking(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.05, 0.06, 0.5))
    whole = set(ranked(open_study(tmp_path)).rivals)
    names = [row.cell for row in open_study(tmp_path).study.rows(role="cell")]
    folder = open_study(tmp_path)
    assert (
        {name for name in names if rivals_among(folder, [name])}
        == whole
        == {"alpha=0.05 beta=0.06", "alpha=0.06 beta=0.05"}
    )
    assert rivals_among(folder, names) == whole
    assert rivals_among(folder, ["", "no cell"]) == frozenset()
