"""From a victim to records."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.journal import Journal
from zsr_core.evaluation.measure import measure
from zsr_core.evaluation.predict import predict
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.records import SampleRecord
from zsr_core.threat import ThreatModel

EPS = 4 / 255


def _victim(tiny: Any, seed: int = 0) -> Victim:
    clip = tiny.clip(seed=seed)
    return Victim(embed=clip.tower, scale=clip.scale, sha=clip.sha)


def _predict(tiny: Any, *, n: int = 20, batch_size: int = 7, seed: int = 0, images: Any = None) -> list[SampleRecord]:
    images = images or _guessed(tiny, n)
    attacks = (Pgd(steps=3), Pgd(steps=2, restarts=2))
    return predict(
        _victim(tiny), images, tiny.bank(), attacks, (ThreatModel(eps=1 / 255), ThreatModel(eps=EPS)),
        seed=seed, trial_id="t", batch_size=batch_size,
    )  # fmt: skip


def _guessed(tiny: Any, n: int) -> Any:
    """Images whose labels are the victim's own guesses, but for every fourth."""
    images = tiny.images(n)
    x = images.pixels(list(range(n))).float() / 255
    guess = _victim(tiny).logits(x, tiny.bank()).argmax(dim=1)
    guess[::4] = (guess[::4] + 1) % len(tiny.classes)
    return dataclasses.replace(images, labels=guess)


def test_there_is_one_record_per_image_and_condition(tiny: Any) -> None:
    records = _predict(tiny)
    keys = [(r.condition, r.eps, r.sample_id) for r in records]
    assert len(set(keys)) == len(keys) == 20 * 5
    assert [r.condition for r in records[:20]] == ["none"] * 20


def test_what_is_wrong_when_clean_is_not_attacked_and_counts_as_broken(tiny: Any) -> None:
    records = _predict(tiny)
    clean = {r.sample_id: r for r in records if r.condition == "none"}
    assert sum(not r.correct for r in clean.values()) == 5
    for r in records:
        if not clean[r.sample_id].correct and r.condition != "none":
            assert (r.correct, r.queries, r.linf, r.l2) == (False, 0, 0.0, 0.0)
            assert r.pred == clean[r.sample_id].pred
        elif r.condition != "none":
            assert r.queries >= 1


def test_a_record_tells_what_the_softmax_and_the_perturbation_say(tiny: Any) -> None:
    images, victim, text = _guessed(tiny, 20), _victim(tiny), tiny.bank()
    records = _predict(tiny)
    x = images.pixels(list(range(20))).float() / 255
    logits = victim.logits(x, text).double()
    p = logits.softmax(dim=1)
    for i, r in enumerate(records[:20]):
        others = [float(v) for c, v in enumerate(logits[i]) if c != r.label]
        assert r.p_max == pytest.approx(float(p[i].max()), rel=1e-5)
        assert r.entropy == pytest.approx(float(-(p[i] * p[i].log()).sum()), rel=1e-4)
        assert r.margin == pytest.approx(float(logits[i, r.label]) - max(others), rel=1e-4, abs=1e-4)
        assert r.correct is (r.pred == r.label) is (r.margin > 0)
    struck = [r for r in records if r.condition != "none" and r.queries]
    assert all(0 < r.linf <= r.eps + 1e-6 for r in struck)
    assert all(r.linf <= r.l2 <= r.linf * math.sqrt(3 * 32 * 32) + 1e-6 for r in struck)
    assert any(not r.correct for r in struck)
    assert {(r.norm, r.threat_space, r.task, r.split) for r in records} == {("linf", "model_input", "tiny", "train")}


def test_a_result_depends_neither_on_the_batch_size_nor_on_the_other_images(tiny: Any) -> None:
    """Within round-off, not bitwise: matrix products of another size add in another order. Noise is keyed by image."""
    images = _guessed(tiny, 20)
    whole = {(r.condition, r.eps, r.sample_id): r for r in _predict(tiny, batch_size=20)}
    kept = [11, 2, 17, 5, 6]
    fewer = dataclasses.replace(
        images, ids=tuple(images.ids[i] for i in kept), labels=images.labels[kept],
        pixels=lambda rows: images.pixels([kept[row] for row in rows]),
    )  # fmt: skip
    for part in (_predict(tiny, batch_size=3), _predict(tiny, images=fewer, batch_size=2)):
        for r in part:
            other = whole[r.condition, r.eps, r.sample_id]
            assert (r.pred, r.correct, r.queries) == (other.pred, other.correct, other.queries)
            assert r.margin == pytest.approx(other.margin, rel=1e-3, abs=1e-3)
            assert r.linf == pytest.approx(other.linf, abs=1e-6)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set how many threads torch uses, until the test's end."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("batch_size", [20, 5])
def test_batches_side_by_side_give_the_records_of_one_after_the_other(
    tiny: Any, threads: Callable[[int], None], batch_size: int
) -> None:
    threads(1)
    apart = _predict(tiny, batch_size=batch_size)
    threads(3)
    together = _predict(tiny, batch_size=batch_size)
    assert torch.get_num_threads() == 3
    for r, other in zip(together, apart, strict=True):
        assert (r.condition, r.eps, r.sample_id) == (other.condition, other.eps, other.sample_id)
        assert (r.pred, r.correct, r.queries) == (other.pred, other.correct, other.queries)
        assert r.margin == pytest.approx(other.margin, rel=1e-3, abs=1e-3)


def test_no_more_than_a_batch_of_images_is_worked_on_side_by_side(tiny: Any, threads: Callable[[int], None]) -> None:
    threads(3)
    seen: list[int] = []
    victim = _victim(tiny)

    def counted(x: Tensor) -> Tensor:
        seen.append(len(x))
        return victim.embed(x)

    predict(dataclasses.replace(victim, embed=counted), _guessed(tiny, 20), tiny.bank(), (), (), batch_size=9)
    assert sorted(seen) == [2] + [3] * 6


def test_an_error_in_one_batch_ends_those_beside_it(tiny: Any, threads: Callable[[int], None]) -> None:
    threads(2)
    images, victim, text = _guessed(tiny, 8), _victim(tiny), tiny.bank()
    images = dataclasses.replace(
        images, labels=victim.logits(images.pixels(range(8)).float() / 255, text).argmax(dim=1)
    )
    asked: list[int] = []

    def breaks(x: Tensor) -> Tensor:
        if not x.requires_grad:
            return victim.embed(x)
        asked.append(len(x))
        if len(asked) == 5:
            raise ArithmeticError("broken")
        return victim.embed(x)

    with pytest.raises(ArithmeticError, match="broken"):
        predict(
            dataclasses.replace(victim, embed=breaks), images, text, (Pgd(steps=100_000),),
            (ThreatModel(eps=1e-6),), batch_size=8,
        )  # fmt: skip
    assert len(asked) <= 7
    assert torch.get_num_threads() == 2


def test_the_same_seed_gives_the_same_records_and_another_gives_other_noise(tiny: Any) -> None:
    assert _predict(tiny) == _predict(tiny)
    assert _predict(tiny) != _predict(tiny, seed=1)


def test_a_model_that_gets_nothing_right_is_measured_and_not_attacked(tiny: Any) -> None:
    images = _guessed(tiny, 8)
    wrong = dataclasses.replace(images, labels=(images.labels + 2) % len(tiny.classes))
    records = [r for r in _predict(tiny, images=wrong) if r.condition != "none"]
    assert len(records) == 8 * 4
    assert all(r.queries == 0 for r in records if not r.correct)
    nothing = dataclasses.replace(images, labels=torch.full((8,), 4))
    guess = {r.pred for r in _predict(tiny, images=nothing)[:8]}
    assert 4 not in guess
    assert {m.value for m in measure(_predict(tiny, images=nothing), ())} == {0.0}


def test_an_attack_that_leaves_the_ball_or_returns_nan_is_judged_inside_it(tiny: Any) -> None:
    @dataclasses.dataclass(frozen=True)
    class Cheat:
        name: str = "cheat"
        value: str = "0"

        def stages(self, classes: int) -> tuple[Any, ...]:
            return (self,)

        def run(self, target: Any, x: Tensor, threat: ThreatModel, draws: Any) -> Tensor:
            return torch.full_like(x, float(self.value))

        def cost(self, classes: int) -> tuple[int, int]:
            return 0, 0

    for value in ("5", "nan"):
        records = predict(_victim(tiny), _guessed(tiny, 8), tiny.bank(), (Cheat(value=value),), (ThreatModel(eps=EPS),))
        assert all(r.linf <= EPS + 1e-6 for r in records)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_model_whose_logits_are_not_finite_is_an_error_and_no_accuracy(tiny: Any, poison: float) -> None:
    victim = Victim(embed=lambda x: torch.full((len(x), tiny.dim), poison), scale=10.0, sha="broken")
    with pytest.raises(ArithmeticError, match=r"task 'tiny', condition 'none': the logits of tiny/0 are not finite"):
        predict(victim, tiny.images(4), tiny.bank(), (Pgd(steps=1),), (ThreatModel(eps=EPS),))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"tasks": ()}, "tasks: got (), expected at least one task"),
        ({"tasks": (DataRef(), DataRef(name="source"))}, "tasks: got ['source', 'source'], expected every task once"),
        ({"split": "test"}, "split: got 'test'"),
        ({"n": 0}, "n: got 0"),
        ({"batch_size": 0}, "batch_size: got 0"),
        ({"attacks": (Pgd(steps=10, label="a"), Pgd(steps=20, label="a"))}, "attacks of different names"),
        ({"eps": (0.1, 0.1)}, "every budget once"),
        ({"eps": (4.0,)}, "write 4/255"),
        ({"eps": (0.0,)}, "eps: got 0.0, expected a budget above 0"),
        ({"norm": "l3"}, "norm: got 'l3'"),
        ({"space": "native"}, "space: got 'native', expected 'model_input'"),
    ],
)
def test_a_suite_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        EvalSuite(**wrong)
    assert says in str(error.value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Stage:
    """Moves the images named by the parity of their row; a cascade is two of them."""

    name: str
    parity: int

    def stages(self, classes: int) -> tuple[Any, ...]:
        return (self,)

    def cost(self, classes: int) -> tuple[int, int]:
        return 1, 0

    def run(self, target: Any, x: Tensor, threat: ThreatModel, draws: Any) -> Tensor:
        rows = torch.arange(len(x))
        target.logits(x, rows)
        ids = torch.tensor([g.initial_seed() % 2 for g in draws("parity", rows)])
        return torch.where((ids == self.parity).view(-1, 1, 1, 1), 1 - x, x)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Cascade:
    name: str = "cascade"
    parts: tuple[_Stage, ...] = (_Stage(name="even", parity=0), _Stage(name="odd", parity=1))

    def stages(self, classes: int) -> tuple[Any, ...]:
        return self.parts

    def run(self, *_: Any) -> Tensor:
        raise AssertionError("only the stages are run")

    def cost(self, classes: int) -> tuple[int, int]:
        return 2, 0


def test_a_cascade_gives_each_stage_what_the_ones_before_left_standing(tiny: Any) -> None:
    threat = ThreatModel(eps=1.0)
    images, victim = _guessed(tiny, 12), _victim(tiny)
    found = predict(victim, images, tiny.bank(), (_Cascade(),), (threat,), batch_size=5)
    alone = [
        {r.sample_id: r for r in predict(victim, images, tiny.bank(), (part,), (threat,)) if r.condition != "none"}
        for part in _Cascade().parts
    ]
    clean = {r.sample_id: r.correct for r in found if r.condition == "none"}
    rows = [r for r in found if r.condition == "cascade" and clean[r.sample_id]]
    assert rows
    for r in rows:
        assert r.ran == "even+odd"
        assert r.correct == all(part[r.sample_id].correct for part in alone)
        first = alone[0][r.sample_id]
        assert r.queries == (1 if not first.correct else 2)
        assert r.stage == "even" if not first.correct else r.stage in ("even", "odd")
        nearest = min(part[r.sample_id].margin for part in alone[: r.queries])
        assert r.margin == pytest.approx(nearest, rel=1e-4, abs=1e-4)  # batches of another size add in another order


def test_what_a_journal_holds_is_not_computed_again(tiny: Any, tmp_path: Any) -> None:
    journal, threat = Journal(folder=tmp_path / "parts", worth=0.0), (ThreatModel(eps=EPS),)
    images, attacks = _guessed(tiny, 10), (Pgd(steps=2), Pgd(steps=3))
    asked: list[int] = []
    victim = _victim(tiny)

    def counted(x: Tensor) -> Tensor:
        asked.append(len(x))
        return victim.embed(x)

    watched = dataclasses.replace(victim, embed=counted)
    whole = predict(watched, images, tiny.bank(), attacks, threat, batch_size=4, journal=journal)
    cost = sum(asked)
    stored = sorted(journal.folder.iterdir())
    stored[0].unlink()
    stored[1].write_bytes(stored[1].read_bytes()[:40])
    asked.clear()
    events: list[Any] = []
    again = predict(
        watched, images, tiny.bank(), attacks, threat, batch_size=4, journal=journal, trial_id="t",
        on_event=events.append,
    )  # fmt: skip
    assert [dataclasses.replace(r, trial_id="") for r in again] == whole
    assert {r.trial_id for r in again} == {"t"}
    assert 0 < sum(asked) < cost
    assert sum(not event.recalled for event in events) == 2
    asked.clear()
    other = dataclasses.replace(watched, facts="another method")
    predict(other, images, tiny.bank(), attacks, threat, batch_size=4, journal=journal)
    assert sum(asked) == cost


@pytest.mark.parametrize("label", [-1, 99])
def test_a_label_outside_the_classes_is_refused_by_task(tiny: Any, label: int) -> None:
    images = dataclasses.replace(tiny.images(4), labels=torch.tensor([0, 1, 0, label]))
    with pytest.raises(ConfigError, match="task 'tiny': labels"):
        predict(_victim(tiny), images, tiny.bank(), (), ())


@pytest.mark.parametrize("poison", [math.nan, math.inf, 1.5, -0.1])
def test_pixels_that_are_no_numbers_in_the_box_are_refused_by_image(tiny: Any, poison: float) -> None:
    images = tiny.images(4)
    x = images.pixels(range(4)).float() / 255
    x[2, 0, 0, 0] = poison
    images = dataclasses.replace(images, pixels=lambda rows: x[torch.as_tensor(rows)])
    with pytest.raises(ConfigError, match=r"task 'tiny': the pixels of tiny/2 are not numbers in \[0, 1\]"):
        predict(_victim(tiny), images, tiny.bank(), (), ())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_in_floats_get_the_records_of_the_same_images_in_bytes(tiny: Any, dtype: torch.dtype) -> None:
    images = tiny.images(4)
    x = (images.pixels(range(4)).float() / 255).to(dtype).contiguous(memory_format=torch.channels_last)
    floats = dataclasses.replace(images, pixels=lambda rows: x[torch.as_tensor(rows)])
    both = [predict(_victim(tiny), one, tiny.bank(), (Pgd(steps=2),), (ThreatModel(),)) for one in (images, floats)]
    assert both[0] == both[1]


def test_records_are_of_one_image_each(tiny: Any) -> None:
    images = tiny.images(4)
    for wrong, says in (
        ({"ids": ("a", "b", "a", "c")}, "task 'tiny': ids: got 'a', expected an id of its own for each image"),
        ({"ids": ("a",)}, "task 'tiny': ids: got 1, expected one for each of its 4 images"),
        ({"labels": images.labels.float()}, "task 'tiny': labels: got 'torch.float32', expected whole numbers"),
    ):
        with pytest.raises(ConfigError, match=says):
            predict(_victim(tiny), dataclasses.replace(images, **wrong), tiny.bank(), (), ())


def test_images_and_texts_of_other_widths_are_refused(tiny: Any) -> None:
    bank = tiny.bank()
    narrow = dataclasses.replace(bank, unit=bank.unit[:, :-1])
    with pytest.raises(ConfigError, match="image embeddings as wide as the texts'"):
        predict(_victim(tiny), tiny.images(4), narrow, (), ())


def test_a_task_without_images_or_with_one_class_is_refused(tiny: Any) -> None:
    images, bank = tiny.images(4), tiny.bank()
    with pytest.raises(ConfigError, match="task 'tiny': got 0, expected at least one image"):
        predict(_victim(tiny), dataclasses.replace(images, ids=(), labels=images.labels[:0]), bank, (), ())
    alone = dataclasses.replace(bank, unit=bank.unit[:1], classes=bank.classes[:1])
    with pytest.raises(ConfigError, match="task 'tiny': got 1, expected at least two classes"):
        predict(_victim(tiny), images, alone, (), ())
