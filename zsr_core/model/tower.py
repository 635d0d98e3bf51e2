"""The image tower: pixels in [0, 1] go in, projected tokens come out, and no work is done that nobody reads.

It runs an open_clip visual module with that module's own parameters. For CLIP's ViT the blocks are computed here
(same mathematics, fewer copies), and the last block is split: the image embedding needs one query row, the patch tokens
the others, so an attack that looks at logits alone never pays for patch outputs.

A patch token is, by layout:
    vit     CLIP's ViT: the last block's token at that patch, through the last norm and the projection.
    resnet  CLIP's ResNet: the attention pool's output with that cell of the last map as its query (the embedding's
            query is the cells' mean).
    trunk   timm's ViT, EVA and ConvNeXt (SigLIP, SigLIP 2, EVA-02, PE, CLIP ConvNeXt): what the head makes of that
            patch alone, as if its pooling (attention of a latent query, average, class token) saw nothing else.
    opaque  anything else: there are none, and whoever asks gets an error that says so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import QuickGELU, ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

from zsr_core.codec import ConfigError
from zsr_core.model.distributed import ALONE
from zsr_core.model.kernels import linear

Layout = Literal["vit", "resnet", "trunk", "opaque"]
TRUNKS = ("VisionTransformer", "Eva", "ConvNeXt")  # timm's, by class name: timm is open_clip's dependency, not ours


@dataclass(kw_only=True)
class Tally:
    """Image-encoder passes really made, counted by autograd hooks: what a step costs, as data."""

    forward: int = 0
    input_backward: int = 0
    full_backward: int = 0
    images: int = field(default=0)

    def reset(self) -> None:
        self.forward = self.input_backward = self.full_backward = self.images = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """One image batch behind the tower. ``patches`` and ``last_norm`` cost something only when called."""

    embedding: Tensor  # [B, D], raw
    patches: Callable[[], Tensor]  # [B, P, D], projected, raw
    # Input of the last attention (the output of its first layer norm), and the map from it to the embedding.
    last_norm: Callable[[], tuple[Tensor, Callable[[Tensor], Tensor]]]
    grid: tuple[int, int]


class ImageTower(nn.Module):
    """An open_clip visual module with its pixel statistics inside.

    ``world`` says over which processes a batch is shared out; batch norm uses its stored statistics, in training too.

    Args:
        visual: the visual module; its parameters are used in place, so a state dict of either fits.
        mean, std: pixel statistics, [3] each, in [0, 1] units.
        image_size: pixels a side of the model's input; other sizes are resized inside, differentiably.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, visual: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], image_size: int) -> None:
        super().__init__()
        self.visual = visual
        self.image_size = image_size
        self.layout = layout_of(visual)
        self.tally = Tally()
        self.world = ALONE
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw image embedding [B, D] of ``x`` [B, 3, H, W] in [0, 1]."""
        return self.features(x).embedding

    def features(self, x: Tensor) -> Features:
        """Return what the tower sees in ``x`` [B, 3, H, W] in [0, 1]; patch outputs are computed when asked for.

        Over several processes each encodes its share of the batch, and all have the features of the whole.
        """
        world, n = self.world, len(x)
        if world.size == 1:
            return self._features(x)
        seen = self._features(world.share(x))

        def last_norm() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            source, embed_from = seen.last_norm()
            return world.gather(source, n), lambda whole: world.gather(embed_from(world.share(whole)), n)

        return Features(
            embedding=world.gather(seen.embedding, n), patches=lambda: world.gather(seen.patches(), n),
            last_norm=last_norm, grid=seen.grid,
        )  # fmt: skip

    def _features(self, x: Tensor) -> Features:
        self.tally.forward += 1
        self.tally.images += x.shape[0]
        if x.shape[-2:] != (self.image_size, self.image_size):
            x = F.interpolate(x, (self.image_size, self.image_size), mode="bicubic", align_corners=False)
        normal = (x - self.mean) / self.std
        if self.layout == "vit":
            return self._vit(normal)
        if self.layout == "resnet":
            return self._resnet(normal)
        if self.layout == "trunk":
            return self._trunk(normal)
        out = self.visual(normal)
        embedding = out[0] if isinstance(out, tuple) else out
        return Features(
            embedding=self._watched(embedding), patches=self._no_patches, last_norm=self._no_patches, grid=(0, 0)
        )

    @property
    def has_patches(self) -> bool:
        """Whether patch tokens are defined for this tower."""
        return self.layout != "opaque"

    def _watched(self, hidden: Tensor) -> Tensor:
        """Count the backward through ``hidden``: full if the weights take gradients, else input-only."""
        if hidden.requires_grad:
            full = next(self.parameters()).requires_grad
            tally = self.tally

            def count(grad: Tensor) -> None:
                if full:
                    tally.full_backward += 1
                else:
                    tally.input_backward += 1

            hidden.register_hook(count)
        return hidden

    def made_up(self, n: int, dim: int) -> Features:
        """Return features of ``n`` images [n, dim] with nothing seen, that lack what this tower lacks."""
        noise = torch.randn(n, 5, dim, generator=torch.Generator().manual_seed(0), device="cpu")
        return Features(
            embedding=noise[:, 0], patches=lambda: noise[:, 1:] if self.has_patches else self._no_patches(),
            last_norm=self._no_layers, grid=(2, 2),
        )  # fmt: skip

    def _no_patches(self) -> Any:
        trunk = getattr(self.visual, "trunk", self.visual)
        raise ConfigError(
            f"model: {type(trunk).__name__} has no patch tokens in the joint space; "
            f"expected a CLIP ViT or ResNet, or a timm {', '.join(TRUNKS)}"
        )

    def _no_layers(self) -> Any:
        trunk = getattr(self.visual, "trunk", self.visual)
        raise ConfigError(
            f"model: the last attention of {type(trunk).__name__} cannot be looked into; expected a CLIP ViT or ResNet"
        )

    def _vit(self, normal: Tensor) -> Features:
        visual: Any = self.visual
        h = visual.ln_pre(_embed(visual, normal))  # [B, 1+P, W]
        *blocks, last = visual.transformer.resblocks
        for block in blocks:
            h = h + _attend(block, block.ln_1(h))
            h = h + _mlp(block, block.ln_2(h))
        h = self._watched(h)
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

    def _resnet(self, normal: Tensor) -> Features:
        visual: Any = self.visual
        h = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(normal)))))  # [B, W, h, w]
        h = self._watched(h)
        tokens = _attention_pool(visual.attnpool, h)  # [B, 1+P, D]

        def embed_from(source: Tensor) -> Tensor:
            side = h.shape[-2:]
            return _attention_pool(visual.attnpool, source[:, 1:].transpose(1, 2).reshape(-1, h.shape[1], *side))[:, 0]

        def last_norm() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
            spatial = h.flatten(2).transpose(1, 2)
            return torch.cat([spatial.mean(1, keepdim=True), spatial], dim=1), embed_from

        return Features(
            embedding=tokens[:, 0], patches=lambda: tokens[:, 1:], last_norm=last_norm, grid=(h.shape[2], h.shape[3])
        )

    def _trunk(self, normal: Tensor) -> Features:
        visual: Any = self.visual
        h = self._watched(visual.trunk.forward_features(normal))  # [B, T, W], or a map [B, W, h, w]
        grid = h.shape[2:] if h.dim() == 4 else visual.trunk.patch_embed.grid_size
        return Features(
            embedding=visual.head(visual.trunk.forward_head(h)), patches=lambda: _head_of_each(visual, h),
            last_norm=self._no_layers, grid=(grid[0], grid[1]),
        )  # fmt: skip


def layout_of(visual: nn.Module) -> Layout:
    """Return how the module is built: CLIP's ViT or ResNet, a timm trunk, or something with an embedding alone."""
    if isinstance(visual, ModifiedResNet):
        return "resnet"
    if isinstance(visual, TimmModel):
        pooled = hasattr(visual.head, "pool")  # a pooling of open_clip's own, with positions of its own
        return "trunk" if type(visual.trunk).__name__ in TRUNKS and not pooled else "opaque"
    if not isinstance(visual, VisionTransformer):
        return "opaque"
    plain = (
        visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.final_ln_after_pool
        and visual.proj is not None
        and getattr(visual.patch_dropout, "prob", 0.0) == 0.0
        and all(type(block) is ResidualAttentionBlock for block in visual.transformer.resblocks)
    )
    return "vit" if plain else "opaque"


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
        s = torch.sigmoid(1.702 * x)
        slope: Tensor = s * (1 + 1.702 * x * (1 - s))
        return grad * slope


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


def _split(x: Tensor, heads: int) -> Tensor:
    """[B, T, W] -> [B, heads, T, W / heads]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)


def _attend(block: Any, normed: Tensor) -> Tensor:
    attn = block.attn
    qkv = linear(normed, attn.in_proj_weight, attn.in_proj_bias)
    q, k, v = (_split(part, attn.num_heads) for part in qkv.chunk(3, dim=-1))
    return _output(block, F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def _output(block: Any, mixed: Tensor) -> Tensor:
    out: Tensor = block.ls_1(_apply(block.attn.out_proj, mixed))
    return out


def _attend_first(block: Any, normed: Tensor) -> Tensor:
    """Return [B, W], what the class token attends to in ``normed`` [B, T, W], without a key or value of any token.

    With one query its product with the keys is ``(W_k^T q) . x`` and the mixture of the values ``W_v (sum_t a_t x_t)``:
    as many products of a matrix with a vector as there are heads, where keys and values would be two per token. The
    keys' bias adds the same to all scores of a head, which softmax does not see.
    """
    attn, width = block.attn, normed.shape[-1]
    of_q, of_k, of_v = attn.in_proj_weight.view(3, attn.num_heads, -1, width)  # [heads, W / heads, W] each
    q_bias, _, v_bias = (None, None, None) if attn.in_proj_bias is None else attn.in_proj_bias.chunk(3)
    q = _split(linear(normed[:, :1], of_q.flatten(0, 1), q_bias), attn.num_heads)[:, :, 0]  # [B, heads, W / heads]
    probe = (q.transpose(0, 1) @ of_k).transpose(0, 1)  # [B, heads, W]
    weights = (probe @ normed.transpose(1, 2) * of_q.shape[1] ** -0.5).softmax(dim=-1)  # [B, heads, T]
    seen = (weights @ normed).transpose(0, 1)  # [heads, B, W]
    mixed = (seen @ of_v.transpose(1, 2)).transpose(0, 1).flatten(1)
    return _output(block, mixed if v_bias is None else mixed + v_bias)


def _mlp(block: Any, normed: Tensor) -> Tensor:
    mlp = block.mlp
    inner = _apply(mlp.c_fc, normed)
    inner = _QuickGelu.apply(inner) if isinstance(mlp.gelu, QuickGELU) else mlp.gelu(inner)
    out: Tensor = block.ls_2(_apply(mlp.c_proj, inner))
    return out


def _head_of_each(visual: Any, h: Tensor) -> Tensor:
    """Return [B, P, D]: the head's output for each patch of ``h`` alone."""
    trunk = visual.trunk
    if h.dim() == 4:  # [B, W, h, w]: each cell as a map of one
        cells = h.flatten(2).transpose(1, 2).reshape(-1, h.shape[1], 1, 1)
        tokens: Tensor = visual.head(trunk.forward_head(cells))
        return tokens.view(len(h), -1, tokens.shape[-1])
    patches = h[:, trunk.num_prefix_tokens :]
    if trunk.attn_pool is not None:  # each patch as a sequence of one: all attention rests on it
        patches = trunk.attn_pool(patches.reshape(-1, 1, h.shape[-1])).view(len(h), patches.shape[1], -1)
    tokens = visual.head(trunk.head(trunk.fc_norm(patches)))
    return tokens  # noqa: RET504  for the type


def _attention_pool(pool: Any, h: Tensor) -> Tensor:
    """CLIP's attention pool with every position as a query, [B, 1+P, D]; row 0 is the embedding."""
    x = h.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    x = x + pool.positional_embedding.to(x.dtype)
    q, k, v = (_split(project(x), pool.num_heads) for project in (pool.q_proj, pool.k_proj, pool.v_proj))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    tokens: Tensor = pool.c_proj(mixed)
    return tokens
