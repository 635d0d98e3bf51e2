"""The state of a running launch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.analysis.scores import best, scores
from sweeps.engine.running import course as module
from sweeps.engine.running.course import Course
from sweeps.engine.running.jobs import job
from sweeps.engine.running.progress import counts
from sweeps.engine.study.folder import Study, StudyFolder, open_study

MakeStudy = Callable[..., Study]


def test_a_finished_trial_scores_its_own_cell_alone_and_the_best_is_that_of_all(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path, seeds=(0, 1), report=False)
    whole = open_study(tmp_path)
    course = Course(replace(whole, results={}), samples=0, seeds=2)
    scored: list[str] = []
    row_score = module.row_score

    def counted(folder: StudyFolder, row: Any) -> Any:
        scored.append(row.cell)
        return row_score(folder, row)

    monkeypatch.setattr(module, "row_score", counted)
    cells = [trial for trial in study.plan if trial.role == "cell"]
    for trial in cells:
        course.started(job(study, [trial]))
        course.finished(job(study, [trial]))
    assert len(scored) == 9 + len(cells) - 1  # all nine after the first trial, then one for each further trial
    top = best(scores(whole))
    assert top is not None
    assert course.tally.best == f"alpha=0.1 beta=0.1, harmonic {top.value('harmonic'):.1f}"


def test_with_a_limit_the_progress_counts_the_trials_of_this_launch(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.01, 0.1), report=False)
    whole = open_study(tmp_path)
    first = {study.plan[0].trial_id: whole.results[study.plan[0].trial_id]}
    begun = replace(whole, results=first)
    assert Course(begun, samples=0, seeds=1).tally.planned == 5 + 2
    course = Course(begun, samples=0, seeds=1, limit=2)
    assert (course.tally.done, course.tally.planned) == (1, 3)
    for trial in study.plan[1:3]:
        course.started(job(study, [trial]))
        course.finished(job(study, [trial]))
    assert counts(course.tally, 1.0) == "3/3 done"
    assert Course(begun, samples=0, seeds=1, limit=100).tally.planned == 5 + 2
    assert course.standing().planned == 5 + 2, "a notice tells of the whole study"
