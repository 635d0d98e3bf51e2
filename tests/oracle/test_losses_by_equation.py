"""Every loss and its gradient against its equation written a second time, in float64, on random embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.methods import (
    Agft,
    AnyMethod,
    Arow,
    Caw,
    CompTga,
    Fare,
    FtAdv,
    FtClean,
    Laat,
    LpFt,
    Mart,
    PmgAft,
    TeCoA,
    TgaZsr,
    Trades,
    Ucat,
)
from zsr_core.methods.comp_tga import NON_CLASS
from zsr_core.methods.views import Views
from zsr_core.model.layout import Features
from zsr_core.text import TextBank

SHAPES = {  # B, C, D, grid, scale
    "one image, two classes": (1, 2, 6, (2, 2), 100.0),
    "two classes": (4, 2, 16, (2, 3), 20.0),
    "ViT-B/32's grid": (5, 12, 32, (7, 7), 100.0),
    "200 classes": (3, 200, 64, (4, 4), 33.0),
}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What student and teacher see, [B, 1 + P, D] with the class token first, as float64."""

    adv: Tensor
    clean: Tensor
    frozen_adv: Tensor
    frozen_clean: Tensor
    text: Tensor  # [C, D]
    denied: Tensor  # [C, D]: the classes in the second prompt
    y: Tensor
    grid: tuple[int, int]
    s: float

    def f(self, z: Tensor) -> Tensor:
        return z[:, 0]

    def unit(self, z: Tensor) -> Tensor:
        return z[:, 0] / z[:, 0].norm(dim=1, keepdim=True)

    def log_p(self, z: Tensor, scale: float | None = None) -> Tensor:
        return torch.log_softmax((self.s if scale is None else scale) * self.unit(z) @ self.text.T, dim=1)

    def p_y(self, z: Tensor) -> Tensor:
        return self.log_p(z).exp()[torch.arange(len(self.y)), self.y]

    def ce(self, z: Tensor, scale: float | None = None) -> Tensor:
        return -self.log_p(z, scale)[torch.arange(len(self.y)), self.y]

    def alpha(self, z: Tensor, tau: float) -> Tensor:
        return torch.exp((self.unit(z) @ self.text.T + 1) / tau)

    def map(self, z: Tensor, text: Tensor, side: int = 224) -> Tensor:
        """[B, side * side]: per-channel norm over all tokens, own class, min-max, bilinear resize."""
        z = z / z.norm(dim=1, keepdim=True)
        a = torch.stack([z[i, 1:] @ text[c] for i, c in enumerate(self.y.tolist())])
        low, high = a.min(dim=1, keepdim=True).values, a.max(dim=1, keepdim=True).values
        a = ((a - low) / (high - low)).view(len(a), 1, *self.grid)
        return F.interpolate(a, (side, side), mode="bilinear", align_corners=False).flatten(1)

    def fused(self, z: Tensor) -> Tensor:
        return self.map(z, self.text) * (1 - self.map(z, self.denied))


def _kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def _contrast(d: Drawn, z: Tensor) -> Tensor:
    o = d.s * d.unit(z) @ d.text[d.y].T
    return 0.5 * (o.logsumexp(dim=1) + o.logsumexp(dim=0)) - o.diagonal()


def _dirichlet(d: Drawn, tau: float, *, clean_first: bool = False, target: bool = False) -> Tensor:
    """KL over the reference's mean evidence, which is a constant of the loss; the divergence is torch's own."""
    adv, clean = d.alpha(d.adv, tau), d.alpha(d.clean if target else d.frozen_clean, tau)
    a, b = (clean, adv) if clean_first else (adv, clean)
    dirichlet = torch.distributions.Dirichlet
    apart = torch.distributions.kl_divergence(dirichlet(a), dirichlet(b))
    return apart / clean.sum(dim=1).mean().detach()


def _boosted(d: Drawn) -> Tensor:
    others = d.log_p(d.adv).exp().scatter(1, d.y[:, None], 0.0)
    return d.ce(d.adv) - torch.log(1.0001 - others.max(dim=1).values + 1e-12)


def _smoothed(d: Drawn) -> Tensor:
    return 0.8 * d.ce(d.clean) - 0.2 * d.log_p(d.clean).mean(dim=1)


def _squared(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).square().sum(dim=1)


Equation = Callable[[Drawn], dict[str, Tensor]]
# Gradients flow wherever the official code, or for CAW the paper, lets them: no side of the student is held.
EQUATIONS: tuple[tuple[AnyMethod, Equation], ...] = (
    (FtClean(), lambda d: {"contrastive": _contrast(d, d.clean)}),
    (FtAdv(), lambda d: {"contrastive": _contrast(d, d.adv)}),
    (LpFt(), lambda d: {"ce": d.ce(d.clean)}),
    (TeCoA(), lambda d: {"ce": d.ce(d.adv)}),
    (
        PmgAft(alpha=0.7, beta=1.3),
        lambda d: {
            "ce": d.ce(d.adv, 1.0),
            "general": 0.7 * len(d.y) * _kl(d.log_p(d.frozen_adv, 1.0), d.log_p(d.adv, 1.0)),
            "clean": 1.3 * len(d.y) * _kl(d.log_p(d.clean, 1.0), d.log_p(d.adv, 1.0)),
        },
    ),
    (
        PmgAft(logit_scale=None, kl_reduction="mean", kl_direction="adv_first"),
        lambda d: {
            "ce": d.ce(d.adv),
            "general": _kl(d.log_p(d.adv), d.log_p(d.frozen_adv)),
            "clean": _kl(d.log_p(d.adv), d.log_p(d.clean)),
        },
    ),
    (
        Fare(clean_weight=0.3),
        lambda d: {
            "robust": 0.7 * _squared(d.f(d.adv), d.f(d.frozen_clean)),
            "clean": 0.3 * _squared(d.f(d.clean), d.f(d.frozen_clean)),
        },
    ),
    (
        Laat(tau=0.07, beta=2.0),
        lambda d: {"ce": d.ce(d.adv, 1 / 0.07), "consistency": -2 * (d.unit(d.clean) * d.unit(d.adv)).sum(dim=1)},
    ),
    (
        TgaZsr(alpha=0.8, beta=0.5),
        lambda d: {
            "ce": d.ce(d.adv),
            "larm": 0.8 * (d.map(d.adv, d.text) - d.map(d.frozen_clean, d.text)).norm(dim=1),
            "gacm": 0.5 * (d.map(d.clean, d.text) - d.map(d.frozen_clean, d.text)).norm(dim=1),
        },
    ),
    (
        CompTga(alpha=0.8, beta=0.5),
        lambda d: {
            "ce": d.ce(d.adv),
            "larm": 0.8 * (d.fused(d.adv) - d.fused(d.frozen_clean)).norm(dim=1),
            "gacm": 0.5 * (d.fused(d.clean) - d.fused(d.frozen_clean)).norm(dim=1),
        },
    ),
    (
        Caw(alpha=3.0, beta=0.5),
        lambda d: {
            "ce": d.ce(d.adv),
            "confidence": 3 * (1 - d.p_y(d.adv)) * _kl(d.log_p(d.adv), d.log_p(d.frozen_clean)),
            "regularisation": 0.5 * (d.f(d.adv) - d.f(d.frozen_adv)).norm(dim=1),
        },
    ),
    (
        Caw(kl_direction="clean_first", normalize_features=True, reg_norm="l2_squared", weight_detach=True),
        lambda d: {
            "ce": d.ce(d.adv),
            "confidence": (1 - d.p_y(d.adv)).detach() * _kl(d.log_p(d.frozen_clean), d.log_p(d.adv)),
            "regularisation": _squared(d.unit(d.adv), d.unit(d.frozen_adv)),
        },
    ),
    (
        Agft(),
        lambda d: {"alignment": -(d.log_p(d.frozen_clean, 72.0).exp() * d.log_p(d.adv, 180.0)).sum(dim=1)},
    ),
    (Ucat(weight=30.0, tau=0.3), lambda d: {"ce": d.ce(d.adv), "dirichlet": 30 * _dirichlet(d, 0.3)}),
    (
        Ucat(weight=30.0, tau=0.3, direction="clean_first"),
        lambda d: {"ce": d.ce(d.adv), "dirichlet": 30 * _dirichlet(d, 0.3, clean_first=True)},
    ),
    (
        Ucat(weight=2.0, tau=0.3, divergence="log_l2"),
        lambda d: {
            "ce": d.ce(d.adv),
            "log_l2": 2 * _squared(d.alpha(d.adv, 0.3).log(), d.alpha(d.frozen_clean, 0.3).log()),
        },
    ),
    (
        Ucat(weight=30.0, tau=0.3, reference="target", ce_input="clean"),
        lambda d: {"ce": d.ce(d.clean), "dirichlet": 30 * _dirichlet(d, 0.3, target=True)},
    ),
    (
        Trades(beta=6.0),
        lambda d: {"ce": d.ce(d.clean), "robust": 6 * _kl(d.log_p(d.clean), d.log_p(d.adv))},
    ),
    (
        Mart(lam=5.0),
        lambda d: {
            "bce": _boosted(d),
            "robust": 5 * (1 - d.p_y(d.clean)) * _kl(d.log_p(d.clean), d.log_p(d.adv)),
        },
    ),
    (
        Arow(lam=6.0),
        lambda d: {
            "ce": _smoothed(d),
            "robust": 6 * (1 - d.p_y(d.adv)) * _kl(d.log_p(d.clean), d.log_p(d.adv)),
        },
    ),
    (
        Arow(lam=6.0, weighting="cow"),
        lambda d: {"ce": _smoothed(d), "robust": 6 * d.p_y(d.clean) * _kl(d.log_p(d.clean), d.log_p(d.adv))},
    ),
)


def _drawn(shape: str) -> Drawn:
    """Tokens of a student near its teacher, in numbers that float32 holds exactly."""
    b, c, dim, grid, scale = SHAPES[shape]
    g = torch.Generator().manual_seed(len(shape))

    def near(of: Tensor, by: float) -> Tensor:
        return (of + by * torch.randn(of.shape, generator=g)).float().double()

    teacher = near(torch.zeros(b, 1 + math.prod(grid), dim), 3.0)
    text = F.normalize(torch.randn(c, dim, generator=g), dim=1).double()
    return Drawn(
        adv=near(teacher, 1.0).requires_grad_(), clean=near(teacher, 0.5).requires_grad_(),
        frozen_adv=near(teacher, 0.7), frozen_clean=teacher, text=text, denied=F.normalize(near(text, 0.2), dim=1),
        y=torch.randint(0, c, (b,), generator=g), grid=grid, s=scale,
    )  # fmt: skip


def _views(d: Drawn, adv: Tensor, clean: Tensor) -> Views:
    marks = torch.zeros(len(d.y), 3, 1, 1), torch.ones(len(d.y), 3, 1, 1)

    def none() -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        raise AssertionError("no inner layer is looked at")

    def seen(z: Tensor) -> Features:
        return Features(embedding=z[:, 0].float(), patches=lambda: z[:, 1:].float(), last_norm=none, grid=d.grid)

    def bank(unit: Tensor, template: str) -> TextBank:
        return TextBank(unit=unit.float(), classes=tuple(map(str, range(len(unit)))), templates=(template,))

    return Views(
        labels=d.y, text=bank(d.text, "{}"), scale=d.s, clean=marks[0], adv=marks[1],
        student=lambda x: seen(clean if x is marks[0] else adv),
        teacher=lambda x: seen(d.frozen_clean if x is marks[0] else d.frozen_adv),
        prompts=lambda template: bank({NON_CLASS: d.denied}[template], template),
    )  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(("method", "equation"), EQUATIONS, ids=[repr(method) for method, _ in EQUATIONS])
def test_its_terms_and_their_gradient_are_those_of_the_equation(
    method: AnyMethod, equation: Equation, shape: str
) -> None:
    d = _drawn(shape)
    adv, clean = d.adv.detach().clone().requires_grad_(), d.clean.detach().clone().requires_grad_()
    ours, theirs = method.loss(_views(d, adv, clean)), equation(d)
    assert list(ours) == list(theirs)
    for name in theirs:
        torch.testing.assert_close(ours[name].double(), theirs[name], rtol=1e-4, atol=1e-4)
    for terms in (ours, theirs):
        torch.stack([term.mean() for term in terms.values()]).sum().backward()
    for mine, its in ((adv.grad, d.adv.grad), (clean.grad, d.clean.grad)):
        assert (mine is None) == (its is None)
        if mine is not None and its is not None:
            assert (mine - its).norm() <= 2e-4 * its.norm() + 1e-7


# What the training attack maximises; the gradient is the attacked side's alone.
CLIMBED: tuple[tuple[AnyMethod, Callable[[Drawn], Tensor]], ...] = (
    *((method, lambda d: d.ce(d.adv)) for method in (FtAdv(), TeCoA(), TgaZsr(), CompTga(), Caw(), Ucat(), Mart())),
    (PmgAft(), lambda d: d.ce(d.adv, 1.0)),
    (PmgAft(logit_scale=None), lambda d: d.ce(d.adv)),
    (Caw(logit_scale=50.0), lambda d: d.ce(d.adv, 50.0)),
    (Fare(clean_weight=0.3), lambda d: _squared(d.f(d.adv), d.f(d.frozen_clean))),
    (Laat(tau=0.07), lambda d: d.ce(d.adv, 1 / 0.07)),
    (Agft(), lambda d: -(d.log_p(d.frozen_clean, 72.0).exp() * d.log_p(d.adv, 180.0)).sum(dim=1)),
    (Trades(), lambda d: _kl(d.log_p(d.clean), d.log_p(d.adv))),
    (Arow(), lambda d: _kl(d.log_p(d.clean), d.log_p(d.adv))),
)


@pytest.mark.parametrize(("method", "equation"), CLIMBED, ids=[repr(method) for method, _ in CLIMBED])
def test_its_attack_climbs_what_its_paper_says(method: AnyMethod, equation: Callable[[Drawn], Tensor]) -> None:
    d = _drawn("ViT-B/32's grid")
    adv = d.adv.detach().clone().requires_grad_()
    ours, theirs = method.attack_objective(_views(d, adv, d.clean.detach())), equation(d)
    torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-4)
    mine, its = torch.autograd.grad(ours.sum(), adv)[0], torch.autograd.grad(theirs.sum(), d.adv)[0]
    assert (mine - its).norm() <= 2e-4 * its.norm()
