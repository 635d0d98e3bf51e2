"""The attack on a detector of out-of-distribution images, where its optimum has a closed form, and on a real model."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Target
from zsr_core.attacks.detector import SCORES, STEPS, Detector, detector
from zsr_core.codec import ConfigError
from zsr_core.names import DETECTORS
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

SIDE, EPS = 4, 0.01


def _linear() -> tuple[Tensor, Tensor]:
    """Return weights [3, P] of three logits, and images [20, 3, S, S] away from the box's faces."""
    draw = generator(0, "detector")
    return torch.randn(3, 3 * SIDE * SIDE, generator=draw), 0.3 + 0.4 * torch.rand(20, 3, SIDE, SIDE, generator=draw)


def _target(w: Tensor, n: int, scale: float = 1.0) -> Target:
    labels = torch.zeros(n, dtype=torch.int64)
    return Target(ask=lambda x, rows: (x.flatten(1) @ w.T)[None], labels=labels, classes=len(w), scale=scale)


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def test_on_a_linear_model_the_largest_logit_is_raised_as_far_as_the_budget_allows() -> None:
    w, x = _linear()
    x_adv = Detector(score="max_logit", steps=40).run(_target(w, 20), x, ThreatModel(eps=EPS), _draws)
    best = (x.flatten(1) @ w.T + EPS * w.abs().sum(dim=1)).amax(dim=1)
    start = (x.flatten(1) @ w.T).argmax(dim=1)
    reached = (x_adv.flatten(1) @ w.T).amax(dim=1)
    ahead = torch.tensor([float((x.flatten(1) @ w.T + EPS * w.abs().sum(dim=1))[i, k]) for i, k in enumerate(start)])
    assert (reached >= ahead - 1e-4).all(), "the optimum of the class that leads on the clean image, at least"
    assert (reached <= best + 1e-4).all()


def test_with_one_logit_the_score_is_lowered_as_far_as_the_budget_allows() -> None:
    w, x = _linear()
    attack = Detector(score="energy", goal="reject", steps=40)
    x_adv = attack.run(_target(w[:1], 20), x, ThreatModel(eps=EPS), _draws)
    lowest = x.flatten(1) @ w[0] - EPS * w[0].abs().sum()
    torch.testing.assert_close(x_adv.flatten(1) @ w[0], lowest, atol=1e-4, rtol=0)


@pytest.mark.parametrize("score", DETECTORS)
@pytest.mark.parametrize(("goal", "sign"), [("accept", 1), ("reject", -1)])
def test_every_score_moves_towards_the_goal_and_never_away(
    tiny: Any, score: str, goal: Literal["accept", "reject"], sign: int
) -> None:
    clip, text = tiny.clip(), tiny.bank()
    x = tiny.images(6).pixels(list(range(6))).float() / 255

    def logits(images: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(clip.tower(images), dim=-1)
        scaled: Tensor = clip.scale * unit @ text.unit.T
        return scaled

    target = Target(
        ask=lambda images, rows: logits(images)[None], labels=torch.zeros(6, dtype=torch.int64),
        classes=len(text.classes), scale=clip.scale,
    )  # fmt: skip
    threat = ThreatModel(eps=4 / 255)
    attack = Detector(score=score, goal=goal, steps=3)  # type: ignore[arg-type]
    x_adv = attack.run(target, x, threat, _draws)
    assert threat.contains(x_adv, x).all()
    with torch.no_grad():
        before, after = (SCORES[score](logits(images), clip.scale) for images in (x, x_adv))
    assert (sign * (after - before) >= 0).all()
    assert (after != before).any()


def test_where_no_step_helps_the_image_is_left_as_it_is() -> None:
    _, x = _linear()
    peak = Target(
        ask=lambda images, rows: -((images - x[rows]) ** 2).sum(dim=(1, 2, 3))[None, :, None].expand(1, -1, 3),
        labels=torch.zeros(20, dtype=torch.int64), classes=3,
    )  # fmt: skip
    assert torch.equal(Detector(score="max_logit", steps=2).run(peak, x, ThreatModel(eps=EPS), _draws), x)


def test_mcm_divides_by_what_the_cosines_were_multiplied_by() -> None:
    logits = torch.tensor([[10.0, 0.0, -10.0]])
    assert torch.equal(SCORES["mcm"](logits, 10.0), SCORES["msp"](logits / 10, 1.0))


@pytest.mark.parametrize(
    ("text", "attack", "name"),
    [("msp", Detector(), "detect-msp"), ("max_logit20", Detector(score="max_logit", steps=20),
     "detect-max_logit-steps20"), ("detect-mcm", Detector(score="mcm"), "detect-mcm"),
     ("entropy", Detector(score="entropy", steps=STEPS), "detect-entropy")],
)  # fmt: skip
def test_a_name_says_the_score_and_the_steps(text: str, attack: Detector, name: str) -> None:
    assert detector(text) == attack
    assert attack.name == name


@pytest.mark.parametrize("wrong", ["mps", "msp0", "20", "msp-20"])
def test_a_wrong_name_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigError, match="score: "):
        detector(wrong)


@pytest.mark.parametrize("field", [{"score": "ce"}, {"goal": "up"}, {"steps": 0}, {"restarts": 0}])
def test_a_wrong_field_is_refused(field: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Detector(**field)
