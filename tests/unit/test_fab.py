"""FAB-T: its exact projection, what it keeps, what it costs, and what it leaves alone."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from zsr_core.attacks import Fab, Target
from zsr_core.attacks.fab import distance, to_plane
from zsr_core.codec import ConfigError
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

Norm = Literal["linf", "l2"]
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    raise AssertionError("FAB-T draws nothing")


def _target(tiny: Any, tower: Any, labels: Tensor, log: list[tuple[Tensor, Tensor]] | None = None) -> Target:
    text = tiny.bank()

    def ask(x: Tensor, rows: Tensor) -> Tensor:
        if log is not None:
            log.append((rows.clone(), x.detach().clone()))
        logits: Tensor = 20 * torch.nn.functional.normalize(tower(x), dim=-1) @ text.unit.T
        return logits[None]

    return Target(ask=ask, labels=labels, classes=len(text.classes))


def _predicted(target: Target, x: Tensor) -> Tensor:
    with torch.no_grad():
        return target.logits(x, torch.arange(len(x))).argmax(dim=1)


def _plane(seed: int, reach: float, n: int = 7) -> tuple[Tensor, Tensor, Tensor]:
    """A point of the box with pixels on its edges, a slope with a zero in it, and a gap at ``reach`` of what the box
    allows in its direction."""
    draw = generator(seed, "plane")
    start = torch.rand(n, generator=draw, dtype=torch.float64).mul(1.6).sub(0.3).clamp(0, 1)
    slope = torch.randn(n, generator=draw, dtype=torch.float64)
    slope[0] = 0.0
    room = torch.where(slope * reach > 0, 1 - start, start)
    gap = reach * (slope.abs() * room).sum()
    return start, slope, gap


def _least(start: Tensor, slope: Tensor, gap: Tensor, norm: Norm) -> float:
    """The least distance to the plane within the box, by general-purpose solvers."""
    t, w, n = start.numpy(), slope.numpy(), len(start)
    box = [(-float(v), 1 - float(v)) for v in t]
    if norm == "l2":
        done = minimize(
            lambda d: d @ d, [0.0] * n, jac=lambda d: 2 * d, bounds=box, method="SLSQP", tol=1e-14,
            constraints={"type": "eq", "fun": lambda d: d @ w - float(gap), "jac": lambda d: w},
        )  # fmt: skip
        assert done.success
        return float(done.fun**0.5)
    one = torch.eye(n, dtype=torch.float64)
    rows = torch.cat([torch.cat([one, -one]), -torch.ones(2 * n, 1, dtype=torch.float64)], dim=1)  # |d_i| <= the last
    done = linprog(
        [0.0] * n + [1.0], A_ub=rows.numpy(), b_ub=[0.0] * (2 * n), A_eq=[[*w, 0.0]], b_eq=[float(gap)],
        bounds=[*box, (0, None)],
    )  # fmt: skip
    assert done.success
    return float(done.fun)


@NORMS
@pytest.mark.parametrize("reach", [-0.999, -0.6, 0.05, 0.4, 0.9])
def test_no_solver_finds_a_shorter_way_to_the_plane(norm: Norm, reach: float) -> None:
    for seed in range(6):
        start, slope, gap = _plane(seed, reach)
        d = to_plane(start[None, None], slope[None], gap[None, None], norm)[:, 0]
        assert float(distance(d, norm)) == pytest.approx(_least(start, slope, gap, norm), abs=1e-6)


@settings(max_examples=80, deadline=None)
@given(norm=st.sampled_from(["linf", "l2"]), seed=st.integers(0, 9999), reach=st.floats(-2.0, 2.0))
def test_the_way_to_the_plane_ends_on_it_and_in_the_box(norm: Norm, seed: int, reach: float) -> None:
    parts = [_plane(seed + k, reach * (1 - 0.1 * k)) for k in range(3)]
    start, slope, gap = (torch.stack(part) for part in zip(*parts, strict=True))
    d = to_plane(start[:, None], slope, gap[:, None], norm)[:, 0]
    assert ((start + d >= -1e-12) & (start + d <= 1 + 1e-12)).all()
    assert (d[:, 0] == 0).all()  # a pixel that does not matter stays
    for k, (_, w, wanted) in enumerate(parts):
        share = min(1.0, 1 / abs(reach * (1 - 0.1 * k))) if reach else 1.0  # beyond its corner the box ends
        assert float(w @ d[k]) == pytest.approx(share * float(wanted), abs=1e-9)


@NORMS
def test_where_the_slope_is_zero_nothing_moves(norm: Norm) -> None:
    start = torch.rand(2, 3, 4, 4, generator=generator(0, "x"))
    assert not to_plane(start[:, None], torch.zeros_like(start), torch.ones(2, 1), norm).any()


@NORMS
def test_images_that_fall_fall_within_the_budget_and_are_not_asked_about_again(
    tiny: Any, norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zsr_core.attacks.tries.FILL", (1, 1))  # one target after the other
    tower, x = tiny.tower(), tiny.pixels(8)
    labels = _predicted(_target(tiny, tower, torch.zeros(8, dtype=torch.int64)), x)
    _, size = Fab(steps=15).nearest(_target(tiny, tower, labels), x, norm)
    threat = ThreatModel(norm=norm, eps=float(size.sort().values[4]) * 1.001)
    log: list[tuple[Tensor, Tensor]] = []
    attack = Fab(steps=15)
    target = _target(tiny, tower, labels, log)
    x_adv = attack.run(target, x, threat, _draws)
    asked = {row: sum(row in rows.tolist() for rows, _ in log) for row in range(8)}
    assert threat.contains(x_adv, x).all()
    fooled = _predicted(target, x_adv) != labels
    assert fooled.sum() >= 5
    fell: set[int] = set()
    for rows, images in log[:-1]:  # the last is this test's own question
        assert not fell & set(rows.tolist())
        inside = threat.contains(images, x[rows], tolerance=0.0)
        wrong = _predicted(_target(tiny, tower, labels), images) != labels[rows]
        fell |= set(rows[inside & wrong].tolist())
    assert fell <= set(fooled.nonzero()[:, 0].tolist())
    assert all(asked[row] < attack.cost(5)[0] for row in fell)
    assert all(asked[row] == attack.cost(5)[0] for row in set(range(8)) - fell)


def test_the_declared_cost_is_the_cost_for_images_that_never_fall(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsr_core.attacks.tries.FILL", (1, 1))  # one target after the other
    for attack in (Fab(steps=3), Fab(steps=4, targets=2)):
        tower, x = tiny.tower(), tiny.pixels(2)
        labels = _predicted(_target(tiny, tower, torch.zeros(2, dtype=torch.int64)), x)
        tower.tally.reset()
        attack.run(_target(tiny, tower, labels), x, ThreatModel(eps=1e-9), _draws)
        assert (tower.tally.forward, tower.tally.input_backward) == attack.cost(5)


def test_an_image_that_is_wrong_when_clean_costs_one_question(tiny: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(3)
    labels = (_predicted(_target(tiny, tower, torch.zeros(3, dtype=torch.int64)), x) + 1) % 5
    tower.tally.reset()
    assert torch.equal(Fab(steps=5).run(_target(tiny, tower, labels), x, ThreatModel(), _draws), x)
    assert tower.tally.forward == 1


@NORMS
def test_an_image_s_nearest_wrong_point_does_not_depend_on_the_others(tiny: Any, norm: Norm) -> None:
    tower, x = tiny.tower(), tiny.pixels(6)
    labels = _predicted(_target(tiny, tower, torch.zeros(6, dtype=torch.int64)), x)
    _, together = Fab(steps=6).nearest(_target(tiny, tower, labels), x, norm)
    alone = [Fab(steps=6).nearest(_target(tiny, tower, labels[i : i + 1]), x[i : i + 1], norm)[1] for i in range(6)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-3, atol=1e-6)


def test_more_targets_never_end_farther_away(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsr_core.attacks.tries.FILL", (1, 1))  # in batches of one shape, which round alike
    tower, x = tiny.tower(), tiny.pixels(6)
    target = _target(tiny, tower, torch.zeros(6, dtype=torch.int64))
    target = _target(tiny, tower, _predicted(target, x))
    sizes = [Fab(steps=6, targets=n).nearest(target, x, "linf")[1] for n in (1, 2, 9)]
    assert (sizes[1] <= sizes[0]).all()
    assert (sizes[2] <= sizes[1]).all()


def test_a_model_without_a_finite_gradient_gets_its_image_back() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        f = (x_adv - 0.5).square().flatten(1).sum(dim=1).sqrt()  # its slope at 0 is NaN
        return torch.stack([torch.ones_like(f), f * 0], dim=1)[None]

    target = Target(ask=ask, labels=torch.zeros(2, dtype=torch.int64), classes=2)
    assert torch.equal(Fab(steps=3).run(target, x, ThreatModel(), _draws), x)


def test_facing_chance_it_keeps_what_is_wrong_by_most_within_the_budget() -> None:
    x, asked = torch.full((1, 1, 2, 2), 0.5), []

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        f = (x_adv - 0.5).flatten(1).sum(dim=1) - 0.1
        asked.append((x_adv.detach().clone(), float(f.detach())))
        return torch.stack([torch.zeros_like(f), f], dim=1)[None]

    target = Target(ask=ask, labels=torch.zeros(1, dtype=torch.int64), classes=2, certain=False)
    attack, threat = Fab(steps=6), ThreatModel(eps=0.1)
    x_adv = attack.run(target, x, threat, _draws)
    assert len(asked) == attack.cost(2)[0]  # one wrong answer is no reason to stop
    inside = [(point, by) for point, by in asked if threat.contains(point, x).all()]
    assert torch.equal(x_adv, max(inside, key=lambda pair: pair[1])[0])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "steps: got 0, expected a whole number >= 1"),
        ({"targets": 0}, "targets: got 0"),
        ({"alpha_max": 2.0}, "alpha_max: got 2.0, expected in [0, 1]"),
        ({"eta": 0.5}, "eta: got 0.5"),
        ({"beta": 1.0}, "beta: got 1.0, expected in (0, 1)"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Fab(**wrong)
    assert says in str(error.value)


def test_its_name_tells_what_is_not_as_published() -> None:
    assert (Fab().name, Fab(steps=20, beta=0.5).name) == ("fab-t", "fab-t-steps20-beta0.5")
