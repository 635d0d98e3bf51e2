from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.scores import scores
from sweeps.engine.analysis.stats import inflation
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.study.objectives import HARMONIC, headline
from sweeps.engine.wording.answer import answer, selection_text

MakeStudy = Callable[..., Study]


def test_the_curse_grows_with_the_choice_and_with_the_winners_error(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    folder = open_study(tmp_path)
    curse = selection(folder)
    assert curse is not None
    winner = next(score for score in scores(folder) if score.cell == "alpha=0.1 beta=0.1")
    interval = row_interval(folder, winner)["harmonic"]
    assert (curse.n, curse.by) == (9, HARMONIC)
    assert curse.se == interval.se
    assert curse.se == pytest.approx((interval.high - interval.low) / 3.92, rel=0.1)
    assert curse.inflation == inflation(9, curse.se)
    final = next(t for t in study.plan if t.role == "final")
    assert curse.again == headline(folder.results[final.trial_id], study.score_eps)["harmonic"].value


def test_the_answer_says_it_beside_both_splits(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    folder = open_study(tmp_path)
    curse = selection(folder)
    assert curse is not None
    lines = answer(folder, curse)
    assert selection_text(curse) in lines
    assert f"of 9 equally good cells the best would look up to {curse.inflation:.1f} points better" in lines[3]
    assert f"{curse.score:.1f} on the selection split became {curse.again:.1f} on the report split." in lines[3]


def test_before_the_report_split_has_run_only_the_expected_inflation_is_said(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, report=False)
    curse = selection(open_study(tmp_path))
    assert curse is not None
    assert curse.again is None
    assert "report split" not in selection_text(curse)


def test_where_nothing_was_chosen_among_several_there_is_no_curse(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "one", levels=(0.1,))
    assert selection(open_study(tmp_path / "one")) is None
    make_study(tmp_path / "none", missing=lambda trial: True, report=False)
    assert selection(open_study(tmp_path / "none")) is None


def test_without_the_winners_records_nothing_is_made_up(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    folder = open_study(tmp_path)
    for trial in folder.study.plan:
        (folder.trial_path(trial.trial_id) / "samples.parquet").unlink()
    assert selection(folder) is None
    assert not any("Winner's curse" in line for line in answer(folder))
