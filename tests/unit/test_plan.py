"""The plan plane: what a sweep expands to, what it refuses, what is missing, and what --plan says."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from search_spaces import Axis
from search_spaces.tga_zsr import PARTS, WEIGHTS
from sweeps.engine import Sweep
from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder
from sweeps.engine.study.plan import (
    closing,
    closing_to_come,
    continued,
    new_study,
    points,
    study_name,
    suggested,
    suggestions,
    to_come,
    with_closing,
    with_reported,
)
from sweeps.engine.study.sweep import axis_levels
from sweeps.engine.study.workload import listing
from zsr_core.codec import ConfigError
from zsr_core.duration import duration
from zsr_core.methods import TgaZsr
from zsr_core.space import Choice, Int, Real, Variant, leave_one_out
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

BASE = TrialConfig(method=TgaZsr())
ALPHA = Real(low=0.01, high=1.0, log=True)


def sweep(**changes: Any) -> Sweep:
    values: dict[str, Any] = {
        "name": "weights", "question": "Where?", "base": {"miniature": BASE, "paper": BASE}, "levels": 3,
        "space": {"method.alpha": ALPHA, "method.beta": ALPHA}, "surfaces": (("method.alpha", "method.beta"),),
    }  # fmt: skip
    if changes.keys() & {"variants", "space"}:
        del values["levels"]  # of the grid above
    return Sweep(**{**values, **changes})


def study(asked: Sweep | None = None, **changes: Any) -> Study:
    values: dict[str, Any] = {"preset": "miniature", "search": None, "seeds": (0,), "objectives": ("clean", "robust")}
    return new_study(asked or sweep(), **{**values, **changes})


def ended(plan: Study, *trials: PlannedTrial, status: Any = "done") -> Mapping[str, TrialResult]:
    return {t.trial_id: TrialResult(trial_id=t.trial_id, config=plan.config(t), status=status) for t in trials}


def read(plan: Study, results: Mapping[str, TrialResult]) -> StudyFolder:
    return StudyFolder(path=Path("nowhere"), study=plan, results=results)


def test_a_grid_holds_every_combination_after_the_untouched_model() -> None:
    plan = study().plan
    assert [t.role for t in plan] == ["baseline"] + ["cell"] * 9
    assert plan[0].overrides == {"epochs": 0}
    pairs = [(t.overrides["method.alpha"], t.overrides["method.beta"]) for t in plan[1:]]
    assert pairs == [(a, b) for a in (0.01, 0.1, 1.0) for b in (0.01, 0.1, 1.0)]


def test_seeds_are_paired_and_a_first_seed_is_complete_before_the_second_starts() -> None:
    plan = study(seeds=(0, 1)).plan
    cells = [t for t in plan if t.role == "cell"]
    assert [t.seed for t in cells] == [0] * 9 + [1] * 9
    assert [t.cell for t in cells[:9]] == [t.cell for t in cells[9:]]
    assert {t.seed for t in plan if t.role == "baseline"} == {0, 1}
    assert len({t.trial_id for t in plan}) == len(plan)


def test_a_planned_id_is_the_id_of_the_configuration_that_runs() -> None:
    found = study(seeds=(0, 3))
    assert all(found.config(t).trial_id == t.trial_id and found.config(t).seed == t.seed for t in found.plan)


def test_variants_take_the_grids_place() -> None:
    found = study(sweep(space=(), surfaces=(), variants=leave_one_out(PARTS)))
    assert [t.cell for t in found.plan if t.role == "cell"] == ["full", "w/o alpha", "w/o beta"]


def test_a_study_is_named_after_its_sweep_search_and_scale() -> None:
    assert study_name(sweep(), "miniature", None) == "weights"
    assert study_name(sweep(), "miniature", "tpe") == "weights-tpe"
    assert study_name(sweep(), "paper", "gp") == "weights-gp-paper"


def test_rows_of_a_search_space_carry_their_published_optimum_into_the_study() -> None:
    found = study(sweep(space=WEIGHTS))
    assert found.published == {"method.alpha": 0.08, "method.beta": 0.05}
    assert list(found.space) == ["method.alpha", "method.beta"]


def test_a_published_optimum_outside_its_axis_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"method\.alpha: got 3\.25, expected a published optimum inside"):
        Axis(path="method.alpha", domain=ALPHA, published=3.25)


REPORTING = BASE.with_({"eval_suite.split": "report"})
BAD = [
    ({"space": ()}, "space: got .*expected at least one axis"),
    ({"space": {}}, "space: got .*expected at least one axis"),
    ({"name": "../elsewhere"}, "name: got '../elsewhere'"),
    ({"levels": 1}, "levels: got 1, expected at least 2"),
    ({"samples": 0}, "samples: got 0, expected at least 1"),
    ({"seeds": ()}, "seeds: got .*at least one seed"),
    ({"seeds": (0, 0)}, "seeds: got .*none twice"),
    ({"objectives": ("robst",)}, "objectives: unknown value 'robst'.*did you mean 'robust'"),
    ({"objectives": ("clean", "clean")}, "objectives: got .*none twice"),
    ({"surfaces": (("method.alpha", "method.betta"),)}, r"surfaces: unknown value .*did you mean 'method\.beta'"),
    ({"base": {"miniature": REPORTING}}, r"base\['miniature'\]\.eval_suite\.split: got 'report', expected 'selection'"),
    ({"space": {"method.alhpa": ALPHA}, "surfaces": ()}, r"no field 'alhpa'.*did you mean 'alpha'"),
    ({"space": {"method.alpha": Real(low=-1.0, high=1.0)}, "surfaces": ()}, r"alpha: got -1\.0"),
    ({"space": {"threat.eps": Real(low=0.5, high=4.0)}, "surfaces": ()}, r"eps: got 4\.0, .*write 4/255"),
    ({"variants": (Variant(label="r", overrides={"eval_suite.split": "report"}),)}, r"eval_suite\.split: got 'r'"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "message"), BAD)
def test_a_sweep_that_cannot_run_is_refused_where_it_is_written(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        sweep(**changes)


def test_two_variants_of_one_configuration_are_refused() -> None:
    twins = (Variant(label="a"), Variant(label="b", overrides={"method.alpha": TgaZsr().alpha}))
    with pytest.raises(ConfigError, match="'a seed=0' and 'b seed=0' are the same configuration"):
        study(sweep(space=(), surfaces=(), variants=twins))


def test_an_unknown_preset_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"preset: unknown value 'papre'.*did you mean 'paper'"):
        study(preset="papre")


def test_levels_of_an_axis_hold_both_ends_once() -> None:
    assert axis_levels(ALPHA, 3) == (0.01, 0.1, 1.0)
    assert axis_levels(Int(low=1, high=3), 5) == (1, 2, 3)
    assert axis_levels(Int(low=1, high=100, log=True), 3) == (1, 10, 100)
    assert axis_levels(Choice(values=("l2", "cosine")), 5) == ("l2", "cosine")


def test_what_is_done_is_not_missing_and_what_failed_is() -> None:
    found = study()
    done, failed, *rest = found.plan
    results = {**ended(found, done), **ended(found, failed, status="failed")}
    folder = read(found, results)
    assert folder.unfinished() == (failed, *rest)
    assert [folder.status(trial) for trial in found.plan[:3]] == ["done", "failed", "missing"]
    assert list(folder.done()) == [done.trial_id]


def test_going_on_with_fewer_seeds_keeps_what_has_a_result() -> None:
    earlier = study(seeds=(0, 1))
    second = [t for t in earlier.plan if t.seed == 1 and t.role == "cell"]
    found = continued(earlier, study(), ended(earlier, *second[:2]), "here")
    assert [t for t in found.plan if t.seed == 1] == second[:2]
    assert found.seeds == (0, 1)
    assert found.created == earlier.created


def test_going_on_with_more_seeds_adds_them() -> None:
    found = continued(study(), study(seeds=(0, 1)), {}, "here")
    assert len(found.plan) == 20


def test_a_folder_of_another_study_is_refused_saying_what_differs() -> None:
    other = study(sweep(base={"miniature": BASE.with_({"optim.lr": 0.5})}))
    with pytest.raises(ConfigError, match=r"here holds another study \(base\.optim\.lr is 0\.5 there"):
        continued(other, study(), {}, "here")
    with pytest.raises(ConfigError, match=r"another study \(other, preset miniature\)"):
        continued(study(sweep(name="other")), study(), {}, "here")


def test_a_search_is_not_continued_for_other_objectives() -> None:
    earlier = study(search="tpe")
    with pytest.raises(ConfigError, match="searched for clean, robust, not harmonic"):
        continued(earlier, study(search="tpe", objectives=("harmonic",)), {}, "here")


def test_a_search_keeps_its_proposals_and_gives_them_the_seeds_asked_for() -> None:
    earlier = study(search="tpe")
    earlier = replace(earlier, plan=(*earlier.plan, *suggested(earlier, {"method.alpha": 0.5}, (0,))))
    found = continued(earlier, study(search="tpe", seeds=(0, 1)), {}, "here")
    assert suggestions(found) == {"#001 alpha=0.5": {"method.alpha": 0.5}}
    assert [t.seed for t in found.plan if t.role == "cell"] == [0, 1]
    assert [t.proposal for t in found.plan] == [None, None, 1, 1]


def test_proposals_that_round_to_one_label_are_cells_apart() -> None:
    found = study(search="tpe")
    for value in (0.500001, 0.500002):
        found = replace(found, plan=(*found.plan, *suggested(found, {"method.alpha": value}, (0, 1))))
    assert list(suggestions(found)) == ["#001 alpha=0.5", "#002 alpha=0.5"]
    assert [t.proposal for t in found.plan if t.role == "cell"] == [1, 1, 2, 2]
    assert [row.proposal for row in found.rows(role="cell")] == [1, 2]


def test_samples_are_the_studys_total_and_a_finite_space_bounds_them() -> None:
    found = study(search="tpe")
    assert to_come(found, 10, 2) == 20
    grown = replace(found, plan=(*found.plan, *suggested(found, {"method.alpha": 0.5}, (0, 1))))
    assert to_come(grown, 10, 2) == 18
    assert to_come(grown, 1, 2) == 0
    assert points({"a": Choice(values=("x", "y")), "b": Int(low=1, high=3)}) == 6
    assert to_come(replace(found, space={"a": Choice(values=("x", "y"))}), 10, 1) == 2
    assert to_come(study(), 10, 1) == 0


def test_a_study_ends_with_the_chosen_cell_and_the_untouched_model_on_the_reporting_split() -> None:
    found = study()
    chosen = Variant(label="alpha=0.1 beta=0.1", overrides={"method.alpha": 0.1, "method.beta": 0.1})
    end = closing(found, chosen, (0, 1))
    assert [(t.role, t.seed) for t in end] == [("baseline", 0), ("baseline", 1), ("final", 0), ("final", 1)]
    assert [t.cell for t in end] == ["untouched", "untouched", chosen.label, chosen.label]
    assert all(t.is_report and t.split == "report" and found.config(t).eval_suite.split == "report" for t in end)
    cell = next(t for t in found.plan if t.cell == chosen.label)
    assert found.config(end[2]).training_id == found.config(cell).training_id, "re-scoring must not train again"


def test_every_row_can_run_on_the_report_split_and_a_study_keeps_the_request() -> None:
    plain = study()
    cells = plain.rows(role="cell")
    every = with_reported(replace(plain, report_all=True), plain.seeds)
    assert [row.cell for row in every.rows(role="final")] == [row.cell for row in cells]
    assert with_reported(every, plain.seeds) == every, "a second launch plans nothing twice"
    chosen = Variant(label=cells[1].cell, overrides=cells[1].overrides)
    end = closing(every, chosen, plain.seeds)
    assert {t.trial_id for t in end} == {t.trial_id for t in every.plan if t.is_report}
    assert next(t.cell for t in end if t.role == "final") == chosen.label, "the chosen row comes first"
    again = continued(every, plain, {t.trial_id for t in every.plan}, "here")
    assert again.report_all
    assert with_reported(again, plain.seeds).rows(role="final")


def test_named_rows_run_on_the_report_split_beside_the_chosen_one() -> None:
    plain = study()
    cells = plain.rows(role="cell")
    named = with_reported(replace(plain, report_rows=(cells[0].cell,)), (0,))
    assert [row.cell for row in named.rows(role="final")] == [cells[0].cell]
    end = closing(named, Variant(label=cells[1].cell, overrides=cells[1].overrides), (0,))
    assert [t.cell for t in end if t.role == "final"] == [cells[1].cell, cells[0].cell]
    with pytest.raises(ConfigError, match=r"--report-rows: unknown value 'nope'"):
        with_reported(replace(plain, report_rows=("nope",)), (0,))


def test_a_row_of_a_search_is_named_by_its_number_and_reported_after_the_search() -> None:
    found = study(search="tpe")
    for value in (0.3, 0.5):
        found = replace(found, plan=(*found.plan, *suggested(found, {"method.alpha": value}, (0, 1))))
    asked = replace(found, report_rows=("#002",))
    assert with_reported(asked, (0, 1)) == asked
    end = closing(asked, Variant(label="#001 alpha=0.3", overrides={"method.alpha": 0.3}), (0, 1))
    assert [(t.cell, t.proposal) for t in end if t.role == "final" and t.seed == 0] == [
        ("#001 alpha=0.3", 1), ("#002 alpha=0.5", 2),
    ]  # fmt: skip
    assert closing_to_come(found, 2, 2) == 4
    assert closing_to_come(asked, 2, 2) == 6
    assert closing_to_come(replace(found, report_all=True), 5, 2) == 12


def test_a_later_choice_replaces_the_earlier_end() -> None:
    found = study()
    first = closing(found, Variant(label="a", overrides={"method.alpha": 0.1}), (0,))
    second = closing(found, Variant(label="b", overrides={"method.alpha": 1.0}), (0,))
    assert with_closing(with_closing(found, first), second).plan == (*found.plan, *second)


def test_the_listing_counts_what_is_left_and_what_it_costs() -> None:
    found = study()
    text = "\n".join(listing(read(found, ended(found, *found.plan[:4])), lambda config: 60.0, slots=2))
    assert "6 of 10 trials to run; then the best cell and the untouched model on the report split." in text
    in_all = listing(read(found, {}), lambda config: 60.0, slots=2, closing=closing_to_come(found, 0, 1))
    assert "the untouched model on the report split: 12 trials in all." in "\n".join(in_all)
    assert "About 6 min of work: 3 min with 2 at a time." in text
    assert text.count("missing ") == 6
    assert text.count("done ") == 4


def test_the_listing_of_a_search_counts_what_it_has_yet_to_propose() -> None:
    text = "\n".join(listing(read(study(search="gp"), {}), lambda config: 1.0, slots=1, to_come=7))
    assert "and 7 trials that gp has yet to propose" in text
    assert "8 of 8 trials to run" in text


def test_lengths_of_time_read_well() -> None:
    assert [duration(s) for s in (5, 120, 7200, float("inf"))] == ["5 s", "2 min", "2.0 h", "?"]


def test_planning_imports_neither_ray_nor_trackers_nor_pandas() -> None:
    code = (
        "import sys, sweeps.engine; "
        "print([m for m in ('ray', 'mlflow', 'optuna', 'pandas', 'matplotlib', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
