"""A study whose ``study.json`` is torn or lost is read from its trial folders."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.scores import scores
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.study.plan import recovered, suggestions
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize("content", [None, "", '{"name": "wei', "\0\0\0\0"])
def test_a_torn_or_lost_plan_is_read_from_the_trials(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1))
    before = open_study(tmp_path)
    file = tmp_path / "study.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    after = open_study(tmp_path)
    assert not file.exists(), "a plan that is not the sweep's own is not written"
    if content is not None:
        assert (tmp_path / "study.json.torn").read_text() == content
    assert {t.trial_id: (t.seed, t.role, t.split) for t in after.study.plan} == {
        t.trial_id: (t.seed, t.role, t.split) for t in study.plan
    }
    for trial in after.study.plan:
        assert after.study.config(trial).trial_id == trial.trial_id
    assert [(row.role, row.overrides, row.value("robust")) for row in sorted(scores(after), key=str)] == [
        (row.role, row.overrides, row.value("robust")) for row in sorted(scores(before), key=str)
    ]
    (line,) = capsys.readouterr().err.splitlines()
    assert f"read from {len(study.plan)} trial folders. Unknown: the question, " in line


def test_a_trial_folder_that_is_not_what_its_name_says_is_left_out(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    first, second, *rest = study.plan
    (tmp_path / "study.json").unlink()
    places = [tmp_path / "trials" / trial.trial_id for trial in (first, second)]
    shutil.rmtree(places[0])
    shutil.copytree(places[1], places[0])
    assert {t.trial_id for t in open_study(tmp_path).study.plan} == {t.trial_id for t in (second, *rest)}


def test_a_folder_without_trials_is_no_study(tmp_path: Path) -> None:
    (tmp_path / "study.json").write_text("{")
    with pytest.raises(ConfigError, match=r"holds a torn study\.json, set aside as study\.json\.torn; expected"):
        open_study(tmp_path)


def test_the_proposals_of_a_search_are_found_again_in_the_order_they_began(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    points = ((0.1, 0.1), (0.2, 0.3), (0.9, 0.9))
    study = make_study(tmp_path, points=points, report=False)
    trials = [trial for trial in study.plan if trial.proposal]
    asked = Study(**{**vars(study), "mode": "search", "plan": tuple(t for t in study.plan if not t.proposal)})
    again = recovered(asked, [study.config(trial) for trial in trials])
    assert [tuple(point.values()) for point in suggestions(again).values()] == list(points)
    assert {t.trial_id for t in again.plan} == {t.trial_id for t in study.plan}
