"""CLIP's ViT, computed block by block: the same mathematics as open_clip's module, with fewer copies.

The last block is split: the image embedding needs one query row, the patch tokens need the others. An attack that
reads logits alone never pays for patch outputs. A patch token is the last block's token at that patch, through the last
norm and the projection.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsr_core.lazy import LazyModule
from zsr_core.model.kernels import linear
from zsr_core.model.layout import Edit, Features, Layout, Watch, split_heads

transformer = LazyModule("open_clip.transformer")
NOWHERE = -1  # no block has this number


def fits(visual: nn.Module) -> bool:
    """Return whether this is a ViT whose embedding is the projected class token, without further options."""
    return (
        isinstance(visual, transformer.VisionTransformer)
        and visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.final_ln_after_pool
        and visual.proj is not None
        and getattr(visual.patch_dropout, "prob", 0.0) == 0.0
        and all(type(block) is transformer.ResidualAttentionBlock for block in visual.transformer.resblocks)
    )


def features(visual: Any, normal: Tensor, watch: Watch) -> Features:
    """Return the features of normalised pixels ``normal`` [B, 3, H, W]."""
    return edited(visual, normal, watch, NOWHERE, lambda tokens: tokens)


def edited(visual: Any, normal: Tensor, watch: Watch, at: int, edit: Edit) -> Features:
    """Return the features of ``normal`` with the tokens [B, 1+P, W] that go into block ``at`` (0-based) changed."""
    h = visual.ln_pre(_embed(visual, normal))  # [B, 1+P, W]
    *blocks, last = visual.transformer.resblocks
    for k, block in enumerate(blocks):
        h = edit(h) if k == at else h
        h = h + _attend(block, block.ln_1(h))
        h = h + _mlp(block, block.ln_2(h))
    h = watch(edit(h) if len(blocks) == at else h)
    normed = last.ln_1(h)

    def finish(tokens: Tensor) -> Tensor:
        tokens = tokens + _mlp(last, last.ln_2(tokens))
        projected: Tensor = visual.ln_post(tokens) @ visual.proj
        return projected

    def embed_from(source: Tensor) -> Tensor:
        return finish(h[:, 0] + _attend_first(last, source))

    return Features(
        embedding=embed_from(normed),
        patches=lambda: finish(h[:, 1:] + _attend(last, normed)[:, 1:]),
        last_norm=lambda: (normed, embed_from),
        grid=tuple(visual.grid_size),
    )


LAYOUT = Layout(name="vit", fits=fits, features=features, has_patches=True, has_last_norm=True, edited=edited)


class _QuickGelu(torch.autograd.Function):
    """x * sigmoid(1.702 x) that saves its input alone; the eager form keeps three tensors and makes four passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        out: Tensor = torch.sigmoid(1.702 * x).mul_(x)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        # Where a second derivative may be asked for, the fused kernel has none.
        fused = x.device.type == "cuda" and not torch.is_grad_enabled()
        return fused_slope(grad, x) if fused else plain_slope(grad, x)


def plain_slope(grad: Tensor, x: Tensor) -> Tensor:
    """Return ``grad`` times QuickGELU's derivative at ``x``."""
    s = torch.sigmoid(1.702 * x)
    return grad * (s * (1 + 1.702 * x * (1 - s)))


def fused_slope(grad: Tensor, x: Tensor) -> Tensor:
    """Return the same in two kernels in place of eight: QuickGELU(x) is silu(1.702 x) / 1.702."""
    slope: Tensor = torch.ops.aten.silu_backward(grad, 1.702 * x)
    return slope


def _embed(visual: Any, normal: Tensor) -> Tensor:
    """Return patch and class tokens with positions, [B, 1+P, W]."""
    conv = visual.conv1  # patches do not overlap: the convolution is one matmul
    size_h, size_w = conv.kernel_size
    b, c, height, width = normal.shape
    cells = normal.reshape(b, c, height // size_h, size_h, width // size_w, size_w).permute(0, 2, 4, 1, 3, 5)
    patches = linear(cells.reshape(b, -1, c * size_h * size_w), conv.weight.flatten(1), conv.bias)
    first = visual.class_embedding.to(patches.dtype).expand(b, 1, -1)
    tokens: Tensor = torch.cat([first, patches], dim=1) + visual.positional_embedding.to(patches.dtype)
    return tokens


def _apply(layer: Any, x: Tensor) -> Tensor:
    return linear(x, layer.weight, layer.bias)


def _attend(block: Any, normed: Tensor) -> Tensor:
    attn = block.attn
    qkv = linear(normed, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (split_heads(part, attn.num_heads) for part in qkv.chunk(3, dim=-1))
    return _output(block, F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _output(block: Any, mixed: Tensor) -> Tensor:
    out: Tensor = block.ls_1(_apply(block.attn.out_proj, mixed))
    return out


def _attend_first(block: Any, normed: Tensor) -> Tensor:
    """Return [B, W], what the class token attends to in ``normed`` [B, T, W], without a key or value of any token.

    With one query its product with the keys is ``(W_k^T q) . x`` and the mixture of the values ``W_v (sum_t a_t x_t)``.
    This takes as many products of a matrix with a vector as there are heads; keys and values would take two per token.
    The keys' bias adds the same number to all scores of a head, so softmax cancels it.
    """
    attn, width = block.attn, normed.shape[-1]
    of_q, of_k, of_v = attn.in_proj_weight.view(3, attn.num_heads, -1, width)  # [heads, W / heads, W] each
    q_bias, _, v_bias = (None, None, None) if attn.in_proj_bias is None else attn.in_proj_bias.chunk(3)
    q = split_heads(linear(normed[:, :1], of_q.flatten(0, 1), q_bias), attn.num_heads)[:, :, 0]  # [B, heads, W / heads]
    probe = (q.transpose(0, 1) @ of_k).transpose(0, 1)  # [B, heads, W]
    weights = (probe @ normed.transpose(1, 2) * of_q.shape[1] ** -0.5).softmax(dim=-1)  # [B, heads, T]
    seen = (weights @ normed).transpose(0, 1)  # [heads, B, W]
    mixed = (seen @ of_v.transpose(1, 2)).transpose(0, 1).flatten(1)
    return _output(block, mixed if v_bias is None else mixed + v_bias)


def _mlp(block: Any, normed: Tensor) -> Tensor:
    mlp = block.mlp
    inner = _apply(mlp.c_fc, normed)
    inner = _QuickGelu.apply(inner) if isinstance(mlp.gelu, transformer.QuickGELU) else mlp.gelu(inner)
    out: Tensor = block.ls_2(_apply(mlp.c_proj, inner))
    return out
