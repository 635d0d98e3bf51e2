"""Each loss on a batch worked by hand: two classes, texts t0 = (1, 0) and t1 = (0, 1), embeddings chosen for it."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.methods import Agft, Arow, Caw, Fare, Laat, LpFt, Mart, PmgAft, Trades, Ucat
from zsr_core.methods.laat import expanded
from zsr_core.methods.lp_ft import linear_probe
from zsr_core.methods.views import Views
from zsr_core.model.layout import Features
from zsr_core.text import TextBank

SCALE = 2.0
# cosines with the texts are the embeddings themselves, which have norm 1 or, where raw length matters, norm 5
ADV, CLEAN, OWN = (0.6, 0.8), (0.8, 0.6), (1.0, 0.0)  # student on x_a, teacher on x, student on x
SURE = (0.96, 0.28)  # teacher on x where a divergence's direction matters: of two that mirror each other it does not


def _seen(vector: tuple[float, float], length: float = 1.0) -> Any:
    def none() -> Any:
        raise AssertionError("these losses look at embeddings alone")

    embedding = length * torch.tensor([vector])
    return lambda _: Features(embedding=embedding, patches=none, last_norm=none, grid=(1, 1))


def _views(
    *, adv: Any = ADV, own: Any = OWN, teacher: Any = CLEAN, teacher_adv: Any = None, label: int = 0,
    scale: float = SCALE, length: float = 1.0,
) -> Views:  # fmt: skip
    """One image; its clean and adversarial pixels differ so that the two sides can tell them apart."""
    clean, attacked = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1)

    def student(x: Tensor) -> Features:
        return _seen(own if x is clean else adv, length)(x)

    def frozen(x: Tensor) -> Features:
        return _seen(teacher if x is clean else (teacher_adv or teacher), length)(x)

    bank = TextBank(unit=torch.eye(2), classes=("a", "b"), templates=("{}",))
    return Views(labels=torch.tensor([label]), text=bank, scale=scale, clean=clean, adv=attacked,
                 student=student, teacher=frozen)  # fmt: skip


def _p(logits: tuple[float, float], scale: float = SCALE) -> tuple[float, float]:
    a, b = (math.exp(scale * v) for v in logits)
    return a / (a + b), b / (a + b)


def _kl(p: tuple[float, float], q: tuple[float, float]) -> float:
    return sum(x * math.log(x / y) for x, y in zip(p, q, strict=True))


def _is(term: Tensor, value: float) -> None:
    torch.testing.assert_close(term, torch.tensor([value]), rtol=2e-5, atol=1e-6)


def test_pmg_aft() -> None:
    """At scale 1 (its code): CE -log p_adv,0; KL of the frozen model's and of the own clean prediction against p_adv.
    Batch of one, so the sum over the batch is the mean."""
    views = _views(teacher_adv=(0.0, 1.0))
    adv, frozen, own = _p(ADV, 1), _p((0.0, 1.0), 1), _p(OWN, 1)
    terms = PmgAft(alpha=0.5, beta=2.0).loss(views)
    _is(terms["ce"], -math.log(adv[0]))
    _is(terms["general"], 0.5 * _kl(frozen, adv))
    _is(terms["clean"], 2.0 * _kl(own, adv))
    reverse = PmgAft(kl_direction="adv_first", logit_scale=None).loss(views)
    _is(reverse["general"], _kl(_p(ADV), _p((0.0, 1.0))))
    _is(PmgAft().attack_objective(views), -math.log(adv[0]))


def test_pmg_afts_summed_divergences_grow_with_the_batch(tiny: Any) -> None:
    views = tiny.views(tiny.tower(seed=1), tiny.tower(), n=4)
    summed, mean = (PmgAft(kl_reduction=r).loss(views) for r in ("sum", "mean"))
    torch.testing.assert_close(summed["general"], 4 * mean["general"])
    torch.testing.assert_close(summed["ce"], mean["ce"])


def test_fare() -> None:
    """Raw embeddings of length 5: |5 (0.6, 0.8) - 5 (0.8, 0.6)|^2 = 25 * 0.08 = 2; clean: |5 (1, 0) - (4, 3)|^2 = 10;
    towards the own clean embedding: |(3, 4) - (5, 0)|^2 = 20. On unit embeddings each is 25 times smaller."""
    views = _views(length=5.0)
    _is(Fare().loss(views)["robust"], 2.0)
    terms = Fare(clean_weight=0.25).loss(views)
    _is(terms["robust"], 1.5)
    _is(terms["clean"], 2.5)
    _is(Fare(reference="target").loss(views)["robust"], 20.0)
    _is(Fare(reference="target").attack_objective(views), 2.0)
    _is(Fare(normalize=True).loss(views)["robust"], 0.08)


def test_laat() -> None:
    """CE on cos / 0.5, that is at scale 2, and minus the cosine of clean and attacked embeddings, 0.6."""
    terms = Laat(tau=0.5, beta=3.0).loss(_views())
    _is(terms["ce"], -math.log(_p(ADV)[0]))
    _is(terms["consistency"], -1.8)


def test_laats_farthest_training_class_comes_to_stand_at_the_angle_asked_for() -> None:
    """Three unit texts at 10 degrees around their mean; another task's at 20 degrees goes twice as far."""
    tilt, far = math.radians(10), math.radians(20)
    ring = torch.tensor([[math.cos(tilt), math.sin(tilt) * math.cos(a), math.sin(tilt) * math.sin(a)]
                         for a in (0.0, 2 * math.pi / 3, 4 * math.pi / 3)])  # fmt: skip
    turned = expanded(ring, ring, math.radians(60))
    mean = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned @ mean, torch.full((3,), 0.5), atol=1e-6, rtol=0)
    torch.testing.assert_close(F.normalize(turned[:, 1:], dim=1), F.normalize(ring[:, 1:], dim=1))
    other = torch.tensor([[math.cos(far), math.sin(far), 0.0]])
    torch.testing.assert_close(expanded(other, ring, math.radians(60)) @ mean, torch.tensor([-0.5]))
    torch.testing.assert_close(expanded(ring, ring, math.radians(10)), ring)
    torch.testing.assert_close(expanded(mean[None], ring, math.radians(60)), mean[None])


def test_caw() -> None:
    """alpha (1 - p_adv,0) KL(p_adv || p_clean) and beta |f(x_a) - f_0(x_a)| with f_0(x_a) = (0, 1): sqrt(0.4)."""
    views = _views(teacher=SURE, teacher_adv=(0.0, 1.0), length=5.0)
    adv, clean = _p(ADV), _p(SURE)
    terms = Caw(alpha=3.0, beta=2.0).loss(views)
    _is(terms["ce"], -math.log(adv[0]))
    _is(terms["confidence"], 3.0 * (1 - adv[0]) * _kl(adv, clean))
    _is(terms["regularisation"], 2.0 * 5 * math.sqrt(0.4))
    other = Caw(kl_direction="clean_first", normalize_features=True, reg_norm="l2_squared").loss(views)
    _is(other["confidence"], (1 - adv[0]) * _kl(clean, adv))
    _is(other["regularisation"], 0.4)


def test_caws_weight_carries_a_gradient_unless_it_is_held(tiny: Any, trainable: Any) -> None:
    grads = {}
    for held in (False, True):
        student = trainable(tiny.tower(seed=1))
        Caw(weight_detach=held, beta=0.0).loss(tiny.views(student, tiny.tower()))["confidence"].mean().backward()
        grads[held] = torch.cat([p.grad.flatten() for p in student.parameters() if p.grad is not None])
    assert (grads[True] - grads[False]).norm() > 0.01 * grads[False].norm()


def test_agft() -> None:
    """Soft cross-entropy of softmax(5 (0.6, 0.8)) against softmax(0.4 * 5 (0.8, 0.6)); the labels play no part."""
    target, q = _p(CLEAN, 2.0), _p(ADV, 5.0)
    expected = -sum(t * math.log(v) for t, v in zip(target, q, strict=True))
    for label in (0, 1):
        views = _views(label=label)
        _is(Agft(gamma=0.4, scale=5.0).loss(views)["alignment"], expected)
        _is(Agft(gamma=0.4, scale=5.0).attack_objective(views), expected)
        _is(Agft(scale=5.0, attack="hard").attack_objective(views), -math.log(q[label]))


def test_ucats_weight_is_that_of_the_categorical_divergence_whatever_tau() -> None:
    """One image: its evidence is the batch's mean, so the term is weight KL(p_ori || p_adv) at scale 1 / tau."""
    for tau in (0.03, 0.07):
        expected = 5.0 * _kl(_p(SURE, 1 / tau), _p(ADV, 1 / tau))
        for form in ("exact", "asymptotic"):
            term = Ucat(weight=5.0, tau=tau, form=form).loss(_views(teacher=SURE))["dirichlet"]
            torch.testing.assert_close(term, torch.tensor([expected]), rtol=1e-4, atol=0)
    for direction, expected in (
        ("adv_first", _kl(_p(ADV, 5), _p(SURE, 5))),
        ("clean_first", _kl(_p(SURE, 5), _p(ADV, 5))),
    ):
        method = Ucat(weight=5.0, tau=0.2, divergence="categorical", direction=direction)
        _is(method.loss(_views(teacher=SURE))["categorical"], 5.0 * expected)


def test_ucats_weight_goes_by_the_evidence_of_each_image(tiny: Any) -> None:
    views = tiny.views(tiny.tower(seed=1), tiny.tower(), n=4)
    method = Ucat(weight=7.0, tau=0.3, form="asymptotic")
    teacher, student = (seen.cosines.double() / 0.3 for seen in (views.teacher_clean, views.student_adv))
    evidence = teacher.exp().sum(dim=1)
    p, q = teacher.log_softmax(1), student.log_softmax(1)
    expected = 7.0 * evidence / evidence.mean() * (p.exp() * (p - q)).sum(dim=1)
    torch.testing.assert_close(method.loss(views)["dirichlet"], expected.float())


def test_ucats_concentrations_are_in_float64_from_the_cosines_on() -> None:
    views = _views()
    log_alpha = Ucat(tau=0.01).log_alpha(views.student_adv)
    assert log_alpha.dtype == torch.float64
    torch.testing.assert_close(log_alpha, (views.student_adv.cosines.double() + 1) / 0.01, rtol=1e-15, atol=0)


def test_ucats_evidential_options() -> None:
    """relu evidence of cos / 0.5 = (1.2, 1.6), plus 1: alpha = (2.2, 2.6), alpha_0 = 4.8, true class 0."""
    method = Ucat(weight=0.0, tau=0.5, evidence="relu", offset=1.0, ce="dirichlet", prior_weight=2.0)
    terms = method.loss(_views())
    psi = torch.digamma(torch.tensor([4.8, 2.2], dtype=torch.float64))
    _is(terms["ce"], float(psi[0] - psi[1]))
    left = torch.distributions.kl_divergence(
        torch.distributions.Dirichlet(torch.tensor([1.0, 2.6])), torch.distributions.Dirichlet(torch.ones(2))
    )
    _is(terms["prior"], 2.0 * float(left))


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"form": "asymptotic", "evidence": "relu", "offset": 1.0}, "form"),
        ({"evidence": "relu"}, "offset"),
        ({"tau": 0.001}, "tau"),
        ({"weight": math.inf}, "weight"),
    ],
)
def test_what_ucat_cannot_compute_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Ucat(**wrong)


def test_trades() -> None:
    terms = Trades(beta=6.0).loss(_views())
    _is(terms["ce"], -math.log(_p(OWN)[0]))
    _is(terms["robust"], 6.0 * _kl(_p(OWN), _p(ADV)))
    _is(Trades(beta=6.0).attack_objective(_views()), _kl(_p(OWN), _p(ADV)))


def test_mart() -> None:
    """BCE: -log p_0 - log(1.0001 - p_1), p_1 the runner-up; the divergence weighs 1 - p_0(x)."""
    adv, own = _p(ADV), _p(OWN)
    terms = Mart(lam=5.0).loss(_views())
    _is(terms["bce"], -math.log(adv[0]) - math.log(1.0001 - adv[1] + 1e-12))
    _is(terms["robust"], 5.0 * (1 - own[0]) * _kl(own, adv))
    _is(Mart().attack_objective(_views()), -math.log(adv[0]))


def test_arow_and_cow() -> None:
    """Smoothed by 0.2 over two classes: 0.9 of -log p_0 and 0.1 of -log p_1, on the clean image."""
    adv, own = _p(ADV), _p(OWN)
    for weighting, weight in (("arow", 1 - adv[0]), ("cow", own[0]), ("none", 1.0)):
        terms = Arow(lam=6.0, weighting=weighting).loss(_views())
        _is(terms["ce"], -0.9 * math.log(own[0]) - 0.1 * math.log(own[1]))
        _is(terms["robust"], 6.0 * weight * _kl(own, adv))


def test_a_linear_probe_is_at_the_optimum_of_its_loss() -> None:
    g = torch.Generator().manual_seed(0)
    unit = F.normalize(torch.randn(60, 8, generator=g), dim=1)
    labels = torch.randint(0, 4, (60,), generator=g)
    start = F.normalize(torch.randn(4, 8, generator=g), dim=1)

    def objective(w: Tensor) -> Tensor:
        w = F.normalize(w, dim=1)
        return F.cross_entropy(10.0 * unit @ w.T, labels) + 0.05 * (w - start).square().sum()

    w = linear_probe(unit, labels, start, 200, 0.05, scale=10.0)
    torch.testing.assert_close(w.norm(dim=1), torch.ones(4))
    free = start.clone().requires_grad_()
    adam = torch.optim.Adam([free], lr=0.02)
    for _ in range(1500):
        adam.zero_grad()
        objective(free).backward()
        adam.step()
    assert float(objective(w)) < float(objective(start)) - 0.2
    assert float(objective(w)) < float(objective(free.detach())) + 1e-3


def test_lp_ft_tunes_against_the_probe_and_not_against_the_texts() -> None:
    bank = TextBank(unit=torch.eye(2), classes=("a", "b"), templates=("{}",))
    raw = torch.tensor([[3.0, 1.0], [3.0, 0.5], [1.0, 2.0], [0.5, 2.0]])
    labels = torch.tensor([1, 1, 0, 0])  # the probe must turn the texts round
    probed = LpFt(probe_steps=50).training_text(bank, lambda: (raw, labels))
    assert ((F.normalize(raw, dim=1) @ probed.unit.T).argmax(dim=1) == labels).all()
    assert probed.classes == bank.classes
    assert LpFt().evaluation_text(bank, lambda: bank) is bank
