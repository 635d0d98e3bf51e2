"""Tries side by side come to what they come to one after the other."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.attacks import Apgd, Attack, Fab, Target
from zsr_core.attacks.tries import Tries, at_once
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

N = 10


class _Asked:
    """A classifier in double, so that batches of other shapes answer alike, and what it was asked."""

    def __init__(self, tiny: Any, *, room: int, certain: bool = True) -> None:
        self.tower, self.unit = tiny.tower().double(), tiny.bank().unit.double()
        self.counted, self.calls = torch.zeros(N, dtype=torch.int64), 0
        self.room, self.certain = room, certain

    def logits(self, x: Tensor) -> Tensor:
        return 20 * F.normalize(self.tower(x), dim=-1) @ self.unit.T

    def target(self, labels: Tensor) -> Target:
        def ask(x: Tensor, rows: Tensor) -> Tensor:
            assert len(rows) <= max(self.room, N)
            self.calls += 1
            self.counted.index_add_(0, rows, torch.ones_like(rows))
            return self.logits(x)[None]

        def unask(rows: Tensor, number: Tensor) -> None:
            assert (number >= 0).all()
            self.counted.index_add_(0, rows, -number)

        return Target(
            ask=ask, unask=unask, labels=labels, classes=self.unit.shape[0], certain=self.certain, room=self.room
        )


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack", [Apgd(loss="dlr-targeted", steps=12), Apgd(loss="dlr-targeted", steps=6, restarts=2), Fab(steps=12)]
)
def test_images_and_questions_are_those_of_tries_one_after_the_other(
    attack: Attack, norm: Literal["linf", "l2"], tiny: Any
) -> None:
    x = tiny.pixels(N).double()
    with torch.no_grad():
        labels = _Asked(tiny, room=1).logits(x).argmax(dim=1)
    _, sizes = Fab(steps=12).nearest(_Asked(tiny, room=1).target(labels), x, norm)
    threat = ThreatModel(norm=norm, eps=1.05 * float(sizes.median()))
    apart, pairs, together = (_Asked(tiny, room=room) for room in (1, 2 * N, 64))
    alone, *others = (asked.target(labels) for asked in (apart, pairs, together))
    expected = attack.run(alone, x, threat, _draws)
    with torch.no_grad():
        fallen = apart.logits(expected).argmax(dim=1) != labels
    full = attack.cost(apart.unit.shape[0])[0]
    assert 0 < int(fallen.sum()) < N
    assert (apart.counted[~fallen] == full).all()
    assert (apart.counted[fallen] < full).all()
    for target, asked in zip(others, (pairs, together), strict=True):
        torch.testing.assert_close(attack.run(target, x, threat, _draws), expected, rtol=0, atol=1e-9)
        assert asked.counted.tolist() == apart.counted.tolist()
    assert together.calls < pairs.calls < apart.calls


def test_of_several_that_break_an_image_the_first_in_order_counts_and_later_ones_cost_nothing() -> None:
    taken: list[tuple[list[int], list[int]]] = []
    target = Target(
        ask=lambda x, rows: x[None], labels=torch.zeros(9, dtype=torch.int64), classes=2,
        unask=lambda rows, number: taken.append((rows.tolist(), number.tolist())),
    )  # fmt: skip
    tries = Tries.of(torch.tensor([4, 7, 8]), 3)
    faced = tries.target(target)
    assert torch.equal(faced.ask(torch.arange(18.0).view(9, 2), torch.arange(9))[0], torch.arange(18.0).view(9, 2))
    faced.ask(torch.zeros(2, 2), torch.tensor([2, 5]))
    fallen = torch.tensor([False, True, True, False, False, False, True, False, False])
    assert tries.over(fallen).tolist() == [False, True, True, False, False, False, True, True, True]
    best = tries.settle(target, fallen, torch.tensor([9.0, 1, 2, 1, 5, 5, 0, 3, 3]))
    assert best.tolist() == [1, 4, 6]  # the first that fell; the first of the largest score; the first that fell
    assert taken == [([4, 7, 8], [2, 0, 2])]


def test_a_target_asked_by_chance_is_asked_by_one_try_at_a_time(tiny: Any) -> None:
    labels = torch.zeros(N, dtype=torch.int64)
    certain, by_chance = (_Asked(tiny, room=64, certain=certain).target(labels) for certain in (True, False))
    assert [at_once(certain, n) for n in (1, 7, 40, 100)] == [64, 9, 1, 1]
    assert at_once(by_chance, 1) == 1
    assert at_once(_Asked(tiny, room=20).target(labels), 4) == 5
