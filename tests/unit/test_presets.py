"""The recipes: what the miniature and the papers fix."""

from __future__ import annotations

import pytest

from zsr_core.codec import ConfigError
from zsr_core.data.miniature import ZERO_SHOT
from zsr_core.data.tasks import SIXTEEN
from zsr_core.methods import METHODS, Agft, Arow, CompTga, Fare, FtAdv, FtClean, PmgAft, TeCoA, TgaZsr, Trades, Ucat
from zsr_core.trial.check import check
from zsr_core.trial.presets import PRESETS, base, miniature, paper, shared, side_by_side


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
    config = paper(TgaZsr())
    assert (config.train_data.name, config.train_data.root) == ("tiny_imagenet", "/elsewhere")
    says = r"train_data\.root: /elsewhere holds no tiny_imagenet \(tiny-imagenet-200/val is missing\).*ZSR_DATA names"
    with pytest.raises(ConfigError, match=says):
        check(config.with_({"model.pretrained": None}))


def test_a_paper_is_evaluated_on_the_sixteen_sets_as_it_prepares_and_prompts_them() -> None:
    tasks = {kind: paper(kind()).eval_suite.tasks for kind in (TgaZsr, Agft, Fare)}
    assert all([task.called for task in found] == [row.name for row in SIXTEEN] for found in tasks.values())
    assert {(task.prompts, task.preprocessing) for task in tasks[TgaZsr]} == {
        ("tga", "resize256_crop224"), ("tga", "resize224"),  # the latter of CIFAR and STL-10
    }  # fmt: skip
    assert {(task.prompts, task.preprocessing) for task in tasks[Agft]} == {("agft", "resize224")}
    assert {(task.prompts, task.preprocessing) for task in tasks[Fare]} == {("openai-ensemble", "resize224_bicubic")}
    train = {kind: paper(kind()).train_data for kind in (TgaZsr, Agft, Fare)}
    assert {kind: (ref.name, ref.prompts, ref.preprocessing) for kind, ref in train.items()} == {
        TgaZsr: ("tiny_imagenet", "tga", "resize256_crop224"),
        Agft: ("imagenet", "agft", "resize224"),
        Fare: ("imagenet", "tga", "resize224_bicubic"),
    }


def test_every_published_recipe_is_its_papers() -> None:
    """lr, batch, epochs, optimiser, training images, attack steps: the scripts' options as their authors give them."""
    found = {
        kind: (c.optim.lr, c.batch_size, c.epochs, c.optim.name, c.train_data.name, c.train_attack.steps)
        for kind, c in (
            (kind, paper(kind())) for kind in (TeCoA, FtAdv, PmgAft, CompTga, Ucat, Agft, Fare, Trades, Arow)
        )
    }
    lineage = (1e-4, 128, 10, "sgd", "tiny_imagenet", 2)
    assert found == {
        TeCoA: (1e-5, *lineage[1:]), FtAdv: lineage, CompTga: lineage,
        PmgAft: (5e-5, 256, *lineage[2:]), Ucat: (1e-4, 256, *lineage[2:]),
        Agft: (4e-4, 256, 10, "sgd", "imagenet", 2), Fare: (1e-5, 128, 2, "adamw", "imagenet", 10),
        Trades: (*lineage[:5], 10), Arow: (*lineage[:5], 10),
    }  # fmt: skip
    assert paper(PmgAft()).model.pixels == "imagenet"
    assert (paper(Fare()).optim.weight_decay, paper(Fare()).optim.warmup_steps) == (1e-4, 1400)
    assert paper(Fare()).train_attack.momentum == 0.9
    assert (paper(Trades()).train_attack.start_std, paper(Arow()).train_attack.start_std) == (0.001, None)
    flyp = base(FtClean(), "flyp")
    assert (flyp.optim.lr, flyp.optim.weight_decay, flyp.optim.warmup_steps) == (1e-5, 0.1, 500)
    assert (flyp.batch_size, flyp.model.name, flyp.train_data.prompts) == (512, "ViT-B-16-quickgelu", "openai-ensemble")


def test_methods_that_are_compared_share_one_evaluation() -> None:
    start = shared()["paper"]
    rows = side_by_side()["paper"]
    assert {start.with_(row.overrides).eval_suite for row in rows} == {start.eval_suite}


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match=r"--preset: unknown value 'miniatur'.*did you mean 'miniature'"):
        base(TgaZsr(), "miniatur")
    assert set(PRESETS) == {"miniature", "miniature-long", "paper", "flyp"}
