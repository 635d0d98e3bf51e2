"""What every method owes a training step, and the identities that tie one method to another."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError, from_plain, to_plain
from zsr_core.methods import (
    METHODS,
    Agft,
    AnyMethod,
    Arow,
    Caw,
    CompTga,
    Fare,
    Flyp,
    Mart,
    PmgAft,
    TeCoA,
    TgaZsr,
    Trades,
    Ucat,
)
from zsr_core.model.tower import Tally
from zsr_core.threat import ThreatModel
from zsr_core.training.fit import Recipe, make_step
from zsr_core.training.optim import Optim
from zsr_core.trial.config import TrialConfig

CASES: tuple[AnyMethod, ...] = (
    *(kind() for kind in METHODS),
    Fare(clean_weight=0.5),
    Fare(reference="target", clean_weight=0.5),
    Ucat(reference="target"),
    Ucat(ce_input="clean"),
    Agft(attack="hard"),
    Flyp(images="adv"),
)


def _recipe(**changes: Any) -> Recipe:
    plain = Recipe(
        optim=Optim(lr=1e-3, warmup_steps=0), threat=ThreatModel(eps=4 / 255), attack=Pgd(steps=3, keep="last"),
        epochs=1, batch_size=4, precision="fp32", seed=0,
    )  # fmt: skip
    return dataclasses.replace(plain, **changes)


def _moved(tiny: Any, trainable: Any) -> Any:
    """Views of a student that has left its teacher, on images that an attack has changed."""
    student = trainable(tiny.tower(quick_gelu=True))
    with torch.no_grad():
        for i, p in enumerate(student.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return tiny.views(student, tiny.tower(quick_gelu=True)), student


@pytest.mark.parametrize("method", CASES, ids=repr)
def test_a_step_makes_the_passes_that_the_method_declares(method: AnyMethod, tiny: Any) -> None:
    clip = tiny.clip()
    step = make_step(clip, method, tiny.bank(), _recipe(), total=1)
    step.tower.tally.reset()
    clip.tower.tally.reset()
    images = tiny.images(4)
    step(images.pixels(range(4)).float() / 255, images.labels, torch.arange(4), 0)
    reads = method.passes
    attacked = int(bool(reads.student_adv or reads.teacher_adv))
    own, (forwards, backwards) = reads.student_clean + reads.student_adv, _recipe().attack.cost()
    assert step.tower.tally == Tally(
        forward=attacked * forwards + reads.attack_clean + own,
        input_backward=attacked * backwards,
        full_backward=own,
        images=4 * (attacked * forwards + reads.attack_clean + own),
    )
    assert clip.tower.tally.forward == reads.teacher_clean + reads.teacher_adv


@pytest.mark.parametrize("keep", ["best", "last"])
@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_step_moves_the_student_by_a_finite_loss_and_leaves_the_teacher(kind: Any, keep: Any, tiny: Any) -> None:
    clip = tiny.clip()
    before = [p.clone() for p in clip.tower.parameters()]
    step = make_step(clip, kind(), tiny.bank(), _recipe(attack=Pgd(steps=2, keep=keep)), total=1)
    values = step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0)
    assert all(math.isfinite(value) for value in values.values())
    assert values["grad_norm"] > 0
    assert all(torch.equal(a, b) for a, b in zip(before, clip.tower.parameters(), strict=True))


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_the_training_attack_raises_what_the_method_says_it_maximises(kind: Any, tiny: Any) -> None:
    method = kind()
    step = make_step(tiny.clip(), method, tiny.bank(), _recipe(attack=Pgd(steps=10, keep="last")), total=1)
    x, y, rows = tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4)
    clean, attacked = (
        method.attack_objective(step.views(x, at, y, rows)) for at in (x, step.attack(x, y, rows, 0))
    )  # fmt: skip
    assert (attacked > clean).all()


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_bf16_steps_stay_finite(kind: Any, tiny: Any) -> None:
    step = make_step(tiny.clip(), kind(), tiny.bank(), _recipe(precision="bf16"), total=1)
    values = step(tiny.pixels(4), torch.tensor([0, 1, 2, 0]), torch.arange(4), 0)
    assert all(math.isfinite(value) for value in values.values())


@pytest.mark.parametrize(
    "method",
    [TgaZsr(alpha=0.0, beta=0.0), CompTga(alpha=0.0, beta=0.0), Caw(alpha=0.0, beta=0.0), Ucat(weight=0.0),
     PmgAft(alpha=0.0, beta=0.0, logit_scale=None)],
    ids=lambda method: method.title,
)  # fmt: skip
def test_zero_weights_make_it_tecoa(method: AnyMethod, tiny: Any, trainable: Any) -> None:
    views, student = _moved(tiny, trainable)
    terms, tecoa = method.loss(views), TeCoA().loss(views)
    assert list(terms) == ["ce"]
    assert torch.allclose(terms["ce"], tecoa["ce"], rtol=1e-6, atol=0)
    assert torch.equal(method.attack_objective(views), TeCoA().attack_objective(views))
    mine, theirs = (
        torch.cat([g.flatten() for g in torch.autograd.grad(t["ce"].mean(), list(student.parameters()),
                                                            retain_graph=True, allow_unused=True) if g is not None])
        for t in (terms, tecoa)
    )  # fmt: skip
    torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-8)
    assert method.passes == TeCoA().passes


def test_without_its_second_text_comp_tga_is_tga_zsr(tiny: Any, trainable: Any) -> None:
    views, _ = _moved(tiny, trainable)
    for distance in ("l2", "l1", "cos"):
        comp = CompTga(alpha=0.3, beta=0.2, fusion="class", distance=distance).loss(views)
        tga = TgaZsr(alpha=0.3, beta=0.2, distance=distance).loss(views)
        for name in tga:
            torch.testing.assert_close(comp[name], tga[name], rtol=1e-4, atol=1e-6)


def test_a_lone_class_weight_of_one_makes_arow_trades(tiny: Any, trainable: Any) -> None:
    views, _ = _moved(tiny, trainable)
    arow, trades = Arow(weighting="none", smoothing=0.0, lam=6.0).loss(views), Trades(beta=6.0).loss(views)
    for name in trades:
        torch.testing.assert_close(arow[name], trades[name])


def test_mart_without_its_second_term_never_looks_at_clean_images(tiny: Any, trainable: Any) -> None:
    views, student = _moved(tiny, trainable)
    Mart(lam=0.0).loss(views)
    assert student.tally.forward == 1


def test_agft_at_gamma_one_is_at_rest_where_student_and_teacher_agree(tiny: Any, trainable: Any) -> None:
    student, clean = trainable(tiny.tower()), tiny.pixels(4)
    views = tiny.views(student, tiny.tower(), clean=clean, adv=clean)
    Agft(gamma=1.0, scale=100.0).loss(views)["alignment"].mean().backward()
    at_rest = _largest_gradient(student)
    student.zero_grad()
    Agft(gamma=0.4, scale=100.0).loss(tiny.views(student, tiny.tower(), clean=clean, adv=clean))[
        "alignment"
    ].mean().backward()
    assert at_rest < 1e-4 * _largest_gradient(student)


def test_fare_where_student_and_teacher_agree_is_zero_with_a_zero_gradient(tiny: Any, trainable: Any) -> None:
    """In float64: two passes of equal weights may differ by a rounding, which is 1e-16 there."""
    student, clean = trainable(tiny.tower().double()), tiny.pixels(4).double()
    terms = Fare(clean_weight=0.5).loss(tiny.views(student, tiny.tower().double(), clean=clean, adv=clean))
    assert all(float(term.detach().max()) < 1e-28 for term in terms.values())
    torch.stack([term.mean() for term in terms.values()]).sum().backward()
    assert _largest_gradient(student) < 1e-12


def _largest_gradient(student: torch.nn.Module) -> float:
    found: list[Tensor] = [p.grad.abs().max() for p in student.parameters() if p.grad is not None]
    largest = float(torch.stack(found).max())
    assert math.isfinite(largest)
    return largest


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_an_unknown_value_of_an_option_is_an_error_that_lists_the_known(kind: Any) -> None:
    plain = to_plain(TrialConfig(method=kind()))
    options = [f.name for f in dataclasses.fields(kind) if isinstance(f.default, str) and f.name != "prompt"]
    for name in options:
        broken = {**plain, "method": {**plain["method"], name: "qqqq"}}  # near to no known value
        with pytest.raises(ConfigError, match=rf"config\.method\.{name}: unknown value 'qqqq'; expected one of"):
            from_plain(TrialConfig, broken)


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_a_weight_below_zero_is_refused_by_name(kind: Any) -> None:
    for field in dataclasses.fields(kind):
        if isinstance(field.default, float):
            with pytest.raises(ConfigError, match=field.name):
                kind(**{field.name: -1.0})


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_every_method_gives_its_equation_and_its_source_or_says_that_it_is_unpublished(kind: Any) -> None:
    assert kind.__doc__ is not None
    assert "L = " in kind.__doc__ or "contrastive loss" in kind.__doc__
    sources = ("arXiv", "ICLR", "CVPR", "TGA-ZSR", "unpublished", "Unpublished")
    assert any(word in kind.__doc__ for word in sources), f"expected one of {', '.join(sources)} in the docstring"
