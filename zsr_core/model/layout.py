"""What the ways to build an image tower have in common: the features they return and the row that each is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from zsr_core.codec import ConfigError

TRUNKS = ("VisionTransformer", "Eva", "ConvNeXt")  # timm's, by class name: timm is open_clip's dependency, not ours

# An intermediate tensor -> the same tensor, whose backward pass the tower counts.
Watch = Callable[[Tensor], Tensor]
# Tokens [B, T, W] that go into a block -> those that go into it in their place.
Edit = Callable[[Tensor], Tensor]


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """The features of one image batch. ``patches`` and ``last_norm`` cost something only when called."""

    embedding: Tensor  # [B, D], raw
    patches: Callable[[], Tensor]  # [B, P, D], projected, raw
    # Input of the last attention (the output of its first layer norm), and the map from it to the embedding.
    last_norm: Callable[[], tuple[Tensor, Callable[[Tensor], Tensor]]]
    grid: tuple[int, int]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layout:
    """One way to build a visual module: which modules are built so, and how their features are computed."""

    name: Literal["vit", "resnet", "trunk", "opaque"]
    fits: Callable[[nn.Module], bool]
    # (visual module, normalised pixels [B, 3, H, W], watch) -> features
    features: Callable[[Any, Tensor, Watch], Features]
    has_patches: bool  # whether patch tokens are defined
    has_last_norm: bool  # whether the input of the last attention can be read
    # (visual module, normalised pixels, watch, number of a block, edit) -> features with the tokens that go into that
    # block changed; None where there is no row of tokens from block to block
    edited: Callable[[Any, Tensor, Watch, int, Edit], Features] | None = None


def no_patches(visual: Any) -> Any:
    """Raise ``ConfigError`` because this module has no patch tokens."""
    raise ConfigError(
        f"model: {_architecture(visual)} has no patch tokens in the joint space; "
        f"expected a CLIP ViT or ResNet, or a timm {', '.join(TRUNKS)}"
    )


def no_last_norm(visual: Any) -> Any:
    """Raise ``ConfigError`` because the last attention of this module cannot be read."""
    raise ConfigError(
        f"model: the last attention of {_architecture(visual)} cannot be read; expected a CLIP ViT or ResNet"
    )


def _architecture(visual: Any) -> str:
    return type(getattr(visual, "trunk", visual)).__name__


def split_heads(x: Tensor, heads: int) -> Tensor:
    """[B, T, W] -> [B, heads, T, W / heads]."""
    return x.view(*x.shape[:2], heads, -1).transpose(1, 2)
