"""Out of memory in training: the batch is encoded in two pieces, once, with the numbers of one piece."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
import torch
from by_path import tiny_models

from zsr_core.attacks import Pgd
from zsr_core.data import DataRef
from zsr_core.methods import METHODS, Method, TgaZsr
from zsr_core.model.layout import Features
from zsr_core.model.load import Clip
from zsr_core.model.tower import ImageTower
from zsr_core.text import TextBank, encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Fitted, Recipe, fit
from zsr_core.training.memory import OutOfMemory
from zsr_core.training.optim import Optim
from zsr_core.training.perturbation import Perturbation
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial

shared = tiny_models()
Tiny = shared.Tiny
RECIPE = Recipe(
    optim=Optim(lr=1e-3, warmup_steps=0), threat=ThreatModel(eps=4 / 255), attack=Pgd(steps=2, keep="last"), epochs=1,
    batch_size=6, precision="fp32", seed=0,
)  # fmt: skip


@pytest.fixture
def small_device(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let the image tower run out of memory above so many images where it keeps values for a backward."""

    def hold(most: int) -> None:
        encode = ImageTower.features

        def features(tower: ImageTower, x: torch.Tensor) -> Features:
            if torch.is_grad_enabled() and len(x) > most:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate for {len(x)} images.\nGPU 0 ...")
            return encode(tower, x)

        monkeypatch.setattr(ImageTower, "features", features)

    return hold


def trained(method: Method, recipe: Recipe = RECIPE) -> Fitted:
    clip: Clip = Tiny.clip("vit")
    text: TextBank = encode_classes(clip.encode_text, shared.CLASSES, ("a photo of a {}",))
    return fit(clip, method, text, Tiny.images(10), recipe)


@pytest.mark.parametrize(
    ("kind", "precision"),
    [*(pytest.param(kind, "fp32", id=kind.title) for kind in METHODS), pytest.param(TgaZsr, "bf16", id="bf16")],
)
def test_two_pieces_train_the_weights_that_one_trains(
    kind: type[Method], precision: Literal["fp32", "bf16"], small_device: Callable[[int], None]
) -> None:
    recipe = dataclasses.replace(RECIPE, precision=precision)
    whole = trained(kind(), recipe)
    small_device(3)
    pieces = trained(kind(), recipe)
    assert pieces.cost["micro_batch"] == 3
    assert "micro_batch" not in whole.cost
    rows = [{name: v for name, v in f.history[0].items() if name != "seconds"} for f in (whole, pieces)]
    near = 1e-4 if precision == "fp32" else 2e-2
    assert rows[1] == pytest.approx(rows[0], rel=near, abs=near)
    for one, other in zip(whole.tower.parameters(), pieces.tower.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=near, atol=near / 100)


def test_memory_that_runs_out_in_pieces_too_says_what_to_set(small_device: Callable[[int], None]) -> None:
    small_device(2)
    words = r"step 1 of 2: out of memory with 6 images encoded in 2 pieces; set a smaller batch_size.*for 3 images"
    with pytest.raises(OutOfMemory, match=words):
        trained(TgaZsr())


@pytest.mark.parametrize(
    ("method", "perturbation", "why"),
    [
        (TgaZsr(attention="visual"), None, r"reads inner layers of the tower \(method\.attention\)"),
        (
            TgaZsr(),
            Perturbation(site="token", steps=1, radius=0.1),
            r"whole, because its tokens or embeddings",
        ),
    ],
)
def test_a_batch_that_cannot_be_encoded_in_pieces_says_why(
    method: Method, perturbation: Perturbation | None, why: str, small_device: Callable[[int], None]
) -> None:
    small_device(3)
    with pytest.raises(OutOfMemory, match=why):
        trained(method, dataclasses.replace(RECIPE, perturbation=perturbation))


@pytest.mark.slow
def test_a_trial_records_its_pieces_and_one_that_does_not_fit_fails_with_advice(
    tmp_path: Path, small_device: Callable[[int], None]
) -> None:
    changes = {"epochs": 1, "batch_size": 8, "train_data": DataRef(limit=16), "eval_suite.n": 4,
               "eval_suite.tasks": (DataRef(limit=4),), "eval_suite.attacks": (Pgd(steps=1),)}  # fmt: skip
    config = base(TgaZsr(), "miniature").with_(changes)
    small_device(4)
    done = run_trial(config, tmp_path / "done", RunContext(device="cpu"))
    assert (done.status, done.cost.get("micro_batch")) == ("done", 4.0), done.error
    small_device(3)
    failed = run_trial(config, tmp_path / "failed", RunContext(device="cpu"))
    assert failed.status == "failed"
    assert "encoded in 2 pieces; set a smaller batch_size" in failed.error
