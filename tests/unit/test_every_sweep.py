"""Every sweep script plans, says what it asks, and stays short; every search space names fields that exist."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

import pytest

import search_spaces
import sweeps
from search_spaces import Axis
from sweeps.engine import Sweep
from sweeps.engine.study.plan import new_study
from zsr_core.codec import with_overrides
from zsr_core.defences import Ttc, WiseFt
from zsr_core.methods import METHODS
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.presets import base

FOLDER = Path(sweeps.__path__[0])
SCRIPTS = {
    path.stem: path
    for folder in ("", "reproductions/", "replays/")
    for path in sorted(FOLDER.glob(f"{folder}[!_]*.py"))
}
SPACES = sorted(
    path.stem for path in Path(search_spaces.__path__[0]).glob("*.py") if path.stem not in ("__init__", "branches")
)
BY_FILE = {method.__module__.rpartition(".")[2]: method for method in METHODS}
DEFENCES = {"ttc": Ttc, "wise_ft": WiseFt}


def _module(name: str) -> ModuleType:
    return importlib.import_module(name)


def _sweep(script: str) -> ModuleType:
    parts = SCRIPTS[script].relative_to(FOLDER).with_suffix("").parts
    return _module(".".join(("sweeps", *parts)))


@pytest.fixture(params=list(SCRIPTS))
def script(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize("preset", ["miniature", "paper"])
def test_it_plans_distinct_trials_for_each_preset(script: str, preset: str) -> None:
    sweep: Sweep = _sweep(script).SWEEP
    study = new_study(sweep, preset=preset, search=None, seeds=sweep.seeds, objectives=sweep.objectives)
    cells = [trial for trial in study.plan if trial.role == "cell"]
    assert len(cells) >= 3 * len(sweep.seeds)
    assert all(study.config(trial).trial_id == trial.trial_id for trial in study.plan)
    assert len({trial.trial_id for trial in study.plan}) == len(study.plan)


@pytest.mark.parametrize("preset", ["miniature", "paper"])
def test_its_rows_are_compared_at_one_budget(script: str, preset: str) -> None:
    sweep: Sweep = _sweep(script).SWEEP
    study = new_study(sweep, preset=preset, search=None, seeds=sweep.seeds, objectives=sweep.objectives)
    assert all(study.score_eps in study.config(trial).eval_suite.eps for trial in study.plan)


def test_its_name_is_its_files_and_its_first_line_is_a_question(script: str) -> None:
    module = _sweep(script)
    assert module.SWEEP.name == script
    assert module.SWEEP.question.endswith("?")
    first, _, rest = str(module.__doc__).partition("\n")
    assert first.endswith("?")
    assert any(word in rest for word in ("Published", "published", "paper"))


def test_it_holds_no_loop_no_flag_and_at_most_forty_lines(script: str) -> None:
    text = SCRIPTS[script].read_text(encoding="utf-8")
    assert 16 <= len(text.splitlines()) <= 40
    assert not any(line.startswith(("for ", "while ", "import argparse", "import ray")) for line in text.splitlines())


@pytest.mark.parametrize("name", SPACES)
def test_a_space_belongs_to_a_method_or_a_defence_and_its_axes_and_parts_change_that_method(name: str) -> None:
    config = TrialConfig(defence=DEFENCES[name]()) if name in DEFENCES else TrialConfig(method=BY_FILE[name]())
    space = _module(f"search_spaces.{name}")
    for axis in space.WEIGHTS:
        assert isinstance(axis, Axis)
        assert axis.source
        for value in (axis.domain.low, axis.domain.high):
            assert with_overrides(config, {axis.path: value}).trial_id
    for part, off in space.PARTS.items():
        assert with_overrides(config, off) != config, part


@pytest.mark.parametrize("name", SPACES)
def test_a_published_optimum_is_the_methods_own_default(name: str) -> None:
    owner = {**BY_FILE, **DEFENCES}[name]()
    for axis in _module(f"search_spaces.{name}").WEIGHTS:
        if axis.published is not None:
            assert getattr(owner, axis.path.rpartition(".")[2]) == axis.published


def test_every_published_method_with_a_weight_has_a_space() -> None:
    assert set(SPACES) >= {
        "agft", "arow", "caw", "comp_tga", "fare", "laat", "mart", "pmg_aft", "tga_zsr", "trades", "ucat",
        *DEFENCES,
    }  # fmt: skip


@pytest.mark.parametrize("preset", ["miniature", "paper", "flyp"])
@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_every_method_has_a_recipe_in_every_preset(kind: type, preset: str) -> None:
    config = base(kind(), preset)
    assert type(config.method) is kind
    assert config.eval_suite.split == "selection"


def test_a_weight_that_the_caller_sets_stays_whatever_the_recipe_says(monkeypatch: pytest.MonkeyPatch) -> None:
    presets = _module("zsr_core.trial.presets")
    agft = BY_FILE["agft"]
    monkeypatch.setattr(presets, "MINIATURE", {agft: {"method.scale": 60.0, "optim.lr": 0.5}})
    assert base(agft(), "miniature").method.scale == 60.0
    assert base(agft(scale=90.0), "miniature").method.scale == 90.0
    assert base(agft(scale=90.0), "miniature").optim.lr == 0.5
