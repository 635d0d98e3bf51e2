"""What the miniature promises to show, measured on its shipped weights with the shipped recipes. Minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev

import pytest
import torch
from safetensors import safe_open

from zsr_core.data import miniature
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.methods import METHODS, AnyMethod, TgaZsr
from zsr_core.trial import presets
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

pytestmark = pytest.mark.slow

ATTACKED = tuple(kind() for kind in METHODS if kind().passes.student_adv)
Run = Callable[[TrialConfig], TrialResult]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    torch.set_num_threads(1)
    place = tmp_path_factory.mktemp("contract")

    def go(config: TrialConfig) -> TrialResult:
        result = run_trial(config, place / config.trial_id, RunContext(cache=place / "cache", device="cpu"))
        assert result.status == "done", result.error
        return result

    return go


def scores(result: TrialResult, task: str = ZERO_SHOT_MEAN) -> tuple[float, float]:
    """Return (clean, worst-case robust) in percent."""
    found = {(m.task, m.metric, m.attack): m.value for m in result.measurements}
    return found[task, "clean", "none"], found[task, "robust", WORST]


def untouched(split: str = "selection", n: int | None = 64) -> TrialConfig:
    base = presets.miniature(TgaZsr())
    return base.with_({"epochs": 0, "eval_suite.split": split, "eval_suite.n": n})


def test_the_untouched_model_knows_the_sets_and_falls_to_the_attack(run: Run) -> None:
    result = run(untouched("report", 128))
    tasks = ("source", *miniature.ZERO_SHOT)
    clean, robust = zip(*(scores(result, task) for task in tasks), strict=True)
    assert fmean(clean) >= 65
    assert fmean(robust) <= 5


def test_the_header_says_the_accuracies_that_the_weights_have(run: Run) -> None:
    result = run(untouched("report", 128))
    file = Path(miniature.__file__).parent / "assets" / "weights.safetensors"
    with safe_open(file, framework="pt") as f:
        expected = json.loads(f.metadata()["expected"])
    for task in ("source", *miniature.ZERO_SHOT):
        # 128 of the header's 256 images: four standard errors of a share near 0.9 or 0.45.
        assert scores(result, task)[0] / 100 == pytest.approx(expected[f"clean/{task}"], abs=0.13), task


@pytest.mark.parametrize("method", ATTACKED, ids=lambda method: method.title)
def test_every_method_at_least_doubles_robustness_at_a_cost_in_clean_accuracy(run: Run, method: AnyMethod) -> None:
    clean, robust = scores(run(presets.miniature(method)))
    clean_0, robust_0 = scores(run(untouched()))
    assert robust >= 2 * robust_0
    assert clean <= clean_0 - 3


def test_the_surface_over_alpha_and_beta_ranges_over_several_times_its_seed_spread(run: Run) -> None:
    base = presets.miniature(TgaZsr())
    ends = [scores(run(base.with_({"method.alpha": w, "method.beta": w}))) for w in (0.003, 0.3)]
    seeds = [scores(run(base.with_({"method.alpha": 0.03, "method.beta": 0.03, "seed": s}))) for s in range(3)]
    for i, name in enumerate(("clean", "robust")):
        assert abs(ends[0][i] - ends[1][i]) >= 3 * stdev(seed[i] for seed in seeds), name


def test_masks_hold_part_of_every_image() -> None:
    for task in ("source", *miniature.ZERO_SHOT):
        rendered = miniature.render(task, "report", 64)
        inside = rendered.masks.flatten(1)
        assert (inside.any(dim=1) & ~inside.all(dim=1)).all(), task
