from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.difference import Column, Difference, RowTrials, differences
from sweeps.engine.analysis.outcomes import Outcomes, row_interval, row_outcomes, trial_outcomes, zero_shot
from sweeps.engine.analysis.scores import CellScore, scores
from sweeps.engine.study.folder import Study, open_study
from zsr_core.evaluation.measure import Measurement
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]


def outcomes(ids: str, clean: list[int], robust: list[int]) -> Outcomes:
    return Outcomes(ids=np.array(list(ids)), clean=np.array(clean, float), robust=np.array(robust, float))


def row_trials(seed: int, own: Outcomes) -> RowTrials:
    """Return a row with one trial, of one set, that measured what its outcomes say."""
    clean, robust = 100 * own.clean.mean(), 100 * own.robust.mean()
    means = {"clean": clean, "robust": robust, "harmonic": 2 * clean * robust / (clean + robust)}
    rows = tuple(
        Measurement(trial_id="x", weights_sha="w", task="t", split="selection", metric=name, value=float(value), n=3,
                    low=None, high=None, attack="none" if name == "clean" else "worst",
                    eps=0.0 if name == "clean" else 1 / 255)
        for name, value in means.items()
    )  # fmt: skip
    result = TrialResult(trial_id="x", config=TrialConfig(), status="done", measurements=rows)
    return RowTrials(results={seed: result}, records={seed: {1 / 255: {"t": own}}})


def three_differences(own: RowTrials, reference: RowTrials) -> list[Difference | None]:
    columns = [
        Column(metric=name, eps=1 / 255, title=name, sets=("t",), over="1-set mean", scope="zero-shot")
        for name in ("clean", "robust", "harmonic")
    ]
    return differences(own, reference, columns, draws=200)


def test_scores_from_records_are_the_measured_ones(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, seeds=(0, 1))
    folder = open_study(tmp_path)
    for score in scores(folder):
        intervals = row_interval(folder, score)
        assert list(intervals) == ["clean", "robust", "harmonic"]
        for name, each in intervals.items():
            assert each.value == pytest.approx(score.value(name))
            assert each.low <= each.value <= each.high


def test_the_training_set_is_left_out(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    folder = open_study(tmp_path)
    (row,) = folder.study.rows(role="cell")
    kept = zero_shot(row_outcomes(folder, row), folder.by_seed(row.trials), folder.study.score_eps)
    assert list(kept[0]) == ["animals", "dishes", "sport"]
    assert set(trial_outcomes(folder, row.trials[0].trial_id)[1 / 255]) == {"source", "animals", "dishes", "sport"}


def test_without_records_there_is_no_interval(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    folder = open_study(tmp_path)
    (folder.trial_path(study.plan[1].trial_id) / "samples.parquet").unlink()
    (row,) = study.rows(role="cell")
    assert row_outcomes(folder, row) == {}
    assert row_interval(folder, scores(folder)[0]) == {}


def test_a_difference_is_taken_on_the_images_that_both_have() -> None:
    a = row_trials(0, outcomes("abc", [1, 1, 1], [1, 0, 1]))
    b = row_trials(0, outcomes("bcd", [1, 0, 1], [0, 0, 1]))
    gaps = three_differences(a, b)  # on b and c: clean 2/2 against 1/2, robust 1/2 against 0/2
    assert [gap.value for gap in gaps if gap is not None] == pytest.approx([50.0, 50.0, 100 * 2 / 3])


def test_trials_of_other_seeds_are_not_paired() -> None:
    one = outcomes("ab", [1, 1], [1, 0])
    assert three_differences(row_trials(0, one), row_trials(1, one)) == [None, None, None]


def test_an_interval_is_the_same_every_time(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,))
    first, second = open_study(tmp_path), open_study(tmp_path)
    (final,) = scores(first, "final")
    assert isinstance(final, CellScore)
    assert row_interval(first, final) == row_interval(second, final)
    assert row_interval(first, final)
