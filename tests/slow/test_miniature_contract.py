"""What the miniature promises to show, measured on its shipped weights with the shipped recipes. Minutes."""

from __future__ import annotations

import json
from collections.abc import Callable
from math import sqrt
from pathlib import Path
from statistics import fmean, harmonic_mean, stdev

import pytest
import torch
from safetensors import safe_open

from zsr_core.attacks import Pgd
from zsr_core.data import DataRef, miniature, open_data
from zsr_core.data.miniature.contract import averaged
from zsr_core.data.miniature.model import WEIGHTS
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import METHODS, AnyMethod, Fare, FtAdv, PmgAft, TeCoA, TgaZsr, Trades
from zsr_core.model.load import ModelRef, load_clip
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.trial import presets
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

pytestmark = pytest.mark.slow

ATTACKED = tuple(kind() for kind in METHODS if kind().passes.student_adv)
EPS = presets.MINIATURE_EPS
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
    clean, robust = scores(run(untouched("report", 128)))
    assert clean >= 80
    assert robust <= 8


def test_averaging_the_input_two_by_two_undoes_little_of_it_when_attacked_through(run: Run) -> None:
    """What makes the untouched model fall is learned, not a pattern in the kernels that smoothing removes."""
    clip = load_clip(ModelRef(name=miniature.FINE), "cpu")
    attack, threat = Pgd(steps=10, step_ratio=0.25), ThreatModel(eps=EPS)
    standing = []
    for embed in (clip.tower, lambda x: clip.tower(averaged(x))):
        victim = Victim(embed=embed, scale=clip.scale, sha="averaged")
        per_set = []
        for name in miniature.ZERO_SHOT:
            images = open_data(DataRef(name=name), "report", clip.tower.image_size, 32)
            text = encode_classes(clip.encode_text, images.classes, images.templates)
            records = predict(victim, images, text, (attack,), (threat,), batch_size=32, device="cpu")
            per_set.append(fmean(record.correct for record in records if record.condition == attack.name))
        standing.append(100 * fmean(per_set))
    assert standing[1] - standing[0] <= 10


@pytest.mark.parametrize("name", miniature.NAMES)
def test_the_header_says_the_accuracies_that_the_weights_have(name: str, run: Run) -> None:
    result = run(untouched("report", 128).with_({"model.name": name}))
    file = Path(miniature.__file__).parent / "assets" / WEIGHTS[name]
    with safe_open(file, framework="pt") as f:
        expected = json.loads(f.metadata()["expected"])
    for task in ("source", *miniature.ZERO_SHOT):
        # 128 of the header's 256 images: four standard errors of a share near 0.9 or 0.45.
        assert scores(result, task)[0] / 100 == pytest.approx(expected[f"clean/{task}"], abs=0.13), task


@pytest.mark.parametrize("method", ATTACKED, ids=lambda method: method.title)
def test_every_method_buys_robustness_with_clean_accuracy(run: Run, method: AnyMethod) -> None:
    clean, robust = scores(run(presets.miniature(method)))
    clean_0, robust_0 = scores(run(untouched()))
    assert robust >= 1.5 * robust_0
    assert clean <= clean_0 - 1


def test_an_epoch_of_fare_keeps_a_fifth_of_the_images_and_four_epochs_more(run: Run) -> None:
    """The frontier of docs/data.md: about 12 and 45 seconds of one core."""
    clean_0, _ = scores(run(untouched("report")))
    on_report = {"eval_suite.split": "report", "optim.lr": 1e-3, "method.clean_weight": 0.1}
    clean, robust = scores(run(presets.miniature(Fare()).with_(on_report)))
    assert robust >= 18
    assert clean >= clean_0 - 14
    clean, robust = scores(run(presets.miniature_long(Fare()).with_(on_report)))
    assert robust >= 26
    assert clean >= clean_0 - 12


def test_the_surface_over_alpha_and_beta_spans_five_standard_errors(run: Run) -> None:
    base = presets.miniature(TgaZsr())
    ends = [scores(run(base.with_({"method.alpha": 0.01, "method.beta": beta}))) for beta in (0.003, 0.3)]
    images = 64 * len(miniature.ZERO_SHOT)
    for i, name in enumerate(("clean", "robust")):
        share = fmean(end[i] for end in ends) / 100
        assert abs(ends[0][i] - ends[1][i]) >= 5 * 100 * sqrt(share * (1 - share) / images), name


def test_methods_differ_by_five_times_what_seeds_do(run: Run) -> None:
    def harmonic(method: AnyMethod, seed: int = 0) -> float:
        return harmonic_mean(scores(run(presets.miniature(method).with_({"seed": seed}))))

    spread = [harmonic(method) for method in (FtAdv(), TeCoA(), PmgAft(), Trades())]
    seeds = [harmonic(TeCoA(), seed) for seed in range(3)]
    assert max(spread) - min(spread) >= 5 * stdev(seeds)


def test_masks_hold_part_of_every_image() -> None:
    for task in ("source", *miniature.ZERO_SHOT):
        rendered = miniature.render(task, "report", 64, miniature.IMAGE_SIZE_OF[miniature.FINE])
        inside = rendered.masks.flatten(1)
        assert (inside.any(dim=1) & ~inside.all(dim=1)).all(), task
