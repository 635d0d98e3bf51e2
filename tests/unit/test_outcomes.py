from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.outcomes import Outcomes, difference, read_outcomes, read_seeds, score_interval
from sweeps.engine.analysis.scores import scores
from sweeps.engine.study.folder import Study, read_results, trial_folder

MakeStudy = Callable[..., Study]


def outcomes(ids: str, clean: list[int], robust: list[int]) -> Outcomes:
    return Outcomes(ids=np.array(list(ids)), clean=np.array(clean, float), robust=np.array(robust, float))


def test_scores_from_records_are_the_measured_ones(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, seeds=(0, 1))
    results = read_results(tmp_path, study)
    for score in scores(study, results):
        trials = [t for t in study.plan if t.cell == score.cell and t.role == "cell"]
        found = score_interval(read_seeds(tmp_path, trials, results))
        assert found is not None
        assert [one.value for one in found] == pytest.approx([score.clean, score.robust, score.harmonic])
        assert all(one.low <= one.value <= one.high for one in found)


def test_the_training_set_is_left_out(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    found = read_outcomes(tmp_path, read_results(tmp_path, study)[study.plan[1].trial_id])
    assert list(found) == ["animals", "dishes", "sport"]


def test_without_records_there_is_no_interval(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    results = read_results(tmp_path, study)
    (trial_folder(tmp_path, study.plan[1].trial_id) / "samples.parquet").unlink()
    found = read_seeds(tmp_path, study.plan[1:], results)
    assert found == {}
    assert score_interval(found) is None


def test_a_difference_is_taken_on_the_images_that_both_have() -> None:
    a = {0: {"t": outcomes("abc", [1, 1, 1], [1, 0, 1])}}
    b = {0: {"t": outcomes("bcd", [1, 0, 1], [0, 0, 1])}}
    found = difference(a, b)  # on b and c: clean 2/2 against 1/2, robust 1/2 against 0/2
    assert found is not None
    assert [one.value for one in found[:2]] == pytest.approx([50.0, 50.0])
    assert found[2].value == pytest.approx(100 * 2 / 3)
    assert found[0].images == 2


def test_trials_of_other_seeds_are_not_paired() -> None:
    one = {"t": outcomes("ab", [1, 1], [1, 0])}
    assert difference({0: one}, {1: one}) is None


def test_an_interval_is_the_same_every_time(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    results = read_results(tmp_path, study)
    trials = [t for t in study.plan if t.role == "final"]
    assert score_interval(read_seeds(tmp_path, trials, results)) == score_interval(
        read_seeds(tmp_path, trials, results)
    )
