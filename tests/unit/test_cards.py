"""Plans for graphics cards: what a trial takes on one by the table's rates, and how many cards share the work."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from sweeps import tga_alpha_beta
from sweeps.engine import launch
from zsr_core.cli.options import parser
from zsr_core.cli.train import train_model
from zsr_core.codec import ConfigError
from zsr_core.duration import duration
from zsr_core.methods import TgaZsr
from zsr_core.names import CARDS
from zsr_core.trial.cards import TABLE, read_cards
from zsr_core.trial.cost import estimate
from zsr_core.trial.presets import base

PAPER = base(TgaZsr(), "paper")


def test_a_fp32_step_on_an_h100_takes_its_products_and_its_memory_traffic() -> None:
    # 10.96 TFLOP at 50 TFLOP/s are 219 ms, and 144 GB at 3 TB/s 48 ms.
    assert TABLE["h100"].seconds({"fp32": 10.96e3}, batches=10) == pytest.approx(0.267, rel=0.01)


def test_a_small_model_takes_as_long_as_its_kernels_take_to_start() -> None:
    assert TABLE["h200"].seconds({"fp32": 1.0}, batches=10) == pytest.approx(10 * 270 * 5e-6)


@pytest.mark.parametrize("name", CARDS)
def test_every_card_says_what_stands_behind_its_rates(name: str) -> None:
    card = TABLE[name]
    assert set(card.tflops) == {"fp32", "tf32", "bf16"}
    assert card.source
    assert card.label == "counted, not measured"


def test_cards_are_named_alone_or_with_their_number() -> None:
    assert read_cards("--on", "h100").count == 1
    assert read_cards("--on", "8xA100").text == "8 x A100 (counted, not measured)"


@pytest.mark.parametrize(
    ("text", "words"),
    [("h10", "--on: unknown value 'h10'.*h100"), ("0xh100", "--on: got '0xh100', expected 1 to 4096 cards")],
)
def test_a_card_that_is_not_known_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_cards("--on", text)


def test_work_is_counted_in_the_precision_that_does_it() -> None:
    plain = estimate(PAPER)
    fast = estimate(
        PAPER.with_({"precision": "bf16", "attack_precision": "tf32", "eval_suite.attack_precision": "tf32"})
    )
    assert sum(fast.forwards_in.values()) == sum(plain.forwards_in.values()) == pytest.approx(plain.forwards)
    assert plain.forwards_in.keys() == {"fp32"}
    judged = 16 * 1000 * 2  # each image once without attack and once under it; the other passes are the attack's
    assert fast.forwards_in["fp32"] == pytest.approx(judged, rel=0.1)
    assert fast.seconds_on(TABLE["h100"]) < plain.seconds_on(TABLE["h100"]) / 2


def test_a_cards_name_needs_a_plan(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert train_model(parser().parse_args(["train", "--on", "h100", "--out", str(tmp_path)])) == 2
    assert "--on: got 'h100', expected --plan with it" in capsys.readouterr().err
    assert launch(tga_alpha_beta.SWEEP, ["--on", "h100", "--results", str(tmp_path)]) == 2
    assert "--on: got 'h100', expected --plan with it" in capsys.readouterr().err


def test_training_is_planned_and_not_started(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    options: argparse.Namespace = parser().parse_args(["train", "--plan", "--on", "2xh100", "--out", str(tmp_path)])
    assert train_model(options) == 0
    assert "on 2 x H100 (counted, not measured)." in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def planned(capsys: pytest.CaptureFixture[str], folder: Path, *flags: str) -> tuple[str, str, float]:
    """Return the plan's time, the number of trials at a time, and the GPU hours."""
    assert launch(tga_alpha_beta.SWEEP, ["--plan", "--preset", "paper", "--results", str(folder), *flags]) == 0
    out = capsys.readouterr().out
    (took,) = re.findall(r"of work: (.+) with (\d+) at a time", out)
    (hours,) = re.findall(r"about ([\d.]+) GPU hours", out)
    return took[0], took[1], float(hours)


def test_a_sweep_is_planned_over_cards_and_not_over_cores(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no data here
    eight, shared = (
        planned(capsys, tmp_path, *flags)
        for flags in (("--on", "8xh100"), ("--on", "8xh100", "--gpus-per-trial", "0.25"))
    )
    assert (eight[1], shared[1]) == ("8", "32")
    assert eight[0] == shared[0] == duration(eight[2] * 3600 / 8), "a quarter of a card takes four times as long"
    assert eight[2] == shared[2]
