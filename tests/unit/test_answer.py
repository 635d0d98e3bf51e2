from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.choice import selection
from sweeps.engine.analysis.outcomes import read_seeds, score_interval
from sweeps.engine.analysis.scores import headline
from sweeps.engine.analysis.stats import inflation
from sweeps.engine.study.folder import Study, read_results, trial_folder
from sweeps.engine.wording.answer import answer, selection_text

MakeStudy = Callable[..., Study]


def test_the_curse_grows_with_the_choice_and_with_the_winners_error(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    results = read_results(tmp_path, study)
    found = selection(tmp_path, study, results)
    assert found is not None
    trials = [t for t in study.plan if t.role == "cell" and t.cell == "alpha=0.1 beta=0.1"]
    interval = score_interval(read_seeds(tmp_path, trials, results))
    assert interval is not None
    assert (found.n, found.by) == (9, "harmonic mean")
    assert found.se == interval[2].se
    assert found.se == pytest.approx((interval[2].high - interval[2].low) / 3.92, rel=0.1)
    assert found.inflation == inflation(9, found.se)
    final = next(t for t in study.plan if t.role == "final")
    assert found.again == headline(results[final.trial_id])["harmonic"].value


def test_the_answer_says_it_beside_both_splits(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    results = read_results(tmp_path, study)
    found = selection(tmp_path, study, results)
    assert found is not None
    lines = answer(study, results, found)
    assert selection_text(found) in lines
    assert f"of 9 equally good cells the best would look up to {found.inflation:.1f} points better" in lines[3]
    assert f"{found.score:.1f} on the selection split became {found.again:.1f} on the report split." in lines[3]


def test_before_the_report_split_has_run_only_the_expected_inflation_is_said(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(tmp_path, report=False)
    found = selection(tmp_path, study, read_results(tmp_path, study))
    assert found is not None
    assert found.again is None
    assert "report split" not in selection_text(found)


def test_where_nothing_was_chosen_among_several_there_is_no_curse(tmp_path: Path, make_study: MakeStudy) -> None:
    one = make_study(tmp_path / "one", levels=(0.1,))
    assert selection(tmp_path / "one", one, read_results(tmp_path / "one", one)) is None
    none = make_study(tmp_path / "none", missing=lambda trial: True, report=False)
    assert selection(tmp_path / "none", none, {}) is None


def test_without_the_winners_records_nothing_is_made_up(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    for trial in study.plan:
        (trial_folder(tmp_path, trial.trial_id) / "samples.parquet").unlink()
    results = read_results(tmp_path, study)
    assert selection(tmp_path, study, results) is None
    assert not any("Winner's curse" in line for line in answer(study, results))
