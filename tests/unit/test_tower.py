"""The image tower computes what open_clip's own module computes, for less, and counts what it did."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from zsr_core.codec import ConfigError
from zsr_core.model.tower import ImageTower, Tally

CLOSE = {"rtol": 1e-4, "atol": 2e-6}
KINDS = [("vit", False), ("vit", True), ("vit_layer_scale", False), ("resnet", False), ("average_pooled", False)]


def _normal(tower: ImageTower, x: torch.Tensor) -> torch.Tensor:
    return (x - tower.mean) / tower.std


def _tokens(visual: Any, normal: torch.Tensor) -> torch.Tensor:
    """[B, 1+P, D]: every token of the last block through the last norm and the projection, by open_clip's modules."""
    h = visual.conv1(normal).flatten(2).transpose(1, 2)
    h = torch.cat([visual.class_embedding.expand(len(h), 1, -1), h], dim=1) + visual.positional_embedding
    h = visual.transformer(visual.ln_pre(h))
    return visual.ln_post(h) @ visual.proj


@pytest.mark.parametrize(("kind", "quick_gelu"), KINDS)
def test_the_embedding_is_that_of_open_clips_own_module(tiny: Any, kind: str, quick_gelu: bool) -> None:
    tower = tiny.tower(kind, quick_gelu=quick_gelu)
    x = tiny.pixels(3, side=tower.image_size)
    torch.testing.assert_close(tower(x), tower.visual(_normal(tower, x)), **CLOSE)


@pytest.mark.parametrize(("kind", "layout"), [("vit", "vit"), ("resnet", "resnet"), ("average_pooled", "opaque")])
def test_the_way_a_tower_is_built_is_recognised(tiny: Any, kind: str, layout: str) -> None:
    assert tiny.tower(kind).layout.name == layout


@pytest.mark.parametrize(("kind", "quick_gelu"), KINDS[:3])
def test_patch_tokens_went_through_the_last_norm_and_the_projection(tiny: Any, kind: str, quick_gelu: bool) -> None:
    tower, x = tiny.tower(kind, quick_gelu=quick_gelu), tiny.pixels(3)
    seen = tower.features(x)
    tokens = _tokens(tower.visual, _normal(tower, x))
    torch.testing.assert_close(seen.embedding, tokens[:, 0], **CLOSE)
    torch.testing.assert_close(seen.patches(), tokens[:, 1:], **CLOSE)
    assert seen.grid == (4, 4)


@pytest.mark.parametrize(("kind", "quick_gelu"), KINDS)
def test_gradients_of_pixels_and_weights_are_those_of_open_clips_own_module(
    tiny: Any, trainable: Any, kind: str, quick_gelu: bool
) -> None:
    tower = trainable(tiny.tower(kind, quick_gelu=quick_gelu))
    x, direction = tiny.pixels(3, side=tower.image_size), torch.linspace(-1, 1, tiny.dim)

    def grads(embed: Any) -> list[torch.Tensor]:
        pixels = x.clone().requires_grad_()
        score = (F.normalize(embed(pixels), dim=-1) @ direction).square().sum()
        return list(torch.autograd.grad(score, [pixels, *tower.visual.parameters()]))

    ours = grads(tower)
    theirs = grads(lambda pixels: tower.visual(_normal(tower, pixels)))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()) + 1e-8)


def test_gradients_through_patch_tokens_are_those_of_open_clips_own_module(tiny: Any, trainable: Any) -> None:
    tower = trainable(tiny.tower(quick_gelu=True))
    x = tiny.pixels(2)
    weights = list(tower.visual.parameters())
    weight_of = torch.linspace(-1, 1, 16 * tiny.dim).view(16, tiny.dim)
    ours = torch.autograd.grad((tower.features(x).patches() * weight_of).square().sum(), weights)
    tokens = _tokens(tower.visual, _normal(tower, x))[:, 1:]
    theirs = torch.autograd.grad((tokens * weight_of).square().sum(), weights)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * float(b.abs().max()) + 1e-8)


def test_a_resnets_tokens_are_its_attention_pool_asked_at_every_position(tiny: Any) -> None:
    tower, x = tiny.tower("resnet"), tiny.pixels(3, side=64)
    seen, visual = tower.features(x), tower.visual
    h = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(_normal(tower, x))))))
    rows = h.flatten(2).permute(2, 0, 1)
    rows = torch.cat([rows.mean(0, keepdim=True), rows]) + visual.attnpool.positional_embedding[:, None]
    pool = visual.attnpool
    mixed, _ = F.multi_head_attention_forward(
        rows, rows, rows, rows.shape[-1], pool.num_heads, None,
        torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]), None, None, False, 0.0,
        pool.c_proj.weight, pool.c_proj.bias, training=False, use_separate_proj_weight=True,
        q_proj_weight=pool.q_proj.weight, k_proj_weight=pool.k_proj.weight, v_proj_weight=pool.v_proj.weight,
        need_weights=False,
    )  # fmt: skip
    torch.testing.assert_close(seen.embedding, mixed[0], **CLOSE)
    torch.testing.assert_close(seen.patches(), mixed[1:].transpose(0, 1), **CLOSE)
    assert seen.grid == (2, 2)


@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_the_embedding_can_be_computed_again_from_the_input_of_the_last_attention(tiny: Any, kind: str) -> None:
    seen = tiny.tower(kind).features(tiny.pixels(2))
    source, embed_from = seen.last_norm()
    torch.testing.assert_close(embed_from(source), seen.embedding, **CLOSE)


def test_a_tower_without_joint_space_tokens_says_so_when_they_are_asked_for(tiny: Any) -> None:
    seen = tiny.tower("average_pooled").features(tiny.pixels(1))
    for ask in (seen.patches, seen.last_norm):
        with pytest.raises(ConfigError, match="VisionTransformer has no patch tokens"):
            ask()


def test_images_of_another_size_are_resized_inside_and_pass_their_gradient_back(tiny: Any) -> None:
    tower = tiny.tower()
    small = tiny.pixels(2)[..., ::2, ::2].contiguous().requires_grad_()
    resized = F.interpolate(small, (tiny.side, tiny.side), mode="bicubic", align_corners=False)
    torch.testing.assert_close(tower(small), tower(resized), **CLOSE)
    (grad,) = torch.autograd.grad(tower(small).square().sum(), small)
    assert grad.abs().sum() > 0


def test_the_tally_tells_forwards_input_backwards_and_full_backwards_apart(tiny: Any, trainable: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(3)
    tower(x)
    assert tower.tally == Tally(forward=1, images=3)
    pixels = x.clone().requires_grad_()
    torch.autograd.grad(tower(pixels).sum(), pixels)
    assert tower.tally == Tally(forward=2, input_backward=1, images=6)
    trainable(tower)
    seen = tower.features(x)
    (seen.embedding.sum() + seen.patches().sum()).backward()
    assert tower.tally == Tally(forward=3, input_backward=1, full_backward=1, images=9)
    tower.tally.reset()
    assert tower.tally == Tally()


def test_the_state_dict_is_the_visual_modules_own(tiny: Any) -> None:
    tower = tiny.tower()
    assert set(tower.state_dict()) == {f"visual.{name}" for name in tower.visual.state_dict()}


def test_mixed_precision_stays_near_full_precision(tiny: Any) -> None:
    tower, x = tiny.tower(quick_gelu=True), tiny.pixels(3)
    full = F.normalize(tower(x), dim=-1)
    with torch.autocast("cpu", torch.bfloat16):
        half = F.normalize(tower(x).float(), dim=-1)
    assert (full * half).sum(dim=1).min() > 0.99
