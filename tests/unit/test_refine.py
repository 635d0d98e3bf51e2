from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.cliffs import Proposal, midpoint, refine_study, refined, rounds
from sweeps.engine.analysis.score_query import Reading, shown_readings
from sweeps.engine.study.folder import Study, StudyFolder, open_study, write_study
from sweeps.engine.wording.cliffs import proposal_lines
from zsr_core.codec import ConfigError
from zsr_core.space import Int, Real
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]
ROBUST = [Reading(name="robust")]
LOG = Real(low=0.003, high=0.3, log=True)


def test_the_middle_is_by_ratio_on_a_log_axis_and_whole_on_a_whole_axis() -> None:
    assert midpoint(0.01, 0.1, LOG) == 0.03162
    assert midpoint(0.01, 0.1, Real(low=0.0, high=1.0)) == 0.055
    assert midpoint(0.01, 0.1, None) == 0.055
    assert midpoint(2, 7, Int(low=1, high=9)) == 4
    assert midpoint(1, 9, Int(low=1, high=9, log=True)) == 3
    assert 0.1 < midpoint(0.1, 0.10000001, LOG) < 0.10000001  # rounding to four digits would leave the gap


def test_a_cliff_is_proposed_once_and_the_highest_first(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, seeds=(0, 1))
    folder = open_study(tmp_path)
    study, found = folder.study, refine_study(folder, ROBUST, 5.0)
    heights = [p.height for p in found]
    assert heights == sorted(heights, reverse=True)
    assert heights[-1] > 5.0
    assert len({p.label for p in found}) == len(found)
    for p in found:
        a, b = p.cliff.a, p.cliff.b
        assert p.overrides["method.alpha"] == (a.x if a.x == b.x else midpoint(a.x, b.x, LOG))
        assert p.overrides["method.beta"] == (a.y if a.y == b.y else midpoint(a.y, b.y, LOG))
    lines = proposal_lines(study, found, ROBUST, 5.0)
    assert lines[-1] == f"{len(found)} configurations, {2 * len(found)} trials."
    assert f"{heights[0]:.1f} points apart" in lines[0]
    all_three = refine_study(folder, shown_readings(study.objectives), 5.0)
    assert {p.label for p in all_three} >= {p.label for p in found}
    assert len({p.label for p in all_three}) == len(all_three)


def test_what_is_planned_already_is_not_proposed_again(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    folder = open_study(tmp_path)
    study, found = folder.study, refine_study(folder, ROBUST, 5.0)
    grown = refined(study, found)
    new = grown.plan[len(study.plan) :]
    assert [t.cell for t in new] == [p.label for p in found]
    assert len({t.trial_id for t in grown.plan}) == len(grown.plan)
    write_study(tmp_path, grown)
    assert refine_study(open_study(tmp_path), ROBUST, 5.0) == []


def test_a_search_is_refined_by_proposals_of_its_own(tmp_path: Path, make_study: MakeStudy) -> None:
    points = [(0.01, 0.01), (0.9, 0.02), (0.1, 0.1), (0.02, 0.8), (0.7, 0.9)]
    make_study(tmp_path, points=points, report=False)
    folder = open_study(tmp_path)
    study, found = folder.study, refine_study(folder, ROBUST, 5.0)
    assert found
    grown = refined(study, found)
    assert grown.plan[-1].cell.startswith(f"#{len(points) + len(found):03d} ")
    assert all(study.space[path].contains(v) for p in found for path, v in p.overrides.items())


def test_a_search_that_moves_a_third_weight_has_no_neighbours_on_two(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, points=[(0.01, 0.01), (0.9, 0.02), (0.1, 0.1)], report=False)
    write_study(tmp_path, replace(study, space={**study.space, "optim.lr": LOG}))
    with pytest.raises(ConfigError, match=r"the search weights moves optim\.lr too"):
        refine_study(open_study(tmp_path), ROBUST)


def test_where_nothing_is_unresolved_nothing_is_proposed(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    folder = open_study(tmp_path)
    found = refine_study(folder, ROBUST, 90.0)
    assert proposal_lines(folder.study, found, ROBUST, 90.0) == [
        "No neighbours of weights differ by more than 90 points in robust accuracy."
    ]


def test_a_study_without_a_surface_has_no_neighbours(tmp_path: Path, make_study: MakeStudy) -> None:
    write_study(tmp_path, replace(make_study(tmp_path, levels=(0.1,)), surfaces=()))
    with pytest.raises(ConfigError, match="refine: weights has no surface"):
        refine_study(open_study(tmp_path), ROBUST)


def test_a_round_is_the_same_whatever_a_killed_launch_has_left_of_it(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    results = open_study(tmp_path).results
    own = {trial.cell for trial in study.plan if trial.role == "cell"}

    def rounds_of(plan: Study, ended: Mapping[str, TrialResult], count: int) -> tuple[Study, list[Proposal]]:
        return rounds(StudyFolder(path=tmp_path, study=plan, results=ended), own, count)

    whole, found = rounds_of(study, results, 1)
    assert {p.label for p in found} == {t.cell for t in whole.plan} - {t.cell for t in study.plan}
    one, *others = whole.plan[len(study.plan) :]
    # One trial has ended, on a score that would ask for more, the others were cut off and are not in the plan.
    scored = {**results, one.trial_id: replace(results[study.plan[0].trial_id], trial_id=one.trial_id)}
    cut_off = replace(study, plan=(*study.plan, one))
    again, same = rounds_of(cut_off, scored, 1)
    assert [p.label for p in same] == [p.label for p in found]
    assert [t.cell for t in again.plan] == [t.cell for t in whole.plan]
    ended = {**scored, **{t.trial_id: replace(scored[one.trial_id], trial_id=t.trial_id) for t in others}}
    assert rounds_of(again, ended, 1)[0] == again, "a round that has ended asks for nothing more"
    further, more = rounds_of(again, ended, 2)
    assert len(more) > len(found)
    assert further.plan[: len(again.plan)] == again.plan
    assert len(further.plan) > len(again.plan)


def test_a_second_round_waits_for_the_first(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    folder = open_study(tmp_path)
    own = {trial.cell for trial in study.plan if trial.role == "cell"}
    assert rounds(folder, own, 5) == rounds(folder, own, 1)
