"""What the adversary may do: a ball around the image, in [0, 1] pixel units, and the image box."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from zsr_core.codec import is_finite, require

Norm = Literal["linf", "l2"]
PixelSpace = Literal["model_input", "native"]
INWARDS = 1 - 2**-22  # of an l2 radius, because two roundings in fp32 could end outside


def check_eps(path: str, eps: float) -> None:
    """Raise ``ConfigError`` unless ``eps`` is a budget in [0, 1] pixel units."""
    require(is_finite(eps) and eps >= 0, path, eps, "a finite number >= 0")
    require(eps <= 1, path, eps, f"a budget in [0, 1] pixel units (write {eps:g}/255)")


def l2_size(delta: Tensor) -> Tensor:
    """Return [B], in double, because the error of a sum over pixels in fp32 exceeds the tolerance of a radius."""
    size: Tensor = torch.linalg.vector_norm(delta.flatten(1), dim=1, dtype=torch.float64)
    return size


def budget_text(eps: float, norm: Norm) -> str:
    """Return a budget as one reads it: ``4/255`` for linf, ``0.5 (l2)``."""
    return f"{255 * eps:.3g}/255" if norm == "linf" else f"{eps:.3g} ({norm})"


@dataclass(frozen=True, kw_only=True)
class ThreatModel:
    """``norm``-ball of radius ``eps`` ([0, 1] pixel units, 1/255 for the field's usual budget) within the box [0, 1].

    ``space`` says which tensor the budget lives on: the model's input or the native image. l2 radii may exceed 1.
    """

    norm: Norm = "linf"
    eps: float = 1 / 255
    space: PixelSpace = "model_input"

    def __post_init__(self) -> None:
        require(self.norm in ("linf", "l2"), "norm", self.norm, "'linf' or 'l2'")
        if self.norm == "linf":
            check_eps("eps", self.eps)
        else:
            require(is_finite(self.eps) and self.eps >= 0, "eps", self.eps, "a finite number >= 0")
        require(self.space in ("model_input", "native"), "space", self.space, "'model_input' or 'native'")

    def project(self, x_adv: Tensor, x: Tensor) -> Tensor:
        """Return the point of ball and box next to ``x_adv`` ([B, 3, H, W]); for l2, ball then box."""
        if self.norm == "linf":
            # In place, because a fresh image-sized tensor costs more than the arithmetic on it.
            lower, upper = (x - self.eps).clamp_(min=0), (x + self.eps).clamp_(max=1)
            return lower.clamp_(min=x_adv).clamp_(max=upper)
        delta = x_adv - x
        scale = (self.eps * INWARDS / l2_size(delta).clamp(min=1e-12)).clamp(max=1).to(x.dtype)
        return (x + delta * scale.view(-1, *[1] * (x.dim() - 1))).clamp(0, 1)

    def contains(self, x_adv: Tensor, x: Tensor, tolerance: float = 1e-6) -> Tensor:
        """Return [B] bool: inside the ball and the box, up to ``tolerance`` in pixel units, and finite."""
        delta = (x_adv - x).flatten(1)
        size = delta.abs().amax(dim=1) if self.norm == "linf" else l2_size(delta)
        flat = x_adv.flatten(1)
        boxed = (flat.amin(dim=1) >= -tolerance) & (flat.amax(dim=1) <= 1 + tolerance)
        return boxed & (size <= self.eps + tolerance) & flat.isfinite().all(dim=1)

    def random_start(self, x: Tensor, generators: torch.Generator | list[torch.Generator]) -> Tensor:
        """Return a random point of the ball around each image, inside the box: uniform for linf, on the sphere for l2.

        ``generators``: one for the batch, or one per image.
        """
        if self.norm == "linf":
            return self.project(_draw(x, generators, torch.rand).mul_(2).sub_(1).mul_(self.eps).add_(x), x)
        # In as many dimensions as an image has pixels, a uniform point of the ball lies on its sphere.
        return self.sphere_start(x, generators)

    def sphere_start(self, x: Tensor, generators: torch.Generator | list[torch.Generator]) -> Tensor:
        """Return a random point of the ball's surface around each image, cut to the box: where APGD starts."""
        linf = self.norm == "linf"
        direction = _draw(x, generators, torch.rand).mul_(2).sub_(1) if linf else _draw(x, generators, torch.randn)
        size = direction.flatten(1).norm(p=torch.inf if linf else 2, dim=1).clamp(min=1e-12)
        return self.project(x + self.eps * direction / size.view(-1, *[1] * (x.dim() - 1)), x)

    def near(self, x: Tensor, std: float, generators: torch.Generator | list[torch.Generator]) -> Tensor:
        """Return each image plus normal noise of ``std`` ([0, 1] pixel units), inside ball and box."""
        return self.project(x + std * _draw(x, generators, torch.randn), x)


def _draw(x: Tensor, generators: torch.Generator | list[torch.Generator], law: Callable[..., Tensor]) -> Tensor:
    if isinstance(generators, torch.Generator):
        return _beside(x, law(x.shape, generator=generators, device=generators.device))
    return _beside(x, torch.stack([law(x.shape[1:], generator=g, device=g.device) for g in generators]))


def _beside(x: Tensor, drawn: Tensor) -> Tensor:
    """Return ``drawn`` where ``x`` is and in its type; from the CPU to CUDA without making the host wait."""
    if x.device.type == "cuda" and drawn.device.type == "cpu":
        drawn = drawn.pin_memory()
    return drawn.to(x, non_blocking=True)
