from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.importance import (
    MANY,
    NARROW,
    WIDE,
    as_trials,
    configurations,
    importances,
    varied,
)
from sweeps.engine.analysis.score_query import Reading
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, write_study
from zsr_core.codec import ConfigError
from zsr_core.space import Choice, Real

MakeStudy = Callable[..., Study]
HARMONIC = Reading(name="harmonic")


def points(n: int) -> list[tuple[float, float]]:
    rng = np.random.default_rng(0)
    # Beta stays in a tenth of its axis: with scores that fall with the distance from 0.1, alpha must matter more.
    return [
        (float(10**a), float(10**b)) for a, b in zip(rng.uniform(-2, 0, n), rng.uniform(-1.1, -0.9, n), strict=True)
    ]


def test_the_weight_that_moves_the_score_is_the_important_one_by_both(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, points=points(40), report=False)
    found = importances(open_study(tmp_path), HARMONIC, draws=4)
    assert found.paths == ("method.alpha", "method.beta")
    by = {(row.evaluator, row.path): row for row in found.rows}
    for evaluator in ("fANOVA", "PED-ANOVA"):
        alpha, beta = by[evaluator, "method.alpha"], by[evaluator, "method.beta"]
        assert alpha.share + beta.share == pytest.approx(1)
        assert alpha.share > 0.6
        assert alpha.low <= alpha.share <= alpha.high
    assert (found.n, found.quantile, found.adaptive) == (40, WIDE, "tpe")
    assert "Sampled by tpe, which samples more where scores are high" in found.note()
    assert "top 25 %" in found.note()
    again = importances(open_study(tmp_path), HARMONIC, draws=4)
    assert again == found


def test_a_random_search_has_no_bias_to_state(tmp_path: Path, make_study: MakeStudy) -> None:
    write_study(tmp_path, replace(make_study(tmp_path, points=points(30), report=False), search="random"))
    found = importances(open_study(tmp_path), HARMONIC, draws=2)
    assert found.adaptive is None
    assert "biased" not in found.note()
    assert NARROW < WIDE
    assert found.n < MANY


def test_below_thirty_configurations_there_is_no_importance(tmp_path: Path, make_study: MakeStudy) -> None:
    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == study_cell

    study_cell = "alpha={:g} beta={:g}".format(*points(30)[3])
    make_study(tmp_path, points=points(30), fails=fails, report=False)
    with pytest.raises(ConfigError, match="importance: weights has 29 completed configurations, expected at least 30"):
        importances(open_study(tmp_path), HARMONIC)


def test_seeds_of_a_configuration_count_once(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1, 2), report=False)
    folder = open_study(tmp_path)
    at, values = configurations(folder, HARMONIC)
    assert len(values) == 4
    first = [folder.results[t.trial_id] for t in study.plan if t.overrides == at[0]]
    means = [m.value for r in first for m in r.measurements if (m.task, m.metric) == ("zero_shot_mean", "harmonic")]
    assert values[0] == pytest.approx(np.mean(means))


def test_one_axis_has_nothing_to_be_compared_with(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, points=[(0.01 * 1.1**i, 0.1) for i in range(5)], report=False)
    with pytest.raises(ConfigError, match="varies 1 axes, expected at least 2"):
        importances(open_study(tmp_path), HARMONIC)


def test_axes_are_taken_as_they_are_drawn_and_words_as_choices(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    at = [{"method.alpha": 0.01, "n": 2, "kind": "a", "same": 1}, {"method.alpha": 1.0, "n": 8, "kind": "b", "same": 1}]
    domains = varied(study, at)
    assert domains == {
        "method.alpha": study.space["method.alpha"],
        "n": Real(low=2.0, high=8.0),
        "kind": Choice(values=("a", "b")),
    }
    first, second = as_trials(at, [1.0, 2.0], domains)
    assert first.params == {"method.alpha": -2.0, "n": 2.0, "kind": "a"}
    assert second.params == {"method.alpha": 0.0, "n": 8.0, "kind": "b"}
