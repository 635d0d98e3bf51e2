from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.curves import (
    accuracy_by_eps,
    auc_eps,
    columns,
    eps_curves,
    hypervolume,
    hypervolume_over_time,
    learning_curves,
    parallel,
    slices,
)
from sweeps.engine.analysis.score_query import Reading, parse_score
from sweeps.engine.analysis.scores import best, known, scores
from sweeps.engine.figures.kinds import draw
from sweeps.engine.figures.scene import Request
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, open_study, trial_folder, write_study
from zsr_core.codec import ConfigError, to_plain
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]
Change = Callable[[PlannedTrial, TrialResult], TrialResult]


def rewritten(path: Path, study: Study, change: Change) -> StudyFolder:
    """Change every result on disk, as other trials would have left them, and read the study again."""
    results = open_study(path).results
    for trial in study.plan:
        file = trial_folder(path, trial.trial_id) / "result.json"
        file.write_text(json.dumps(to_plain(change(trial, results[trial.trial_id]))))
    return open_study(path)


def test_a_learning_curve_is_the_mean_over_seeds_of_the_epochs_all_reached(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    study = make_study(tmp_path, levels=(0.1,), seeds=(0, 1), report=False)

    def learned(trial: PlannedTrial, result: TrialResult) -> TrialResult:
        if trial.role != "cell":
            return result
        epochs = 3 - trial.seed  # seed 1 was stopped an epoch early
        rows = tuple({"epoch": float(e), "loss": 4.0 / e + trial.seed, "seconds": 1.0} for e in range(1, epochs + 1))
        return replace(result, history=rows)

    folder = rewritten(tmp_path, study, learned)
    assert columns(folder) == ["loss"]
    (curve,) = learning_curves(folder, "loss")
    assert (curve.label, curve.x, curve.n) == ("alpha=0.1 beta=0.1", (1.0, 2.0), 2)
    assert curve.mean == (4.5, 2.5)
    assert curve.sd == pytest.approx((math.sqrt(0.5), math.sqrt(0.5)))
    with pytest.raises(ConfigError, match=r"'los' is in no trial's history \(did you mean 'loss'\?\); there are: loss"):
        learning_curves(folder, "los")


def test_one_epoch_is_no_curve(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    rewritten(tmp_path, study, lambda _, result: replace(result, history=({"epoch": 1.0, "loss": 4.0},)))
    with pytest.raises(ConfigError, match="learning: every trial of weights trained for one epoch; a curve needs two"):
        draw(open_study(tmp_path), Request(kinds=("learning",)))


def with_budgets(trial: PlannedTrial, result: TrialResult) -> TrialResult:
    """Give a result the same robust accuracy, less 10 points and a seed's own one, at twice the budget."""
    at_one = [m for m in result.measurements if m.metric == "robust"]
    at_two = [replace(m, eps=2 / 255, value=m.value - 10 + trial.seed) for m in at_one]
    return replace(result, measurements=(*result.measurements, *at_two))


def test_a_curve_over_the_budget_starts_at_clean_accuracy(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1), report=True)
    with pytest.raises(ConfigError, match="no trial of weights was attacked under two budgets"):
        eps_curves(open_study(tmp_path))
    folder = rewritten(tmp_path, study, with_budgets)
    found = eps_curves(folder)
    assert [c.curve.label for c in found] == ["untouched", *(row.cell for row in scores(folder))]
    for row, each in zip(scores(folder), found[1:], strict=True):
        curve = each.curve
        assert curve.x == pytest.approx((0.0, 1 / 255, 2 / 255))
        clean, robust = known(row.value("clean")), known(row.value("robust"))
        assert curve.mean == pytest.approx((clean, robust, robust - 9.5))
        assert each.auc == pytest.approx((clean + 2 * robust + robust - 9.5) / 4)


def test_the_area_under_a_curve_is_its_mean_over_budgets() -> None:
    assert auc_eps((0.0, 1 / 255, 3 / 255), (60.0, 40.0, 10.0)) == pytest.approx((50 * 1 + 25 * 2) / 3)
    assert auc_eps((0.0, 0.1), (30.0, 30.0)) == 30.0
    for eps in ((0.1, 0.2), (0.0,), (0.0, 0.2, 0.1)):
        with pytest.raises(ValueError, match="expected at least two, rising from 0"):
            auc_eps(eps, [1.0] * len(eps))


def test_only_the_worst_over_attacks_is_on_the_curve(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    (result, *_) = open_study(tmp_path).results.values()
    spoiled = tuple(replace(m, value=99.0) if m.attack == "pgd10" else m for m in result.measurements)
    assert accuracy_by_eps(replace(result, measurements=spoiled)) == accuracy_by_eps(result)


@pytest.mark.parametrize(
    ("points", "area"),
    [
        ([(2.0, 3.0)], 6.0),
        ([(2.0, 3.0), (3.0, 1.0)], 7.0),
        ([(3.0, 1.0), (2.0, 3.0), (1.0, 1.0)], 7.0),  # a dominated point adds nothing, nor does the order
        ([(2.0, 3.0), (2.0, 4.0), (2.0, 4.0)], 8.0),
        ([(-1.0, 5.0)], 0.0),
        ([], 0.0),
    ],
)
def test_the_hypervolume_is_the_area_worked_by_hand(points: list[tuple[float, float]], area: float) -> None:
    assert hypervolume(points) == area


def test_the_front_grows_in_the_order_that_cells_finished(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    order = {t.trial_id: i for i, t in enumerate(reversed(study.plan))}

    def stamped(trial: PlannedTrial, result: TrialResult) -> TrialResult:
        stamp = f"2026-01-01T00:00:{order[trial.trial_id]:02d}+00:00"
        return replace(result, provenance={**result.provenance, "finished": stamp})

    folder = rewritten(tmp_path, study, stamped)
    found = hypervolume_over_time(folder)
    cells = scores(folder)
    assert list(found.cells) == [c.cell for c in reversed(cells)]
    assert list(found.share) == sorted(found.share)
    whole = hypervolume([(known(c.value("clean")), known(c.value("robust"))) for c in cells]) / 100
    assert found.share[-1] == pytest.approx(whole)
    assert found.settled == 4  # the best cell, alpha = beta = 0.1, was the last to finish
    assert [c.cell for c in found.front] == ["alpha=0.1 beta=0.1"]


def test_a_front_needs_a_cell_with_both_scores(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), fails=lambda trial: trial.role == "cell", report=False)
    with pytest.raises(ConfigError, match="no cell of weights has both"):
        hypervolume_over_time(open_study(tmp_path))


def test_a_slice_has_every_cell_and_the_line_through_the_chosen_one(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, fails=lambda t: t.cell == "alpha=1 beta=1", report=False)
    folder = open_study(tmp_path)
    cells = scores(folder)
    alpha, _beta = slices(folder, Reading(name="robust"), best(cells, "robust"))
    assert (alpha.path, alpha.log, alpha.published) == ("method.alpha", True, 0.08)
    assert len(alpha.points) == 8
    at_best = [(c.overrides["method.alpha"], c.value("robust")) for c in cells if c.overrides["method.beta"] == 0.1]
    assert list(alpha.line) == at_best
    assert alpha.chosen == (0.1, best(cells, "robust").value("robust"))  # type: ignore[union-attr]
    unchosen, _ = slices(folder, Reading(name="robust"), None)
    assert (unchosen.line, unchosen.chosen) == ((), None)


def test_parallel_axes_run_from_lowest_to_highest_and_end_with_the_best_line(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, report=False)
    data = parallel(open_study(tmp_path), parse_score("harmonic"), [parse_score("clean")])
    assert [axis.label for axis in data.axes] == ["method.alpha", "method.beta", "clean"]
    assert data.axes[0].ticks == ((0.0, "0.01"), (0.5, "0.1"), (1.0, "1"))
    assert len(data.lines) == 9
    assert data.lines[-1][:2] == pytest.approx((0.5, 0.5))
    assert list(data.colours) == sorted(data.colours)
    assert {min(column) for column in zip(*data.lines, strict=True)} == {0.0}
    assert {max(column) for column in zip(*data.lines, strict=True)} == {1.0}


def test_methods_on_a_parallel_axis_are_called_by_their_type(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    open_study(tmp_path)
    kinds = {"alpha=0.1 beta=0.1": "TgaZsr", "alpha=1 beta=1": "TeCoA"}
    plan = tuple(replace(t, overrides={"method": {"type": kinds[t.cell]}}) for t in study.plan if t.cell in kinds)
    write_study(tmp_path, replace(study, plan=plan))
    data = parallel(open_study(tmp_path), Reading(name="clean"), [])
    assert {name for _, name in data.axes[0].ticks} == {"TgaZsr", "TeCoA"}


def test_a_study_without_an_axis_has_neither_slices_nor_parallel_lines(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    folder = open_study(tmp_path)
    with pytest.raises(ConfigError, match="no numeric axis of weights varies"):
        slices(folder, Reading(name="clean"), None)
    with pytest.raises(ConfigError, match="no axis of weights varies"):
        parallel(folder, Reading(name="clean"), [])
