"""What a GPU multiplies in is decided by the configuration, set in every process, and recorded with each result."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.cli.evaluate import config_of
from zsr_core.cli.options import parser
from zsr_core.codec import ConfigError, from_plain, to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA, TgaZsr
from zsr_core.model import precision
from zsr_core.model.layout import Features
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, make_step
from zsr_core.training.optim import Optim
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.presets import base
from zsr_core.trial.run import run_trial


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    precision.decide()


def tf32() -> bool:
    flags = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    assert flags[0] == flags[1]
    return flags[0]


def test_fp32_means_fp32_in_convolutions_too() -> None:
    torch.backends.cudnn.allow_tf32 = True  # torch's own default
    precision.decide()
    assert not tf32()
    assert precision.facts() == {"tf32": "off", "deterministic": "false"}


def test_products_are_in_tf32_within_and_in_fp32_after_an_error() -> None:
    precision.decide()
    said: list[str] = []

    def fail() -> None:
        with precision.products_in("tf32"):
            said.append(precision.facts()["tf32"])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert said == ["matmul, convolution"]
    assert not tf32()
    for unchanged in ("fp32", "bf16"):
        with precision.products_in(unchanged):
            assert not tf32()


def test_a_deterministic_run_lets_torch_take_repeatable_kernels_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(precision.WORKSPACE, raising=False)
    precision.decide(deterministic=True)
    assert torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    assert precision.os.environ[precision.WORKSPACE] == ":4096:8"
    precision.decide()
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.backends.cuda.mem_efficient_sdp_enabled()


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_result_says_how_it_was_computed(deterministic: bool, tmp_path: Path) -> None:
    suite = {"eval_suite.tasks": (DataRef(limit=4),), "eval_suite.attacks": (Pgd(steps=1),)}
    config = base(TgaZsr(), "miniature").with_({"epochs": 0, **suite})
    result = run_trial(config, tmp_path, RunContext(device="cpu", deterministic=deterministic))
    assert result.status == "done", result.error
    assert result.provenance["tf32"] == "off"
    assert result.provenance["deterministic"] == str(deterministic).lower()


def test_fp32_attacks_have_the_ids_that_they_had_before_there_was_a_choice() -> None:
    plain = TrialConfig()
    assert "attack_precision" not in to_plain(plain)
    assert "attack_precision" not in to_plain(plain)["eval_suite"]
    assert from_plain(TrialConfig, to_plain(plain)) == plain
    for path in ("attack_precision", "eval_suite.attack_precision"):
        other = plain.with_({path: "tf32"})
        assert other.trial_id != plain.trial_id
        assert from_plain(TrialConfig, to_plain(other)) == other
        assert other.with_({path: "fp32"}).trial_id == plain.trial_id


def test_the_training_attacks_precision_names_other_weights_and_the_evaluations_does_not() -> None:
    plain = TrialConfig()
    assert plain.with_({"attack_precision": "bf16"}).training_id != plain.training_id
    assert plain.with_({"eval_suite.attack_precision": "tf32"}).training_id == plain.training_id


@pytest.mark.parametrize("path", ["attack_precision", "eval_suite.attack_precision"])
def test_an_unknown_precision_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r"attack_precision: unknown value 'fp8'"):
        TrialConfig().with_({path: "fp8"})


def test_the_command_evaluate_takes_it() -> None:
    options = parser().parse_args(["evaluate", "--attack-precision", "tf32", "--deterministic"])
    assert config_of(options).eval_suite.attack_precision == "tf32"
    assert options.deterministic


def test_an_evaluations_attack_runs_in_tf32_and_is_judged_in_fp32(tiny: Any) -> None:
    clip, seen = tiny.clip(), []

    def embed(x: Tensor) -> Tensor:
        seen.append((torch.is_grad_enabled(), tf32()))
        raw: Tensor = clip.tower(x)
        return raw

    victim = Victim(embed=embed, scale=clip.scale, sha="a")
    images = tiny.images(4)
    with torch.no_grad():
        labels = victim.logits(images.pixels(range(4)).float() / 255, tiny.bank()).argmax(dim=1)
    seen.clear()
    images, attacks, threats = dataclasses.replace(images, labels=labels), [Pgd(steps=2)], [ThreatModel(eps=1e-6)]
    predict(victim, images, tiny.bank(), attacks, threats, attack_precision="tf32")
    assert seen[0] == seen[-1] == (False, False)  # clean images, and what the attack gave
    assert [flag for grad, flag in seen if grad] == [True, True]


def test_batches_of_another_precision_are_not_taken_from_the_journal(tiny: Any, tmp_path: Path) -> None:
    clip, images = tiny.clip(), tiny.images(4)
    victim = Victim(embed=clip.tower, scale=clip.scale, sha="a")
    asked: list[Any] = []
    for kind in ("fp32", "tf32", "tf32"):
        recalled: list[Any] = []
        predict(
            victim, images, tiny.bank(), [Pgd(steps=1)], [ThreatModel()], attack_precision=kind,
            journal=Journal(folder=tmp_path, worth=0.0), on_event=recalled.append,
        )  # fmt: skip
        asked.append([event.recalled for event in recalled if event.condition != "none"])
    assert asked == [[False], [False], [True]]


@pytest.mark.parametrize(("kind", "expected"), [("fp32", set()), ("bf16", {torch.bfloat16})])
def test_the_training_attack_alone_runs_the_student_in_bf16(tiny: Any, kind: Any, expected: set[Any]) -> None:
    recipe = Recipe(
        optim=Optim(lr=1e-3, warmup_steps=0), threat=ThreatModel(), attack=Pgd(steps=2, keep="last"), epochs=1,
        batch_size=4, precision="fp32", seed=0, attack_precision=kind,
    )  # fmt: skip
    step = make_step(tiny.clip(), TeCoA(), tiny.bank(), recipe, total=1)
    real, under, plain = step.tower.features, set(), []

    def features(x: Tensor) -> Features:
        if torch.is_autocast_enabled("cpu"):
            under.add(torch.get_autocast_dtype("cpu"))
        else:
            plain.append(x.requires_grad)
        return real(x)

    step.tower.features = features  # type: ignore[method-assign]
    step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0)
    assert under == expected
    assert plain[-1] is False  # the loss is in fp32
