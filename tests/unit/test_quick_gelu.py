"""QuickGELU's derivative, as it is computed on CPU and on CUDA."""

from __future__ import annotations

import torch
from pretended_cuda import PretendedCuda
from torch import Tensor

from zsr_core.model.vit import _QuickGelu, fused_slope, plain_slope


def doubles(seed: int) -> Tensor:
    return (4 * torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))).requires_grad_()


def test_both_forms_are_the_derivative() -> None:
    x, grad = doubles(0), doubles(1).detach()
    (expected,) = torch.autograd.grad(x * torch.sigmoid(1.702 * x), x, grad)
    for form in (plain_slope, fused_slope):
        assert torch.allclose(form(grad, x.detach()), expected, rtol=1e-12, atol=1e-14)


def test_it_has_a_second_derivative_on_both() -> None:
    def activation(x: Tensor) -> Tensor:
        out: Tensor = _QuickGelu.apply(x)
        return out

    assert torch.autograd.gradcheck(activation, doubles(0))
    assert torch.autograd.gradgradcheck(activation, doubles(0))
    with PretendedCuda():
        x = doubles(0).detach().to("cuda").requires_grad_()
        (first,) = torch.autograd.grad(activation(x).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.sum(), x)
    y = doubles(0)
    (slope,) = torch.autograd.grad((y * torch.sigmoid(1.702 * y)).sum(), y, create_graph=True)
    assert torch.allclose(second, torch.autograd.grad(slope.sum(), y)[0], rtol=1e-12)
