"""Attention maps and their distances, against a second implementation written from the equations, and by hand."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.methods import TeCoA, TgaZsr
from zsr_core.methods.attention import folded, gradcam_map, map_distance, min_max, resize, text_map
from zsr_core.methods.views import Encoded, Views
from zsr_core.model.layout import Features
from zsr_core.text import TextBank

COMBINATIONS = list(itertools.product(("token", "channel"), ("before", "after"), ("l2", "l1", "cos")))


def _features(tokens: Tensor, grid: tuple[int, int]) -> Features:
    def no_layers() -> Any:
        raise AssertionError("a text map looks at no inner layer")

    return Features(embedding=tokens[:, 0], patches=lambda: tokens[:, 1:], last_norm=no_layers, grid=grid)


def _bank(unit: Tensor) -> TextBank:
    return TextBank(unit=unit, classes=tuple("abcdefgh"[: len(unit)]), templates=("{}",))


def _by_equation(z: Tensor, text: Tensor, side: int, norm_axis: str, minmax: str) -> Tensor:
    """[B, side * side] in float64: token-axis or per-patch norm, patches against the text, min-max, bilinear resize."""
    z = z.double()
    z = z / z.norm(dim=1, keepdim=True) if norm_axis == "token" else z / z.norm(dim=2, keepdim=True)
    a = (z[:, 1:] * text.double()[:, None]).sum(dim=2)
    cells = math.isqrt(a.shape[1])

    def scaled(m: Tensor) -> Tensor:
        low, high = m.min(dim=1, keepdim=True).values, m.max(dim=1, keepdim=True).values
        return (m - low) / (high - low)

    if minmax == "before":
        a = scaled(a)
    up = F.interpolate(a.view(-1, 1, cells, cells), (side, side), mode="bilinear").flatten(1)
    return scaled(up) if minmax == "after" else up


def _distance_by_equation(a: Tensor, b: Tensor, distance: str) -> Tensor:
    if distance == "l2":
        return (a - b).square().sum(dim=1).sqrt()
    if distance == "l1":
        return (a - b).abs().mean(dim=1)
    return 1 - (a * b).sum(dim=1) / (a.square().sum(dim=1) * b.square().sum(dim=1)).sqrt()


@pytest.mark.parametrize(("norm_axis", "minmax", "distance"), COMBINATIONS)
def test_both_terms_are_those_of_the_equations(norm_axis: Any, minmax: Any, distance: Any) -> None:
    draw = torch.Generator().manual_seed(3)
    adv, clean, frozen = (torch.randn(5, 50, 12, generator=draw) for _ in range(3))
    unit = F.normalize(torch.randn(8, 12, generator=draw), dim=-1)
    labels = torch.tensor([0, 7, 3, 3, 1])
    images = torch.zeros(2, 1)  # stand-ins: what is encoded is given above
    seen = {0: _features(adv, (7, 7)), 1: _features(clean, (7, 7))}
    views = Views(
        labels=labels, text=_bank(unit), scale=100.0, clean=images[1:], adv=images[:1],
        student=lambda x: seen[0] if x.data_ptr() == images.data_ptr() else seen[1],
        teacher=lambda _: _features(frozen, (7, 7)),
    )  # fmt: skip
    method = TgaZsr(alpha=0.8, beta=0.5, norm_axis=norm_axis, minmax=minmax, distance=distance)
    terms = method.loss(views)
    maps = [_by_equation(z, unit[labels], 224, norm_axis, minmax) for z in (adv, clean, frozen)]
    larm = 0.8 * _distance_by_equation(maps[0], maps[2], distance)
    gacm = 0.5 * _distance_by_equation(maps[1], maps[2], distance)
    atol = 5e-6 if distance == "cos" else 1e-6  # one minus a number near one
    torch.testing.assert_close(terms["larm"].double(), larm, rtol=1e-5, atol=atol)
    torch.testing.assert_close(terms["gacm"].double(), gacm, rtol=1e-5, atol=atol)
    logits = 100 * F.normalize(adv[:, 0], dim=-1) @ unit.T
    ce = logits.logsumexp(dim=1) - logits.gather(1, labels[:, None])[:, 0]
    torch.testing.assert_close(terms["ce"], ce, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("side", [8, 11, 48, 224])
@pytest.mark.parametrize(("norm_axis", "minmax", "distance"), COMBINATIONS)
def test_gradients_are_those_of_the_equations(norm_axis: Any, minmax: Any, distance: Any, side: int) -> None:
    draw = torch.Generator().manual_seed(5)
    z, frozen = (torch.randn(2, 17, 6, generator=draw, dtype=torch.float64) for _ in range(2))
    text = F.normalize(torch.randn(2, 6, generator=draw, dtype=torch.float64), dim=-1)
    z.requires_grad_()

    def ours(tokens: Tensor) -> Tensor:
        f = _features(tokens, (4, 4))
        return text_map(_InDouble(features=f, text=_bank(text)), text, norm_axis)

    d = map_distance(ours(z), ours(frozen), distance, side, minmax).sum()
    theirs = _distance_by_equation(
        _by_equation(z, text, side, norm_axis, minmax), _by_equation(frozen, text, side, norm_axis, minmax), distance
    ).sum()
    torch.testing.assert_close(d, theirs)
    torch.testing.assert_close(*(torch.autograd.grad(value, z)[0] for value in (d, theirs)), rtol=1e-6, atol=1e-9)


class _InDouble(Encoded):
    embedding = property(lambda self: self.features.embedding)  # type: ignore[assignment]
    patches = property(lambda self: self.features.patches())  # type: ignore[assignment]


def test_a_map_worked_by_hand() -> None:
    """Two images, a 2 x 2 grid, D = 2, texts along the axes: image 0 is of class 0 with t = (1, 0), image 1 of class 1
    with t = (0, 1).

    Image 0, tokens (class token first): (2, 1), (1, 0), (2, 0), (4, 0), (0, 2).
      Channel norms over all five tokens: sqrt(4 + 1 + 4 + 16 + 0) = 5, and sqrt(1 + 4) for the other channel.
      token:   first channel / 5           = (1, 2, 4, 0) / 5
      channel: cosine with (1, 0)          = (1, 1, 1, 0)
    Image 1, tokens: (0, 0), (3, 4), (0, 0.5), (1, 0), (-6, 8).
      Second channel's norm: sqrt(16 + 0.25 + 0 + 64) = sqrt(80.25).
      token:   (4, 0.5, 0, 8) / sqrt(80.25)
      channel: (4/5, 1, 0, 8/10)
    Min-max of image 0 by token: (1, 2, 4, 0) / 4, the norm cancels.
    """
    tokens = torch.tensor(
        [
            [[2, 1], [1, 0], [2, 0], [4, 0], [0, 2]],
            [[0, 0], [3, 4], [0, 0.5], [1, 0], [-6, 8]],
        ],
        dtype=torch.float32,
    )
    encoded = Encoded(features=_features(tokens, (2, 2)), text=_bank(torch.eye(2)))
    by_token = text_map(encoded, torch.eye(2), "token")
    by_channel = text_map(encoded, torch.eye(2), "channel")
    expected = torch.tensor([[1, 2, 4, 0], [4, 0.5, 0, 8]]) / torch.tensor([[5.0], [math.sqrt(80.25)]])
    torch.testing.assert_close(by_token, expected.view(2, 2, 2))
    torch.testing.assert_close(by_channel, torch.tensor([[1, 1, 1, 0], [0.8, 1, 0, 0.8]]).view(2, 2, 2))
    torch.testing.assert_close(min_max(by_token)[0], torch.tensor([[0.25, 0.5], [1.0, 0.0]]))


def test_distances_worked_by_hand() -> None:
    """Maps a = [[0, 1], [0, 1]] and b = [[0, 0], [1, 1]], kept at 2 x 2: the difference is (0, 1, -1, 0).

    l2 = sqrt(2); l1 = 2 / 4; cos = 1 - 1 / (sqrt(2) sqrt(2)) = 0.5.
    Resized to 4 x 4 (align_corners=False) a row (0, 1) becomes (0, 1/4, 3/4, 1): a(i, j) = u_j, b(i, j) = u_i, so
    |a - b|^2 = sum over i, j of (u_j - u_i)^2 = 2 (4 sum u^2 - (sum u)^2) = 2 (4 * 26/16 - 4) = 5.
    """
    a, b = torch.tensor([[[0.0, 1.0], [0.0, 1.0]]]), torch.tensor([[[0.0, 0.0], [1.0, 1.0]]])
    for minmax in ("before", "after"):
        at = {d: map_distance(a, b, d, 2, minmax).item() for d in ("l2", "l1", "cos")}  # type: ignore[arg-type]
        assert at == pytest.approx({"l2": math.sqrt(2), "l1": 0.5, "cos": 0.5}, rel=1e-6)
        assert map_distance(a, b, "l2", 4, minmax).item() == pytest.approx(math.sqrt(5), rel=1e-6)  # type: ignore[arg-type]


def test_without_weights_it_is_tecoa_in_value_and_gradient(tiny: Any, trainable: Any) -> None:
    grads = []
    for method in (TgaZsr(alpha=0.0, beta=0.0), TeCoA()):
        student = trainable(tiny.tower())
        terms = method.loss(tiny.views(student, tiny.tower(seed=1)))
        assert list(terms) == ["ce"]
        terms["ce"].mean().backward()
        grads.append((terms["ce"], [p.grad for p in student.parameters()]))
    (ours, our_grads), (theirs, their_grads) = grads
    assert torch.equal(ours, theirs)
    assert all(torch.equal(a, b) for a, b in zip(our_grads, their_grads, strict=True) if a is not None)
    assert TgaZsr(alpha=0.0, beta=0.0).passes == TeCoA().passes


def test_the_weights_scale_their_terms_and_no_other(tiny: Any, trainable: Any) -> None:
    views = tiny.views(trainable(tiny.tower()), tiny.tower(seed=1))
    one, more = TgaZsr(alpha=0.1, beta=0.1).loss(views), TgaZsr(alpha=0.3, beta=0.1).loss(views)
    torch.testing.assert_close(more["larm"], 3 * one["larm"])
    assert torch.equal(more["gacm"], one["gacm"])
    assert torch.equal(more["ce"], one["ce"])


def test_a_constant_map_is_zero_and_carries_no_nan() -> None:
    flat = torch.full((1, 3, 3), 0.7, requires_grad=True)
    scaled = min_max(flat)
    assert torch.equal(scaled, torch.zeros(1, 3, 3))
    other = torch.rand(1, 3, 3, generator=torch.Generator().manual_seed(0))
    for distance, minmax in itertools.product(("l2", "l1", "cos"), ("before", "after")):
        value = map_distance(flat, other, distance, 12, minmax)  # type: ignore[arg-type]
        (grad,) = torch.autograd.grad(value.sum(), flat)
        assert value.isfinite().all()
        assert grad.isfinite().all()


@pytest.mark.parametrize("minmax", ["before", "after"])
def test_a_constant_map_stays_one_whatever_the_resize_rounds(minmax: Any) -> None:
    """0.7 and 0.3 in a grid of one cell: each is all zeros once scaled, so nothing lies between them."""
    one, other = torch.full((1, 1, 1), 0.7), torch.full((1, 1, 1), 0.3)
    for side, distance in itertools.product((48, 224), ("l2", "l1")):
        assert map_distance(one, other, distance, side, minmax).item() == 0  # type: ignore[arg-type]


@pytest.mark.parametrize("distance", ["l2", "l1", "cos"])
def test_equal_maps_are_at_distance_zero_with_gradient_zero(distance: Any) -> None:
    a = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    value = map_distance(a, a.detach(), distance, 32, "before")
    (grad,) = torch.autograd.grad(value.sum(), a)
    torch.testing.assert_close(value, torch.zeros(2), atol=1e-6, rtol=0)
    torch.testing.assert_close(grad, torch.zeros_like(a), atol=1e-5, rtol=0)


def test_a_map_side_below_the_grid_is_refused() -> None:
    with pytest.raises(ConfigError, match="map_side: got 3, expected at least the patch grid's side, 4"):
        folded(torch.rand(1, 4, 4), 3)


def test_resizing_is_the_bilinear_one_of_torch() -> None:
    maps = torch.rand(2, 3, 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(resize(maps, 9), F.interpolate(maps[:, None], (9, 9), mode="bilinear")[:, 0])


def _gradcam_by_hooks(tower: Any, x: Tensor, texts: Tensor, scale: float) -> Tensor:
    """[B, 4, 4]: Grad-CAM at the last block's first norm, through open_clip's own modules, with hooks."""
    kept: list[Tensor] = []

    def keep(_module: Any, _inputs: Any, output: Tensor) -> Tensor:
        output = output.detach().requires_grad_()
        kept.append(output)
        return output

    handle = tower.visual.transformer.resblocks[-1].ln_1.register_forward_hook(keep)
    try:
        out = tower.visual((x - tower.mean) / tower.std)
    finally:
        handle.remove()
    logits = scale * out / out.norm(dim=1, keepdim=True) @ texts.T  # [B, B]
    logits.max(dim=1).values.sum().backward()
    act, grad = kept[0][:, 1:], kept[0].grad[:, 1:]
    return (act * grad.mean(dim=1, keepdim=True)).sum(dim=2).clamp(min=0).view(-1, 4, 4).detach()


@pytest.mark.parametrize("quick_gelu", [False, True])
def test_gradcam_is_that_of_hooks_on_open_clips_own_modules(tiny: Any, quick_gelu: bool) -> None:
    tower = tiny.tower(quick_gelu=quick_gelu)
    views = tiny.views(tower, tower, n=4)
    expected = _gradcam_by_hooks(tower, views.clean, views.own_text, views.scale)
    assert (expected.amax(dim=(1, 2)) > 0).any()
    for differentiable in (False, True):
        cam = gradcam_map(views.student_clean, views, differentiable=differentiable)
        torch.testing.assert_close(cam.detach(), expected, rtol=1e-3, atol=1e-5 * float(expected.max()))


@pytest.mark.parametrize("attention", ["visual", "visual_differentiable"])
def test_gradcam_maps_are_scaled_after_the_resize_whatever_is_said_of_text_maps(tiny: Any, attention: Any) -> None:
    tower, frozen = tiny.tower(quick_gelu=True), tiny.tower(seed=1, quick_gelu=True)
    views = tiny.views(tower, frozen, n=4)

    def shown(of: Any, x: Tensor) -> Tensor:
        up = F.interpolate(_gradcam_by_hooks(of, x, views.own_text, views.scale)[:, None], (32, 32), mode="bilinear")
        low, high = up.amin(dim=(1, 2, 3), keepdim=True), up.amax(dim=(1, 2, 3), keepdim=True)
        return ((up - low) / (high - low).clamp(min=1e-30)).flatten(1)

    expected = (shown(tower, views.adv) - shown(frozen, views.clean)).norm(dim=1)
    assert (expected > 0.1).any()
    for minmax in ("before", "after"):
        method = TgaZsr(alpha=1.0, beta=0.0, attention=attention, minmax=minmax, map_side=32)  # type: ignore[arg-type]
        torch.testing.assert_close(method.loss(views)["larm"].detach(), expected, rtol=1e-3, atol=1e-4)


def test_the_papers_gradcam_carries_no_gradient_and_ours_does(tiny: Any, trainable: Any) -> None:
    grads = {}
    for attention in ("visual", "visual_differentiable"):
        student = trainable(tiny.tower(quick_gelu=True))
        method = TgaZsr(alpha=1.0, beta=1.0, attention=attention)  # type: ignore[arg-type]
        terms = method.loss(tiny.views(student, tiny.tower(seed=1, quick_gelu=True)))
        grads[attention] = terms["larm"].requires_grad, terms["gacm"].requires_grad
        if attention == "visual_differentiable":
            (terms["larm"] + terms["gacm"]).mean().backward()
            reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in student.parameters()]
            assert sum(reached) > 0.9 * len(reached)
    assert grads == {"visual": (False, False), "visual_differentiable": (True, True)}


def test_the_differentiable_gradcams_gradient_is_that_of_finite_differences(tiny: Any, trainable: Any) -> None:
    tower = trainable(tiny.tower(quick_gelu=True).double())
    views = tiny.views(tower, tower, n=2, clean=tiny.pixels(2).double())
    weight = tower.visual.transformer.resblocks[0].mlp.c_fc.weight

    def cam() -> Tensor:
        encoded = Encoded(features=tower.features(views.clean), text=views.text)
        return gradcam_map(encoded, views, differentiable=True).square().sum()

    (grad,) = torch.autograd.grad(cam(), weight)
    direction = grad / grad.norm()
    with torch.no_grad():
        size = 1e-3
        values = []
        for sign in (1, -1):
            weight.add_(sign * size * direction)
            values.append(cam().item())
            weight.sub_(sign * size * direction)
    assert (values[0] - values[1]) / (2 * size) == pytest.approx(float(grad.norm()), rel=1e-2)


@pytest.mark.parametrize("attention", ["text", "visual_differentiable"])
def test_a_resnet_can_be_guided_too(tiny: Any, trainable: Any, attention: Any) -> None:
    student = trainable(tiny.tower("resnet"))
    views = tiny.views(student, tiny.tower("resnet", seed=1), n=2)
    assert views.student_clean.grid == (2, 2)
    terms = TgaZsr(attention=attention).loss(views)
    assert all(term.isfinite().all() and (term > 0).any() for term in terms.values())


def test_a_tower_without_patches_cannot_be_guided_and_says_why(tiny: Any) -> None:
    views = tiny.views(tiny.tower("average_pooled"), tiny.tower("average_pooled"))
    with pytest.raises(ConfigError, match="no patch tokens"):
        TgaZsr().loss(views)
