"""How far apart two predictions are: as categorical distributions, as Dirichlet distributions over them."""

from __future__ import annotations

import torch
from torch import Tensor


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """Return [B]: ``KL(p || q) = sum_c p_c (log p_c - log q_c)`` of two [B, C] rows of log-probabilities."""
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def dirichlet_kl(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return [B] float64: ``KL(Dir(a) || Dir(b))`` in closed form, from log-concentrations [B, C].

    In float64: at concentrations of 1e8 the terms cancel to the last digits of float32.
    """
    a, b = log_a.double().exp(), log_b.double().exp()
    a0, b0 = a.sum(dim=1), b.sum(dim=1)
    norms = torch.lgamma(a0) - torch.lgamma(b0) - (torch.lgamma(a) - torch.lgamma(b)).sum(dim=1)
    moments: Tensor = ((a - b) * (torch.digamma(a) - torch.digamma(a0)[:, None])).sum(dim=1)
    return norms + moments


def dirichlet_kl_asymptotic(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return [B] float64: ``b_0 KL(b / b_0 || a / a_0)``, what :func:`dirichlet_kl` tends to as concentrations grow.

    The relative difference falls as one over the concentrations: 1e-7 at exp((cos + 1) / 0.07), 1e-2 at 0.2.
    """
    log_a, log_b = log_a.double(), log_b.double()
    return log_b.logsumexp(dim=1).exp() * kl(log_b.log_softmax(dim=1), log_a.log_softmax(dim=1))


def dirichlet_bhattacharyya(log_a: Tensor, log_b: Tensor) -> Tensor:
    """Return [B] float64: ``-log`` of the integral of ``sqrt(Dir(a) Dir(b))``, from log-concentrations [B, C]."""
    a, b = log_a.double().exp(), log_b.double().exp()

    def log_beta(c: Tensor) -> Tensor:
        value: Tensor = torch.lgamma(c).sum(dim=1) - torch.lgamma(c.sum(dim=1))
        return value

    return 0.5 * (log_beta(a) + log_beta(b)) - log_beta(0.5 * (a + b))


def dirichlet_to_uniform(log_a: Tensor) -> Tensor:
    """Return [B] float64: ``KL(Dir(a) || Dir(1))``, how much evidence ``a`` claims (Sensoy et al., NeurIPS 2018)."""
    return dirichlet_kl(log_a, torch.zeros_like(log_a))
