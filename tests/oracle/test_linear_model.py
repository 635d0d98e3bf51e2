"""On a linear two-class model robust accuracy has a closed form; PGD and the evaluation must reach it exactly."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd, Scored
from zsr_core.evaluation.measure import measure
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.rng import generator
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel

N, SIDE = 200, 6
EPS = {"linf": 0.006, "l2": 0.05}


def _problem() -> tuple[Tensor, float, Tensor, Tensor]:
    """Weights w, bias b, images away from the box, and labels: 1 where w.x + b > 0, with every tenth one wrong."""
    draw = generator(0, "linear")
    w = torch.randn(3 * SIDE * SIDE, generator=draw)
    x = 0.3 + 0.4 * torch.rand(N, 3, SIDE, SIDE, generator=draw)
    f = x.flatten(1) @ w
    b = -float(f.median()) - 1e-3
    y = (f + b > 0).long()
    y[::10] = 1 - y[::10]
    return w, b, x, y


def _exact(norm: Literal["linf", "l2"]) -> Tensor:
    """[N] bool: the signed margin exceeds the most that the budget can take from it, eps times the dual norm of w."""
    w, b, x, y = _problem()
    signed = (2 * y - 1) * (x.flatten(1) @ w + b)
    return signed > EPS[norm] * w.norm(p=1 if norm == "linf" else 2)


def _logits(x: Tensor) -> Tensor:
    w, b, _, _ = _problem()
    f = x.flatten(1) @ w + b
    return torch.stack([torch.zeros_like(f), f], dim=1)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack",
    [
        Pgd(steps=12, step_ratio=0.25),
        Pgd(steps=12, step_ratio=0.25, random_start=False),
        Pgd(steps=12, step_ratio=0.25, keep="last"),
        Pgd(steps=1, step_ratio=2.0),
        Pgd(steps=12, restarts=3),
    ],
    ids=lambda a: f"{a.name}-{a.keep}-{a.step_ratio}",
)
def test_pgd_reaches_the_exact_robust_accuracy(norm: Literal["linf", "l2"], attack: Pgd) -> None:
    _, _, x, y = _problem()
    if norm == "l2" and attack.steps == 1:
        attack = Pgd(
            steps=1, step_ratio=1.0, random_start=False
        )  # from a random start one l2 step ends off the optimum
    elif norm == "l2":
        attack = Pgd(steps=60, step_ratio=0.5, restarts=attack.restarts, keep=attack.keep)

    def objective(x_adv: Tensor, rows: Tensor) -> Scored:
        logits = _logits(x_adv)
        loss = torch.nn.functional.cross_entropy(logits, y[rows], reduction="none")
        fooled = None if attack.keep == "last" else logits.argmax(dim=1) != y[rows]
        return Scored(loss=loss, fooled=fooled)

    threat = ThreatModel(norm=norm, eps=EPS[norm])
    x_adv = attack.climb(objective, x, threat, lambda purpose, rows: [generator(0, purpose, r) for r in rows.tolist()])
    assert threat.contains(x_adv, x).all()
    robust = _logits(x_adv).argmax(dim=1) == y
    assert 0.2 < _exact(norm).float().mean() < 0.8
    assert torch.equal(robust, _exact(norm))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_evaluation_reports_the_exact_robust_accuracy(norm: Literal["linf", "l2"], tiny: Any) -> None:
    """The same model as a classifier of cosines: the embedding (1, f) against texts (1, 0) and (0, 1) has the sign of
    f - 1, so the bias is shifted by one."""
    w, b, x, y = _problem()
    stored = x
    images = tiny.images(N)
    images = type(images)(
        name="linear", split="report", classes=("no", "yes"), templates=("{}",), ids=images.ids, labels=y, key="linear",
        pixels=lambda rows: (stored[torch.as_tensor(rows)] * 255).round().to(torch.uint8), in_memory=True,
    )  # fmt: skip
    seen = (x * 255).round() / 255

    def embed(pixels: Tensor) -> Tensor:
        f = pixels.flatten(1) @ w + b
        return torch.stack([torch.ones_like(f), f + 1], dim=1)

    text = TextBank(unit=torch.eye(2), classes=("no", "yes"), templates=("{}",))
    victim = Victim(embed=embed, scale=10.0, sha="linear")
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    attack = Pgd(steps=40, step_ratio=0.25)
    records = predict(victim, images, text, (attack,), (threat,), batch_size=64)
    signed = (2 * y - 1) * (seen.flatten(1) @ w + b)
    exact = signed > EPS[norm] * w.norm(p=1 if norm == "linf" else 2)
    found = {r.sample_id: r.correct for r in records if r.condition == attack.name}
    assert [found[i] for i in images.ids] == exact.tolist()
    rows = {(m.metric, m.attack): m.value for m in measure(records, ())}
    assert rows["clean", "none"] == pytest.approx(100 * float((signed > 0).float().mean()))
    assert rows["robust", "worst"] == pytest.approx(100 * float(exact.float().mean()))
