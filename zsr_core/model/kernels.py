"""The tower's matrix products on CPU: oneDNN's fp32 kernels where torch would take slower ones.

torch sends fp32 products to MKL, which keeps its AVX-512 kernels for one vendor's processors: on the others it reaches
less than half of what the cores can do. torch's own oneDNN runs the same products in fp32 on any of them.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Below so many multiplications the detour through Python costs more than the faster kernel saves.
WORTHWHILE = 1 << 21


def _available() -> bool:
    return (
        torch.backends.mkldnn.is_available()
        and torch.backends.cpu.get_cpu_capability().startswith("AVX512")
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


AVAILABLE = _available()


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``x @ weight.T + bias``: ``F.linear``, equal to fp32 round-off."""
    fits = (
        AVAILABLE
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and x.numel() * weight.shape[0] >= WORTHWHILE
        and not torch.is_autocast_enabled("cpu")
    )
    if not fits:
        return F.linear(x, weight, bias)
    if not torch.is_grad_enabled():
        return _product(x, weight, bias)  # because a graph node costs a tenth of a small product
    out: Tensor = _Linear.apply(x, weight, bias)
    return out


def _product(a: Tensor, b: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return ``a @ b.T + bias``. ``a`` is copied unless contiguous; ``b`` may be a transposed view, a little slower."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(a, b, bias, "none", [], "")
    return out


def _large(rows: Tensor, weight_size: int) -> bool:
    """Return whether transposing an operand in memory costs less than reading it out of order."""
    return rows.shape[0] >= 1024 and weight_size >= 1 << 20


def _input_grad(rows: Tensor, weight: Tensor) -> Tensor:
    """Return ``rows @ weight`` [M, K]."""
    return _product(rows, weight.T.contiguous() if _large(rows, weight.numel()) else weight.T)


def _weight_grad(rows: Tensor, x: Tensor) -> Tensor:
    """Return ``rows.T @ x`` [N, K]."""
    if _large(rows, rows.shape[1] * x.shape[1]):
        return _product(rows.T, x.T.contiguous())
    if rows.shape[1] <= x.shape[1]:
        return _product(rows.T, x.T)
    return _product(x.T, rows.T).T.contiguous()  # the narrower of the two is the one copied


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        of_x, of_weight, _ = ctx.needs_input_grad
        ctx.save_for_backward(x if of_weight else None, weight if of_x else None)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        of_x, of_weight, of_bias = ctx.needs_input_grad
        rows = grad.reshape(-1, grad.shape[-1])
        # Where a second derivative may be asked for, torch's own product carries it; oneDNN's does not.
        by_input, by_weight = (torch.mm, _mm_transposed) if torch.is_grad_enabled() else (_input_grad, _weight_grad)
        return (
            by_input(rows, weight).view(*grad.shape[:-1], -1) if of_x else None,
            by_weight(rows, x.reshape(-1, x.shape[-1])) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _mm_transposed(rows: Tensor, x: Tensor) -> Tensor:
    return rows.T @ x
