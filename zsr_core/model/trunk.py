"""A timm trunk behind open_clip's head: SigLIP, SigLIP 2, EVA-02, PE, CLIP ConvNeXt.

A patch token is what the head makes of that patch alone, as if its pooling (attention of a latent query, average, class
token) had no other patch.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from zsr_core.lazy import LazyModule
from zsr_core.model.layout import TRUNKS, Features, Layout, Watch, no_last_norm

timm_model = LazyModule("open_clip.timm_model")


def fits(visual: nn.Module) -> bool:
    """Return whether this is a trunk of :data:`TRUNKS` with timm's own pooling, not open_clip's."""
    if not isinstance(visual, timm_model.TimmModel):
        return False
    return type(visual.trunk).__name__ in TRUNKS and not hasattr(visual.head, "pool")


def features(visual: Any, normal: Tensor, watch: Watch) -> Features:
    """Return the features of normalised pixels ``normal`` [B, 3, H, W]."""
    h = watch(visual.trunk.forward_features(normal))  # [B, T, W], or a map [B, W, h, w]
    grid = h.shape[2:] if h.dim() == 4 else visual.trunk.patch_embed.grid_size
    return Features(
        embedding=visual.head(visual.trunk.forward_head(h)), patches=lambda: _head_of_each(visual, h),
        last_norm=lambda: no_last_norm(visual), grid=(grid[0], grid[1]),
    )  # fmt: skip


LAYOUT = Layout(name="trunk", fits=fits, features=features, has_patches=True, has_last_norm=False)


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
