"""The tower's matrix products beside torch's own: values, gradients and second derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.model.kernels import linear

# (images, tokens, in, out): a miniature's layers, and a large one on either side.
SHAPES = [(64, 37, 96, 384), (64, 37, 384, 96), (32, 50, 768, 1536), (2, 3, 8, 5)]


def _operands(shape: tuple[int, int, int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    b, t, k, n = shape
    g = torch.Generator().manual_seed(0)
    x, weight, bias, grad = (torch.randn(*s, generator=g) for s in ((b, t, k), (n, k), (n,), (b, t, n)))
    return x.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), grad


def _close(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=5e-6 * float(wanted.detach().abs().max()))


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_equal_torch_s_to_round_off(shape: tuple[int, int, int, int]) -> None:
    x, weight, bias, grad = _operands(shape)
    ours, theirs = linear(x, weight, bias), F.linear(x, weight, bias)
    _close(ours, theirs)
    wrt = (x, weight, bias)
    for a, b in zip(torch.autograd.grad(ours, wrt, grad), torch.autograd.grad(theirs, wrt, grad), strict=True):
        _close(a, b)


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_a_second_derivative_passes_through(shape: tuple[int, int, int, int]) -> None:
    x, weight, bias, _ = _operands(shape)
    found = []
    for product in (linear, F.linear):
        (slope,) = torch.autograd.grad(product(x, weight, bias).square().sum(), x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), (x, weight)))
    for a, b in zip(*found, strict=True):
        _close(a, b)


def test_frozen_weights_get_no_gradient_and_the_input_s_is_the_same() -> None:
    x, weight, bias, grad = _operands(SHAPES[0])
    (wanted,) = torch.autograd.grad(linear(x, weight, bias), x, grad)
    (found,) = torch.autograd.grad(linear(x, weight.detach(), bias.detach()), x, grad)
    assert torch.equal(found, wanted)


def test_autocast_computes_in_its_own_precision() -> None:
    x, weight, bias, _ = _operands(SHAPES[0])
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight, bias).dtype == torch.bfloat16
