"""What APGD costs, when it stops, what it keeps, and what stands in for it where there are few classes."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Apgd, AutoAttack, Target
from zsr_core.attacks.apgd import checkpoints
from zsr_core.attacks.losses import dlr, entropy, margin, smooth_margin, targeted_dlr
from zsr_core.codec import ConfigError
from zsr_core.model.tower import Tally
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

THREAT = ThreatModel(eps=4 / 255)
EVERY = [Apgd(steps=9), Apgd(loss="dlr", steps=9), Apgd(loss="dlr-targeted", steps=9), Apgd(loss="margin", steps=9)]


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _logits(tiny: Any, tower: Any, x: Tensor) -> Tensor:
    return 20 * F.normalize(tower(x), dim=-1) @ tiny.bank().unit.T


def _guesses(tiny: Any, tower: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return _logits(tiny, tower, x).argmax(dim=1)


def _target(tiny: Any, tower: Any, labels: Tensor, log: list[Any] | None = None, **changes: Any) -> Target:
    def ask(x: Tensor, rows: Tensor) -> Tensor:
        if log is not None:
            log.append((rows.clone(), x.detach().clone()))
        return _logits(tiny, tower, x)[None]

    return Target(ask=ask, labels=labels, classes=len(tiny.classes), **changes)


def test_the_losses_worked_by_hand() -> None:
    """z = (3, 1, 0, -1), y = 0: margin 1 - 3; DLR (1 - 3) / (3 - 0); towards 2: (0 - 3) / (3 - (0 - 1) / 2).

    z = (1, 3, 0, -1), y = 0: fooled, margin 3 - 1 and DLR (3 - 1) / (3 - 0). At T = 2 the smooth margin is
    2 log(e^.5 + e^0 + e^-.5) - 3. Four equal logits have entropy log 4.
    """
    z, y = torch.tensor([[3.0, 1.0, 0.0, -1.0], [1.0, 3.0, 0.0, -1.0]]), torch.tensor([0, 0])
    assert margin(z, y).tolist() == [-2.0, 2.0]
    assert dlr(z, y).tolist() == pytest.approx([-2 / 3, 2 / 3])
    assert targeted_dlr(z, y, torch.tensor([2, 1])).tolist() == pytest.approx([-3 / 3.5, 2 / 3.5])
    expected = 2 * torch.tensor([0.5, 0.0, -0.5]).exp().sum().log() - 3
    assert smooth_margin(z, y, 2.0)[0].item() == pytest.approx(expected.item())
    assert entropy(torch.zeros(1, 4)).item() == pytest.approx(torch.tensor(4.0).log().item())


def test_dlr_does_not_change_when_the_logits_are_scaled_or_shifted() -> None:
    z = torch.randn(6, 5, generator=generator(0, "logits"), dtype=torch.float64)
    y, goals = torch.arange(6) % 5, (torch.arange(6) + 2) % 5
    torch.testing.assert_close(dlr(1000 * z - 7, y), dlr(z, y))
    torch.testing.assert_close(targeted_dlr(1000 * z - 7, y, goals), targeted_dlr(z, y, goals))


def test_the_checkpoints_of_a_hundred_steps_are_the_papers() -> None:
    """Croce & Hein: p_0 = 0, p_1 = .22, p_{j+1} = p_j + max(p_j - p_{j-1} - .03, .06)."""
    assert list(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert list(checkpoints(100).values()) == [22, 19, 16, 13, 10, 7, 6, 6]
    assert checkpoints(10) == {2: 2, 3: 1, 4: 1, 5: 1, 6: 1, 7: 1, 8: 1, 9: 1}
    assert checkpoints(1) == {}


@pytest.mark.parametrize("attack", [*EVERY, Apgd(steps=4, restarts=3), Apgd(loss="dlr-targeted", steps=3, targets=2)])
def test_the_declared_cost_is_the_cost_for_images_that_never_fall(attack: Apgd, tiny: Any, trainable: Any) -> None:
    tower, x = trainable(tiny.tower()), tiny.pixels(2)
    labels = _guesses(tiny, tower, x)
    tower.tally.reset()
    attack.run(_target(tiny, tower.requires_grad_(False), labels, certain=False), x, THREAT, _draws)
    forwards, backwards = attack.cost(len(tiny.classes))
    assert tower.tally == Tally(forward=forwards, input_backward=backwards, images=2 * forwards)


def test_it_faces_no_more_targets_than_there_are_wrong_classes(tiny: Any) -> None:
    assert Apgd(loss="dlr-targeted", steps=10).cost(5) == (4 * 11 + 1, 40)
    assert Apgd(loss="dlr-targeted").cost(1000) == (9 * 101 + 1, 900)


@pytest.mark.parametrize("attack", EVERY, ids=lambda attack: attack.name)
def test_an_image_that_has_fallen_is_not_asked_again_and_its_fall_is_kept(attack: Apgd, tiny: Any) -> None:
    tower, x, log = tiny.tower(), tiny.pixels(8), []
    labels = _guesses(tiny, tower, x)
    x_adv = attack.run(_target(tiny, tower, labels, log), x, ThreatModel(eps=1.5 / 255), _draws)
    fell: dict[int, Tensor] = {}
    for rows, images in log:
        assert not set(rows.tolist()) & set(fell)
        wrong = _guesses(tiny, tower, images) != labels[rows]
        fell |= {row: image for row, image, w in zip(rows.tolist(), images, wrong.tolist(), strict=True) if w}
    assert 0 < len(fell) < 8
    assert all(torch.equal(x_adv[row], image) for row, image in fell.items())


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("attack", [*EVERY, Apgd(steps=9, restarts=2)], ids=lambda attack: attack.name)
def test_what_comes_back_is_the_point_of_largest_loss(attack: Apgd, norm: Literal["linf", "l2"], tiny: Any) -> None:
    """For targets too: a point's loss is then that towards the target it was found on the way to."""
    tower, x, log = tiny.tower(), tiny.pixels(4), []
    labels = _guesses(tiny, tower, x)
    target = _target(tiny, tower, labels, log, certain=False)
    x_adv = attack.run(target, x, ThreatModel(norm=norm, eps={"linf": 0.01, "l2": 0.2}[norm]), _draws)
    if attack.loss == "dlr-targeted":
        ranked = _logits(tiny, tower, x).scatter(1, labels[:, None], -torch.inf).topk(4, dim=1).indices
        per_goal = [log[1 + 10 * i : 11 + 10 * i] for i in range(4)]
        seen = [
            targeted_dlr(_logits(tiny, tower, p), labels, ranked[:, i])
            for i, points in enumerate(per_goal)
            for _, p in points
        ]
        assert torch.stack([p for _, p in log]).eq(x_adv).flatten(2).all(dim=2).any(dim=0).all()
        found = torch.stack([targeted_dlr(_logits(tiny, tower, x_adv), labels, ranked[:, i]) for i in range(4)])
        torch.testing.assert_close(found.amax(dim=0), torch.stack(seen).amax(dim=0))
        return
    loss = {"ce": lambda z, y: F.cross_entropy(z, y, reduction="none"), "dlr": dlr, "margin": margin}[attack.loss]
    seen = [loss(_logits(tiny, tower, points), labels) for _, points in log]
    torch.testing.assert_close(loss(_logits(tiny, tower, x_adv), labels), torch.stack(seen).amax(dim=0))


def test_it_starts_on_the_sphere(tiny: Any) -> None:
    x = tiny.pixels(3)
    for threat in (ThreatModel(eps=0.05), ThreatModel(norm="l2", eps=0.5)):
        log: list[Any] = []
        Apgd(steps=1).run(_target(tiny, tiny.tower(), torch.zeros(3, dtype=torch.int64), log), x, threat, _draws)
        delta = (log[0][1] - x).flatten(1)
        size = delta.abs().amax(dim=1) if threat.norm == "linf" else delta.norm(dim=1)
        torch.testing.assert_close(size, torch.full((3,), threat.eps), rtol=1e-4, atol=0)


def test_the_result_depends_neither_on_the_neighbours_nor_on_their_order(tiny: Any) -> None:
    tower, x = tiny.tower().double(), tiny.pixels(6).double()
    text = tiny.bank().unit.double()

    def run(rows: list[int], attack: Apgd) -> Tensor:
        def ask(x_adv: Tensor, _: Tensor) -> Tensor:
            return (20 * F.normalize(tower(x_adv), dim=-1) @ text.T)[None]

        labels = ask(x[rows], torch.tensor(rows))[0].argmax(dim=1)
        target = Target(ask=ask, labels=labels, classes=5)
        return attack.run(
            target, x[rows], THREAT, lambda p, picked: [generator(0, p, rows[i]) for i in picked.tolist()]
        )

    for attack in (Apgd(steps=12), Apgd(loss="dlr-targeted", steps=6)):
        whole, part = run([0, 1, 2, 3, 4, 5], attack), run([4, 1], attack)
        torch.testing.assert_close(part, whole[[4, 1]], rtol=0, atol=1e-7)


def test_the_mean_over_a_randomised_classifiers_draws_is_climbed_and_nothing_stops_early() -> None:
    """Two draws w + d and w - d: the mean gradient is w's, so the steps go along sign(w), whatever d is."""
    w = torch.randn(3 * 4 * 4, generator=generator(0, "w"))
    d = 5 * torch.randn(3 * 4 * 4, generator=generator(0, "d"))
    x = torch.full((2, 3, 4, 4), 0.5)
    asked: list[int] = []

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        asked.append(len(rows))
        flat = x_adv.flatten(1)
        return torch.stack([torch.stack([flat @ (w + s * d), torch.zeros(len(flat))], dim=1) for s in (1, -1)])

    target = Target(ask=ask, labels=torch.ones(2, dtype=torch.int64), classes=2, certain=False)
    x_adv = Apgd(loss="margin", steps=10).run(target, x, ThreatModel(eps=0.1), _draws)
    torch.testing.assert_close(x_adv, x + 0.1 * w.view(3, 4, 4).sign())
    assert asked == [2] * 11


def test_a_gradient_or_loss_that_is_no_number_moves_nothing_and_is_never_the_best() -> None:
    """Image 0 has NaN for a gradient; image 1 has NaN for a loss where it starts, and climbs all the same."""
    x = torch.full((2, 3, 4, 4), 0.5)
    asked: list[Tensor] = []

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        score = x_adv.flatten(1).sum(dim=1)
        torn = (score - score + (rows != 0)).sqrt()  # at 0 a root has no slope
        lost = torch.where((rows == 1) & (len(asked) == 0), torch.nan, 0.0)
        asked.append(x_adv.detach().clone())
        return torch.stack([score + torn + lost, torch.zeros(len(rows))], dim=1)[None]

    target = Target(ask=ask, labels=torch.ones(2, dtype=torch.int64), classes=2, certain=False)
    x_adv = Apgd(loss="margin", steps=5).run(target, x, ThreatModel(eps=0.1), _draws)
    assert all(torch.equal(points[0], asked[0][0]) for points in asked)
    torch.testing.assert_close(x_adv, torch.stack([asked[0][0], torch.full((3, 4, 4), 0.6)]))


def test_few_classes_get_the_documented_replacement() -> None:
    def named(attack: Any, classes: int) -> list[str]:
        return [stage.name for stage in attack.stages(classes)]

    targeted, untargeted = Apgd(loss="dlr-targeted", label="mine"), Apgd(loss="dlr", steps=10)
    assert [named(targeted, c) for c in (4, 3, 2)] == [["mine"], ["apgd-dlr"], ["apgd-margin"]]
    assert [named(untargeted, c) for c in (3, 2)] == [["apgd-dlr-steps10"], ["apgd-margin-steps10"]]
    assert [named(AutoAttack(version="tecoa"), c) for c in (3, 2)] == [["apgd-ce", "apgd-dlr"], ["apgd-ce"]]
    assert [named(AutoAttack(version="fare"), c) for c in (4, 3, 2)] == [
        ["apgd-ce", "apgd-t"], ["apgd-ce", "apgd-dlr"], ["apgd-ce"],
    ]  # fmt: skip


def test_its_name_tells_all_that_differs_from_autoattacks() -> None:
    assert [attack.name for attack in (Apgd(), Apgd(loss="dlr"), Apgd(loss="dlr-targeted"))] == [
        "apgd-ce", "apgd-dlr", "apgd-t",
    ]  # fmt: skip
    assert Apgd(steps=50, restarts=5, rho=0.5).name == "apgd-ce-steps50-restarts5-rho0.5"
    assert Apgd(loss="dlr-targeted", targets=3).name == "apgd-t-targets3"
    assert Apgd(label="mine").name == "mine"


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"loss": "dlr-target"}, "did you mean 'dlr-targeted'?"),
        ({"steps": 0}, "steps: got 0, expected a whole number >= 1"),
        ({"restarts": True}, "restarts: got True"),
        ({"targets": 0}, "targets: got 0"),
        ({"rho": 1.5}, "rho: got 1.5, expected in (0, 1]"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Apgd(**wrong)
    assert says in str(error.value)
