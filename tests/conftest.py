"""What many tests share: CLIP models and image sets that train in milliseconds, with nothing random in them."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import open_clip
import pytest
import torch
from torch import Tensor

from zsr_core.data import ImageSet
from zsr_core.methods.views import Views
from zsr_core.model.load import Clip, ModelRef, weights_sha
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower
from zsr_core.text import TextBank, encode_classes, encode_prompt

SIDE = 32  # pixels
DIM = 16  # of the joint space
CLASSES = ("cat", "dog", "cow", "hen", "emu")
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)

VIT: dict[str, Any] = {"image_size": SIDE, "patch_size": 8, "width": 32, "layers": 2, "head_width": 16}
VISION: dict[str, dict[str, Any]] = {
    "vit": VIT,
    "vit_layer_scale": {**VIT, "ls_init_value": 0.5},
    "resnet": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "head_width": 64},
    "average_pooled": {**VIT, "pool_type": "avg"},
}


class Tiny:
    """Builders of tiny parts; a fixture, so that every test file can reach it."""

    side, dim, classes = SIDE, DIM, CLASSES

    @staticmethod
    def model(kind: str = "vit", *, quick_gelu: bool = False, seed: int = 0) -> Any:
        """A whole open_clip CLIP in which no weight is 0 or 1, so that forgetting one shows."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = open_clip.model.CLIP(
                embed_dim=DIM,
                vision_cfg=VISION[kind],
                text_cfg={"context_length": 8, "vocab_size": 64, "width": 16, "heads": 2, "layers": 1},
                quick_gelu=quick_gelu,
            ).eval()
            with torch.no_grad():
                for p in model.parameters():
                    p.add_(0.05 * torch.randn_like(p))
                for module in model.modules():
                    if isinstance(module, torch.nn.BatchNorm2d):
                        module.running_mean.uniform_(-0.1, 0.1)
                        module.running_var.uniform_(0.5, 1.5)
        return model

    @classmethod
    def tower(cls, kind: str = "vit", *, quick_gelu: bool = False, seed: int = 0) -> ImageTower:
        visual = cls.model(kind, quick_gelu=quick_gelu, seed=seed).visual
        return ImageTower(visual, MEAN, STD, VISION[kind]["image_size"]).eval().requires_grad_(False)

    @classmethod
    def clip(cls, kind: str = "vit", *, quick_gelu: bool = False, seed: int = 0, scale: float = 20.0) -> Clip:
        tower = cls.tower(kind, quick_gelu=quick_gelu, seed=seed)
        return Clip(
            ref=ModelRef(), tower=tower, encode_text=encode_text, scale=scale, bias=0.0, sha=weights_sha(tower),
            text_tower=cls.text_tower(kind, quick_gelu=quick_gelu, seed=seed),
        )  # fmt: skip

    @classmethod
    def text_tower(cls, kind: str = "vit", *, quick_gelu: bool = False, seed: int = 0) -> TextTower:
        """The text side of the same model, frozen. The fixed vectors of ``encode_text`` are not its embeddings."""
        model = cls.model(kind, quick_gelu=quick_gelu, seed=seed).requires_grad_(False)
        del model.visual
        return TextTower(model, tokenize)

    @staticmethod
    def bank(classes: Sequence[str] = CLASSES) -> TextBank:
        return encode_classes(encode_text, classes, ("a photo of a {}",))

    @staticmethod
    def pixels(n: int, *, seed: int = 0, side: int = SIDE) -> Tensor:
        """[n, 3, side, side] in [0, 1]: soft random blobs, away from the box."""
        cells = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
        return 0.1 + 0.8 * torch.nn.functional.interpolate(cells, side, mode="bilinear")

    @classmethod
    def images(
        cls, n: int = 12, *, seed: int = 0, name: str = "tiny", split: Any = "train", side: int = SIDE
    ) -> ImageSet:
        stored = (cls.pixels(n, seed=seed, side=side) * 255).to(torch.uint8)
        return ImageSet(
            name=name,
            split=split,
            classes=CLASSES,
            templates=("a photo of a {}",),
            ids=tuple(f"{name}/{i}" for i in range(n)),
            labels=torch.arange(n) % len(CLASSES),
            key=f"{name}-{seed}-{n}-{side}",
            pixels=lambda rows: stored[torch.as_tensor(rows)],
            in_memory=True,
        )

    @classmethod
    def views(
        cls,
        student: ImageTower,
        teacher: ImageTower,
        *,
        n: int = 4,
        scale: float = 20.0,
        labels: Tensor | None = None,
        clean: Tensor | None = None,
        adv: Tensor | None = None,
        text: TextBank | None = None,
    ) -> Views:
        clean = cls.pixels(n) if clean is None else clean
        noise = torch.rand(clean.shape, generator=torch.Generator().manual_seed(7)) - 0.5
        return Views(
            labels=torch.arange(len(clean)) % len(CLASSES) if labels is None else labels,
            text=text or cls.bank(),
            scale=scale,
            clean=clean,
            adv=(clean + 0.05 * noise).clamp(0, 1) if adv is None else adv,
            student=student.features,
            teacher=teacher.features,
            prompts=lambda template: encode_prompt(encode_text, CLASSES, template),
        )


def tokenize(texts: Sequence[str]) -> Tensor:
    """[N, 8]: a number for each word, between a first and a last token; the last is the largest, as CLIP's is."""

    def number(word: str) -> int:
        return 1 + int.from_bytes(hashlib.sha256(word.encode()).digest()[:7], "little") % 61

    rows = [[62, *(number(word) for word in text.split()[:6]), 63] for text in texts]
    return torch.tensor([row + [0] * (8 - len(row)) for row in rows])


def encode_text(texts: Sequence[str]) -> Tensor:
    """[N, DIM]: a fixed random vector per text."""

    def one(text: str) -> Tensor:
        seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "little")
        return torch.randn(DIM, generator=torch.Generator().manual_seed(seed))

    return torch.stack([one(text) for text in texts])


def pytest_configure() -> None:
    gc.disable()  # collecting tests makes millions of objects that stay, and each search through them finds nothing


def pytest_collection_finish() -> None:
    gc.enable()


@pytest.fixture(scope="session")
def tiny() -> type[Tiny]:
    return Tiny


@pytest.fixture(scope="session")
def trainable() -> Callable[[ImageTower], ImageTower]:
    """Returns the tower with all weights taking gradients, as a student's do."""
    return lambda tower: tower.requires_grad_(True)
