from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.scores import CellScore, best, pareto, row_score, scores
from sweeps.engine.analysis.stats import Summary, summarise
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, open_study
from sweeps.engine.study.objectives import (
    CLEAN,
    HARMONIC,
    ROBUST,
    check_objectives,
    deciding_score,
    headline,
    score_budget,
    score_named,
    shown_scores,
)
from zsr_core.codec import ConfigError
from zsr_core.evaluation import measure as evaluate
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult


def cell(name: str, clean: float, robust: float, failed: int = 0) -> CellScore:
    harmonic = 2 * clean * robust / (clean + robust)
    values = {"clean": clean, "robust": robust, "harmonic": harmonic}
    return CellScore(cell=name, n=1, failed=failed, over_seeds={k: summarise([v]) for k, v in values.items()})


def one_row(*ends: tuple[str, float | None, float | None]) -> StudyFolder:
    """Return a study of one row, a trial per seed: its status, clean and robust accuracy ("missing": no result)."""
    base = TrialConfig()
    plan, results = [], {}
    for seed, (status, clean, robust) in enumerate(ends):
        config = base.with_({"seed": seed})
        plan.append(PlannedTrial(trial_id=config.trial_id, label=f"a seed={seed}", cell="a",
                                 overrides={"m.x": 1}, seed=seed))  # fmt: skip
        rows = [
            Measurement(trial_id=config.trial_id, weights_sha="w", task=ZERO_SHOT_MEAN, split="selection", metric=name,
                        attack="none" if name == "clean" else WORST, eps=0.0 if name == "clean" else 1 / 255,
                        value=value, n=9, low=None, high=None)
            for name, value in (("clean", clean), ("robust", robust), ("harmonic", clean))
            if value is not None
        ]  # fmt: skip
        if status != "missing":
            error = "loss is NaN at step 3" if status == "failed" else ""
            results[config.trial_id] = TrialResult(
                trial_id=config.trial_id, config=config, status=status, measurements=tuple(rows),  # type: ignore[arg-type]
                error=error,
            )  # fmt: skip
    study = Study(
        name="s", study="s", question="?", preset="miniature", mode="matrix", search=None, space={},
        objectives=("clean", "robust"), surfaces=(), published={}, base=base, seeds=tuple(range(len(ends))),
        plan=tuple(plan), fingerprint="0" * 12, created="", zsr="0", score_eps=1 / 255,
    )  # fmt: skip
    return StudyFolder(path=Path("nowhere"), study=study, results=results)


def score_of_row(*ends: tuple[str, float | None, float | None]) -> CellScore:
    folder = one_row(*ends)
    return row_score(folder, folder.study.rows()[0])


def test_a_cell_is_the_mean_over_its_finished_seeds() -> None:
    score = score_of_row(
        ("done", 60.0, 30.0), ("done", 64.0, 34.0), ("failed", None, None), ("missing", None, None)
    )  # fmt: skip
    assert (score.cell, score.overrides, score.n, score.failed, score.missing) == ("a", {"m.x": 1}, 2, 1, 1)
    assert [score.value(name) for name in ("clean", "robust", "harmonic")] == [62.0, 32.0, 62.0]
    assert [score.sd(name) for name in ("clean", "robust", "harmonic")] == [8**0.5] * 3
    assert score.reason == "loss is NaN at step 3"
    assert set(score.over_seeds) == {"clean", "robust", "harmonic"}


def test_a_trial_stopped_early_does_not_count() -> None:
    score = score_of_row(("done", 60.0, 1.0), ("pruned", 99.0, 1.0))
    assert (score.n, score.value("clean"), score.missing) == (1, 60.0, 0)
    assert score.sd("clean") is None, "one seed has no spread"


def test_the_best_is_the_first_of_the_highest() -> None:
    rows = [cell("a", 50.0, 1.0), cell("b", 60.0, 1.0), cell("c", 60.0, 1.0)]
    assert best(rows) == rows[1]


def test_of_equal_harmonic_means_the_cell_that_is_better_in_both_is_chosen() -> None:
    """The miniature's numbers: few images, so one harmonic mean for two cells of one robust accuracy."""

    def equal(name: str, clean: float, robust: float) -> CellScore:
        values: dict[str, Summary] = {"clean": summarise([clean]), "robust": summarise([robust])}
        return CellScore(cell=name, n=1, over_seeds={**values, "harmonic": summarise([5.9])})

    worse, better = equal("first planned", 71.9, 3.1), equal("second planned", 78.1, 3.1)
    assert best([worse, better]) == better
    assert best([better, worse]) == better
    other = equal("neither", 60.0, 4.0)
    assert best([other, worse, better]) == other, "of cells that no equal beats in both, the first planned"


def test_scores_that_differ_by_the_order_of_a_sum_are_equal() -> None:
    def scored(name: str, clean: float, harmonic: float) -> CellScore:
        values = {"clean": clean, "robust": 3.1, "harmonic": harmonic}
        return CellScore(cell=name, n=1, over_seeds={k: summarise([v]) for k, v in values.items()})

    rows = [scored("a", 71.9, 5.9 + 1e-12), scored("b", 78.1, 5.9)]
    assert best(rows) == rows[1]
    assert best([scored("a", 71.9, 5.9 + 1e-6), rows[1]]) != rows[1]


def test_a_cell_that_failed_once_is_not_chosen() -> None:
    rows = [cell("shaky", 90.0, 90.0, failed=1), cell("sound", 50.0, 50.0)]
    assert best(rows) == rows[1]
    assert pareto(rows) == [rows[1]]


def test_there_is_no_best_of_nothing() -> None:
    assert best([score_of_row(("failed", None, None))]) is None


def test_an_unknown_score_is_named() -> None:
    with pytest.raises(ConfigError, match=r"score: unknown value 'robst'.*did you mean 'robust'"):
        best([cell("a", 1.0, 1.0)], "robst")
    with pytest.raises(ConfigError, match=r"objectives: unknown value 'robst'.*did you mean 'robust'"):
        check_objectives(["clean", "robst"])
    with pytest.raises(ConfigError, match="none twice"):
        check_objectives(["clean", "clean"])


def test_the_front_holds_what_nothing_beats_in_both() -> None:
    a, b, c, d = cell("a", 70.0, 10.0), cell("b", 60.0, 30.0), cell("c", 59.0, 29.0), cell("d", 50.0, 40.0)
    twin = cell("twin", 60.0, 30.0)
    assert pareto([a, b, c, d, twin]) == [d, b, twin, a]


def test_a_front_of_other_objectives_is_theirs() -> None:
    a, b, c = cell("a", 70.0, 10.0), cell("b", 60.0, 30.0), cell("c", 80.0, 5.0)
    assert pareto([a, b, c], ("clean",)) == [c]
    assert pareto([a, b, c], ("harmonic", "clean")) == [c, a, b]


def budgets(*eps: float, trained: float = 1.0) -> TrialConfig:
    """Return a configuration by its suite's budgets and its training radius, in 255ths."""
    suite = EvalSuite(eps=tuple(each / 255 for each in eps))
    return TrialConfig(threat=ThreatModel(eps=trained / 255), eval_suite=suite)


def test_robustness_is_read_at_the_radius_that_the_base_trains_for() -> None:
    assert score_budget(budgets(2, 1, trained=1), None, "score_eps") == 1 / 255
    assert score_budget(budgets(2, 1, trained=2), None, "score_eps") == 2 / 255


def test_a_sweep_may_name_another_budget_of_the_suite() -> None:
    assert score_budget(budgets(1, 2, 4), 4 / 255, "score_eps") == 4 / 255


@pytest.mark.parametrize(("trained", "asked"), [(8, None), (1, 8 / 255)])
def test_a_budget_that_the_suite_does_not_measure_is_refused_with_those_it_does(
    trained: float, asked: float | None
) -> None:
    expected = r"score_eps: got '8/255', expected one of the suite's budgets \(1/255, 2/255\)"
    with pytest.raises(ConfigError, match=expected):
        score_budget(budgets(1, 2, trained=trained), asked, "score_eps")


def test_a_suite_of_clean_accuracy_alone_needs_no_budget() -> None:
    assert score_budget(budgets(trained=3), None, "score_eps") == 3 / 255


def test_clean_robust_and_harmonic_are_shown_first_then_what_else_was_selected_by() -> None:
    assert [score.name for score in shown_scores(("robust",))] == ["clean", "robust", "harmonic"]
    assert (CLEAN.attacked, ROBUST.attacked, HARMONIC.attacked) == (False, True, True)
    assert (CLEAN.budget(0.5), ROBUST.budget(0.5)) == (0.0, 0.5)
    assert score_named("robust") == ROBUST


def test_clean_and_robust_together_are_decided_by_their_harmonic_mean() -> None:
    assert deciding_score(("clean", "robust")) == HARMONIC
    assert deciding_score(("robust",)) == ROBUST
    assert deciding_score(("clean", "harmonic")) == CLEAN


def test_names_of_measurements_are_the_cores() -> None:
    assert (ZERO_SHOT_MEAN, WORST) == (evaluate.ZERO_SHOT_MEAN, evaluate.WORST)


def test_scores_are_the_zero_shot_means_of_the_trials(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    study = make_study(tmp_path, seeds=(0, 1))
    folder = open_study(tmp_path)
    found = scores(folder)
    assert [row.cell for row in found[:2]] == ["alpha=0.01 beta=0.01", "alpha=0.01 beta=0.1"]
    assert len(found) == 9
    trials = [t for t in study.plan if t.cell == found[0].cell and t.role == "cell"]
    rows = [m for t in trials for m in folder.results[t.trial_id].measurements]
    by_hand = [m.value for m in rows if (m.task, m.metric) == (ZERO_SHOT_MEAN, "clean") and m.value is not None]
    assert len(by_hand) == 2
    assert found[0].value("clean") == pytest.approx(sum(by_hand) / 2)
    assert scores(folder, "baseline")[0].cell == "untouched"
    assert [score.split for score in scores(folder, "baseline")] == ["selection", "report"]
    assert [score.split for score in scores(folder, "baseline", "report")] == ["report"]
    chosen = best(found)
    assert chosen is not None
    assert chosen.overrides == {"method.alpha": 0.1, "method.beta": 0.1}


def test_a_headline_has_the_three_averages(tmp_path: Path, make_study: Callable[..., Study]) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    found = headline(next(iter(open_study(tmp_path).results.values())), 1 / 255)
    assert {name: (m.task, m.attack, m.metric) for name, m in found.items()} == {
        "clean": (ZERO_SHOT_MEAN, "none", "clean"),
        "robust": (ZERO_SHOT_MEAN, WORST, "robust"),
        "harmonic": (ZERO_SHOT_MEAN, WORST, "harmonic"),
    }
