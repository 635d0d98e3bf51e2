"""Square: where it looks, what it keeps, whose dice it throws."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Draws, Square, Target
from zsr_core.attacks.square import pattern, uniform
from zsr_core.codec import ConfigError
from zsr_core.rng import generator
from zsr_core.threat import ThreatModel

Norm = Literal["linf", "l2"]
NORMS = pytest.mark.parametrize("norm", ["linf", "l2"])
EPS = {"linf": 8 / 255, "l2": 1.0}
Log = list[tuple[Tensor, Tensor, Tensor]]  # rows, images, margins


def _draws(ids: list[int]) -> Draws:
    return lambda purpose, rows: [generator(0, purpose, ids[row]) for row in rows.tolist()]


def _target(labels: Tensor, log: Log, *, scale: float = 1.0, bias: float = 0.0, certain: bool = True) -> Target:
    """A smooth classifier of any image size: class 1 where a wave of the pixels exceeds ``-bias``.

    ``log`` also gets what is taken back: rows, no images, and the numbers.
    """

    def ask(x: Tensor, rows: Tensor) -> Tensor:
        weights = torch.linspace(0, 40, x[0].numel()).sin().view(x.shape[1:])
        f = scale * ((x - 0.5) * weights).flatten(1).sum(dim=1) + bias
        signs = torch.where(labels[rows] == 1, -1, 1)
        log.append((rows.clone(), x.clone(), f * signs))
        return torch.stack([torch.zeros_like(f), f], dim=1)[None]

    def unask(rows: Tensor, number: Tensor) -> None:
        log.append((rows.clone(), torch.empty(0), number.clone()))

    return Target(ask=ask, unask=unask, labels=labels, classes=2, certain=certain)


def _images(n: int, height: int = 20, width: int = 20) -> Tensor:
    """Images with many pixels on the edges of the box."""
    return torch.rand(n, 3, height, width, generator=generator(1, "images")).mul(1.4).sub(0.2).clamp(0, 1)


def _labels(x: Tensor) -> Tensor:
    blank = _target(torch.zeros(len(x), dtype=torch.int64), [])
    return blank.logits(x, torch.arange(len(x))).argmax(dim=1)


@NORMS
@pytest.mark.parametrize("shape", [(20, 20), (17, 24), (4, 9)])
def test_every_point_it_asks_about_lies_in_ball_and_box(norm: Norm, shape: tuple[int, int]) -> None:
    x, log = _images(4, *shape), []
    threat = ThreatModel(norm=norm, eps=EPS[norm])
    # Nobody falls: 220 queries go through four sizes of squares.
    x_adv = Square(queries=220).run(_target(_labels(x), log, certain=False), x, threat, _draws([0, 1, 2, 3]))
    assert len(_questions(log)) == 221
    assert all(threat.contains(images, x[rows]).all() for rows, images, _ in _questions(log))
    assert threat.contains(x_adv, x).all()


@NORMS
def test_the_best_is_never_worse_than_any_point_it_asked_about(norm: Norm) -> None:
    x, log = _images(5), []
    labels = torch.tensor([0, 1, 0, 1, 0])
    target = _target(labels, log, certain=False)
    x_adv = Square(queries=60).run(target, x, ThreatModel(norm=norm, eps=EPS[norm]), _draws(list(range(5))))
    seen = torch.stack([margins for _, _, margins in _questions(log)])
    assert seen.shape == (61, 5)
    log.clear()
    target.ask(x_adv, torch.arange(5))
    torch.testing.assert_close(log[0][2], seen.amax(dim=0))
    assert (seen.amax(dim=0) > seen[0]).all()


@NORMS
def test_an_image_that_has_fallen_is_not_asked_about_again(norm: Norm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zsr_core.attacks.tries.FILL", (1, 1))
    x, log = _images(12), []
    labels, attack = _labels(x), Square(queries=80)
    target = _target(labels, log)
    x_adv = attack.run(target, x, ThreatModel(norm=norm, eps=EPS[norm]), _draws(list(range(12))))
    fell: dict[int, Tensor] = {}
    for rows, images, margins in _questions(log):
        assert not set(rows.tolist()) & set(fell)
        fell.update({row: images[i] for i, row in enumerate(rows.tolist()) if margins[i] > 0})
    assert 0 < len(fell) < 12
    assert all(torch.equal(x_adv[row], image) for row, image in fell.items())
    assert all(_counted(log)[row] == attack.cost(2)[0] for row in set(range(12)) - set(fell))


def _questions(log: Log) -> Log:
    return [entry for entry in log if len(entry[1])]


def _counted(log: Log, images: int = 12) -> list[int]:
    """Return how many questions about each image counted."""
    counts = torch.zeros(images, dtype=torch.int64)
    for rows, asked, number in log:
        counts.index_add_(0, rows, torch.ones_like(rows) if len(asked) else -number)
    return counts.tolist()


@NORMS
def test_asking_ahead_changes_neither_the_result_nor_what_it_is_said_to_cost(
    norm: Norm, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The classifier in double: batches of other shapes must not decide which of two changes is better.
    x, threat = _images(12).double(), ThreatModel(norm=norm, eps=EPS[norm])
    labels, attack, found = _labels(x.float()), Square(queries=300), []
    for most in (1, 64, 500):
        log: Log = []
        monkeypatch.setattr("zsr_core.attacks.tries.FILL", (most, most))
        x_adv = attack.run(_target(labels, log), x, threat, _draws(list(range(12))))
        found.append((x_adv, _counted(log), len(_questions(log))))
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0, atol=1e-12)
    torch.testing.assert_close(found[2][0], found[0][0], rtol=0, atol=1e-12)
    assert found[0][1] == found[1][1] == found[2][1]
    assert max(found[1][2], found[2][2]) < found[0][2] == 301  # asked less often, about more images at a time


@NORMS
def test_an_image_gets_the_same_answer_alone_and_among_others(norm: Norm) -> None:
    x, threat = _images(7), ThreatModel(norm=norm, eps=EPS[norm])
    labels = _labels(x)
    together = Square(queries=60).run(_target(labels, []), x, threat, _draws(list(range(7))))
    for i in (0, 3, 6):
        alone = Square(queries=60).run(_target(labels[i : i + 1], []), x[i : i + 1], threat, _draws([i]))
        torch.testing.assert_close(alone[0], together[i], rtol=0, atol=1e-6)


def test_longer_searches_begin_as_shorter_ones_do() -> None:
    x, short, long = _images(3), [], []  # type: Tensor, Log, Log
    labels, threat = _labels(x), ThreatModel(eps=1 / 255)
    Square(queries=20).run(_target(labels, short, scale=1e-9, certain=False), x, threat, _draws([0, 1, 2]))
    Square(queries=40).run(_target(labels, long, scale=1e-9, certain=False), x, threat, _draws([0, 1, 2]))
    pairs = zip(_questions(short), _questions(long), strict=False)
    assert all(torch.equal(a[1], b[1]) for a, b in pairs)


def test_the_images_given_are_left_as_they_were() -> None:
    x = _images(3)
    before = x.clone()
    for norm in ("linf", "l2"):
        Square(queries=10).run(_target(_labels(x), []), x, ThreatModel(norm=norm, eps=EPS[norm]), _draws([0, 1, 2]))
    assert torch.equal(x, before)


def test_the_squares_shrink_as_published() -> None:
    attack = Square()
    assert [attack.share(n) for n in (0, 10, 11, 50, 51, 201, 4000, 4001, 8001)] == [
        0.8, 0.8, 0.4, 0.4, 0.2, 0.1, 0.0125, 0.00625, 0.8 / 512,
    ]  # fmt: skip


def test_one_query_changes_one_square_to_the_ends_of_the_budget() -> None:
    x, log = torch.full((1, 3, 20, 20), 0.5), []
    Square(queries=1, p_init=0.09).run(
        _target(torch.tensor([0]), log, scale=1e-9), x, ThreatModel(eps=0.1), _draws([3])
    )
    first, second = (images[0] for _, images, _ in _questions(log))
    torch.testing.assert_close((second - 0.5).abs(), torch.full_like(second, 0.1))
    rows, columns = (first != second).any(dim=0).nonzero().unbind(dim=1)
    assert int(rows.max() - rows.min()) == 5  # sqrt(0.09 * 400) = 6 pixels a side
    assert int(columns.max() - columns.min()) <= 5
    window = second[:, int(rows.min()) : int(rows.min()) + 6, int(columns.min()) : int(columns.min()) + 6]
    assert (window.flatten(1).amax(dim=1) == window.flatten(1).amin(dim=1)).any()


def test_squares_reach_every_pixel() -> None:
    x, log = torch.full((1, 3, 8, 8), 0.5), []
    Square(queries=400, p_init=1e-3).run(_target(torch.tensor([0]), log, certain=False), x, ThreatModel(), _draws([0]))
    images = torch.stack([images[0] for _, images, _ in _questions(log)])
    assert (images[1:] != images[:-1]).any(dim=0).any(dim=0).all()


@pytest.mark.parametrize("side", [1, 3, 4, 9])
def test_the_bumps_of_l2_have_norm_one_and_stand_or_lie(side: int) -> None:
    lying, standing = pattern(side, torch.device("cpu")).view(2, side, side)
    assert float(lying.norm()) == pytest.approx(1)
    assert torch.equal(lying.T, standing)
    assert (lying[: side // 2] > 0).all()
    assert (lying[side // 2 :] < 0).all()


def test_every_image_throws_its_own_dice() -> None:
    first = uniform([generator(0, "a"), generator(0, "b")], (4, 2))
    second = uniform([generator(0, "b")], (4, 2))
    assert torch.equal(first[1], second[0])
    assert not torch.equal(first[0], first[1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"queries": 0}, "queries: got 0, expected a whole number >= 1"),
        ({"p_init": 0.0}, "p_init: got 0.0, expected a share in (0, 1]"),
        ({"p_init": 1.5}, "p_init: got 1.5"),
    ],
)
def test_an_attack_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Square(**wrong)
    assert says in str(error.value)


def test_its_name_tells_what_is_not_as_published() -> None:
    assert (Square().name, Square(queries=100, p_init=0.3).name) == ("square", "square100-p0.3")
