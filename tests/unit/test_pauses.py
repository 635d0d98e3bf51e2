"""Pauses in training: they change no weight, and a run that ends at one goes on to the weights of an unbroken run."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TgaZsr
from zsr_core.model.load import weights_sha
from zsr_core.model.tower import ImageTower
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from zsr_core.training.fit import Fitted, Recipe, fit
from zsr_core.training.optim import Optim, build_optimiser
from zsr_core.training.pauses import Partial, Pauses, Place, TrainingStopped, check_shares

RECIPE = Recipe(
    optim=Optim(name="adamw", lr=0.01, warmup_steps=2), threat=ThreatModel(eps=4 / 255),
    attack=Pgd(steps=1, step_ratio=0.5, keep="last"), epochs=2, batch_size=4, precision="fp32", seed=0,
)  # fmt: skip


def trained(tiny: Any, pauses: Pauses | None = None, checkpoint: Path | None = None) -> Fitted:
    clip, images = tiny.clip(), tiny.images(12)
    bank = encode_classes(clip.encode_text, images.classes, images.templates)
    return fit(clip, TgaZsr(), bank, images, RECIPE, pauses=pauses, checkpoint=checkpoint)


def numbers(fitted: Fitted) -> tuple[str, list[dict[str, float]], dict[str, float]]:
    history = [{name: value for name, value in row.items() if name != "seconds"} for row in fitted.history]
    return weights_sha(fitted.tower), history, fitted.cost


def test_a_pause_that_attacks_the_tower_changes_no_weight_no_history_and_no_count_of_passes(tiny: Any) -> None:
    seen: list[tuple[int, int]] = []

    def attack(place: Place, tower: ImageTower, texts: object) -> str:
        seen.append((place.number, place.step))
        tuned = copy.deepcopy(tower).requires_grad_(False)
        images = tiny.images(12)
        bank = encode_classes(tiny.clip().encode_text, images.classes, images.templates)
        victim = Victim(embed=tuned, scale=20.0, bias=0.0, sha="w")
        predict(victim, images, bank, [Pgd(steps=2)], [ThreatModel(eps=4 / 255)])
        return ""

    paused = trained(tiny, Pauses(shares=(0.2, 0.5, 0.75), at=attack))
    assert seen == [(1, 2), (2, 3), (3, 5)], "6 steps in two epochs: within the first, between both, within the second"
    assert numbers(paused) == numbers(trained(tiny))


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_run_that_ends_at_a_pause_goes_on_to_the_same_numbers(tiny: Any, tmp_path: Path, stop_at: int) -> None:
    file = tmp_path / "run.checkpoint"

    def stop(place: Place, tower: ImageTower, texts: object) -> str:
        return "worse" if place.number == stop_at else ""

    with pytest.raises(TrainingStopped, match="worse") as stopped:
        trained(tiny, Pauses(shares=(0.2, 0.5, 0.75), at=stop), file)
    assert len(stopped.value.history) == (0, 1, 1)[stop_at - 1]
    assert numbers(trained(tiny, checkpoint=file)) == numbers(trained(tiny))


def test_a_run_that_is_started_again_at_a_pause_asks_again(tiny: Any, tmp_path: Path) -> None:
    asked: list[int] = []

    def at(place: Place, tower: ImageTower, texts: object) -> str:
        asked.append(place.number)
        return "later" if len(asked) == 2 else ""

    pauses = Pauses(shares=(0.2, 0.5, 0.75), at=at)
    with pytest.raises(TrainingStopped):
        trained(tiny, pauses, tmp_path / "run.checkpoint")
    trained(tiny, pauses, tmp_path / "run.checkpoint")
    assert asked == [1, 2, 2, 3]


def test_short_runs_have_fewer_pauses_and_none_at_their_end() -> None:
    pauses = Pauses(shares=(1 / 9, 1 / 3, 0.99), at=lambda place, tower, texts: "")
    assert pauses.numbers(90) == {10: 1, 30: 2}
    assert pauses.numbers(3) == {1: 1}, "one step serves both shares, and a pause after the last step is none"
    assert pauses.numbers(1) == {}


@pytest.mark.parametrize("shares", [(0.0, 0.5), (0.5, 1.0), (0.5, 0.2), (0.3, 0.3)])
def test_shares_that_do_not_rise_within_the_run_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"stop\.shares: got"):
        check_shares(shares, "stop.shares")


def test_a_checkpoint_of_an_earlier_version_has_no_partial_epoch(tiny: Any, tmp_path: Path) -> None:
    tower = tiny.tower().requires_grad_(True)
    optimiser = build_optimiser(tower, RECIPE.optim)
    save_checkpoint(tmp_path / "c", tower, optimiser, Progress(history=[{"epoch": 1.0}], partial=Partial(taken=2)))
    assert load_checkpoint(tmp_path / "c", tower, optimiser).partial == Partial(taken=2)
    state = torch.load(tmp_path / "c", weights_only=True)
    del state["partial"]
    torch.save(state, tmp_path / "c")
    assert load_checkpoint(tmp_path / "c", tower, optimiser) == Progress(history=[{"epoch": 1.0}])
