from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.difference import Cell, Difference
from sweeps.engine.analysis.matrix import Matrix, MatrixRequest, is_candidate, matrices, with_holm
from sweeps.engine.analysis.matrix import ablation as ablation_matrix
from sweeps.engine.analysis.matrix import matrix as build
from sweeps.engine.analysis.outcomes import trial_outcomes
from sweeps.engine.analysis.stats import exact_mcnemar, holm, summarise
from sweeps.engine.documents.forms import FORMS
from sweeps.engine.documents.forms.written import matrix_text
from sweeps.engine.study.folder import (
    PlannedTrial,
    Study,
    StudyFolder,
    open_study,
    read_study,
    trial_folder,
    write_study,
)
from sweeps.engine.study.plan import new_study
from sweeps.engine.wording.matrix import family_text, legend_of
from sweeps.tga_components import SWEEP
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]
LEVELS = (0.1, 1.0)
BASELINE = "alpha=1 beta=1"
BEST = "alpha=0.1 beta=0.1"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the study that most tests read is kept, to be copied by each: built once."""
    return tmp_path_factory.mktemp("built") / "study"


@pytest.fixture
def ablation(tmp_path: Path, make_study: MakeStudy, built: Path) -> Callable[..., Study]:
    """Return a builder of a study of four listed variants, three seeds, the weakest of them the reference row."""

    def made(**changes: object) -> Study:
        where = tmp_path if changes else built
        if not where.is_dir() or changes:
            study = make_study(where, **{"levels": LEVELS, "seeds": (0, 1, 2), **changes})
            write_study(where, replace(study, space={}, baseline=BASELINE))
        if where == built:
            shutil.copytree(built, tmp_path, dirs_exist_ok=True)
        return read_study(tmp_path)

    return made


def read(folder: Path, **options: object) -> Matrix:
    return build(open_study(folder), MatrixRequest(draws=500, **options))  # type: ignore[arg-type]


def cell(found: Matrix, label: str, title: str, over: str = "3-set mean (without source)") -> Cell:
    row = next(row for row in found.rows if row.label == label)
    return next(
        c for c, col in zip(row.cells, found.columns, strict=True) if (col.title, col.over) == (title, over)
    )  # fmt: skip


def gap(found: Matrix, label: str, title: str, over: str = "3-set mean (without source)") -> Difference:
    own = cell(found, label, title, over).gap
    assert own is not None
    return own


def mark(folder: Path, trial: PlannedTrial, **changes: object) -> None:
    """Change what a trial's result says."""
    path = trial_folder(folder, trial.trial_id) / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def families(found: Matrix) -> list[str]:
    return [family_text(found.rows, found.columns, block.scopes) for block in found.blocks]


def test_rows_stand_in_the_designs_order_beside_its_reference_row(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation()
    found = read(tmp_path)
    assert [(row.label, row.baseline, row.chosen) for row in found.rows] == [
        ("untouched", False, False),
        (BEST, False, True),
        ("alpha=0.1 beta=1", False, False),
        ("alpha=1 beta=0.1", False, False),
        (BASELINE, True, False),
    ]
    assert all(own.gap is None for own in found.rows[-1].cells)
    assert gap(found, BEST, "robust").value > 0
    assert gap(found, "untouched", "clean").value > 0


def test_both_means_are_named_and_the_training_set_is_in_one_alone(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation()
    found = read(tmp_path, per_set=True)
    assert [(c.over, c.sets) for c in found.columns[::3]] == [
        ("3-set mean (without source)", ("animals", "dishes", "sport")),
        ("4-set mean", ("source", "animals", "dishes", "sport")),
        *((name, (name,)) for name in ("source", "animals", "dishes", "sport")),
    ]
    for title in ("clean", "robust", "harmonic"):
        sets = [cell(found, BEST, title, name).value for name in ("source", "animals", "dishes", "sport")]
        assert cell(found, BEST, title, "4-set mean").value == pytest.approx(np.mean(sets))
        assert cell(found, BEST, title).value == pytest.approx(np.mean(sets[1:]))
    assert [block.title for block in found.blocks] == [
        "3-set mean (without source)", "4-set mean", "clean", "robust", "harmonic"
    ]  # fmt: skip


def test_sixteen_sets_have_a_sixteen_set_and_a_fifteen_set_mean(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    results = dict(open_study(tmp_path).results)
    tasks = ["source", *(f"set {i}" for i in range(15))]
    for name, result in results.items():
        rows = [replace(m, task=task) for task in tasks for m in result.measurements if m.task == "animals"]
        results[name] = replace(result, measurements=tuple(rows))
    found = build(StudyFolder(path=tmp_path / "without records", study=study, results=results))
    assert [block.title for block in found.blocks] == ["15-set mean (without source)", "16-set mean"]


def test_a_cell_is_the_mean_over_seeds_with_their_t_interval(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    study = ablation()
    results = open_study(tmp_path).results
    values = [
        m.value
        for trial in study.plan
        if trial.cell == BEST and trial.role == "cell"
        for m in results[trial.trial_id].measurements
        if (m.task, m.metric) == ("sport", "clean")
    ]
    own = cell(read(tmp_path, per_set=True), BEST, "clean", "sport")
    by_hand = summarise(values)
    assert (own.value, own.sd, own.t_low, own.t_high) == (by_hand.mean, by_hand.sd, by_hand.low, by_hand.high)
    assert own.low is not None
    assert own.high is not None
    assert own.low < np.mean(values) < own.high


def test_one_sets_accuracies_are_tested_by_mcnemar_and_all_else_by_the_bootstrap(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    study = ablation()
    found = read(tmp_path, per_set=True)
    tests = {
        (c.scope, c.metric, own.gap.test)
        for row in found.rows
        for c, own in zip(found.columns, row.cells, strict=True)
        if own.gap
    }
    assert {(scope, metric) for scope, metric, test in tests if test == "McNemar"} == {
        ("set", "clean"), ("set", "robust")
    }  # fmt: skip
    assert len(tests) == 9
    folder = open_study(tmp_path)
    net: dict[str, int] = {}
    for trial in study.plan:
        sign = {BEST: 1, BASELINE: -1}.get(trial.cell, 0) * (trial.role == "cell")
        if sign:
            outcomes = trial_outcomes(folder, trial.trial_id)[1 / 255]["dishes"]
            for name, right in zip(outcomes.ids.tolist(), outcomes.robust.tolist(), strict=True):
                net[name] = net.get(name, 0) + sign * int(right)
    tested = gap(found, BEST, "robust", "dishes")
    assert tested.p == pytest.approx(exact_mcnemar(list(net.values())))
    assert tested.better is not None
    assert tested.worse is not None
    assert tested.better - tested.worse == sum(net.values()) == pytest.approx(tested.value / 100 * 3 * len(net))


def test_holm_corrects_each_scope_as_a_family_of_its_own(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    ablation()
    found = read(tmp_path, per_set=True)
    sizes = {"zero-shot": (9, 3), "all": (9, 3), "set": (36, 12)}
    for scope, size, candidate in [(s, n, i == 0) for s, both in sizes.items() for i, n in enumerate(both)]:
        gaps = [
            own.gap
            for row in found.rows
            for c, own in zip(found.columns, row.cells, strict=True)
            if c.scope == scope and own.gap is not None and is_candidate(row) == candidate
        ]
        assert len(gaps) == size
        assert [g.p_holm for g in gaps] == pytest.approx(holm([g.p or 0.0 for g in gaps]))
    apart = "; those of the untouched model by themselves"
    assert families(found)[0] == f"Holm-corrected over the 9 comparisons on the zero-shot mean{apart}"
    assert "the 36 comparisons on single sets (each a family of its own)" in family_text(
        found.rows, found.columns, found.blocks[-1].scopes
    )


def test_a_p_that_is_not_there_leaves_the_family(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    study = ablation()
    for trial in study.plan:
        if trial.cell == "alpha=1 beta=0.1":
            (trial_folder(tmp_path, trial.trial_id) / "samples.parquet").unlink()
    found = read(tmp_path)
    lost = gap(found, "alpha=1 beta=0.1", "clean")
    assert (lost.test, lost.p, lost.p_holm, lost.low) == ("", None, None, None)
    assert lost.t_low is not None
    assert lost.t_low < lost.value
    assert families(found)[0].startswith("Holm-corrected over the 6 comparisons on the zero-shot mean;")
    assert any("Where records are missing" in line for line in legend_of(found))
    assert with_holm(found.rows, found.columns) == list(found.rows)


def test_a_row_that_failed_is_there_with_its_reason(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    ablation(fails=lambda trial: trial.cell == "alpha=1 beta=0.1" and trial.role == "cell")
    row = next(row for row in read(tmp_path).rows if row.label == "alpha=1 beta=0.1")
    assert (row.failed, row.seeds, row.reason) == (3, (), "loss is NaN at step 12, term larm")
    assert all(own == Cell() for own in row.cells)


def test_a_row_with_a_failed_seed_is_compared_on_the_others_and_cannot_be_best(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation(fails=lambda trial: trial.cell == BEST and trial.role == "cell" and trial.seed == 1)
    found = read(tmp_path)
    row = next(row for row in found.rows if row.label == BEST)
    assert (row.failed, row.seeds, row.whole) == (1, (0, 2), False)
    assert gap(found, BEST, "robust").seeds == 2
    assert not any(own.best for own in row.cells)
    assert any(own.best for other in found.rows for own in other.cells)


def test_without_a_baseline_there_are_no_differences_and_it_is_said(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation(fails=lambda trial: trial.cell == BASELINE and trial.role == "cell")
    found = read(tmp_path)
    assert all(own.gap is None for row in found.rows for own in row.cells)
    assert f"The baseline row '{BASELINE}' shares no finished seed" in legend_of(found)[1]
    assert families(found)[0] == ""


def test_best_is_the_highest_tuned_number_that_the_audit_does_not_doubt(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    study = ablation()
    before = read(tmp_path)
    assert cell(before, BEST, "robust").best
    assert not any(own.best for own in before.rows[0].cells), "the untouched model is no candidate"
    trial = next(t for t in study.plan if t.cell == BEST and t.role == "cell")
    mark(tmp_path, trial, audit={"G19": "FAIL", "G08": "PASS", "G12": "WARN"})
    found = read(tmp_path)
    row = next(row for row in found.rows if row.label == BEST)
    assert (row.fails, row.warns) == (("G19",), ("G12",))
    assert [(col.metric, own.doubted) for col, own in zip(found.columns[:3], row.cells, strict=False)] == [
        ("clean", False), ("robust", True), ("harmonic", True)
    ]  # fmt: skip
    assert cell(found, BEST, "clean").best
    assert not cell(found, BEST, "robust").best
    assert f"† robustness unverified, the audit fails ({BEST}: G19)." in legend_of(found)


def test_another_baseline_may_be_asked_for_and_an_unknown_one_is_named(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation()
    forth, back = read(tmp_path), read(tmp_path, baseline=BEST)
    assert gap(back, BASELINE, "robust").value == pytest.approx(-gap(forth, BEST, "robust").value)
    with pytest.raises(ConfigError, match=r"--baseline: unknown value 'alpha=0.1 beta=2'.*did you mean 'alpha=0.1"):
        read(tmp_path, baseline="alpha=0.1 beta=2")


def test_the_report_split_has_a_matrix_of_its_own_against_the_untouched_model(
    tmp_path: Path, ablation: Callable[..., Study]
) -> None:
    ablation()
    folder = open_study(tmp_path)
    first, last = matrices(folder, MatrixRequest(draws=500))
    assert (first.split, last.split) == ("selection", "report")
    assert [row.label for row in last.rows] == ["untouched", BEST]
    assert last.baseline == "untouched"
    assert gap(last, BEST, "robust").value > 0
    told = matrix_text(folder, "md", MatrixRequest(draws=500))
    assert told.count("Winner's curse: of 4 equally good cells") == 1


def test_rows_of_different_budgets_are_compared_at_every_one(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), eps=(1 / 255, 2 / 255), report=False)
    one = read(tmp_path)
    assert [c.title for c in one.columns[:3]] == ["clean", "robust", "harmonic"]
    every = read(tmp_path, all_budgets=True)
    titles = ["clean", "robust 1/255", "robust 2/255", "harmonic 1/255", "harmonic 2/255"]
    assert [c.title for c in every.columns[:5]] == titles
    low, high = (cell(every, BEST, title).value for title in titles[1:3])
    assert low is not None
    assert high is not None
    assert low > high
    plan = [  # as a sweep over the training budget leaves it
        replace(t, overrides={**t.overrides, "threat.eps": 2 / 255}) if t.role == "cell" else t for t in study.plan
    ]
    write_study(tmp_path, replace(study, plan=tuple(plan)))
    mixed = read(tmp_path)
    assert [c.title for c in mixed.columns[:5]] == titles


def test_metrics_may_be_chosen(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    ablation()
    assert {c.metric for c in read(tmp_path, metrics=("robust",)).columns} == {"robust"}


def test_a_study_with_nothing_done_is_still_a_matrix(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), missing=lambda trial: True, report=False)
    found = read(tmp_path)
    assert [(row.label, row.seeds) for row in found.rows] == [("untouched", ()), (BEST, ())]
    assert found.columns  # the plan's
    assert all(cell == Cell() for row in found.rows for cell in row.cells)
    assert [block.kind for block in found.blocks] == ["mean", "mean"]


def test_the_matrix_made_again_is_the_same(tmp_path: Path, ablation: Callable[..., Study]) -> None:
    ablation()
    assert read(tmp_path, per_set=True) == read(tmp_path, per_set=True)


def test_a_comparison_of_equals_finds_nothing(
    tmp_path: Path, make_study: MakeStudy, copy_records: Callable[[Path, Path], None]
) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    one, other = (trial_folder(tmp_path, trial.trial_id) for trial in study.plan)
    copy_records(one, other)
    found = build(open_study(tmp_path), MatrixRequest(per_set=True, draws=200))
    gaps = [own.gap for own in found.rows[1].cells if own.gap is not None]
    assert gaps
    assert all((g.value, g.low, g.high, g.p, g.p_holm) == (0, 0, 0, 1, 1) for g in gaps)


def test_an_ablation_has_its_first_mean_to_show_and_a_grid_has_surfaces(
    tmp_path: Path, ablation: Callable[..., Study], make_study: MakeStudy
) -> None:
    ablation()
    shown = ablation_matrix(open_study(tmp_path))
    assert shown is not None
    assert [block.title for block in shown.blocks] == ["3-set mean (without source)"]
    make_study(tmp_path / "grid", levels=(0.1,))
    assert ablation_matrix(open_study(tmp_path / "grid")) is None


def test_a_sweep_of_parts_is_compared_with_the_row_without_any() -> None:
    study = new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))
    assert study.baseline == "none"


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_all_failed_are_rows_in_every_form(tmp_path: Path, make_study: MakeStudy, form: str) -> None:
    make_study(tmp_path, levels=(0.1,), fails=lambda trial: True)
    text = matrix_text(open_study(tmp_path), form)
    for label in ("untouched", "alpha=0.1 beta=0.1"):
        assert label in text
    assert text.count("loss is NaN at step 12, term larm") >= 4  # two rows on either split
