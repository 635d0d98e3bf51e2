"""The loops queue work for the device and do not wait for it: host waits per epoch and per attack iteration."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from pretended_cases import Tiny, bank_of, clip_on, recipe, unbroken
from pretended_cuda import PretendedCuda

from zsr_core.attacks import Apgd, Attack, Fab, Pgd, Square
from zsr_core.events import EpochEnded
from zsr_core.methods import TgaZsr
from zsr_core.threat import Norm, ThreatModel
from zsr_core.training.fit import fit

TINY_BUDGET = 1e-7


def test_an_epoch_with_cached_features_waits_once_a_step(tmp_path: Path) -> None:
    seen: list[Counter[tuple[str, str]]] = []
    with PretendedCuda() as cuda:
        clip = clip_on("cuda")

        def note(event: object) -> None:
            if isinstance(event, EpochEnded):
                seen.append(cuda.waits)
                cuda.reset()

        plan = recipe(epochs=2)
        fit(clip, TgaZsr(), bank_of(clip), Tiny.images(10), plan, cache_folder=tmp_path, on_event=note, device="cuda")
    assert sum(seen[1].values()) == 3, seen[1]  # 10 images in batches of 4


def waits_of(attack: Attack, norm: Norm) -> tuple[int, Counter[tuple[str, str]]]:
    """Return how often the host waits for an attack under which no image falls, and where."""
    with PretendedCuda() as cuda:
        target, x, draws = unbroken("cuda")
        attack.run(target, x, ThreatModel(norm=norm, eps=TINY_BUDGET), draws)  # places the constants
        cuda.reset()
        attack.run(target, x, ThreatModel(norm=norm, eps=TINY_BUDGET), draws)
    return cuda.waited, cuda.waits


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_an_iteration_of_pgd_waits_for_nothing(norm: Norm) -> None:
    few, many = (waits_of(Pgd(steps=steps), norm) for steps in (2, 8))
    assert many[0] == few[0], (few, many)
    assert waits_of(Pgd(steps=22, momentum=0.5), norm)[0] == few[0] + 2  # after 10 and 20 iterations


def test_an_iteration_of_the_training_attack_waits_for_nothing() -> None:
    few, many = (waits_of(Pgd(steps=steps, keep="last"), "linf") for steps in (2, 12))
    assert many[0] == few[0], (few, many)


BY_STEPS = {
    "apgd": lambda steps: Apgd(steps=steps),
    "apgd-t": lambda steps: Apgd(steps=steps, loss="dlr-targeted", targets=1),
    "fab-t": lambda steps: Fab(steps=steps, targets=1),
}  # fmt: skip


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("of", BY_STEPS.values(), ids=BY_STEPS.keys())
def test_ten_iterations_of_apgd_and_fab_wait_once(of: object, norm: Norm) -> None:
    few, many = (waits_of(of(steps), norm) for steps in (5, 15))  # type: ignore[operator]
    assert many[0] - few[0] == 1, (few, many)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_ten_rounds_of_square_wait_once(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsr_core.attacks.square._ahead", lambda target, of, rate: 1)  # a round is one change
    few, many = (waits_of(Square(queries=queries), norm) for queries in (5, 25))
    assert many[0] - few[0] <= 2, (few, many)
