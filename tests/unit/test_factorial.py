"""Main effects and interactions of a full factorial ablation, against effects that are planted image by image."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.analysis.difference import Difference
from sweeps.engine.analysis.factorial import Effects, factorial
from sweeps.engine.documents.table import table_lines
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, trial_folder, write_study
from zsr_core.codec import to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.measure import measure
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.records import SampleRecord, write_samples
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

IMAGES = 100  # so that an image is a point
EPS = 1 / 255
OFF: Mapping[str, Mapping[str, Any]] = {
    "alpha": {"method.alpha": 0.0},
    "beta": {"method.beta": 0.0},
    "size": {"batch_size": 32, "optim.lr": 0.5},  # a part of two settings that change together
}
On = frozenset[str]
Plant = Callable[[On], tuple[int, int]]  # parts that are on -> clean and robust images of a hundred
Effect = tuple[str, ...]


def records(trial_id: str, clean: int, robust: int) -> list[SampleRecord]:
    return [
        SampleRecord(
            trial_id=trial_id, weights_sha=f"w{trial_id}", task="animals", split="selection", sample_id=f"{i:03d}",
            condition=condition, attack_id="", ran="", stage="", norm="linf", threat_space="model_input", eps=eps,
            label=1, pred=int(i < right), correct=i < right, p_max=0.5, entropy=0.1, margin=0.1, linf=eps, l2=eps,
            queries=1,
        )
        for condition, eps, right in (("none", 0.0, clean), ("pgd10", EPS, robust))
        for i in range(IMAGES)
    ]  # fmt: skip


def plant(
    path: Path, parts: Sequence[str], points: Plant, *, seeds: Sequence[int] = (0, 1), drop: On | None = None
) -> Study:
    """Write an ablation of all combinations of ``parts``, of which every seed scores ``points``, and 2 more a seed."""
    suite = EvalSuite(tasks=(DataRef(name="animals"),), eps=(EPS,))
    base = TrialConfig(method=TgaZsr(), eval_suite=suite)
    plan = []
    for states in itertools.product((True, False), repeat=len(parts)):
        on = frozenset(part for part, state in zip(parts, states, strict=True) if state)
        if on == drop:
            continue
        overrides = {key: value for part in parts if part not in on for key, value in OFF[part].items()}
        for seed in seeds:
            config = base.with_({**overrides, "seed": seed})
            trial = PlannedTrial(
                trial_id=config.trial_id, label=f"{sorted(on)} seed={seed}", cell=str(sorted(on)), overrides=overrides,
                seed=seed,
            )  # fmt: skip
            plan.append(trial)
            clean, robust = (score + 2 * seed for score in points(on))
            own = records(trial.trial_id, clean, robust)
            result = TrialResult(
                trial_id=trial.trial_id, config=config, status="done", measurements=tuple(measure(own, ["animals"]))
            )
            write_samples(trial_folder(path, trial.trial_id) / "samples.parquet", own)
            write_text(trial_folder(path, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    study = Study(
        name="parts", study="parts", question="What does each part add?", preset="miniature", mode="matrix",
        search=None, space={}, objectives=("clean", "robust"), surfaces=(), published={}, base=base,
        seeds=tuple(seeds), plan=tuple(plan), fingerprint="0" * 12, created="2026-01-01T00:00:00+00:00", zsr="0.1.0",
        score_eps=EPS, baseline="[]",
    )  # fmt: skip
    write_study(path, study)
    return study


def effects_at(path: Path) -> Effects:
    effects = factorial(open_study(path))
    assert effects is not None
    return effects


def of(effects: Effects, score: str) -> dict[Effect, Difference]:
    at = [column.metric for column in effects.columns].index(score)
    gaps = {effect.factors: effect.differences[at] for effect in effects.effects}
    return {names: gap for names, gap in gaps.items() if gap is not None}


def two(on: On) -> tuple[int, int]:
    """Clean: alone alpha adds 10 and beta 4, together 30. Robust: alpha adds 10 and beta 20, whatever the other."""
    clean = {(): 40, ("alpha",): 50, ("beta",): 44, ("alpha", "beta"): 70}[tuple(sorted(on))]
    return clean, 10 + 10 * ("alpha" in on) + 20 * ("beta" in on)


def test_two_parts_have_the_effects_worked_out_by_hand(tmp_path: Path) -> None:
    plant(tmp_path, ("alpha", "beta"), two)
    effects = effects_at(tmp_path)
    assert effects.cells == 4
    clean, robust = of(effects, "clean"), of(effects, "robust")
    assert {names: gap.value for names, gap in clean.items()} == {
        ("alpha",): pytest.approx(((50 - 40) + (70 - 44)) / 2),
        ("beta",): pytest.approx(((44 - 40) + (70 - 50)) / 2),
        ("alpha", "beta"): pytest.approx((70 - 44) - (50 - 40)),
    }
    assert {names: gap.value for names, gap in robust.items()} == {
        ("alpha",): pytest.approx(10), ("beta",): pytest.approx(20), ("alpha", "beta"): pytest.approx(0, abs=1e-9),
    }  # fmt: skip


def test_three_parts_have_the_effects_worked_out_by_hand(tmp_path: Path) -> None:
    def three(on: On) -> tuple[int, int]:
        alpha, beta, size = ("alpha" in on), ("beta" in on), ("size" in on)
        return 40 + 8 * alpha + 4 * beta + 2 * size + 6 * (alpha and beta), 20

    plant(tmp_path, ("alpha", "beta", "size"), three)
    effects = effects_at(tmp_path)
    assert effects.cells == 8
    clean = {names: gap.value for names, gap in of(effects, "clean").items()}
    size = next(names[0] for names in clean if names not in {("alpha",), ("beta",)} and len(names) == 1)
    assert set(size.split(" + ")) == {"batch_size", "lr"}, "settings that change together are one part"
    assert clean == {
        ("alpha",): pytest.approx(8 + 6 / 2),
        ("beta",): pytest.approx(4 + 6 / 2),
        (size,): pytest.approx(2),
        **{pair: pytest.approx(6 if pair == ("alpha", "beta") else 0, abs=1e-9) for pair in clean if len(pair) == 2},
    }
    assert [len(names) for names in clean] == [1, 1, 1, 2, 2, 2]
    assert all(gap.value == pytest.approx(0, abs=1e-9) for gap in of(effects, "robust").values())


def test_an_effect_has_an_interval_over_seeds_and_images_and_a_p_corrected_over_all(tmp_path: Path) -> None:
    plant(tmp_path, ("alpha", "beta"), two)
    effects = effects_at(tmp_path)
    gaps = [gap for effect in effects.effects for gap in effect.differences if gap is not None]
    assert len(gaps) == 9
    for gap in gaps:
        assert gap.seeds == 2
        assert gap.test == "bootstrap"
        assert gap.low is not None
        assert gap.high is not None
        assert gap.low <= gap.value <= gap.high
        assert gap.p is not None
        assert gap.p_holm is not None
        assert gap.p <= gap.p_holm <= 1
    assert of(effects, "robust")[("beta",)].holds
    assert not of(effects, "robust")["alpha", "beta"].holds


def test_without_records_an_effect_is_that_of_the_seeds(tmp_path: Path) -> None:
    study = plant(tmp_path, ("alpha", "beta"), two)
    for trial in study.plan:
        (trial_folder(tmp_path, trial.trial_id) / "samples.parquet").unlink()
    alpha = of(effects_at(tmp_path), "clean")[("alpha",)]
    assert (alpha.value, alpha.seeds, alpha.p, alpha.low) == (pytest.approx(18), 2, None, None)
    assert (alpha.t_low, alpha.t_high) == (pytest.approx(18), pytest.approx(18))


def test_a_design_that_is_not_full_has_no_effects(tmp_path: Path) -> None:
    plant(tmp_path, ("alpha", "beta"), two, drop=frozenset({"alpha"}))
    assert factorial(open_study(tmp_path)) is None


def test_one_part_is_no_factorial(tmp_path: Path) -> None:
    plant(tmp_path, ("alpha",), lambda on: (40, 20))
    assert factorial(open_study(tmp_path)) is None


def test_a_grid_has_a_surface_and_no_effects(tmp_path: Path) -> None:
    study = plant(tmp_path, ("alpha", "beta"), two)
    write_study(tmp_path, replace(study, space={"method.alpha": Real(low=0.0, high=1.0)}))
    assert factorial(open_study(tmp_path)) is None


def test_a_cell_without_a_finished_seed_leaves_no_effects(tmp_path: Path) -> None:
    study = plant(tmp_path, ("alpha", "beta"), two)
    for trial in study.plan[:2]:
        (trial_folder(tmp_path, trial.trial_id) / "result.json").unlink()
    assert factorial(open_study(tmp_path)) is None


def test_seeds_that_a_cell_lacks_are_left_out_of_every_cell(tmp_path: Path) -> None:
    study = plant(tmp_path, ("alpha", "beta"), two, seeds=(0, 1, 2))
    (trial_folder(tmp_path, study.plan[0].trial_id) / "result.json").unlink()
    alpha = of(effects_at(tmp_path), "clean")[("alpha",)]
    assert (alpha.seeds, alpha.value) == (2, pytest.approx(18))


def test_the_table_has_them_with_what_they_mean(tmp_path: Path) -> None:
    plant(tmp_path, ("alpha", "beta"), two)
    text = "\n".join(table_lines(open_study(tmp_path)))
    section = text.split("## Main effects and interactions")[1]
    assert "| alpha × beta " in section
    assert "| alpha " in section
    assert "+18.0" in section
    assert "Full factorial over 4 cells." in section
    assert "Holm-corrected over the 9 comparisons" in section
