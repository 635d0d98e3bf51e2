"""Whatever the budget, the image and the classifier: FAB, Square, noise and transfer stay inside and never worsen."""

from __future__ import annotations

from typing import Literal

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from zsr_core.attacks import AnyAttack, Fab, Noise, Square, Target, Transfer
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel


def _target(seed: int, classes: int, certain: bool, x: Tensor) -> Target:
    """A smooth random classifier, sometimes flat: its waves are cut off."""
    w = 3 * torch.randn(classes, x[0].numel(), generator=generator(seed, "weights"))

    def logits(x_adv: Tensor, rows: Tensor) -> Tensor:
        return (x_adv.flatten(1) @ w.T).sin().clamp(-0.9, 0.9)

    labels = logits(x, torch.arange(len(x))).argmax(dim=1)
    labels[0] = (labels[0] + 1) % classes  # one is wrong when clean
    return Target(
        ask=lambda x_adv, rows: logits(x_adv, rows)[None], labels=labels, classes=classes, certain=certain,
        others={"untouched": logits},
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(
    attack=st.sampled_from(
        [Fab(steps=4), Fab(steps=2, targets=2), Square(queries=12), Noise(draws=4), Transfer(steps=3)]
    ),
    norm=st.sampled_from(["linf", "l2"]),
    eps=st.floats(1e-4, 1.0),
    classes=st.integers(2, 6),
    certain=st.booleans(),
    seed=st.integers(0, 99),
)
def test_it_stays_inside_and_what_it_saw_fall_has_fallen(
    attack: AnyAttack, norm: Literal["linf", "l2"], eps: float, classes: int, certain: bool, seed: int
) -> None:
    x = torch.rand(3, 3, 6, 6, generator=generator(seed, "images")).mul(1.4).sub(0.2).clamp(0, 1)
    target, threat = _target(seed, classes, certain, x), ThreatModel(norm=norm, eps=eps)
    fell = torch.zeros(3, dtype=torch.bool)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        asked = target.ask(x_adv, rows)
        wrong = asked[0].detach().argmax(dim=1) != target.labels[rows]
        fell[rows] |= wrong & threat.contains(x_adv.detach(), x[rows], tolerance=0.0)
        return asked

    watched = Target(ask=ask, labels=target.labels, classes=classes, certain=certain, others=target.others)
    x_adv = attack.run(watched, x, threat, lambda purpose, rows: [generator(seed, purpose, r) for r in rows.tolist()])
    assert threat.contains(x_adv, x).all()
    assert x_adv.isfinite().all()
    if certain:
        wrong = target.logits(x_adv, torch.arange(3)).argmax(dim=1) != target.labels
        assert (wrong | ~fell).all()
