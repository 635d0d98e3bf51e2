"""The recipes: what the miniature and the papers fix."""

from __future__ import annotations

import pytest

from zsr_core.codec import ConfigError
from zsr_core.data.miniature import ZERO_SHOT
from zsr_core.methods import METHODS, TgaZsr
from zsr_core.presets import PRESETS, base, miniature, paper
from zsr_core.trial import check


def test_the_miniatures_recipe_can_start_anywhere_and_selects_on_the_selection_split() -> None:
    for kind in METHODS:
        check(miniature(kind()))
    suite = miniature(TgaZsr()).eval_suite
    assert suite.split == "selection"
    assert [task.called for task in suite.tasks] == ["source", *ZERO_SHOT]


def test_the_papers_recipe_is_the_one_that_made_the_published_numbers() -> None:
    config = paper(TgaZsr())
    assert (config.model.name, config.model.pretrained) == ("ViT-B-32-quickgelu", "openai")
    optim = config.optim
    assert (optim.name, optim.lr, optim.momentum, optim.weight_decay) == ("sgd", 1e-4, 0.9, 0.0)
    assert (optim.warmup_steps, optim.schedule) == (1000, "cosine")
    attack = config.train_attack
    assert (attack.steps, attack.step_size, attack.keep, config.threat.eps) == (2, 1 / 255, "last", 1 / 255)
    assert (config.epochs, config.batch_size) == (10, 128)


def test_the_papers_data_is_looked_for_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZSR_DATA", "/elsewhere")
    assert paper(TgaZsr()).train_data.root == "/elsewhere/tiny-imagenet-200"
    with pytest.raises(ConfigError, match=r"config\.train_data\.root: got '/elsewhere/tiny-imagenet-200'"):
        check(paper(TgaZsr()).with_({"model.pretrained": None}))


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"--preset: unknown value 'miniatur'.*did you mean 'miniature'"):
        base(TgaZsr(), "miniatur")
    assert set(PRESETS) == {"miniature", "paper", "flyp"}
