"""The image tower: pixels in [0, 1] go in, features come out, and only what is asked for is computed.

It runs an open_clip visual module with that module's own parameters. How features are computed depends on how the
module is built; each way is a row of :data:`LAYOUTS` and a file beside this one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zsr_core.codec import ConfigError, require
from zsr_core.model import opaque, resnet, trunk, vit
from zsr_core.model.layout import Edit, Features, Layout, no_last_norm, no_patches

# The first that fits is used; the last one fits every module.
LAYOUTS: tuple[Layout, ...] = (vit.LAYOUT, resnet.LAYOUT, trunk.LAYOUT, opaque.LAYOUT)


def layout_of(visual: nn.Module) -> Layout:
    """Return how the module is built."""
    return next(layout for layout in LAYOUTS if layout.fits(visual))


@dataclass(kw_only=True)
class Tally:
    """Image-encoder passes really made, counted by autograd hooks: what a step costs, as data."""

    forward: int = 0
    input_backward: int = 0
    full_backward: int = 0
    images: int = field(default=0)

    def reset(self) -> None:
        self.forward = self.input_backward = self.full_backward = self.images = 0


class ImageTower(nn.Module):
    """An open_clip visual module with its pixel statistics inside.

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
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the raw image embedding [B, D] of ``x`` [B, 3, H, W] in [0, 1]."""
        return self.features(x).embedding

    def features(self, x: Tensor) -> Features:
        """Return the features of ``x`` [B, 3, H, W] in [0, 1]; patch outputs are computed when asked for."""
        return self.layout.features(self.visual, self._normal(x), self._watched)

    def edited(self, x: Tensor, block: int, edit: Edit) -> Features:
        """Return the features of ``x`` with the tokens that go into block ``block`` (0-based) changed by ``edit``.

        Raises:
            ConfigError: if the tower has no tokens or no such block.
        """
        self.check_block(block)
        assert self.layout.edited is not None, "check_block has seen it"
        return self.layout.edited(self.visual, self._normal(x), self._watched, block, edit)

    def check_block(self, block: int, path: str = "block") -> None:
        """Raise ``ConfigError`` naming ``path`` unless tokens go into a block of this number."""
        if self.layout.edited is None:
            built = type(getattr(self.visual, "trunk", self.visual)).__name__
            raise ConfigError(f"{path}: got {block}, but {built} has no tokens between blocks; expected a CLIP ViT")
        last = len(self.visual.transformer.resblocks) - 1  # type: ignore[union-attr, arg-type]
        require(0 <= block <= last, path, block, f"a block from 0 to {last}")

    def _normal(self, x: Tensor) -> Tensor:
        """Return normalised pixels of the model's size, and count a forward."""
        self.tally.forward += 1
        self.tally.images += x.shape[0]
        if x.shape[-2:] != (self.image_size, self.image_size):
            x = F.interpolate(x, (self.image_size, self.image_size), mode="bicubic", align_corners=False)
        return (x - self.mean).div_(self.std)

    @property
    def has_patches(self) -> bool:
        """Whether patch tokens are defined for this tower."""
        return self.layout.has_patches

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

    def random_features(self, n: int, dim: int) -> Features:
        """Return random features of ``n`` images, [n, dim]; what this tower lacks raises ``ConfigError`` here too.

        A method can be tried on them without weights and without images.
        """
        noise = torch.randn(n, 5, dim, generator=torch.Generator().manual_seed(0), device="cpu")
        return Features(
            embedding=noise[:, 0], patches=lambda: noise[:, 1:] if self.has_patches else no_patches(self.visual),
            last_norm=lambda: no_last_norm(self.visual), grid=(2, 2),
        )  # fmt: skip


@contextlib.contextmanager
def frozen(tower: nn.Module) -> Iterator[None]:
    """Within, no weight of ``tower`` takes a gradient, which halves the cost of a backward."""
    weights = [p for p in tower.parameters() if p.requires_grad]
    for p in weights:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in weights:
            p.requires_grad_(True)
