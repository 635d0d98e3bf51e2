"""The two controls: random points of the ball, and examples made on another model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import AnyAttack, Fab, Noise, Pgd, Square, Target, Transfer
from zsr_core.codec import ConfigError
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.victim import Victim
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

Norm = Literal["linf", "l2"]
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
THREAT = ThreatModel(eps=8 / 255)


def _draws(purpose: str, rows: Tensor) -> list[torch.Generator]:
    return [generator(0, purpose, row) for row in rows.tolist()]


def _logits(tiny: Any, tower: Any) -> Callable[[Tensor], Tensor]:
    text = tiny.bank()
    return lambda x: 20 * torch.nn.functional.normalize(tower(x), dim=-1) @ text.unit.T


def _target(tiny: Any, tower: Any, labels: Tensor, *, others: dict[str, Any] | None = None) -> Target:
    logits = _logits(tiny, tower)
    named = {name: _logits(tiny, other) for name, other in (others or {}).items()}
    return Target(
        ask=lambda x, rows: logits(x)[None], labels=labels, classes=5,
        others={name: lambda x, rows, of=of: of(x) for name, of in named.items()},
    )  # fmt: skip


def _predicted(tiny: Any, tower: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        return _logits(tiny, tower)(x).argmax(dim=1)


@NORMS
def test_noise_keeps_the_draw_that_is_worst_for_the_model(tiny: Any, norm: Norm) -> None:
    tower, x, seen = tiny.tower(), tiny.pixels(4), []
    logits, threat = _logits(tiny, tower), ThreatModel(norm=norm, eps=0.05)

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        z = logits(x_adv)
        seen.append((z[:, 1:].amax(dim=1) - z[:, 0])[None])
        assert threat.contains(x_adv, x[rows]).all()
        return z[None]

    target = Target(ask=ask, labels=torch.zeros(4, dtype=torch.int64), classes=5, certain=False)
    x_adv = Noise(draws=7).run(target, x, threat, _draws)
    best = torch.cat(seen).amax(dim=0)
    assert len(seen) == Noise(draws=7).cost(5)[0]
    z = logits(x_adv)
    torch.testing.assert_close(z[:, 1:].amax(dim=1) - z[:, 0], best)


def test_a_transferred_example_climbs_the_source_and_never_asks_for_the_victim_s_gradient(tiny: Any) -> None:
    victim, source, x = tiny.tower(seed=0), tiny.tower(seed=1), tiny.pixels(6)
    labels = _predicted(tiny, source, x)
    target = _target(tiny, victim, labels, others={"untouched": source})
    target = Target(ask=target.ask, labels=labels, classes=5, others=target.others, certain=False)
    victim.tally.reset(), source.tally.reset()
    x_adv = Transfer(steps=8).run(target, x, THREAT, _draws)
    assert THREAT.contains(x_adv, x).all()
    assert victim.tally.input_backward == 0
    passes = victim.tally.forward + source.tally.forward, source.tally.input_backward
    assert passes == Transfer(steps=8).cost(5)
    ce = torch.nn.functional.cross_entropy
    logits = _logits(tiny, source)
    assert (ce(logits(x_adv), labels, reduction="none") > ce(logits(x), labels, reduction="none")).all()


@pytest.mark.parametrize("seed", [0, 1])
def test_an_image_is_done_with_when_the_victim_falls_not_when_the_source_does(tiny: Any, seed: int) -> None:
    """Of the sources one is the victim's twin, the other is wrong about every image from the start."""
    victim, source, x = tiny.tower(seed=0), tiny.tower(seed=seed), tiny.pixels(8)
    labels = _predicted(tiny, victim, x)
    target = _target(tiny, victim, labels, others={"untouched": source})
    asked: list[Tensor] = []

    def ask(x_adv: Tensor, rows: Tensor) -> Tensor:
        asked.append(rows.clone())
        return target.ask(x_adv, rows)

    logged = Target(ask=ask, labels=labels, classes=5, others=target.others)
    _, size = Fab(steps=10).nearest(target, x, "linf")
    threat = ThreatModel(eps=1.1 * float(size.median()))
    fooled = _predicted(tiny, victim, Transfer(steps=8).run(logged, x, threat, _draws)) != labels
    times = torch.stack([(torch.cat(asked) == row).sum() for row in range(8)])
    assert (times[~fooled] == 9).all()
    if seed == 0:
        assert 0 < int(fooled.sum()) < 8
        assert (times[fooled] < 9).any()
    else:
        assert (_predicted(tiny, source, x) != labels).all()
        assert not fooled.all()


def test_a_source_that_is_not_there_is_refused_by_name(tiny: Any) -> None:
    tower, x = tiny.tower(), tiny.pixels(1)
    labels = torch.zeros(1, dtype=torch.int64)
    target = _target(tiny, tower, labels, others={"untouched": tower, "sibling": tower})
    with pytest.raises(ConfigError, match=r"'untuched' \(did you mean 'untouched'\?\); .*untouched, sibling"):
        Transfer(source="untuched").run(target, x, THREAT, _draws)
    alone = _target(tiny, tower, labels)
    with pytest.raises(ConfigError, match="no other model"):
        Transfer().run(alone, x, THREAT, _draws)


def test_names_tell_source_steps_and_draws() -> None:
    names = [Noise().name, Noise(draws=5).name, Transfer().name, Transfer(source="twin", steps=50).name]
    assert names == ["noise100", "noise5", "transfer-untouched", "transfer-twin-pgd50"]


@pytest.mark.parametrize(
    ("kind", "wrong", "says"),
    [
        (Noise, {"draws": 0}, "draws: got 0, expected a whole number >= 1"),
        (Transfer, {"source": ""}, "source: got '', expected a model's name"),
        (Transfer, {"steps": 0}, "steps: got 0"),
        (Transfer, {"step_ratio": 0.0}, "step_ratio: got 0.0"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_by_name(kind: Any, wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        kind(**wrong)
    assert says in str(error.value)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "attack", [Fab(steps=4), Square(queries=20), Noise(draws=6), Transfer(steps=4)], ids=lambda a: a.name
)
def test_records_do_not_depend_on_the_batch_size(tiny: Any, attack: AnyAttack, norm: Norm) -> None:
    towers = tiny.tower(seed=0), tiny.tower(seed=1)
    victims = [Victim(embed=tower, scale=20.0, sha=str(i)) for i, tower in enumerate(towers)]
    victim = Victim(embed=towers[0], scale=20.0, sha="0", others={"untouched": victims[1]})
    images = tiny.images(10)
    images = type(images)(**{**vars(images), "labels": _predicted(tiny, towers[0], tiny.pixels(10))})
    threat = ThreatModel(norm=norm, eps=0.02 if norm == "linf" else 0.5)
    by_size = [predict(victim, images, tiny.bank(), (attack,), (threat,), batch_size=size)[10:] for size in (10, 3)]
    for other in by_size[1:]:
        for a, b in zip(by_size[0], other, strict=True):
            assert (a.sample_id, a.correct, a.pred) == (b.sample_id, b.correct, b.pred)
            assert a.margin == pytest.approx(b.margin, abs=2e-3)
            assert abs(a.queries - b.queries) <= 1


def test_a_control_is_weaker_than_a_gradient(tiny: Any) -> None:
    tower = tiny.tower()
    images = tiny.images(12)
    images = type(images)(**{**vars(images), "labels": _predicted(tiny, tower, tiny.pixels(12))})
    victim = Victim(embed=tower, scale=20.0, sha="0")
    attacks = (Pgd(steps=10), Noise(draws=10))
    records = predict(victim, images, tiny.bank(), attacks, (ThreatModel(eps=0.01),))
    broken = {a.name: {r.sample_id for r in records if r.condition == a.name and not r.correct} for a in attacks}
    assert broken["noise10"] <= broken["pgd10"]
    assert broken["pgd10"]
