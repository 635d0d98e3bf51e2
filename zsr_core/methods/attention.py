"""Attention maps over the patch grid and distances between them, as if both had been resized to the image."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from zsr_core.codec import require
from zsr_core.methods.views import Encoded, Views

NormAxis = Literal["token", "channel"]
MinMax = Literal["before", "after"]
Distance = Literal["l2", "l1", "cos"]


def text_map(encoded: Encoded, text: Tensor, norm_axis: NormAxis) -> Tensor:
    """Return [B, h, w]: inner product of normalised patch tokens with one text per image.

    Args:
        encoded: an image batch with patch tokens.
        text: [B, D], rows of norm 1.
        norm_axis: "token" divides each channel by its norm over all tokens, the class token included (what the
            official code does); "channel" divides each patch by its own norm, which makes the map a cosine.
    """
    patches = encoded.patches
    if norm_axis == "token":
        size = (encoded.embedding.square() + patches.square().sum(dim=1)).sqrt()  # [B, D], over 1+P tokens
        scores: Tensor = torch.einsum("bpd,bd->bp", patches, text / size)
    else:
        scores = torch.einsum("bpd,bd->bp", F.normalize(patches, dim=-1), text)
    return scores.view(-1, *encoded.grid)


def gradcam_map(encoded: Encoded, views: Views, *, differentiable: bool) -> Tensor:
    """Return [B, h, w]: ReLU of Grad-CAM at the last block's first layer norm, before resizing.

    As in the official code (zhyblue424/TGA-ZSR, ``pytorch_grad_cam_modified``), the score explained is the largest of
    the image's logits against the texts of the batch's labels, not its true class. There the map left autograd
    through numpy, so it carries no gradient; ``differentiable`` keeps it, which the paper did not do.
    """
    source, embed_from = encoded.features.last_norm()
    if not differentiable:
        source = source.detach()
    # Fused attention kernels have no second derivative.
    with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH):
        if not source.requires_grad:
            source = source.detach().requires_grad_()
        unit = F.normalize(embed_from(source).float(), dim=-1)
        score = (views.scale * unit @ views.own_text.T).amax(dim=1).sum()
        (grad,) = torch.autograd.grad(score, source, create_graph=differentiable)
    weight = grad[:, 1:].float().mean(dim=1, keepdim=True)  # [B, 1, W]
    cam: Tensor = (weight * source[:, 1:].float()).sum(dim=-1).relu().view(-1, *encoded.grid)
    return cam if differentiable else cam.detach()


def class_gradcam_map(encoded: Encoded, text: Tensor) -> Tensor:
    """Return [B, h, w]: ReLU of Grad-CAM at the last block's first layer norm, of the cosine with one text per image.

    Args:
        text: [B, D], rows of norm 1. An image's map depends on no other image of the batch.
    """
    source, embed_from = encoded.features.last_norm()
    with torch.enable_grad():
        source = source.detach().requires_grad_()
        score = (F.normalize(embed_from(source).float(), dim=-1) * text).sum()
        (grad,) = torch.autograd.grad(score, source)
    weight = grad[:, 1:].float().mean(dim=1, keepdim=True)  # [B, 1, W]
    return (weight * source.detach()[:, 1:].float()).sum(dim=-1).relu().view(-1, *encoded.grid)


def resize(maps: Tensor, side: int) -> Tensor:
    """Return [B, side, side]: ``maps`` [B, h, w] resized bilinearly (align_corners=False)."""
    return F.interpolate(maps[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]


def min_max(maps: Tensor) -> Tensor:
    """Return ``maps`` [B, h, w] scaled to [0, 1] per image. A constant map becomes all zeros, not NaN."""
    flat = maps.flatten(1)
    low, high = flat.amin(dim=1, keepdim=True), flat.amax(dim=1, keepdim=True)
    span = high - low
    flat = (flat - low) / torch.where(span > 0, span, torch.ones_like(span))
    return flat.view_as(maps)


@lru_cache(maxsize=64)
def _placed(factor: Callable[..., Tensor], sizes: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Return a constant where it is needed. It is copied there once, because each copy makes the host wait."""
    with torch.no_grad():
        return factor(*sizes).to(device, dtype)


def _beside(maps: Tensor, factor: Callable[..., Tensor], *sizes: int) -> Tensor:
    return _placed(factor, sizes, maps.device, maps.dtype)


@lru_cache(maxsize=64)
def _factor(cells: int, side: int) -> Tensor:
    """R [cells, cells] with ``R^T R = U^T U``, where U [side, cells] is one axis of the bilinear resize."""
    unit = torch.eye(cells, dtype=torch.float64)[None]
    up = F.interpolate(unit, side, mode="linear", align_corners=False)[0].T if cells != side else unit[0]
    factor: Tensor = torch.linalg.cholesky(up.T @ up)
    return factor.T.contiguous()


def folded(maps: Tensor, side: int) -> Tensor:
    """Return [B, h * w] with the inner products of ``maps`` [B, h, w] resized to ``side`` x ``side``.

    ``<Up(a), Up(b)> = <Rh a Rw^T, Rh b Rw^T>``: nothing as large as the image is ever made. Needs side >= h, w.
    """
    h, w = maps.shape[1:]
    require(side >= max(h, w), "map_side", side, f"at least the patch grid's side, {max(h, w)}")
    rows, columns = _beside(maps, _factor, h, side), _beside(maps, _factor, w, side)
    return (rows @ maps @ columns.T).flatten(1)


@lru_cache(maxsize=64)
def _pairs(cells: int) -> Tensor:
    """S [2 cells - 1, cells, cells]: which products of two neighbouring basis functions are one and the same."""
    s = torch.zeros(2 * cells - 1, cells, cells, dtype=torch.float64)
    for i in range(cells):
        s[2 * i, i, i] = 1
    for i in range(cells - 1):
        s[2 * i + 1, i, i + 1] = s[2 * i + 1, i + 1, i] = 1
    return s


@lru_cache(maxsize=64)
def _product_factor(cells: int, side: int) -> Tensor:
    """R with ``R^T R = V^T V``, V [side, 2 cells - 1] the products of the resize's neighbouring basis functions."""
    unit = torch.eye(cells, dtype=torch.float64)[None]
    up = F.interpolate(unit, side, mode="linear", align_corners=False)[0].T if cells != side else unit[0]
    own, next_to = up.square(), up[:, :-1] * up[:, 1:]
    v = torch.zeros(side, 2 * cells - 1, dtype=torch.float64)
    v[:, ::2], v[:, 1::2] = own, next_to
    values, vectors = torch.linalg.eigh(v.T @ v)  # singular where a side has too few pixels to a cell
    factor: Tensor = values.clamp(min=0).sqrt()[:, None] * vectors.T
    return factor


def folded_product(a: Tensor, b: Tensor, side: int) -> Tensor:
    """Return [B, (2h-1)(2w-1)] with the inner products of ``Up(a) * Up(b)``, the product taken after the resize.

    A bilinear resize mixes at most two neighbours an axis, so a product of two resized maps is a combination of
    products of neighbouring cells: as :func:`folded`, nothing as large as the image is made. Needs side >= h, w.
    """
    h, w = a.shape[1:]
    require(side >= max(h, w), "map_side", side, f"at least the patch grid's side, {max(h, w)}")
    mixed = torch.einsum("pik,bij->bpkj", _beside(a, _pairs, h), a)
    both = torch.einsum("bpkj,bkl->bpjl", mixed, b)
    cells = torch.einsum("bpjl,qjl->bpq", both, _beside(a, _pairs, w))
    rows, columns = _beside(a, _product_factor, h, side), _beside(a, _product_factor, w, side)
    return (rows @ cells @ columns.T).flatten(1)


def l2_norm(rows: Tensor) -> Tensor:
    """Return [B]: the norm of each row, with gradient zero (not NaN) at zero, where student and teacher agree."""
    norm: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norm


def map_distance(a: Tensor, b: Tensor, distance: Distance, side: int, minmax: MinMax) -> Tensor:
    """Return [B]: the distance of two maps [B, h, w] after resizing to ``side`` x ``side``.

    "l2" is the norm (not squared), "l1" the mean absolute difference over pixels, "cos" one minus the cosine, as in
    the official code's ``Distance_metric``. ``minmax`` says whether each map is scaled to [0, 1] "before" the resize
    (official code) or "after" it (paper). The gradient at distance zero is zero.
    """
    if minmax == "before":
        a, b = min_max(a), min_max(b)
        if distance == "l2":
            return l2_norm(folded(a - b, side))
        if distance == "cos":
            return 1 - F.cosine_similarity(folded(a, side), folded(b, side), dim=1, eps=1e-8)
        return (resize(a, side) - resize(b, side)).flatten(1).abs().mean(dim=1)
    # Scaled before too, which the later scaling undoes: rounding in the resize would give a constant map a shape.
    a, b = (min_max(resize(min_max(maps), side)).flatten(1) for maps in (a, b))
    if distance == "l2":
        return l2_norm(a - b)
    if distance == "cos":
        return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-8)
    return (a - b).abs().mean(dim=1)
