"""The benchmark of evaluations on tiny sizes: every side runs, on the same job; no ratio is asserted."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
OPTIONS = {
    "epochs": 0, "images": 6, "batch": 4, "classes": 120, "steps": 3, "aa-steps": 2, "targets": 2, "queries": 3,
    "eps": 0.004, "threads": 1, "device": "cpu", "clock": "cpu",
}  # fmt: skip
TINY = [word for name, value in OPTIONS.items() for word in (f"--{name}", str(value))]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    module = importlib.import_module("attack_evaluation")
    monkeypatch.setattr(module, "peak_memory", lambda question, side, args: 10**9)  # each a process of its own
    return module


def test_every_side_attacks_the_same_images_and_the_table_tells_all(benchmark: ModuleType) -> None:
    found = benchmark.run(benchmark.parse(TINY))
    text = benchmark.table(found)
    for question in ("pgd", "aa"):
        assert found[question]["seconds"].keys() == benchmark.TITLES[question].keys()
        assert all(f"| {title} |" in text for title in benchmark.TITLES[question].values())
        robust = found[question]["robust"]
        assert robust["zsr"] <= robust["plain"] + 100 / 6  # one image: each side draws noise of its own
        assert found["clean"] >= robust["zsr"]
    assert "120 classes" in text
    assert "miniature numbers" in text
    assert "apgd-ce-steps2" in text
    assert "square3" in text
    json.dumps(found)


def test_the_plain_loop_can_be_timed_on_some_of_its_steps(benchmark: ModuleType) -> None:
    args = benchmark.parse([*TINY, "--questions", "pgd", "--plain-steps", "1"])
    text = benchmark.table(benchmark.run(args))
    assert "timed on 1 of its 3 equal steps" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("--images 0", "--images: got 0, expected at least 1"),
        ("--classes 5", "--classes: got 5, expected 78 (the images' own)"),
        ("--model ViT-B-32 --classes 5", "--classes: got 5, expected 10 (the targets and the label)"),
        ("--clock cpu --threads 2", "--clock cpu"),
    ],
)
def test_options_that_cannot_be_are_refused(
    benchmark: ModuleType, words: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        benchmark.parse(words.split())
    assert says in capsys.readouterr().err
