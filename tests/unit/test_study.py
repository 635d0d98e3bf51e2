"""A study on disk: what its plan says of rows, and that a plan which an earlier version wrote still opens."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.scores import scores
from sweeps.engine.study.folder import SCHEMA, Study, open_study, read_study, write_study
from sweeps.engine.study.plan import suggestions
from zsr_core.codec import ConfigError, to_plain

MakeStudy = Callable[..., Study]
POINTS = ((0.1, 0.1), (0.2, 0.3), (0.9, 0.9))


def earlier(study: Study) -> dict[str, Any]:
    """Return ``study.json`` as schema 1 had it: the split and the proposal's number stood in labels, no score_eps."""
    plain = to_plain(study)
    assert isinstance(plain, dict)
    for trial in plain["plan"]:
        number = f"#{trial['proposal']:03d} " if trial["proposal"] else ""
        report = " (report)" if trial["role"] == "baseline" and trial["split"] == "report" else ""
        trial["cell"] = f"{number}{trial['cell']}{report}"
        trial["label"] = f"{trial['cell']} seed={trial['seed']}"
        del trial["split"], trial["proposal"]
    del plain["score_eps"]
    return {**plain, "schema": 1}


@pytest.mark.parametrize("points", [(), POINTS])
def test_a_study_that_an_earlier_version_wrote_opens_with_its_facts_in_fields(
    tmp_path: Path, make_study: MakeStudy, points: tuple[tuple[float, float], ...]
) -> None:
    now = make_study(tmp_path, levels=(0.1, 1.0), points=points, seeds=(0, 1), eps=(2 / 255, 1 / 255))
    before = earlier(now)
    labels = [trial["label"] for trial in before["plan"]]
    assert "untouched (report) seed=1" in labels
    assert ("#002 alpha=0.2 beta=0.3 seed=0" in labels) == bool(points)
    (tmp_path / "study.json").write_text(json.dumps(before))
    folder = open_study(tmp_path)
    read = folder.study
    assert (read.schema, read.score_eps) == (SCHEMA, 2 / 255), "scores were read at the suite's first budget"
    assert [t.trial_id for t in read.plan] == [t.trial_id for t in now.plan]
    assert all(read.config(t).trial_id == t.trial_id for t in read.plan)
    assert [(t.role, t.split, t.seed, t.overrides) for t in read.plan] == [
        (t.role, t.split, t.seed, t.overrides) for t in now.plan
    ]
    assert {t.label for t in read.plan if t.role == "baseline"} == {"untouched seed=0", "untouched seed=1"}
    assert [t.cell for t in read.rows(role="baseline")] == ["untouched", "untouched"]
    cells = read.rows(role="cell")
    assert [row.proposal for row in cells] == ([1, 2, 3] if points else [None] * 4)
    assert len(folder.done()) == len(read.plan), "its results are found"
    assert len(suggestions(read)) == len(points)
    best = chosen(folder)
    assert best is not None
    assert best.overrides == {"method.alpha": 0.1, "method.beta": 0.1}


def test_an_earlier_study_written_again_is_of_this_schema(tmp_path: Path, make_study: MakeStudy) -> None:
    (tmp_path / "study.json").write_text(json.dumps(earlier(make_study(tmp_path, points=POINTS))))
    read = read_study(tmp_path)
    write_study(tmp_path, read)
    assert json.loads((tmp_path / "study.json").read_text())["schema"] == SCHEMA
    assert read_study(tmp_path) == read


@pytest.mark.parametrize("lost", ["plan", "base"])
def test_an_earlier_study_that_lacks_a_field_is_named(tmp_path: Path, make_study: MakeStudy, lost: str) -> None:
    before = earlier(make_study(tmp_path, levels=(0.1,)))
    del before[lost]
    (tmp_path / "study.json").write_text(json.dumps(before))
    with pytest.raises(ConfigError, match=r"study\.json"):
        read_study(tmp_path)


def test_rows_are_the_plans_trials_that_share_everything_but_the_seed(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), seeds=(0, 1, 2))
    rows = [(row.cell, row.role, row.split, len(row.trials)) for row in study.rows()]
    assert rows == [
        ("untouched", "baseline", "selection", 3),
        ("alpha=0.1 beta=0.1", "cell", "selection", 3),
        ("untouched", "baseline", "report", 3),
        ("alpha=0.1 beta=0.1", "final", "report", 3),
    ]
    assert [row.role for row in study.rows(split="report")] == ["baseline", "final"]
    assert [row.split for row in study.rows(role="baseline")] == ["selection", "report"]


def test_scores_are_read_at_the_studys_budget(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), eps=(1 / 255, 2 / 255), report=False)
    (low,) = scores(open_study(tmp_path))
    plain = {**vars(study), "score_eps": 2 / 255}
    write_study(tmp_path, Study(**plain))
    (high,) = scores(open_study(tmp_path))
    assert high.value("clean") == low.value("clean")
    robust = [score.value("robust") for score in (low, high)]
    assert robust[0] is not None
    assert robust[1] is not None
    assert robust[1] < robust[0]


def test_a_plan_is_written_as_if_it_was_made_text_at_once(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, points=[(0.1, 0.2), (0.3, 0.4)])
    odd = replace(study.plan[-1], label='a "quoted" line\n and \u2028 more', cell="é")
    for each in (study, replace(study, plan=()), replace(study, plan=(*study.plan, odd), question='\n "plan": []')):
        text = write_study(tmp_path, each).read_text(encoding="utf-8")
        assert text == json.dumps(to_plain(each), indent=1) + "\n"
        assert read_study(tmp_path) == each
