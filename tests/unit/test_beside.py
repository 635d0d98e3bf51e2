"""A published number stands beside a measured one only if both are of one kind; else the difference in kind is said."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest

from sweeps.engine.analysis.published.pairs import (
    Measured,
    beside,
    cell_numbers,
    differences,
    interval,
    measured_numbers,
    profile_of,
)
from sweeps.engine.documents.published import (
    HEAD,
    beside_lines,
    beside_tables,
    headline_row,
    pair_row,
    tally_lines,
    write_beside,
)  # fmt: skip
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.study.workload import listing
from sweeps.engine.wording.answer import answer
from zsr_core.attacks import Pgd
from zsr_core.attacks.profiles import PROFILES
from zsr_core.codec import ConfigError
from zsr_core.defences import Ttc
from zsr_core.evaluation.measure import Measurement
from zsr_core.methods import FtAdv, TeCoA, TgaZsr
from zsr_core.published import Published, published, published_numbers
from zsr_core.trial.presets import reproduction, side_by_side
from zsr_core.trial.result import TrialResult

MakeStudy = Callable[..., Study]


def _row(**asked: Any) -> Published:
    return published(**{"method": "TGA-ZSR", "task": "cifar10", "table": "I", "source": "CompTGA-2026", **asked})[0]


def _measured(**changed: Any) -> Measured:
    method = TgaZsr()
    fields = {name: getattr(method, name) for name in method.__dataclass_fields__}
    whole = Measured(
        cell="alpha=0.08", method="TGA-ZSR", fields=fields, defaults=fields, model="ViT-B/32", miniature=False,
        trained_on="tiny_imagenet",
        train_eps=1 / 255, task="cifar10", tasks=("cifar10",), prompts="tga", split="report", attack="pgd100-tga",
        eps=1 / 255, norm="linf", space="model_input", metric="robust", value=60.0, low=58.0, high=62.0, images=10000,
        seeds=1,
    )  # fmt: skip
    return replace(whole, **changed)


def test_numbers_of_one_kind_stand_side_by_side_with_their_difference() -> None:
    row = _row()
    (pair,) = beside([_measured(value=row.value + 1.5, low=row.value - 1, high=row.value + 3)], [row])
    assert pair.measured is not None
    assert pair.difference == pytest.approx(1.5)
    assert pair.within is True


@pytest.mark.parametrize(("low", "high", "within"), [(1.0, 2.0, False), (None, None, None), (0.0, 100.0, True)])
def test_within_is_about_the_measured_interval(low: float | None, high: float | None, within: bool | None) -> None:
    (pair,) = beside([_measured(low=low, high=high)], [_row()])
    assert pair.within is within


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"split": "selection"}, "split: selection, published on the test images"),
        ({"prompts": "agft"}, "prompts: agft, published tga"),
        ({"attack": "pgd10"}, "attack: pgd10, published pgd100-tga"),
        ({"eps": 2 / 255}, "eps: 2/255, published at 1/255"),
        ({"norm": "l2"}, "norm: l2, published linf"),
        ({"space": "native"}, "pixel space: native, published model_input"),
        ({"model": "ViT-B/16"}, "model: ViT-B/16, published ViT-B/32"),
        ({"trained_on": "imagenet"}, "trained on imagenet, published tiny_imagenet"),
        ({"train_eps": 4 / 255}, "trained at 4/255, published at 1/255"),
        ({"task": "stl10", "tasks": ("stl10",)}, "its set was not measured"),
        ({"fields": {**_measured().fields, "alpha": 0.3}}, "alpha: 0.3, published 0.08"),
        ({"fields": {**_measured().fields, "attention": "visual"}}, "attention: visual, published text"),
        ({"miniature": True}, "measured on the built-in miniature: another model, other images"),
    ],
)
def test_numbers_of_different_kinds_are_not_compared(changed: dict[str, Any], reason: str) -> None:
    (pair,) = beside([_measured(**changed)], [_row()])
    assert pair.measured is None
    assert pair.difference is None
    assert pair.within is None
    assert pair.reasons == (reason,)


def test_clean_accuracy_needs_no_attack_of_one_kind() -> None:
    row = _row(attack="none", table="II")
    assert differences(row, _measured(metric="clean", attack="none", eps=0.0, norm="l2", space="native")) == ()


def test_autoattack_of_other_weights_is_not_compared_with_the_main_ones() -> None:
    row = _row(attack="AutoAttack", table="III")
    assert differences(row, _measured(attack="aa-tecoa")) == ("beta: 0.05, published 0.009",)
    assert differences(row, _measured(attack="aa-tecoa", fields={**_measured().fields, "beta": 0.009})) == ()


def test_where_a_paper_states_no_weights_any_are_compared_but_no_other_variant() -> None:
    row = _row(source="UCAT-2026", table="T16", attack="PGD-100")
    assert row.fields is None
    assert differences(row, _measured(fields={**_measured().fields, "alpha": 0.3})) == ()
    assert differences(row, _measured(fields={**_measured().fields, "distance": "cos"}))


def test_a_mean_is_compared_with_the_mean_of_its_own_sets_and_not_with_a_printed_one_over_others() -> None:
    sets = ("cifar10", "stl10", "dtd")
    rows = published(method="TGA-ZSR", source="CompTGA-2026", table="I")
    pairs = beside([_measured(task="zero_shot_mean", tasks=sets)], rows)
    (together,) = [pair for pair in pairs if pair.measured is not None]
    assert together.published.value == pytest.approx(fmean(row.value for row in rows if row.task in sets))
    (printed,) = [pair for pair in pairs if pair.published.dataset == "Average16"]
    assert printed.reasons == ("the measured means are over other sets",)


def test_a_mean_over_all_printed_sets_is_compared_with_the_printed_mean() -> None:
    row = _row(task="Average16")
    (pair, _) = beside([_measured(task="zero_shot_mean", tasks=tuple(reversed(row.tasks)))], [row, _row()])
    assert pair.published is row
    assert pair.measured is not None


def test_a_defence_of_the_untouched_model_is_compared_with_its_own_numbers() -> None:
    config = reproduction("pgd100-tga")["paper"].with_({"epochs": 0, "defence": Ttc()})
    found = replace(_measurement(62.0, 60.0, 64.0), task="cifar10")
    (measured,) = cell_numbers("cell", [TrialResult(trial_id="t", config=config, status="done", measurements=(found,))])
    (row,) = published(method="TTC", task="cifar10", attack="none", metric="clean")
    assert measured.method == "TTC"
    assert differences(row, measured) == ()


def test_only_methods_that_were_measured_are_listed() -> None:
    assert not beside([_measured()], published(method="PMG-AFT"))


def _measurement(value: float, low: float | None, high: float | None) -> Measurement:
    return Measurement(trial_id="t", weights_sha="w", task="a", split="report", attack="none", eps=0.0,
                       metric="clean", value=value, n=100, low=low, high=high)  # fmt: skip


def test_the_interval_of_one_seed_is_that_over_its_images() -> None:
    assert interval([_measurement(50.0, 46.0, 55.0)]) == (46.0, 55.0)


def test_seeds_widen_the_interval_and_equal_seeds_do_not_narrow_it() -> None:
    alike = [_measurement(50.0, 46.0, 55.0)] * 3
    assert interval(alike) == pytest.approx((46.0, 55.0))
    spread = [_measurement(v, v - 4, v + 4) for v in (48.0, 50.0, 52.0)]
    half = math.hypot(4.0, 4.302653 * 2 / math.sqrt(3))  # Student's t of 2 degrees of freedom
    assert interval(spread) == pytest.approx((50 - half, 50 + half), abs=1e-4)
    assert interval([*alike, _measurement(50.0, None, None)]) == (None, None)


def test_a_papers_attack_is_known_by_what_it_does_not_by_its_name() -> None:
    assert all(profile_of(known.attack) == known.attack.name for known in PROFILES.values())
    assert profile_of(Pgd(steps=1, label="pgd100-tga")) == "another pgd100-tga"
    assert profile_of(Pgd(steps=100, step_size=1 / 255, keep="last")) != "pgd100-tga"


def test_what_the_papers_tables_were_attacked_with_are_attacks_of_ours() -> None:
    names = {row.profile for row in published_numbers()} - {None, "none"}
    assert names == {name for name in names if name in PROFILES and PROFILES[name].attack.name == name}


def test_a_trial_of_the_papers_recipe_is_of_the_papers_kind() -> None:
    """From configuration to comparison: the reproduction's TGA-ZSR row, as if it had been run on CIFAR-10."""
    config = reproduction("pgd100-tga")["paper"].with_({**side_by_side((TgaZsr(),))["paper"][0].overrides})
    attack = config.eval_suite.attacks[0].name
    found = replace(_measurement(61.0, 59.0, 63.0), task="cifar10", attack=attack, eps=1 / 255, metric="robust")
    result = TrialResult(trial_id="t", config=config, status="done", measurements=(found,))
    (measured,) = cell_numbers("cell", [result])
    assert differences(_row(), measured) == ()


def test_where_we_cut_a_set_ourselves_the_page_says_on_which_part_it_was_measured() -> None:
    (row,) = published(method="TGA-ZSR", task="sun397", table="I", source="CompTGA-2026")
    pairs = beside([_measured(task="sun397", tasks=("sun397",))], [row])
    assert "sun397: published over all its images, measured on the 80 % that select nothing" in tally_lines(pairs)[-1]
    assert len(tally_lines(beside([_measured()], [_row()]))) == 1


def test_a_study_on_the_miniature_is_labelled_and_compared_with_nothing(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,))
    assert {m.miniature for m in measured_numbers(open_study(tmp_path))} == {True}
    text = write_beside(open_study(tmp_path)).read_text(encoding="utf-8")
    assert "## The built-in miniature and the published means" in text
    assert "compare the order of the methods in each, never a value with its neighbour" in text
    assert "Of the same kind" not in text
    assert "measured on the built-in miniature: another model, other images" in text


def test_a_row_beside_the_papers_names_its_configuration(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    ((head, rows, _),) = beside_tables(open_study(tmp_path))
    cells = ["alpha=0.1 beta=0.1", "alpha=0.1 beta=1", "alpha=1 beta=0.1", "alpha=1 beta=1"]
    assert head[:2] == ("method", "configuration")
    assert [row[:2] for row in rows] == [("CLIP", "untouched"), *(("TGA-ZSR", cell) for cell in cells)]
    (pair,) = beside([_measured()], [_row()])
    assert dict(zip(HEAD, pair_row(pair), strict=True))["configuration"] == "alpha=0.08"


def test_a_failed_trial_measures_nothing(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), fails=lambda trial: True, report=False)
    lines = beside_lines(open_study(tmp_path))
    assert lines[-1].startswith("- ")


def test_the_headline_of_a_paper_is_at_the_budget_it_trained_for() -> None:
    robust = headline_row(published(source="CompTGA-2026"), "TGA-ZSR", "robust")
    assert robust is not None
    assert (robust.value, robust.table) == (42.09, "I")
    assert headline_row(published(source="CompTGA-2026"), "UCAT", "robust") is None


def _reproduction(**changed: Any) -> Sweep:
    whole: dict[str, Any] = {
        "name": "again", "question": "Again?", "base": reproduction("pgd100-tga"),
        "variants": side_by_side((FtAdv(), TeCoA(), TgaZsr()), same_data=True),
        "reproduces": {"CompTGA-2026": ("I", "II")},
    }  # fmt: skip
    return Sweep(**{**whole, **changed})


def _study(sweep: Sweep) -> Study:
    return new_study(sweep, preset="miniature", search=None, seeds=(0, 1), objectives=("clean", "robust"))


def test_a_reproduction_scores_every_row_on_the_report_split_from_the_start() -> None:
    study = _study(_reproduction())
    finals = [t for t in study.plan if t.role == "final"]
    assert [(t.cell, t.seed) for t in finals] == [(t.cell, t.seed) for t in study.plan if t.role == "cell"]
    assert all(t.is_report for t in finals)
    assert not any(t.is_report for t in _study(_reproduction(reproduces={})).plan)


def test_a_plan_counts_the_training_of_one_model_once() -> None:
    study = _study(_reproduction())

    def seconds(config: Any) -> float:
        return 100.0 if config.epochs else 1.0

    total = listing(StudyFolder(path=Path("nowhere"), study=study, results={}), seconds, slots=1)[-1]
    assert total.startswith(f"About {round((6 * 100 + 6 + 4) / 60)} min of work")


def test_a_reproduction_of_a_table_that_is_not_shipped_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"reproduces.*got 'XX', expected a table of it"):
        _reproduction(reproduces={"CompTGA-2026": ("XX",)})
    with pytest.raises(ConfigError, match="source: unknown value 'CompTGA'"):
        _reproduction(reproduces={"CompTGA": ("I",)})


def test_the_answer_tells_the_chosen_cells_report_not_the_first_rows(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.01, 0.1))
    folder = open_study(tmp_path)
    finals = [t for t in study.plan if t.role == "final"]
    other = replace(finals[0], cell="another", trial_id="0" * 12)
    twice = replace(study, plan=(*[t for t in study.plan if t.role != "final"], other, *finals))
    assert answer(StudyFolder(path=tmp_path, study=twice, results=folder.results)) == answer(folder)


def test_methods_trained_again_share_data_and_length() -> None:
    base = reproduction("pgd100-tga")["paper"]
    for row in side_by_side(same_data=True)["paper"]:
        config = base.with_(row.overrides)
        assert (config.train_data, config.epochs) == (base.train_data, base.epochs)
