"""The training loop: what a step costs, what stays frozen, what repeats bitwise, and how it fails."""

from __future__ import annotations

import copy
import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import batches
from zsr_core.events import EpochEnded
from zsr_core.methods import FtClean, Method, TeCoA, TgaZsr
from zsr_core.model.load import Clip, weights_sha
from zsr_core.model.tower import Tally, frozen
from zsr_core.text import encode_classes
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import NonFinite, Recipe, epoch_order, fit, make_step
from zsr_core.training.optim import Optim, build_optimiser

RECIPE = Recipe(
    optim=Optim(name="sgd", lr=0.05, warmup_steps=2),
    threat=ThreatModel(eps=4 / 255),
    attack=Pgd(steps=2, step_ratio=0.5, keep="last"),
    epochs=2,
    batch_size=5,
    precision="fp32",
    seed=0,
)


def _with(**changes: Any) -> Recipe:
    return dataclasses.replace(RECIPE, **changes)


def _counting(clip: Clip) -> tuple[Clip, list[int]]:
    """The clip with a text encoder that notes how many texts it is given."""
    calls: list[int] = []

    def encode(texts: Any) -> Tensor:
        calls.append(len(texts))
        return clip.encode_text(texts)

    return dataclasses.replace(clip, encode_text=encode), calls


def test_a_tga_zsr_step_costs_four_forwards_two_input_backwards_and_two_full_ones(tiny: Any, tmp_path: Path) -> None:
    clip, texts = _counting(tiny.clip())
    images = tiny.images(12)
    bank = encode_classes(clip.encode_text, images.classes, images.templates)
    fit(clip, TgaZsr(), bank, images, _with(epochs=1), cache_folder=tmp_path)  # fills the cache
    texts.clear()
    clip.tower.tally.reset()
    found = fit(clip, TgaZsr(), bank, images, _with(epochs=1), cache_folder=tmp_path)
    steps = 3
    assert found.cost == {
        "passes_forward": 4.0 * steps,
        "passes_input_backward": 2.0 * steps,
        "passes_full_backward": 2.0 * steps,
    }
    assert texts == []
    assert clip.tower.tally == Tally()


@pytest.mark.parametrize(
    ("method", "forward", "input_backward", "full_backward"),
    [(TeCoA(), 3, 2, 1), (FtClean(), 1, 0, 1), (TgaZsr(beta=0.0), 3, 2, 1), (TgaZsr(alpha=0.0, beta=0.0), 3, 2, 1)],
    ids=["TeCoA", "FT-Clean", "TGA-ZSR without gacm", "TGA-ZSR without either"],
)
def test_other_methods_pay_for_what_they_read(
    tiny: Any, method: Method, forward: int, input_backward: int, full_backward: int
) -> None:
    clip = tiny.clip()
    step = make_step(clip, method, tiny.bank(), RECIPE, total=1)
    x, y, rows = next(batches(tiny.images(4), [torch.arange(4)]))
    step(x, y, rows, 0)
    assert step.tower.tally == Tally(
        forward=forward, input_backward=input_backward, full_backward=full_backward, images=4 * forward
    )


def test_without_a_cache_the_teacher_is_run_once_a_step_and_never_backwards(tiny: Any) -> None:
    clip = tiny.clip()
    fit(clip, TgaZsr(), tiny.bank(), tiny.images(12), _with(epochs=1))
    assert clip.tower.tally == Tally(forward=3, images=12)


def test_teacher_and_texts_are_what_they_were_and_the_student_is_not(tiny: Any) -> None:
    clip, bank = tiny.clip(), tiny.bank()
    before = bank.unit.clone()
    fitted = fit(clip, TgaZsr(), bank, tiny.images(), RECIPE)
    assert weights_sha(clip.tower) == clip.sha
    assert all(p.grad is None and not p.requires_grad for p in clip.tower.parameters())
    assert torch.equal(bank.unit, before)
    assert weights_sha(fitted.tower) != clip.sha
    assert not any(p.requires_grad for p in fitted.tower.parameters())
    assert not fitted.tower.training


def test_every_weight_of_the_image_tower_moves(tiny: Any) -> None:
    clip = tiny.clip()
    fitted = fit(clip, TgaZsr(), tiny.bank(), tiny.images(), RECIPE)
    still = [
        name
        for (name, a), b in zip(fitted.tower.named_parameters(), clip.tower.parameters(), strict=True)
        if torch.equal(a, b)
    ]
    assert still == []


def test_zero_epochs_leave_the_weights_alone(tiny: Any) -> None:
    clip = tiny.clip()
    fitted = fit(clip, TgaZsr(), tiny.bank(), tiny.images(), _with(epochs=0))
    assert weights_sha(fitted.tower) == clip.sha
    assert fitted.history == []


def test_training_lowers_the_loss(tiny: Any) -> None:
    fitted = fit(tiny.clip(), TeCoA(), tiny.bank(), tiny.images(), _with(epochs=6))
    assert fitted.history[-1]["loss"] < 0.8 * fitted.history[0]["loss"]


def test_the_history_is_the_mean_over_images_of_each_term(tiny: Any) -> None:
    """12 images in batches of 5, 5 and 2: the mean over images weighs the last batch by 2."""
    clip, images = tiny.clip(), tiny.images(12)
    recipe = _with(epochs=1, optim=Optim(lr=1e-30, warmup_steps=0))  # weights stay: the steps are independent
    fitted = fit(clip, TgaZsr(), tiny.bank(), images, recipe)
    step = make_step(clip, TgaZsr(), tiny.bank(), recipe, total=3)
    sums = {"ce": 0.0, "larm": 0.0, "gacm": 0.0}
    for i, (x, y, rows) in enumerate(batches(images, epoch_order(12, 5, 0, 0))):
        terms = TgaZsr().loss(step.views(x, step.attack(x, y, rows, i), y, rows))
        for name, term in terms.items():
            sums[name] += float(term.detach().sum()) / 12
    (row,) = fitted.history
    assert {name: row[name] for name in sums} == pytest.approx(sums, rel=1e-4, abs=1e-6)
    assert row["loss"] == pytest.approx(sum(sums.values()), rel=1e-4)
    assert row["epoch"] == 1
    assert row["grad_norm"] > 0


def test_the_accuracies_of_an_epoch_are_those_of_the_images_as_they_were_trained_on(tiny: Any) -> None:
    clip, images = tiny.clip(), tiny.images(12)
    recipe = _with(epochs=1, optim=Optim(lr=1e-30, warmup_steps=0))
    (row,) = fit(clip, TgaZsr(), tiny.bank(), images, recipe).history
    step = make_step(clip, TgaZsr(), tiny.bank(), recipe, total=3)
    hits = {"clean_accuracy": 0, "robust_accuracy": 0}
    for i, (x, y, rows) in enumerate(batches(images, epoch_order(12, 5, 0, 0))):
        for name, pixels in (("clean_accuracy", x), ("robust_accuracy", step.attack(x, y, rows, i))):
            unit = torch.nn.functional.normalize(step.tower(pixels), dim=-1)
            hits[name] += int(((unit @ tiny.bank().unit.T).argmax(dim=1) == y).sum())
    assert {name: row[name] for name in hits} == pytest.approx({name: n * 100 / 12 for name, n in hits.items()})


@pytest.mark.parametrize(
    ("method", "told"), [(TeCoA(), {"robust_accuracy"}), (FtClean(), {"clean_accuracy"})], ids=["adv", "clean"]
)
def test_no_image_is_encoded_for_the_sake_of_an_accuracy(tiny: Any, method: Any, told: set[str]) -> None:
    (row,) = fit(tiny.clip(), method, tiny.bank(), tiny.images(), _with(epochs=1)).history
    assert {name for name in row if name.endswith("_accuracy")} == told


def test_the_learning_rate_is_the_closed_form() -> None:
    """The papers' recipe: 7820 steps, 1000 of them warm-up, then half a cosine over 6820."""
    optim = Optim(lr=1e-4, warmup_steps=1000)
    assert optim.lr_at(0, 7820) == pytest.approx(1e-7)
    assert optim.lr_at(499, 7820) == pytest.approx(0.5e-4)
    assert optim.lr_at(999, 7820) == pytest.approx(1e-4)
    assert optim.lr_at(1000, 7820) == pytest.approx(1e-4)
    assert optim.lr_at(1000 + 3410, 7820) == pytest.approx(0.5e-4)
    assert optim.lr_at(7819, 7820) == pytest.approx(0.5e-4 * (1 + math.cos(math.pi * 6819 / 6820)))
    share = Optim(lr=1.0, warmup_steps=None, warmup_share=0.1)
    assert [share.lr_at(s, 20) for s in (0, 1, 2)] == pytest.approx([0.5, 1.0, 1.0])
    assert Optim(lr=0.3, warmup_steps=0, schedule="constant").lr_at(99, 100) == 0.3
    assert Optim(lr=0.3, warmup_steps=0).lr_at(0, 1) == 0.3


def test_the_schedule_is_what_the_optimiser_uses(tiny: Any) -> None:
    step = make_step(tiny.clip(), TeCoA(), tiny.bank(), RECIPE, total=10)
    for i, (x, y, rows) in enumerate(batches(tiny.images(12), epoch_order(12, 5, 0, 0))):
        step(x, y, rows, i)
        assert {group["lr"] for group in step.optimiser.param_groups} == {RECIPE.optim.lr_at(i, 10)}


def test_weight_decay_is_for_matrices(tiny: Any, trainable: Any) -> None:
    optimiser = build_optimiser(trainable(tiny.tower()), Optim(name="adamw", weight_decay=0.1))
    decayed = {group["weight_decay"]: {p.dim() >= 2 for p in group["params"]} for group in optimiser.param_groups}
    assert decayed == {0.1: {True}, 0.0: {False}}


def test_clipping_bounds_the_step(tiny: Any) -> None:
    clip, images = tiny.clip(), tiny.images(5)
    moved = {}
    for limit in (None, 1e-3):
        recipe = _with(epochs=1, optim=Optim(lr=1.0, momentum=0.0, warmup_steps=0, clip_norm=limit))
        fitted = fit(clip, TeCoA(), tiny.bank(), images, recipe)
        pairs = zip(fitted.tower.parameters(), clip.tower.parameters(), strict=True)
        moved[limit] = math.sqrt(sum(float((a - b).square().sum()) for a, b in pairs))
        assert fitted.history[0]["grad_norm"] > 1e-2  # as it was before clipping
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-2)
    assert moved[None] > 1e-2


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_bitwise_the_same_weights_and_another_does_not(tiny: Any, precision: Any) -> None:
    def sha(seed: int) -> str:
        fitted = fit(tiny.clip(), TgaZsr(), tiny.bank(), tiny.images(), _with(seed=seed, precision=precision))
        return weights_sha(fitted.tower)

    torch.manual_seed(1)
    first = sha(0)
    torch.manual_seed(2)
    assert sha(0) == first
    assert sha(1) != first


@pytest.mark.parametrize("optim", [Optim(lr=0.05, warmup_steps=2), Optim(name="adamw", lr=1e-3, warmup_steps=2)])
def test_a_run_stopped_after_an_epoch_ends_bitwise_as_if_it_had_not_been(
    tiny: Any, tmp_path: Path, optim: Optim
) -> None:
    recipe = _with(epochs=3, optim=optim)
    whole = fit(tiny.clip(), TgaZsr(), tiny.bank(), tiny.images(), recipe)

    class Killed(BaseException):
        pass

    def kill(event: EpochEnded) -> None:
        if event.row["epoch"] == 2:
            raise Killed

    file = tmp_path / "state.checkpoint"
    with pytest.raises(Killed):
        fit(tiny.clip(), TgaZsr(), tiny.bank(), tiny.images(), recipe, checkpoint=file, on_event=kill)
    seen: list[float] = []
    rest = fit(
        tiny.clip(), TgaZsr(), tiny.bank(), tiny.images(), recipe, checkpoint=file,
        on_event=lambda event: seen.append(event.row["epoch"]),
    )  # fmt: skip
    assert seen == [3]
    assert weights_sha(rest.tower) == weights_sha(whole.tower)
    strip = [{k: v for k, v in row.items() if k != "seconds"} for row in whole.history]
    assert [{k: v for k, v in row.items() if k != "seconds"} for row in rest.history] == strip
    assert rest.cost == whole.cost


def test_compared_methods_see_the_same_order_and_the_same_noise(tiny: Any) -> None:
    images = tiny.images(12)
    steps = {m.title: make_step(tiny.clip(), m, tiny.bank(), RECIPE, total=6) for m in (TeCoA(), TgaZsr())}
    for i, (x, y, rows) in enumerate(batches(images, epoch_order(12, 5, 0, 1))):
        # From equal weights the attacks are equal, noise included; at another step they are not.
        a, b = (step.attack(x, y, rows, i) for step in steps.values())
        assert torch.equal(a, b)
        assert not torch.equal(a, steps["TeCoA"].attack(x, y, rows, i + 1))
    assert all(torch.equal(a, b) for a, b in zip(epoch_order(12, 5, 0, 1), epoch_order(12, 5, 0, 1), strict=True))


def test_an_epoch_visits_every_image_once_in_a_new_order_and_keeps_the_last_short_batch() -> None:
    first, second = epoch_order(12, 5, 0, 0), epoch_order(12, 5, 0, 1)
    assert [len(rows) for rows in first] == [5, 5, 2]
    assert sorted(torch.cat(first).tolist()) == list(range(12))
    assert torch.cat(first).tolist() != torch.cat(second).tolist()


def test_the_training_attack_stays_in_the_ball_and_leaves_no_gradient_on_the_weights(tiny: Any) -> None:
    step = make_step(tiny.clip(), TgaZsr(), tiny.bank(), RECIPE, total=1)
    x, y, rows = next(batches(tiny.images(5), [torch.arange(5)]))
    x_adv = step.attack(x, y, rows, 0)
    assert RECIPE.threat.contains(x_adv, x).all()
    assert all(p.grad is None and p.requires_grad for p in step.tower.parameters())


def test_weights_take_gradients_again_after_an_attack_that_fails(tiny: Any, trainable: Any) -> None:
    tower = trainable(tiny.tower())

    def attack() -> None:
        with frozen(tower):
            assert not any(p.requires_grad for p in tower.parameters())
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        attack()
    assert all(p.requires_grad for p in tower.parameters())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Breaks(TeCoA):
    """TeCoA with a second term that is NaN from the second step on."""

    after: list[int] = dataclasses.field(default_factory=lambda: [1])

    def loss(self, views: Any) -> dict[str, Tensor]:
        terms = super().loss(views)
        self.after[0] -= 1
        return {**terms, "larm": terms["ce"] * (math.nan if self.after[0] < 0 else 1.0)}


def test_a_term_that_is_not_finite_names_itself_and_its_step_and_leaves_the_weights_alone(tiny: Any) -> None:
    step = make_step(tiny.clip(), _Breaks(), tiny.bank(), RECIPE, total=9)
    x, y, rows = next(batches(tiny.images(4), [torch.arange(4)]))
    step(x, y, rows, 0)
    before, state = weights_sha(step.tower), copy.deepcopy(step.optimiser.state_dict())
    with pytest.raises(NonFinite, match=r"step 2 of 9: loss term 'larm' is nan"):
        step(x, y, rows, 1)
    assert weights_sha(step.tower) == before
    after = step.optimiser.state_dict()
    for key, value in state["state"].items():
        assert all(torch.equal(value[k], after["state"][key][k]) for k in value if isinstance(value[k], Tensor))


def test_a_learning_rate_that_explodes_ends_as_a_named_failure(tiny: Any) -> None:
    recipe = _with(optim=Optim(lr=1e30, warmup_steps=0))
    with pytest.raises(NonFinite, match=r"step 2 of 6: (loss term '\w+'|the gradient's norm) is (nan|inf)"):
        fit(tiny.clip(), TgaZsr(), tiny.bank(), tiny.images(), recipe)


def test_a_class_list_that_repeats_a_name_is_refused(tiny: Any) -> None:
    with pytest.raises(ConfigError, match="every class name once"):
        tiny.bank(("cat", "cat"))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"lr": 0.0}, "lr: got 0.0, expected a finite number above 0"),
        ({"lr": math.nan}, "lr: got nan"),
        ({"name": "adam"}, "name: got 'adam', expected 'sgd' or 'adamw'"),
        ({"schedule": "linear"}, "schedule: got 'linear'"),
        ({"weight_decay": -1.0}, "weight_decay: got -1.0"),
        ({"momentum": 1.0}, "momentum: got 1.0"),
        ({"betas": (0.9, 1.0)}, "betas: got (0.9, 1.0)"),
        ({"warmup_steps": -1}, "warmup_steps: got -1"),
        ({"warmup_share": 1.0}, "warmup_share: got 1.0"),
        ({"clip_norm": 0.0}, "clip_norm: got 0.0"),
    ],
)
def test_an_optimiser_that_cannot_be_is_refused_by_name(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as error:
        Optim(**wrong)
    assert says in str(error.value)
