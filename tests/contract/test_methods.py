"""What every method in the table owes the trainer, whatever it computes."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch

from zsr_core.codec import ConfigError, from_plain, to_plain
from zsr_core.methods import (
    METHODS,
    Agft,
    AnyMethod,
    Arow,
    Caw,
    CompTga,
    Fare,
    Laat,
    LpFt,
    Mart,
    Method,
    PmgAft,
    TgaZsr,
    Ucat,
)
from zsr_core.methods.comp_tga import OTHER
from zsr_core.methods.views import Views, in_bf16
from zsr_core.model.tower import Tally
from zsr_core.trial.config import TrialConfig

CASES: tuple[AnyMethod, ...] = (
    *(kind() for kind in METHODS),
    LpFt(images="adv"),
    PmgAft(alpha=0.0),
    PmgAft(beta=0.0, logit_scale=None, kl_reduction="mean", kl_direction="adv_first"),
    Fare(clean_weight=0.3, normalize=True),
    Fare(reference="target"),
    Laat(beta=0.0, tau=0.07, expansion=None),
    TgaZsr(alpha=0.0),
    TgaZsr(beta=0.0),
    TgaZsr(distance="l1", norm_axis="channel", minmax="after"),
    TgaZsr(distance="cos"),
    TgaZsr(attention="visual"),
    TgaZsr(attention="visual_differentiable"),
    CompTga(alpha=0.0, prompt=OTHER),
    CompTga(beta=0.0, fusion="class", distance="cos"),
    CompTga(fusion="non_class", distance="l1", norm_axis="channel"),
    Caw(alpha=0.0),
    Caw(beta=0.0, kl_direction="clean_first", weight_detach=True, logit_scale=50.0),
    Caw(normalize_features=True, reg_norm="l2_squared"),
    Agft(attack="hard", evaluation_scale=50.0),
    Ucat(form="asymptotic", direction="clean_first"),
    Ucat(direction="symmetric", reference="target"),
    Ucat(divergence="categorical", reference="target_detached"),
    Ucat(divergence="bhattacharyya", tau=0.3),
    Ucat(divergence="log_l2", weight=0.1),
    Ucat(evidence="softplus", offset=1.0, ce="dirichlet", prior_weight=0.1),
    Ucat(evidence="relu", offset=1.0, ce_input="clean"),
    Ucat(weight=0.0),
    Mart(lam=0.0),
    Arow(weighting="cow"),
    Arow(weighting="none", smoothing=0.0),
)


def _name(method: Method) -> str:
    changed = [f for f in dataclasses.fields(method) if getattr(method, f.name) != f.default]
    return " ".join([method.title, *(f"{f.name}={getattr(method, f.name)}" for f in changed)])


@pytest.fixture(params=CASES, ids=_name)
def method(request: pytest.FixtureRequest) -> Method:
    return request.param


def _pair(tiny: Any, trainable: Any) -> tuple[Any, Any]:
    """A student that has moved away from its teacher."""
    student, teacher = trainable(tiny.tower(quick_gelu=True)), tiny.tower(quick_gelu=True)
    with torch.no_grad():
        for i, p in enumerate(student.parameters()):
            p.add_(0.02 * torch.randn(p.shape, generator=torch.Generator().manual_seed(i)))
    return student, teacher


def _total(terms: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.stack([term.mean() for term in terms.values()]).sum()


def test_every_term_is_one_finite_fp32_number_per_image(method: Method, tiny: Any, trainable: Any) -> None:
    views = tiny.views(*_pair(tiny, trainable), n=4)
    terms = method.loss(views)
    assert terms
    for name, term in terms.items():
        assert term.shape == (4,), name
        assert term.dtype == torch.float32, name
        assert term.isfinite().all(), name
    objective = method.attack_objective(views)
    assert objective.shape == (4,)
    assert objective.isfinite().all()


def test_the_gradient_reaches_the_student_and_never_the_teacher_or_the_text(
    method: Method, tiny: Any, trainable: Any
) -> None:
    student, teacher = _pair(tiny, trainable)
    views = tiny.views(student, trainable(teacher))
    _total(method.loss(views)).backward()
    reached = [p.grad is not None and bool(p.grad.abs().sum() > 0) for p in student.parameters()]
    assert sum(reached) > 0.9 * len(reached)
    assert all(p.grad is None for p in teacher.parameters())
    assert not views.text.unit.requires_grad


def test_the_attacks_gradient_reaches_the_pixels(method: Method, tiny: Any) -> None:
    student = tiny.tower()
    x_adv = tiny.pixels(3, seed=1).requires_grad_()  # where it agrees with the clean image a divergence is flat
    views = tiny.views(student, tiny.tower(), clean=tiny.pixels(3), adv=x_adv)
    (grad,) = torch.autograd.grad(method.attack_objective(views).sum(), x_adv)
    assert (grad.flatten(1).abs().amax(dim=1) > 0).all()


def test_permuting_the_batch_permutes_the_terms(method: Method, tiny: Any, trainable: Any) -> None:
    student, teacher = _pair(tiny, trainable)
    views = tiny.views(student, teacher, n=4)
    order = torch.tensor([2, 0, 3, 1])
    moved = tiny.views(student, teacher, clean=views.clean[order], adv=views.adv[order], labels=views.labels[order])
    before, after = method.loss(views), method.loss(moved)
    for name in before:
        torch.testing.assert_close(after[name], before[name][order], rtol=1e-4, atol=1e-5)


def test_a_term_depends_on_the_neighbours_exactly_where_the_method_says_so(
    method: Method, tiny: Any, trainable: Any
) -> None:
    student, teacher = _pair(tiny, trainable)
    views = tiny.views(student, teacher, n=4)
    alone = tiny.views(student, teacher, clean=views.clean[:1], adv=views.adv[:1], labels=views.labels[:1])
    whole, part = method.loss(views), method.loss(alone)
    same = all(torch.allclose(part[name], whole[name][:1], rtol=1e-4, atol=1e-5) for name in whole)
    assert same is not method.couples_batch


def test_alone_in_the_batch_an_image_gives_what_it_gives_in_a_batch_of_one(
    method: Method, tiny: Any, trainable: Any
) -> None:
    student, teacher = _pair(tiny, trainable)
    views = tiny.views(student, teacher, n=3)
    if not method.teacher_cacheable:  # it reads inner layers, which a part of a batch does not keep: refused by name
        with pytest.raises(ConfigError, match="reads inner layers"):
            method.loss(views.alone(1))
        return
    whole = method.loss(
        tiny.views(student, teacher, clean=views.clean[1:2], adv=views.adv[1:2], labels=views.labels[1:2])
    )
    for name, term in method.loss(views.alone(1)).items():
        torch.testing.assert_close(term, whole[name], rtol=1e-4, atol=1e-5)


def test_the_same_input_gives_the_same_value(method: Method, tiny: Any, trainable: Any) -> None:
    student, teacher = _pair(tiny, trainable)
    first, again = (method.loss(tiny.views(student, teacher)) for _ in range(2))
    assert list(first) == list(again)
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_a_batch_of_one_image_works(method: Method, tiny: Any, trainable: Any) -> None:
    terms = method.loss(tiny.views(*_pair(tiny, trainable), n=1))
    assert all(term.shape == (1,) and term.isfinite().all() for term in terms.values())


def test_under_bf16_only_the_tower_is_and_the_loss_stays_near_full_precision(
    method: Method, tiny: Any, trainable: Any
) -> None:
    student, teacher = _pair(tiny, trainable)
    full = tiny.views(student, teacher)
    half = dataclasses.replace(full, student=in_bf16(full.student), teacher=in_bf16(full.teacher))
    exact, terms = method.loss(full), method.loss(half)
    for judged in (half.student_adv.cosines, half.student_clean.unit, half.student_adv.patches):
        assert judged.dtype == torch.float32
    for name, term in terms.items():
        assert term.dtype == torch.float32
        torch.testing.assert_close(term, exact[name], rtol=0.1, atol=0.3)
    _total(terms).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_at_step_zero_where_student_and_teacher_agree_nothing_is_nan(method: Method, tiny: Any, trainable: Any) -> None:
    clean = tiny.pixels(4)
    for adv in (clean, None):  # without a perturbation every distance is exactly zero
        student = trainable(tiny.tower())
        terms = method.loss(tiny.views(student, tiny.tower(), clean=clean, adv=adv))
        assert all(term.isfinite().all() for term in terms.values())
        _total(terms).backward()
        assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_the_passes_it_declares_are_the_encodings_it_makes(method: Method, tiny: Any, trainable: Any) -> None:
    student, teacher = _pair(tiny, trainable)
    calls: list[str] = []
    views = tiny.views(student, teacher)

    def spy(who: str, features: Any) -> Any:
        def call(x: torch.Tensor) -> Any:
            calls.append(f"{who}_{'clean' if x is views.clean else 'adv'}")
            return features(x)

        return call

    watched = Views(
        labels=views.labels, text=views.text, scale=views.scale, clean=views.clean, adv=views.adv,
        student=spy("student", student.features), teacher=spy("teacher", teacher.features), prompts=views.prompts,
        captions=lambda: calls.append("student_text") or views.own_text,
    )  # fmt: skip
    _total(method.loss(watched)).backward()
    declared = {k: v for k, v in dataclasses.asdict(method.passes).items() if k != "attack_clean"}
    assert {name: calls.count(name) for name in declared} == declared
    own = declared["student_clean"] + declared["student_adv"]
    assert student.tally == Tally(forward=own, full_backward=_live(method), images=own * 4)


# Their clean encoding is a constant of the loss: a Grad-CAM map made as in the official code, a detached reference.
HELD = (
    TgaZsr(attention="visual"),
    Fare(reference="target"),
    Ucat(divergence="categorical", reference="target_detached"),
)


def _live(method: Method) -> int:
    """Student encodings that carry a gradient."""
    return method.passes.student_clean + method.passes.student_adv - (method in HELD)


def test_it_is_read_back_from_a_config_by_its_class_name(method: Method) -> None:
    config = TrialConfig(method=method)
    assert to_plain(config)["method"]["type"] == type(method).__name__
    assert from_plain(TrialConfig, to_plain(config)).method == method


def test_titles_are_the_papers_names_and_all_different() -> None:
    titles = [kind.title for kind in METHODS]
    assert len(set(titles)) == len(titles)
    assert set(titles) >= {
        "FT-Clean", "FT-Adv", "LP-FT", "TeCoA", "PMG-AFT", "FARE", "LAAT", "TGA-ZSR", "Comp-TGA", "CAW", "AGFT", "UCAT",
        "TRADES", "MART", "ARoW",
    }  # fmt: skip
