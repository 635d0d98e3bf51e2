"""Comp-TGA's fused maps against maps really resized to the image, and its prompts."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.methods import CompTga
from zsr_core.methods.attention import folded_product, min_max
from zsr_core.methods.comp_tga import NON_CLASS, OTHER
from zsr_core.methods.views import Encoded, Views, no_prompts
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, make_step
from zsr_core.training.optim import Optim


def _up(maps: Tensor, side: int) -> Tensor:
    return F.interpolate(maps[:, None].double(), (side, side), mode="bilinear", align_corners=False).flatten(1)


@pytest.mark.parametrize(("h", "w", "side"), [(7, 7, 224), (6, 6, 224), (6, 4, 48), (3, 5, 8), (4, 4, 4), (1, 3, 9)])
def test_a_folded_product_has_the_inner_products_of_the_resized_one(h: int, w: int, side: int) -> None:
    g = torch.Generator().manual_seed(h * w)
    a, b, c, d = (torch.randn(3, h, w, generator=g, dtype=torch.float64) for _ in range(4))
    one, two = _up(a, side) * _up(b, side), _up(c, side) * _up(d, side)
    small, other = folded_product(a, b, side), folded_product(c, d, side)
    torch.testing.assert_close((small * other).sum(1), (one * two).sum(1))
    torch.testing.assert_close((small - other).norm(dim=1), (one - two).norm(dim=1))
    assert small.shape == (3, (2 * h - 1) * (2 * w - 1))


def test_a_grid_finer_than_the_side_is_refused() -> None:
    with pytest.raises(ConfigError, match="map_side"):
        folded_product(torch.zeros(1, 7, 7), torch.zeros(1, 7, 7), 6)


def _by_hand(views: Views, encoded: Encoded, prompt: str, side: int) -> Tensor:
    """The official code's steps, at full size, in its order."""
    tokens = torch.cat([encoded.embedding[:, None], encoded.patches], dim=1)
    spatial = (tokens / tokens.norm(dim=1, keepdim=True))[:, 1:]

    def up(text: Tensor) -> Tensor:
        scores = torch.einsum("bpd,bd->bp", spatial, text).view(-1, *encoded.grid)
        return _up(min_max(scores), side)

    return up(views.own_text) * (1 - up(views.prompts(prompt).unit[views.labels]))


@pytest.mark.parametrize("prompt", [NON_CLASS, OTHER])
@pytest.mark.parametrize("distance", ["l2", "l1", "cos"])
def test_its_terms_are_distances_of_maps_at_full_size(prompt: str, distance: Any, tiny: Any) -> None:
    views = tiny.views(tiny.tower(seed=1), tiny.tower())
    terms = CompTga(alpha=0.3, beta=0.2, prompt=prompt, distance=distance, map_side=64).loss(views)
    frozen = _by_hand(views, views.teacher_clean, prompt, 64)
    for name, weight, encoded in (("larm", 0.3, views.student_adv), ("gacm", 0.2, views.student_clean)):
        own = _by_hand(views, encoded, prompt, 64)
        expected = {
            "l2": (own - frozen).norm(dim=1), "l1": (own - frozen).abs().mean(dim=1),
            "cos": 1 - F.cosine_similarity(own, frozen, dim=1),
        }[distance]  # fmt: skip
        torch.testing.assert_close(terms[name], (weight * expected).float(), rtol=1e-3, atol=1e-5)


def test_a_prompt_without_a_class_is_one_text_for_all_and_encoded_once(tiny: Any) -> None:
    bank = tiny.views(tiny.tower(), tiny.tower()).prompts(OTHER)
    assert torch.equal(bank.unit, bank.unit[:1].expand_as(bank.unit))
    assert bank.classes == tiny.classes


def test_the_training_step_encodes_a_prompt_once(tiny: Any) -> None:

    asked: list[int] = []
    clip = tiny.clip()
    counted = dataclasses.replace(clip, encode_text=lambda texts: asked.append(len(texts)) or clip.encode_text(texts))
    recipe = Recipe(optim=Optim(), threat=ThreatModel(), attack=Pgd(keep="last"), epochs=1, batch_size=4,
                    precision="fp32", seed=0)  # fmt: skip
    step = make_step(counted, CompTga(), tiny.bank(), recipe, total=2)
    for i in range(2):
        step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), i)
    assert asked == [len(tiny.classes)]


def test_where_no_text_tower_is_at_hand_the_prompt_is_named(tiny: Any) -> None:

    views = dataclasses.replace(tiny.views(tiny.tower(), tiny.tower()), prompts=no_prompts)
    with pytest.raises(ConfigError, match="not a photo"):
        CompTga().loss(views)
