"""Divergences against closed forms, other implementations and sampling."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Categorical, Dirichlet, kl_divergence

from zsr_core.methods.divergence import (
    dirichlet_bhattacharyya,
    dirichlet_kl,
    dirichlet_kl_asymptotic,
    dirichlet_to_uniform,
    kl,
)


def _rows(seed: int, classes: int, low: float, high: float) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    return tuple(low + (high - low) * torch.rand(5, classes, generator=g, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


def test_the_categorical_divergence_worked_by_hand() -> None:
    """p = (1/2, 1/2), q = (1/4, 3/4): KL(p || q) = 1/2 log 2 + 1/2 log(2/3); KL(q || p) = 1/4 log 1/2 + 3/4 log 3/2."""
    p, q = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[0.25, 0.75]]).log()
    torch.testing.assert_close(kl(p, q), torch.tensor([0.5 * math.log(2) + 0.5 * math.log(2 / 3)]))
    torch.testing.assert_close(kl(q, p), torch.tensor([0.25 * math.log(0.5) + 0.75 * math.log(1.5)]))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 40))
def test_both_divergences_are_torchs(seed: int, classes: int) -> None:
    a, b = _rows(seed, classes, -3, 5)
    expected = kl_divergence(Categorical(logits=a), Categorical(logits=b))
    torch.testing.assert_close(kl(a.log_softmax(1), b.log_softmax(1)), expected)
    torch.testing.assert_close(dirichlet_kl(a, b), kl_divergence(Dirichlet(a.exp()), Dirichlet(b.exp())))


def test_the_dirichlet_divergence_worked_by_hand() -> None:
    """Dir(2, 1) against Dir(1, 1), densities 2x and 1 on [0, 1]: the integral of 2x log 2x is log 2 - 1/2."""
    log_a = torch.tensor([[math.log(2.0), 0.0]])
    torch.testing.assert_close(dirichlet_to_uniform(log_a), torch.tensor([math.log(2) - 0.5], dtype=torch.float64))


def test_the_bhattacharyya_distance_worked_by_hand() -> None:
    """Dir(2, 1) against Dir(1, 1), densities 2x and 1: the integral of sqrt(2x) on [0, 1] is sqrt(2) 2/3."""
    log_a = torch.tensor([[math.log(2.0), 0.0]])
    expected = torch.tensor([-math.log(math.sqrt(2) * 2 / 3)], dtype=torch.float64)
    for one, other in ((log_a, torch.zeros(1, 2)), (torch.zeros(1, 2), log_a)):
        torch.testing.assert_close(dirichlet_bhattacharyya(one, other), expected)
    assert dirichlet_bhattacharyya(log_a, log_a).item() == 0


@pytest.mark.parametrize("classes", [10, 100, 1000])
def test_at_tau_007_the_exact_form_is_the_asymptotic_one_within_a_millionth(classes: int) -> None:
    """Cosines of CLIP, 0.2 give or take 0.03: concentrations of 1e7."""
    g = torch.Generator().manual_seed(classes)
    cos = 0.2 + 0.03 * torch.randn(2, 8, classes, generator=g, dtype=torch.float64)
    a, b = (cos + 1) / 0.07
    for first, second in ((a, b), (b, a)):
        exact, asymptotic = dirichlet_kl(first, second), dirichlet_kl_asymptotic(first, second)
        torch.testing.assert_close(asymptotic, exact, rtol=1e-6, atol=0)


def test_at_small_concentrations_the_two_forms_part() -> None:
    a, b = _rows(0, 10, 0.0, 1.0)
    assert ((dirichlet_kl(a, b) - dirichlet_kl_asymptotic(a, b)).abs() > 0.05 * dirichlet_kl(a, b)).all()


def test_equal_distributions_are_at_distance_zero_with_a_zero_gradient() -> None:
    b = (1 + torch.linspace(0.1, 0.3, 10, dtype=torch.float64)[None]) / 0.07
    a = b.clone().requires_grad_()
    distance = dirichlet_kl(a, b)
    (grad,) = torch.autograd.grad(distance.sum(), a)
    assert distance.item() == 0
    assert grad.abs().max() < 1e-9 * b.exp().sum()


def test_the_dirichlet_gradient_is_that_of_the_asymptotic_form() -> None:
    g = torch.Generator().manual_seed(3)
    cos = 0.2 + 0.03 * torch.randn(2, 4, 20, generator=g, dtype=torch.float64)
    a, b = ((c + 1) / 0.07 for c in cos)
    a.requires_grad_()
    grads = [torch.autograd.grad(f(a, b).sum(), a)[0] for f in (dirichlet_kl, dirichlet_kl_asymptotic)]
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-4, atol=1e-6 * float(grads[1].abs().max()))
