"""Adaptive and confidence attacks: what they climb, what they run, and that nothing depends on the batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import CONFIDENCE, Adaptive, Confidence, Target
from zsr_core.attacks.losses import entropy, smooth_margin
from zsr_core.codec import ConfigError
from zsr_core.evaluation.predict import predict
from zsr_core.methods import Caw, FtAdv, PmgAft, TeCoA, TgaZsr, Ucat
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.deploy import deployed

THREAT = ThreatModel(eps=4 / 255)


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _logits(tiny: Any, tower: Any, x: Tensor) -> Tensor:
    return 20 * F.normalize(tower(x), dim=-1) @ tiny.bank().unit.T


def _target(tiny: Any, tower: Any, x: Tensor, log: list[Any], **changes: Any) -> Target:
    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        log.append((rows.clone(), x_adv.detach().clone()))
        return _logits(tiny, tower, x_adv)[None]

    with torch.no_grad():
        labels = _logits(tiny, tower, x).argmax(dim=1)
    return Target(ask=ask, labels=labels, classes=len(tiny.classes), **changes)


def _brightness(x_adv: Tensor, rows: Tensor) -> Tensor:
    return x_adv.flatten(1).mean(dim=1) + 0 * rows


@pytest.mark.parametrize("weight", [0.0, 3.0])
def test_it_returns_the_point_where_margin_and_regulariser_together_are_largest(weight: float, tiny: Any) -> None:
    tower, x, log = tiny.tower(), tiny.pixels(3), []
    target = _target(tiny, tower, x, log, certain=False, regulariser=_brightness)
    attack = Adaptive(weights=(weight,), temperatures=(2.0,), steps=6)
    x_adv = attack.run(target, x, THREAT, _draws)

    def climbed(points: Tensor) -> Tensor:
        margin = smooth_margin(_logits(tiny, tower, points), target.labels, 2.0)
        return margin + weight * _brightness(points, torch.arange(3))

    seen = torch.stack([climbed(points) for _, points in log])
    assert len(seen) == 7
    torch.testing.assert_close(climbed(x_adv), seen.amax(dim=0))


def test_a_heavy_weight_follows_the_regulariser() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        dark = -x_adv.flatten(1).mean(dim=1)
        return torch.stack([dark, torch.zeros(len(rows))], dim=1)[None]

    target = Target(ask=ask, labels=torch.ones(2, dtype=torch.int64), classes=2, certain=False, regulariser=_brightness)
    light, heavy = (Adaptive(weights=(w,), steps=9).run(target, x, THREAT, _draws) for w in (0.1, 10.0))
    torch.testing.assert_close(light, x - THREAT.eps)
    torch.testing.assert_close(heavy, x + THREAT.eps)


def test_its_stages_are_every_weight_with_every_temperature() -> None:
    names = [stage.name for stage in Adaptive().stages(10)]
    assert names[:3] == [f"adaptive-weights{w}-temperatures{t}" for w, t in (("0", "1"), ("0", "10"), ("0.1", "1"))]
    assert len(set(names)) == 8
    assert [stage.stages(10) for stage in Adaptive().stages(10)] == [(stage,) for stage in Adaptive().stages(10)]


def test_with_two_classes_the_temperature_makes_no_difference_and_is_not_swept() -> None:
    assert [stage.name for stage in Adaptive(weights=(0.0, 1.0)).stages(2)] == [
        "adaptive-weights0-temperatures1", "adaptive-weights1-temperatures1",
    ]  # fmt: skip
    z = torch.randn(4, 2, generator=generator(0, "z"))
    y = torch.tensor([0, 1, 1, 0])
    torch.testing.assert_close(smooth_margin(z, y, 1.0), smooth_margin(z, y, 10.0))


def test_the_declared_cost_is_the_cost_for_images_that_never_fall(tiny: Any) -> None:
    x = tiny.pixels(2)
    for attack in (Adaptive(steps=3, weights=(0.0, 1.0)), Adaptive(steps=3, weights=(1.0,), temperatures=(1.0,)),
                   Confidence(steps=3), Confidence(steps=3, restarts=2, goal="flip")):  # fmt: skip
        tower = tiny.tower()
        extra = tower  # a second encoding, as a method's own terms take
        target = _target(
            tiny, tower, x, [], certain=False, regulariser=lambda x_adv, rows, extra=extra: extra(x_adv).sum(dim=1)
        )
        tower.tally.reset()
        attack.run(target, x, THREAT, _draws)
        assert (tower.tally.forward, tower.tally.input_backward) == attack.cost(5), attack.name


def test_where_the_defence_adds_nothing_only_weight_zero_asks(tiny: Any) -> None:
    tower, x, log = tiny.tower(), tiny.pixels(2), []
    target = _target(tiny, tower, x, log)
    assert torch.equal(Adaptive(weights=(1.0,), temperatures=(1.0,)).run(target, x, THREAT, _draws), x)
    assert log == []


def test_the_records_name_the_stages_that_asked_anything(tiny: Any) -> None:
    config = TrialConfig(method=TeCoA(), epochs=1)
    victim = deployed(config, tiny.clip(), tiny.clip().tower)
    assert victim.regulariser is None
    attack = Adaptive(weights=(0.0, 1.0), temperatures=(1.0,), steps=2)
    records = predict(victim, tiny.images(6), tiny.bank(), (attack,), (ThreatModel(eps=1e-4),))
    assert {r.ran for r in records if r.condition == "adaptive-weights0+1-temperatures1-steps2"} == {
        "adaptive-weights0-temperatures1-steps2"
    }


@pytest.mark.parametrize(
    "method",
    [TgaZsr(), TgaZsr(attention="visual_differentiable"), PmgAft(), Ucat(), Caw(), FtAdv()],
    ids=lambda method: f"{method.title}-{getattr(method, 'attention', '')}",
)
def test_a_methods_own_terms_say_the_same_of_an_image_whatever_is_beside_it(method: Any, tiny: Any) -> None:
    clip = tiny.clip()
    tuned = tiny.tower(seed=1)
    victim = deployed(TrialConfig(method=method, epochs=1), clip, tuned)
    assert victim.regulariser is not None
    x, y, text = tiny.pixels(4), torch.tensor([0, 1, 2, 0]), tiny.bank()
    near = (x + 0.02).clamp(0, 1).requires_grad_()
    whole = victim.regulariser(x, y, text)(near, torch.arange(4))
    part = victim.regulariser(x[2:], y[2:], text)(near[2:], torch.tensor([0, 1]))
    torch.testing.assert_close(whole[2:], part, rtol=1e-4, atol=1e-4)
    (grad,) = torch.autograd.grad(whole.sum(), near)
    assert grad.isfinite().all()
    assert bool(grad.abs().sum() > 0) is not isinstance(method, FtAdv)  # alone in its batch it has no rivals


@pytest.mark.parametrize("attack", [Confidence(goal="away", mu=0.1, steps=12), Confidence(goal="flip", steps=12)])
def test_a_confidence_attack_walks_on_after_the_flip_to_where_it_is_surest(attack: Confidence, tiny: Any) -> None:
    tower, x, log = tiny.tower(), tiny.pixels(6), []
    target = _target(tiny, tower, x, log)
    x_adv = attack.run(target, x, ThreatModel(eps=16 / 255), _draws)
    assert all(len(rows) == 6 for rows, _ in log)
    goals = _logits(tiny, tower, x).scatter(1, target.labels[:, None], -torch.inf).argmax(dim=1)

    def climbed(points: Tensor) -> Tensor:
        z = _logits(tiny, tower, points)
        own = F.cross_entropy(z, target.labels, reduction="none")
        towards = -F.cross_entropy(z, goals, reduction="none")
        return (own if attack.goal == "away" else towards) - attack.mu * entropy(z)

    points = [images for _, images in log][1 if attack.goal == "flip" else 0 :]
    torch.testing.assert_close(climbed(x_adv), torch.stack([climbed(p) for p in points]).amax(dim=0))
    flipped = _logits(tiny, tower, x_adv).argmax(dim=1) != target.labels
    assert flipped.any()
    assert (entropy(_logits(tiny, tower, x_adv)) < entropy(_logits(tiny, tower, x)))[flipped].all()


def test_the_confidence_attacks_of_a_claim_are_both_goals_at_three_weights() -> None:
    assert [attack.name for attack in CONFIDENCE] == [
        f"confidence-{goal}-mu{mu}" for goal in ("away", "flip") for mu in ("0.1", "1", "10")
    ]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"weights": ()}, "weights: got (), expected different finite numbers >= 0, at least one"),
        ({"weights": (1.0, 1.0)}, "weights: got (1.0, 1.0)"),
        ({"temperatures": (0.0,)}, "temperatures: got (0.0,), expected different finite numbers > 0"),
        ({"steps": 0}, "steps: got 0"),
    ],
)
def test_an_adaptive_attack_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Adaptive(**wrong)
    assert says in str(error.value)


def test_a_confidence_attack_that_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"goal: unknown value 'flop'.*did you mean 'flip'"):
        Confidence(goal="flop")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="mu: got -1"):
        dataclasses.replace(Confidence(), mu=-1.0)
