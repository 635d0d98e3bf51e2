"""AutoAttack standard on the adversarially tuned miniature, beside the official code on the same model. Minutes."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import Any, Literal

import pytest
import torch
from pyautoattack import AutoAttack as Official
from torch import Tensor

from zsr_core.attacks import AutoAttack
from zsr_core.data import DataRef, batches, open_data
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.model.load import load_clip
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import fit
from zsr_core.trial import presets
from zsr_core.trial.config import recipe_of

pytestmark = pytest.mark.slow

IMAGES, PICKED = 64, 16


@pytest.fixture(scope="module")
def problem(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The miniature after TeCoA, and every fourth image of its source set."""
    torch.set_num_threads(1)
    config = presets.miniature(TeCoA())
    clip = load_clip(config.model, "cpu")
    size = clip.tower.image_size
    train = open_data(config.train_data, "train", size)
    bank = encode_classes(clip.encode_text, train.classes, train.templates)
    fitted = fit(clip, config.method, bank, train, recipe_of(config), cache_folder=tmp_path_factory.mktemp("teacher"))
    images = open_data(DataRef(), "report", size, IMAGES)
    text = encode_classes(clip.encode_text, images.classes, images.templates)
    return Victim(embed=fitted.tower.requires_grad_(False).eval(), scale=clip.scale, sha="tecoa"), images, text


@pytest.mark.parametrize(("norm", "eps"), [("linf", 3 / 255), ("l2", 0.6)])
def test_it_leaves_no_more_standing_than_the_official_code_and_agrees_with_it(
    norm: Literal["linf", "l2"], eps: float, problem: Any
) -> None:
    """Each draws its own noise, so one borderline image of 16 may go either way."""
    victim, images, text = problem
    rows = torch.arange(0, IMAGES, IMAGES // PICKED)
    x, y, _ = next(iter(batches(images, [rows], torch.device("cpu"))))
    part = dataclasses.replace(
        images, ids=tuple(images.ids[i] for i in rows.tolist()), labels=images.labels[rows],
        pixels=lambda picked: images.pixels([int(rows[i]) for i in picked]),
    )  # fmt: skip
    begun = time.process_time()
    records = predict(victim, part, text, (AutoAttack(),), (ThreatModel(norm=norm, eps=eps),))
    mine = time.process_time() - begun
    ours = torch.tensor([r.correct for r in records if r.condition == "aa-standard"])
    theirs, official = _official(victim, text, x, y, norm, eps)
    clean = sum(r.correct for r in records if r.condition == "none")
    print(f"\n{norm}: clean {clean}, ours {int(ours.sum())} in {mine:.0f} s, official {int(theirs.sum())} in "
          f"{official:.0f} s of {PICKED}, agree on {int((ours == theirs).sum())}")  # fmt: skip
    assert {r.ran for r in records if r.condition == "aa-standard"} == {"apgd-ce+apgd-t+fab-t+square"}
    assert 0 < ours.sum() < clean
    assert ours.sum() <= theirs.sum() + 1
    assert (ours != theirs).sum() <= 1


def _official(victim: Victim, text: Any, x: Tensor, y: Tensor, norm: str, eps: float) -> tuple[Tensor, float]:
    """Return which images stand, and the seconds; it seeds the global generator and drops the trace function."""
    trace = sys.gettrace()
    with torch.random.fork_rng(devices=[]):
        begun = time.process_time()
        attack = Official(
            lambda images: victim.logits(images, text), device="cpu", eps=eps, norm={"linf": "Linf", "l2": "L2"}[norm],
            seed=0, version="standard",
        )  # fmt: skip
        x_adv, _ = attack.run_standard_evaluation(x, y, batch_size=len(x))
        seconds = time.process_time() - begun
    sys.settrace(trace)
    with torch.no_grad():
        return victim.logits(x_adv, text).argmax(dim=1) == y, seconds
