"""Whatever the start, the step and the model: inside the ball and inside the box."""

from __future__ import annotations

from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zsr_core.attacks import Apgd, Pgd, Scored, Target
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

NORMS = st.sampled_from(["linf", "l2"])
EPS = st.floats(1e-4, 1.0)


@settings(max_examples=60, deadline=None)
@given(
    norm=NORMS,
    eps=EPS,
    steps=st.integers(1, 4),
    ratio=st.floats(0.05, 3.0),
    keep=st.sampled_from(["best", "last"]),
    start=st.booleans(),
    seed=st.integers(0, 99),
)
def test_pgd_stays_inside_ball_and_box(
    norm: Literal["linf", "l2"],
    eps: float,
    steps: int,
    ratio: float,
    keep: Literal["best", "last"],
    start: bool,
    seed: int,
) -> None:
    draw = generator(seed, "images")
    x = torch.rand(3, 3, 4, 4, generator=draw).mul(1.4).sub(0.2).clamp(0, 1)  # many pixels on the box
    w = torch.randn(3, 4, 4, generator=draw)
    threat = ThreatModel(norm=norm, eps=eps)
    visited: list[Tensor] = []

    def objective(x_adv: Tensor, rows: Tensor) -> Scored:
        visited.append(threat.contains(x_adv.detach(), x[rows]))
        loss = (x_adv * w).flatten(1).sum(dim=1).sin()
        return Scored(loss=loss, fooled=(loss > 0.9).detach())

    attack = Pgd(steps=steps, step_ratio=ratio, keep=keep, random_start=start)
    x_adv = attack.climb(objective, x, threat, lambda purpose, rows: [generator(seed, r) for r in rows.tolist()])
    assert threat.contains(x_adv, x).all()
    assert all(inside.all() for inside in visited)


@settings(max_examples=20, deadline=None)
@given(
    norm=NORMS,
    eps=EPS,
    steps=st.integers(1, 8),
    restarts=st.integers(1, 2),
    loss=st.sampled_from(["ce", "dlr", "dlr-targeted", "margin"]),
    certain=st.booleans(),
    seed=st.integers(0, 99),
)
def test_apgd_stays_inside_ball_and_box_and_what_fell_on_its_way_has_fallen(
    norm: Literal["linf", "l2"],
    eps: float,
    steps: int,
    restarts: int,
    loss: Literal["ce", "dlr", "dlr-targeted", "margin"],
    certain: bool,
    seed: int,
) -> None:
    draw = generator(seed, "images")
    x = torch.rand(3, 3, 4, 4, generator=draw).mul(1.4).sub(0.2).clamp(0, 1)  # many pixels on the box
    w = torch.randn(5, 48, generator=draw)
    threat = ThreatModel(norm=norm, eps=eps)
    fell = torch.zeros(3, dtype=torch.bool)

    def logits(images: Tensor) -> Tensor:
        return (images.flatten(1) @ w.T).sin()

    labels = logits(x).argmax(dim=1)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        assert threat.contains(x_adv.detach(), x[rows]).all()
        z = logits(x_adv)
        fell[rows[z.detach().argmax(dim=1) != labels[rows]]] = True
        return z[None]

    attack = Apgd(loss=loss, steps=steps, restarts=restarts)
    target = Target(ask=ask, labels=labels, classes=5, certain=certain)
    x_adv = attack.run(target, x, threat, lambda purpose, rows: [generator(seed, purpose, r) for r in rows.tolist()])
    assert threat.contains(x_adv, x).all()
    if certain:
        assert torch.equal(logits(x_adv).argmax(dim=1) != labels, fell)


@settings(max_examples=100, deadline=None)
@given(norm=NORMS, eps=EPS, seed=st.integers(0, 999), far=st.floats(0.0, 5.0))
def test_projecting_lands_inside_and_projecting_again_changes_nothing(
    norm: Literal["linf", "l2"], eps: float, seed: int, far: float
) -> None:
    draw = generator(seed, "points")
    x = torch.rand(4, 3, 3, 3, generator=draw)
    moved = x + far * torch.randn(x.shape, generator=draw)
    threat = ThreatModel(norm=norm, eps=eps)
    once = threat.project(moved, x)
    assert threat.contains(once, x).all()
    torch.testing.assert_close(threat.project(once, x), once, rtol=0, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(norm=NORMS, eps=EPS, seed=st.integers(0, 999))
def test_a_random_start_lies_inside(norm: Literal["linf", "l2"], eps: float, seed: int) -> None:
    x = torch.rand(3, 3, 4, 4, generator=generator(seed, "x"))
    threat = ThreatModel(norm=norm, eps=eps)
    assert threat.contains(threat.random_start(x, generator(seed, "start")), x).all()


@settings(max_examples=50, deadline=None)
@given(eps=EPS, seed=st.integers(0, 999))
def test_no_point_of_the_linf_ball_is_nearer_than_the_projection(eps: float, seed: int) -> None:
    draw = generator(seed, "near")
    x = torch.rand(2, 3, 3, 3, generator=draw)
    moved = x + torch.randn(x.shape, generator=draw)
    threat = ThreatModel(eps=eps)
    best = (threat.project(moved, x) - moved).flatten(1).norm(dim=1)
    for k in range(5):
        other = threat.random_start(x, generator(seed, "other", k))
        assert ((other - moved).flatten(1).norm(dim=1) >= best - 1e-5).all()
