"""The flag --deterministic reaches every process that computes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from sweeps import tga_alpha_beta
from sweeps.engine import launch
from sweeps.engine.running import jobs, on_ray, shards
from zsr_core.attacks import Pgd
from zsr_core.codec import to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.model.precision import decide
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base

SMALL: TrialConfig = base(TgaZsr(), "miniature").with_(
    {"epochs": 0, "eval_suite": EvalSuite(tasks=(DataRef(limit=2),), attacks=(Pgd(steps=1),), eps=(1 / 255,))}
)


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    decide()


@pytest.fixture
def contexts(monkeypatch: pytest.MonkeyPatch) -> list[RunContext]:
    """The contexts of trials, which end before they begin."""
    seen: list[RunContext] = []

    def note(config: TrialConfig, folder: Path, processes: int, context: RunContext) -> None:
        seen.append(context)
        raise RuntimeError("noted")

    monkeypatch.setattr(jobs, "run_trial_together", note)
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("asked", [True, False])
def test_a_sweep_in_this_process_gives_it_to_its_trials(
    asked: bool, contexts: list[RunContext], tmp_path: Path
) -> None:
    flags = ["--local", "--limit", "1", "--tracking", "none", "--results", str(tmp_path)]
    launch(tga_alpha_beta.SWEEP, [*flags, *(["--deterministic"] if asked else [])])
    assert [context.deterministic for context in contexts] == [asked]


@pytest.mark.parametrize("asked", [True, False])
def test_a_worker_of_ray_gives_it_to_its_trials(
    asked: bool, contexts: list[RunContext], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.tune.report", lambda metrics: None)
    packed: dict[str, Any] = {"key": "a", "configs": [to_plain(SMALL)], "score_eps": 1 / 255, "metrics": []}
    on_ray._work(
        {"job": json.dumps(packed)}, folder=str(tmp_path), threads=1, gpu=False, processes=1, launch="", rungs=None,
        deterministic=asked,
    )  # fmt: skip
    assert [context.deterministic for context in contexts] == [asked]


@pytest.mark.parametrize("asked", [True, False])
def test_a_worker_that_evaluates_a_shard_computes_so(asked: bool, tmp_path: Path) -> None:
    assert shards._shard(to_plain(SMALL), str(tmp_path), 0, 1, 1, asked).num_rows == 4  # two images, clean and attacked
    assert torch.are_deterministic_algorithms_enabled() is asked
