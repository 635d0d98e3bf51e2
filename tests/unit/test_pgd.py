"""What PGD keeps, what it costs, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd, Scored
from zsr_core.codec import ConfigError
from zsr_core.model.tower import Tally
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

THREAT = ThreatModel(eps=8 / 255)


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _objective(tiny: Any, tower: Any, labels: Tensor, log: list[tuple[Tensor, Tensor, Tensor]], stop: bool) -> Any:
    text = tiny.bank()

    def objective(x: Tensor, rows: Tensor) -> Scored:
        logits = 20 * torch.nn.functional.normalize(tower(x), dim=-1) @ text.unit.T
        loss = torch.nn.functional.cross_entropy(logits, labels[rows], reduction="none")
        log.append((rows.clone(), x.detach().clone(), loss.detach().clone()))
        return Scored(loss=loss, fooled=logits.argmax(dim=1) != labels[rows] if stop else None)

    return objective


def _predicted(tiny: Any, tower: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return (torch.nn.functional.normalize(tower(x), dim=-1) @ tiny.bank().unit.T).argmax(dim=1)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_the_last_iterate_costs_exactly_its_steps_and_no_weight_gradient(tiny: Any, trainable: Any, steps: int) -> None:
    tower, x = tiny.tower(), tiny.pixels(4)
    objective = _objective(tiny, tower, torch.zeros(4, dtype=torch.int64), [], stop=False)
    Pgd(steps=steps, keep="last").climb(objective, x, THREAT, _draws)
    assert tower.tally == Tally(forward=steps, input_backward=steps, images=4 * steps)
    trainable(tower)
    Pgd(steps=steps, keep="last").climb(objective, x, THREAT, _draws)
    assert all(p.grad is None for p in tower.parameters())


def test_the_declared_cost_is_the_cost_for_images_that_never_fall(tiny: Any) -> None:
    for attack in (Pgd(steps=3), Pgd(steps=3, restarts=2), Pgd(steps=3, keep="last")):
        tower, x = tiny.tower(), tiny.pixels(2)
        attack.climb(_objective(tiny, tower, torch.zeros(2, dtype=torch.int64), [], stop=False), x, THREAT, _draws)
        assert (tower.tally.forward, tower.tally.input_backward) == attack.cost()


@pytest.mark.parametrize("restarts", [1, 3])
def test_the_best_is_never_worse_than_any_iterate(tiny: Any, restarts: int) -> None:
    tower, x, labels = tiny.tower(), tiny.pixels(6), torch.arange(6) % 5
    log: list[tuple[Tensor, Tensor, Tensor]] = []
    attack = Pgd(steps=6, step_ratio=0.9, restarts=restarts)
    x_adv = attack.climb(_objective(tiny, tower, labels, log, stop=False), x, THREAT, _draws)
    seen = torch.stack([loss for _, _, loss in log])
    assert seen.shape == (restarts * 7, 6)
    final: list[tuple[Tensor, Tensor, Tensor]] = []
    _objective(tiny, tower, labels, final, stop=False)(x_adv, torch.arange(6))
    torch.testing.assert_close(final[0][2], seen.amax(dim=0))


def test_an_image_that_has_fallen_is_not_forwarded_again_and_its_first_fall_is_kept(tiny: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(8)
    labels = _predicted(tiny, tower, x)
    log: list[tuple[Tensor, Tensor, Tensor]] = []
    attack = Pgd(steps=8, step_ratio=0.3, restarts=3)
    x_adv = attack.climb(_objective(tiny, tower, labels, log, stop=True), x, ThreatModel(eps=2 / 255), _draws)
    fell: dict[int, Tensor] = {}
    for rows, images, _ in log:
        assert not set(rows.tolist()) & set(fell)
        guesses = _predicted(tiny, tower, images)
        for row, image, wrong in zip(rows.tolist(), images, (guesses != labels[rows]).tolist(), strict=True):
            if wrong:
                fell[row] = image
    standing = [row for row in range(8) if row not in fell]
    assert fell
    assert standing
    assert all(torch.equal(x_adv[row], image) for row, image in fell.items())
    forwards = {row: sum(row in rows.tolist() for rows, _, _ in log) for row in range(8)}
    assert all(forwards[row] == attack.cost()[0] for row in standing)
    assert all(forwards[row] < attack.cost()[0] for row in fell)


def test_an_image_that_goes_round_in_circles_is_left_alone_and_nothing_is_lost(tiny: Any) -> None:
    """Where success has no meaning (None) every step is taken; where nobody falls, the same points are found.

    The model is float64: batches of other sizes round otherwise, and the sign of a gradient near 0 hangs on that.
    """
    tower, x, threat = tiny.tower().double(), tiny.pixels(6), ThreatModel(eps=1 / 255)
    text, labels = tiny.bank(), torch.arange(6) % 5

    def climb(fooled: Tensor | None) -> tuple[Tensor, int, int]:
        asked: list[int] = []

        def objective(x_adv: Tensor, rows: Tensor) -> Scored:
            asked.append(len(rows))
            unit = torch.nn.functional.normalize(tower(x_adv.double()), dim=-1)
            logits = 20 * unit @ text.unit.double().T
            loss = torch.nn.functional.cross_entropy(logits, labels[rows], reduction="none")
            return Scored(loss=loss.float(), fooled=None if fooled is None else fooled[rows])

        attack = Pgd(steps=40, restarts=2)
        return attack.climb(objective, x, threat, _draws), sum(asked), 6 * attack.cost()[0]

    whole, every, declared = climb(None)
    found, fewer, _ = climb(torch.zeros(6, dtype=torch.bool))
    torch.testing.assert_close(found, whole, rtol=0, atol=1e-6)
    assert every == declared
    assert fewer < 0.7 * declared


def test_a_batch_that_falls_whole_needs_no_further_restart(tiny: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(4)
    labels = (_predicted(tiny, tower, x) + 1) % 5  # wrong from the start
    log: list[tuple[Tensor, Tensor, Tensor]] = []
    Pgd(steps=5, restarts=3).climb(_objective(tiny, tower, labels, log, stop=True), x, THREAT, _draws)
    assert len(log) == 1


def test_without_a_random_start_it_starts_at_the_image(tiny: Any) -> None:
    tower, x, log = tiny.tower(), tiny.pixels(2), []
    objective = _objective(tiny, tower, torch.zeros(2, dtype=torch.int64), log, stop=False)
    Pgd(steps=2, random_start=False).climb(objective, x, THREAT, _draws)
    assert torch.equal(log[0][1], x)


def test_the_images_given_are_left_as_they_were(tiny: Any) -> None:
    x = tiny.pixels(3)
    before = x.clone()
    for attack in (Pgd(steps=2), Pgd(steps=2, keep="last", random_start=False)):
        attack.climb(
            _objective(tiny, tiny.tower(), torch.zeros(3, dtype=torch.int64), [], stop=True), x, THREAT, _draws
        )
    assert torch.equal(x, before)
    assert not x.requires_grad


def test_where_the_objective_is_nan_the_clean_image_comes_back() -> None:
    x = torch.full((2, 3, 4, 4), 0.5)

    def objective(x_adv: Tensor, rows: Tensor) -> Scored:
        return Scored(loss=(x_adv * torch.nan).flatten(1).sum(dim=1), fooled=None)

    assert torch.equal(Pgd(steps=3).climb(objective, x, THREAT, _draws), x)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 0}, "steps: got 0, expected a whole number >= 1"),
        ({"restarts": 0}, "restarts: got 0"),
        ({"step_size": 4.0}, "step_size: got 4.0, expected a step in (0, 1] pixel units (write 1/255)"),
        ({"step_ratio": 0.0}, "step_ratio: got 0.0"),
        ({"keep": "first"}, "keep: got 'first'"),
        ({"keep": "last", "restarts": 2}, "restarts: got 2, expected 1 where the last iterate is kept"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Pgd(**wrong)
    assert says in str(error.value)


def test_its_name_tells_steps_and_restarts() -> None:
    assert (Pgd(steps=10).name, Pgd(steps=50, restarts=5).name) == ("pgd10", "pgd50x5")
