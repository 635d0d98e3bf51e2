"""Whether a trial can start here: model, weights, data, what the method reads."""

from __future__ import annotations

import torch

from zsr_core.codec import ConfigError, require
from zsr_core.data import Split, check_apart, check_data, check_pictures
from zsr_core.data.captions import check_captions
from zsr_core.data.shifts.corrupt import library
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.shifted import check_shifts
from zsr_core.lazy import LazyModule
from zsr_core.methods import AnyMethod
from zsr_core.methods.views import Views
from zsr_core.model.load import ModelRef, check_model, check_texts, image_size_of, tower_shapes
from zsr_core.text import TextBank
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.detecting import scenes_of

open_clip = LazyModule("open_clip")


def check(config: TrialConfig) -> None:
    """Raise ``ConfigError`` if the trial cannot start here: model, weights file, training data, tasks. Cheap."""
    check_model(config.model)
    size = image_size_of(config.model)
    if config.epochs:
        images = check_data(config.train_data, "train", "config.train_data", size)
        check_texts(config.model, images.classes, images.templates, "config.train_data.classes")
        check_reads(config.method, config.model)
        if config.perturbation is not None and config.perturbation.site == "token":
            tower_shapes(config.model).check_block(config.perturbation.block, "config.perturbation.block")
    suite = config.eval_suite
    if suite.attention:
        layout = tower_shapes(config.model).layout
        seen = layout.has_patches and layout.has_last_norm
        expected = f"False: {config.model.name!r} shows no patch tokens or no last attention; CLIP's ViT and ResNet do"
        require(seen, "config.eval_suite.attention", True, expected)
    for i, task in enumerate(suite.tasks):
        path = f"config.eval_suite.tasks[{i}]"
        images = check_data(task, suite.split, path, size, space=suite.space, trained_on=config.train_data)
        check_texts(config.model, images.classes, images.templates, f"{path}.classes")
        check_apart(task, config.train_data, path)
    for field, refs in (("ood_near", suite.ood_near), ("ood_far", suite.ood_far)):
        for i, ref in enumerate(refs if suite.measured_ood else ()):
            path = f"config.eval_suite.{field}[{i}]"
            check_pictures(ref, suite.split, path, size, trained_on=config.train_data)
            check_apart(ref, config.train_data, path)
    if suite.corruptions or suite.annotations is not None:
        try:
            check_shifts(suite, size, config.train_data)
        except ConfigError as error:
            raise ConfigError(f"config.eval_suite.{error}") from None
    if suite.retrieval is not None:
        check_retrieval(suite.retrieval, suite.split, config.model, size)
    if suite.detection is not None:
        path = "config.eval_suite.detection"
        try:
            scenes, _ = scenes_of(suite.detection, suite.split, config.model.name)
        except ConfigError as error:
            raise ConfigError(f"{path}.{error}") from None
        check_texts(config.model, scenes.classes, scenes.templates, f"{path}.boxes")


def check_retrieval(retrieval: RetrievalSuite, split: Split, model: ModelRef, size: int) -> None:
    """Raise ``ConfigError`` if captions cannot be read, corruptions not be made, or the model lacks attacked tokens."""
    path = "config.eval_suite.retrieval"
    for i, ref in enumerate(retrieval.sets):
        check_captions(ref, split, f"{path}.sets[{i}]", size)
    if retrieval.cells:
        library()
    if retrieval.tokens is not None:
        tower_shapes(model).check_block(retrieval.tokens.block, f"{path}.tokens.block")


def check_reads(method: AnyMethod, model: ModelRef) -> None:
    """Raise ``ConfigError`` if the method reads what the image tower lacks: it is tried on random features."""
    tower = tower_shapes(model)
    if tower.layout.has_last_norm:  # and patch tokens: nothing can be missing
        return
    dim, classes = int(open_clip.get_model_config(model.name)["embed_dim"]), ("a", "b", "c")
    unit = torch.nn.functional.normalize(torch.randn(3, dim, generator=torch.Generator().manual_seed(0)), dim=-1)
    bank = TextBank(unit=unit, classes=classes, templates=("{}",))
    pixels = torch.zeros(2, 3, 1, 1)
    views = Views(
        labels=torch.tensor([0, 2]), text=bank, scale=100.0, clean=pixels, adv=pixels, prompts=lambda _: bank,
        student=lambda x: tower.random_features(len(x), dim), teacher=lambda x: tower.random_features(len(x), dim),
    )  # fmt: skip
    try:
        method.loss(views)
        method.attack_objective(views)
    except ConfigError as error:
        raise ConfigError(f"config.method: {method.title} cannot tune {model.name!r}: {error}") from None
