"""CLIP's ResNet with its attention pool.

A patch token is the pool's output with that cell of the last map as its query; the embedding's query is the cells'
mean. Batch norm uses its stored statistics, in training too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsr_core.lazy import LazyModule
from zsr_core.model.layout import Features, Layout, Watch, split_heads

modified_resnet = LazyModule("open_clip.modified_resnet")


def fits(visual: nn.Module) -> bool:
    """Return whether this is CLIP's ResNet."""
    return isinstance(visual, modified_resnet.ModifiedResNet)


def features(visual: Any, normal: Tensor, watch: Watch) -> Features:
    """Return the features of normalised pixels ``normal`` [B, 3, H, W]."""
    h = visual.layer4(visual.layer3(visual.layer2(visual.layer1(visual.stem(normal)))))  # [B, W, h, w]
    h = watch(h)
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


LAYOUT = Layout(name="resnet", fits=fits, features=features, has_patches=True, has_last_norm=True)


def _attention_pool(pool: Any, h: Tensor) -> Tensor:
    """CLIP's attention pool with every position as a query, [B, 1+P, D]; row 0 is the embedding."""
    x = h.flatten(2).transpose(1, 2)
    x = torch.cat([x.mean(dim=1, keepdim=True), x], dim=1)
    x = x + pool.positional_embedding.to(x.dtype)
    q, k, v = (split_heads(project(x), pool.num_heads) for project in (pool.q_proj, pool.k_proj, pool.v_proj))
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
    tokens: Tensor = pool.c_proj(mixed)
    return tokens
