from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.analysis.scores import CellScore, best, headline, pareto, score_cell, scores
from sweeps.engine.study.folder import Study, read_results
from sweeps.engine.study.objectives import AVERAGE, WORST, score_eps
from zsr_core.codec import ConfigError
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig


def trial(seed: int, clean: float | None, robust: float | None = 1.0, status: str = "done") -> dict[str, Any]:
    error = "loss is NaN at step 3" if status == "failed" else ""
    return {"seed": seed, "status": status, "error": error, "clean": clean, "robust": robust, "harmonic": clean}


def cell(name: str, clean: float, robust: float, failed: int = 0) -> CellScore:
    rows = [trial(0, clean, robust), *[trial(i + 1, None, None, "failed") for i in range(failed)]]
    return score_cell(name, {}, rows)


def test_a_cell_is_the_mean_over_its_finished_seeds() -> None:
    rows = [trial(0, 60.0, 30.0), trial(1, 64.0, 34.0), trial(2, None, None, "failed"), trial(3, None, None, "missing")]
    expected = CellScore(
        cell="a", overrides={"m.x": 1}, n=2, clean=62.0, robust=32.0, harmonic=62.0, clean_sd=8**0.5, robust_sd=8**0.5,
        harmonic_sd=8**0.5, failed=1, missing=1, reason="loss is NaN at step 3",
    )  # fmt: skip
    assert score_cell("a", {"m.x": 1}, rows) == expected


def test_a_trial_stopped_early_does_not_count() -> None:
    found = score_cell("a", {}, [trial(0, 60.0), trial(1, 99.0, status="pruned")])
    assert (found.n, found.clean, found.missing) == (1, 60.0, 1)


def test_the_best_is_the_first_of_the_highest() -> None:
    rows = [cell("a", 50.0, 1.0), cell("b", 60.0, 1.0), cell("c", 60.0, 1.0)]
    assert best(rows) == rows[1]


def test_a_cell_that_failed_once_is_not_chosen() -> None:
    rows = [cell("shaky", 90.0, 90.0, failed=1), cell("sound", 50.0, 50.0)]
    assert best(rows) == rows[1]
    assert pareto(rows) == [rows[1]]


def test_there_is_no_best_of_nothing() -> None:
    assert best([score_cell("a", {}, [trial(0, None, None, "failed")])]) is None


def test_an_unknown_objective_is_named() -> None:
    with pytest.raises(ConfigError, match=r"objective: unknown value 'robst'.*did you mean 'robust'"):
        best([cell("a", 1.0, 1.0)], "robst")


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    a, b, c, d = cell("a", 70.0, 10.0), cell("b", 60.0, 30.0), cell("c", 59.0, 29.0), cell("d", 50.0, 40.0)
    twin = cell("twin", 60.0, 30.0)
    assert pareto([a, b, c, d, twin]) == [d, b, twin, a]


@pytest.mark.parametrize("trained", [1, 2, 8])
def test_robustness_is_read_at_the_suites_first_budget_whatever_was_trained_against(trained: int) -> None:
    config = TrialConfig(threat=ThreatModel(eps=trained / 255), eval_suite=EvalSuite(eps=(2 / 255, 1 / 255)))
    assert score_eps(config) == 2 / 255


def test_scores_are_the_zero_shot_means_of_the_trials(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    study = make_study(tmp_path, seeds=(0, 1))
    results = read_results(tmp_path, study)
    found = scores(study, results)
    assert [row.cell for row in found[:2]] == ["alpha=0.01 beta=0.01", "alpha=0.01 beta=0.1"]
    assert len(found) == 9
    trials = [t for t in study.plan if t.cell == found[0].cell and t.role == "cell"]
    by_hand = [m for t in trials for m in results[t.trial_id].measurements if (m.task, m.metric) == (AVERAGE, "clean")]
    assert found[0].clean == pytest.approx(sum(m.value for m in by_hand) / 2)
    assert scores(study, results, "baseline")[0].cell == "untouched"
    chosen = best(found)
    assert chosen is not None
    assert chosen.overrides == {"method.alpha": 0.1, "method.beta": 0.1}


def test_a_headline_has_the_three_averages(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    found = headline(next(iter(read_results(tmp_path, study).values())))
    assert {name: (m.task, m.attack, m.metric) for name, m in found.items()} == {
        "clean": (AVERAGE, "none", "clean"),
        "robust": (AVERAGE, WORST, "robust"),
        "harmonic": (AVERAGE, WORST, "harmonic"),
    }
