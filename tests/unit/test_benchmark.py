"""The benchmark's plain step as an oracle: an independent implementation, with maps at the image's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from by_path import benchmark
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.methods import TgaZsr
from zsr_core.model.load import Clip, ModelRef, weights_sha
from zsr_core.model.tower import ImageTower
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, Step, make_step
from zsr_core.training.optim import Optim

PLAIN = Path(__file__).parents[2] / "benchmarks" / "plain.py"
NAMES = ("cat", "dog", "cow", "hen")
TEMPLATE = "This is a photo of a {}"
PIXELS = {"mean": open_clip.OPENAI_DATASET_MEAN, "std": open_clip.OPENAI_DATASET_STD}
EPS = 4 / 255

Sides = tuple[Step, Any]
Batch = tuple[Tensor, Tensor, Tensor]  # images, labels, rows


def _plain_class() -> Any:
    return benchmark("plain").Plain


def _model() -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.model.CLIP(
            embed_dim=32,
            vision_cfg={"image_size": 224, "patch_size": 32, "width": 64, "layers": 2, "head_width": 32},
            text_cfg={"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        )


def _tokenize(texts: Any) -> Tensor:
    tokens: Tensor = open_clip.get_tokenizer("ViT-B-32")(list(texts), context_length=16)
    return tokens


def _drift(visual: torch.nn.Module) -> None:
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in visual.parameters():
            p.add_(0.02 * torch.randn(p.shape, generator=g))


@pytest.fixture(scope="module")
def sides() -> Sides:
    """Our step and the plain one, on the same weights, both students a little off their frozen models."""
    model = _model().eval().requires_grad_(False)

    def encode_text(texts: Any) -> Tensor:
        encoded: Tensor = model.encode_text(_tokenize(texts))
        return encoded

    tower = ImageTower(model.visual, PIXELS["mean"], PIXELS["std"], 224)
    clip = Clip(
        ref=ModelRef(), tower=tower, encode_text=encode_text, scale=float(model.logit_scale.exp()), bias=0.0,
        sha=weights_sha(tower),
    )  # fmt: skip
    recipe = Recipe(
        optim=Optim(warmup_steps=0, schedule="constant"), threat=ThreatModel(eps=EPS),
        attack=Pgd(steps=2, step_size=EPS, keep="last", random_start=False), epochs=1, batch_size=6, precision="fp32",
        seed=0,
    )  # fmt: skip
    step = make_step(clip, TgaZsr(), encode_classes(encode_text, NAMES, (TEMPLATE,)), recipe, total=10)
    prompts = [TEMPLATE.format(name) for name in NAMES]
    plain = _plain_class()(_model(), _tokenize, prompts, eps=EPS, step_size=EPS, **PIXELS)
    _drift(step.tower.visual)
    _drift(plain.model.visual)
    return step, plain


@pytest.fixture(scope="module")
def batch() -> Batch:
    x = torch.rand(6, 3, 224, 224, generator=torch.Generator().manual_seed(2))
    return x, torch.tensor([0, 1, 2, 3, 1, 0]), torch.arange(6)


def test_loss_and_gradient_equal_the_plain_step_s(
    sides: tuple[Step, Any], batch: tuple[Tensor, Tensor, Tensor]
) -> None:
    (step, plain), (x, y, rows) = sides, batch
    x_adv = step.attack(x, y, rows, 0)
    terms = step.method.loss(step.views(x, x_adv, y, rows))
    assert min(float(terms[name].detach().min()) for name in ("larm", "gacm")) > 0.01  # the maps do differ
    ours, theirs = torch.stack([term.mean() for term in terms.values()]).sum(), plain.loss(x, x_adv, y)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=0)
    found = torch.autograd.grad(ours, list(step.tower.visual.parameters()))
    wanted = torch.autograd.grad(theirs, list(plain.model.visual.parameters()))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-4 * float(b.abs().max()))


def test_attack_equals_the_plain_step_s(sides: Sides, batch: Batch) -> None:
    (step, plain), (x, y, rows) = sides, batch
    agreed = (step.attack(x, y, rows, 0) - plain.attack(x, y, x)).abs() < 1e-6
    assert float(agreed.float().mean()) > 0.999  # a gradient next to zero may take either sign
