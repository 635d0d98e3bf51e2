"""What `docs/adding_a_method.md` tells a reader to write works as it stands there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.methods import TeCoA
from zsr_core.model.tower import Tally
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, fit, make_step
from zsr_core.training.optim import Optim

PAGE = Path(__file__).parents[2] / "docs" / "adding_a_method.md"


@pytest.fixture
def anchor(monkeypatch: pytest.MonkeyPatch) -> Any:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    module = types.ModuleType("anchor")
    monkeypatch.setitem(sys.modules, "anchor", module)
    exec(compile(code, str(PAGE), "exec"), module.__dict__)
    return module.__dict__["Anchor"]


def _recipe() -> Recipe:
    return Recipe(
        optim=Optim(lr=1e-2, warmup_steps=0), threat=ThreatModel(eps=4 / 255), attack=Pgd(steps=2, keep="last"),
        epochs=2, batch_size=4, precision="fp32", seed=0,
    )  # fmt: skip


def test_the_method_on_the_page_trains(anchor: Any, tiny: Any) -> None:
    fitted = fit(tiny.clip(), anchor(), tiny.bank(), tiny.images(12), _recipe())
    assert fitted.history[-1]["loss"] < fitted.history[0]["loss"]
    assert set(fitted.history[0]) >= {"ce", "anchor"}


def test_its_passes_are_those_it_makes(anchor: Any, tiny: Any) -> None:
    clip = tiny.clip()
    step = make_step(clip, anchor(), tiny.bank(), _recipe(), total=1)
    step.tower.tally.reset()
    step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0)
    assert step.tower.tally == Tally(forward=3, input_backward=2, full_backward=1, images=12)
    assert clip.tower.tally.forward == anchor().passes.teacher_clean


def test_at_weight_zero_it_is_tecoa_and_below_it_is_refused(anchor: Any, tiny: Any) -> None:
    views = tiny.views(tiny.tower(seed=1), tiny.tower())
    terms = anchor(weight=0.0).loss(views)
    assert torch.equal(terms["ce"], TeCoA().loss(views)["ce"])
    assert torch.equal(terms["anchor"], torch.zeros(4))
    with pytest.raises(ConfigError, match="weight"):
        anchor(weight=-1.0)


def test_the_code_is_one_short_file(anchor: Any) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    statements = [line for line in code.splitlines() if line.strip()]
    assert len(statements) <= 25
    assert f"--method {anchor.__name__}" in PAGE.read_text(encoding="utf-8")
