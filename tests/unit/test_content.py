"""A result is bound to the contents it was measured on, not to the paths of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from captioned import captioned_folder
from PIL import Image

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.data.captions import CaptionRef
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.content import changed_since, content_facts
from zsr_core.trial.context import RunContext
from zsr_core.trial.result import read_result
from zsr_core.trial.run import run_trial

CPU = RunContext(device="cpu")


def images(folder: Path, shade: int) -> None:
    for name in ("cat", "dog"):
        for i in range(4):
            file = folder / name / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (48, 48), (20 * i, shade, 100)).save(file)


@pytest.fixture
def config(tmp_path: Path) -> TrialConfig:
    images(tmp_path / "pets", 50)
    task = DataRef(source="imagefolder", name="pets", root=str(tmp_path / "pets"))
    suite = EvalSuite(tasks=(task,), n=4, attacks=(Pgd(steps=1),), eps=(1 / 255,))
    return TrialConfig(method=TgaZsr(), train_attack=Pgd(steps=1), epochs=0, eval_suite=suite)


def test_unchanged_images_are_the_same_content_and_other_pixels_are_not(config: TrialConfig, tmp_path: Path) -> None:
    before = content_facts(config)
    assert before.keys() == {"content_pets"}
    assert content_facts(config) == before
    images(tmp_path / "pets", 200)
    assert content_facts(config) != before


def test_a_finished_trial_is_not_given_for_other_images(config: TrialConfig, tmp_path: Path) -> None:
    result = run_trial(config, tmp_path / "trial", CPU)
    assert result.status == "done", result.error
    assert changed_since(result) == ()
    assert run_trial(config, tmp_path / "trial", CPU) == result, "the same images: nothing is measured again"
    images(tmp_path / "pets", 200)
    assert changed_since(result) == ("pets",)
    with pytest.raises(ConfigError, match="other contents of pets"):
        run_trial(config, tmp_path / "trial", CPU)
    assert read_result(tmp_path / "trial") == result, "the old numbers stay"


def test_captions_are_a_content_too(config: TrialConfig, tmp_path: Path) -> None:
    folder = captioned_folder(tmp_path / "captioned")
    asked = RetrievalSuite(sets=(CaptionRef(source="folder", name="told", root=str(folder)), CaptionRef()))
    both = config.with_({"eval_suite.retrieval": asked, "eval_suite.split": "all"})
    before = content_facts(both)
    assert before.keys() == {"content_pets", "content_told"}
    captions = folder / "captions.tsv"
    captions.write_text(captions.read_text(encoding="utf-8").replace("photo", "picture"), encoding="utf-8")
    after = content_facts(both)
    assert after["content_told"] != before["content_told"]
    assert after["content_pets"] == before["content_pets"]


def test_a_folder_of_corrupted_images_is_a_content_where_corruptions_are_read(
    config: TrialConfig, tmp_path: Path
) -> None:
    images(tmp_path / "made" / "fog" / "1", 90)
    task = replace(config.eval_suite.tasks[0], corrupted=str(tmp_path / "made"))
    read = config.with_({"eval_suite.tasks": (task,), "eval_suite.corruptions": ("fog:1",)})
    before = content_facts(read)
    assert before.keys() == {"content_pets", "content_pets_corrupted"}
    for file in (tmp_path / "made").rglob("*.png"):
        Image.effect_noise((48, 48), 50).convert("RGB").save(file)
    after = content_facts(read)
    assert after["content_pets_corrupted"] != before["content_pets_corrupted"]
    assert after["content_pets"] == before["content_pets"]
    assert content_facts(config.with_({"eval_suite.tasks": (task,)})).keys() == {"content_pets"}


def test_a_result_of_a_version_without_digests_is_taken_as_it_is(config: TrialConfig, tmp_path: Path) -> None:
    result = run_trial(config, tmp_path / "trial", CPU)
    older = {name: fact for name, fact in result.provenance.items() if not name.startswith("content_")}
    images(tmp_path / "pets", 200)
    assert changed_since(replace(result, provenance=older)) == ()
