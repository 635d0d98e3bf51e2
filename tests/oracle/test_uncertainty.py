"""Uncertainty under attack beside scikit-learn, SciPy, Monte Carlo, and models made for the purpose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_images import attacked_pair, images_of, random_images, value
from scipy import special, stats
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from zsr_core.evaluation.metrics import METRICS, Images, Metric, interval_of, metric_named
from zsr_core.evaluation.metrics import uncertainty as u
from zsr_core.evaluation.metrics.intervals import bootstrap, wilson
from zsr_core.evaluation.metrics.ranking import auroc, auroc_ends, average_precision, fpr_at_tpr, ranked
from zsr_core.evaluation.metrics.uncertainty import UNCERTAINTIES, UNCERTAINTY, Uncertainty

BY_SUFFIX = {each.suffix: each for each in UNCERTAINTIES}


# ---- rankings


@pytest.mark.parametrize("seed", range(4))
def test_rankings_are_those_of_scikit_learn_with_ties_too(seed: int) -> None:
    random = np.random.default_rng(seed)
    positive, negative = (np.round(random.normal(shift, 1, n), 1) for shift, n in ((0.7, 80), (0.0, 120)))
    labels, scores = np.repeat([1, 0], [80, 120]), np.concatenate([positive, negative])
    assert auroc(ranked(positive, negative)) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert average_precision(ranked(positive, negative)) == pytest.approx(
        average_precision_score(labels, scores), abs=1e-12
    )
    fpr, tpr, _ = roc_curve(labels, scores, drop_intermediate=False)
    assert fpr_at_tpr(ranked(positive, negative)) == pytest.approx(fpr[np.argmax(tpr >= 0.95 - 1e-12)], abs=1e-12)


def test_rankings_of_ten_images_by_hand() -> None:
    positive, negative = np.array([9.0, 8, 7, 5, 5]), np.array([6.0, 5, 4, 3, 2])
    # Each of 9, 8, 7 beats five; each 5 beats three and half of one.
    assert auroc(ranked(positive, negative)) == pytest.approx((15 + 7) / 25)
    assert fpr_at_tpr(ranked(positive, negative)) == 2 / 5  # all positives are kept at 5, which 6 and 5 reach
    assert fpr_at_tpr(ranked(positive, negative), tpr=0.6) == 0.0
    assert auroc(ranked(np.ones(3), np.ones(4))) == 0.5
    assert (auroc(ranked(np.array([]), negative)), average_precision(ranked(positive, np.array([])))) == (None, None)


def test_the_interval_of_an_auroc_is_delongs() -> None:
    """The variance by the published formula, for two samples of different images."""
    random = np.random.default_rng(0)
    positive, negative = random.normal(1, 1, 60), random.normal(0, 1, 90)
    kernel = (positive[:, None] > negative).astype(float)
    theta = kernel.mean()
    deviation = math.sqrt(kernel.mean(axis=1).var(ddof=1) / 60 + kernel.mean(axis=0).var(ddof=1) / 90)
    ends = auroc_ends(ranked(positive, negative), np.arange(60), np.arange(60, 150))
    half = 1.959964 * deviation / (theta * (1 - theta))
    by_hand = [1 / (1 + math.exp(-(math.log(theta / (1 - theta)) + sign * half))) for sign in (-1, 1)]
    assert ends == pytest.approx(by_hand, abs=2e-3)  # up to n / (n - 1) of each group


def test_scores_of_one_image_are_taken_together() -> None:
    """A paired interval is as wide as a bootstrap over images finds it, here narrower than one of separate images."""
    random = np.random.default_rng(0)
    base = random.normal(size=150)
    attacked, clean, rows = base + 0.5 + 0.2 * random.normal(size=150), base, np.arange(150)
    told = ranked(attacked, clean)
    paired, apart = auroc_ends(told, rows, rows), auroc_ends(told, rows, rows + 150)
    draws = [auroc(ranked(attacked[at], clean[at])) for at in random.integers(150, size=(1500, 150))]
    assert paired is not None
    assert apart is not None
    assert paired == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.01)
    assert paired[1] - paired[0] < 0.7 * (apart[1] - apart[0])


def test_a_perfect_or_empty_ranking_has_no_interval() -> None:
    ones, zeros = np.ones(5), np.zeros(5)
    assert auroc_ends(ranked(ones, zeros), np.arange(5), np.arange(5)) is None
    assert auroc_ends(ranked(np.array([]), zeros), np.arange(0), np.arange(5)) is None


# ---- the uncertainties


def test_each_uncertainty_by_its_formula() -> None:
    images = random_images(40, 6)
    z = images.outputs.logits
    p = special.softmax(z, axis=1)
    ranked = np.sort(z, axis=1)
    alpha = np.exp((images.outputs.cosines + 1) / 0.07)
    by_formula = {
        "": stats.entropy(p, axis=1), "_p_max": 1 - p.max(axis=1), "_margin": -(ranked[:, -1] - ranked[:, -2]),
        "_energy": -special.logsumexp(z, axis=1), "_evidence": -np.log(alpha.sum(axis=1)),
    }  # fmt: skip
    for suffix, expected in by_formula.items():
        np.testing.assert_allclose(BY_SUFFIX[suffix].of(images), expected, rtol=1e-9, atol=1e-12, err_msg=suffix)


def _dirichlet(alpha: Any) -> Images:
    """Return one image whose Dirichlet concentrations are ``alpha``: cosines may be any number here."""
    return images_of(np.log([alpha]) * 0.07 - 1, [0])


@pytest.mark.parametrize("alpha", [[0.5, 2.0, 3.0], [8.0, 1.0, 30.0, 4.0], [60.0, 20.0, 45.0]])
def test_mutual_information_is_that_of_draws_from_the_dirichlet_distribution(alpha: list[float]) -> None:
    draws = np.random.default_rng(0).dirichlet(alpha, 200_000)
    mean = np.array(alpha) / sum(alpha)
    sampled = stats.entropy(mean) - stats.entropy(draws, axis=1).mean()
    error = stats.entropy(draws, axis=1).std() / math.sqrt(len(draws))
    assert u.mutual_information(_dirichlet(alpha))[0] == pytest.approx(sampled, abs=5 * error + 1e-6)


@pytest.mark.parametrize("classes", [3, 10, 1000])
def test_mutual_information_at_clips_concentrations_is_its_asymptote(classes: int) -> None:
    """K = 10 has 4e8 in all: the difference of the two entropies would keep no digit of 1e-8 in single precision."""
    alpha = np.exp(np.random.default_rng(0).uniform(1.1, 1.3, classes) / 0.07)
    expected = (classes - 1) / (2 * alpha.sum())
    assert u.mutual_information(_dirichlet(alpha))[0] == pytest.approx(expected, rel=1e-3)


def test_the_series_meets_digamma_where_they_join() -> None:
    log_a = np.linspace(-3, 8, 400)
    exact = special.digamma(np.exp(log_a) + 1) - log_a
    np.testing.assert_allclose(u.digamma_beyond_log(log_a), exact, rtol=1e-9, atol=1e-13)


# ---- rises


def _shifted(change: float) -> Images:
    """Return 40 images of which half break, and whose logits an attack scales: ``change`` above 0 flattens them."""
    z = np.random.default_rng(0).normal(size=(40, 3))
    clean = images_of(z, z.argmax(axis=1))
    turned = np.where((np.arange(40) % 2 == 0)[:, None], z, z[:, [1, 2, 0]])
    return images_of(turned / (1 + change), clean.label, clean=clean)


@pytest.mark.parametrize(("change", "sign"), [(0.8, 1), (-0.4, -1)])
@pytest.mark.parametrize("suffix", ["", "_p_max", "_margin"])
def test_a_rise_has_the_sign_of_what_the_attack_did(change: float, sign: int, suffix: str) -> None:
    images = _shifted(change)
    for name in ("rise", "rise_broken", "rise_held"):
        got = value(f"{name}{suffix}", images)
        assert got is not None
        assert got * sign > 0
        ends = interval_of(metric_named(f"{name}{suffix}"), images, got)
        assert ends is not None
        assert (ends[0] > 0) if sign > 0 else (ends[1] < 0)
    assert value(f"p_rise{suffix}", images) == (1.0 if sign > 0 else 0.0)
    found = value(f"auroc_adv{suffix}", images)
    assert found is not None
    assert (found > 0.5) is (sign > 0), "below 0.5 uncertainty falls under attack"


@pytest.mark.parametrize("each", UNCERTAINTIES, ids=lambda each: each.suffix or "entropy")
def test_rises_are_over_attacked_images_and_split_by_success(each: Uncertainty) -> None:
    images = attacked_pair()
    clean = images.clean
    assert clean is not None
    change = each.of(images) - each.of(clean)
    groups = {"rise": clean.correct, "rise_broken": clean.correct & ~images.correct, "rise_held": images.correct}
    for name, which in groups.items():
        assert value(f"{name}{each.suffix}", images) == pytest.approx(change[which].mean(), abs=1e-12)
    assert value(f"p_rise{each.suffix}", images) == (change[clean.correct] > 0).mean()
    ends = interval_of(metric_named(f"p_rise{each.suffix}"), images, (change[clean.correct] > 0).mean())
    assert ends == wilson((change[clean.correct] > 0).mean(), int(clean.correct.sum()))


def test_the_interval_of_a_rise_is_a_paired_bootstrap() -> None:
    images = attacked_pair(n=100)
    for name in ("rise", "rise_held"):
        metric = metric_named(name)
        assert callable(metric.interval)
        assert metric.interval(images, 0.0) == pytest.approx(bootstrap(metric.value, images), abs=1e-9)


@pytest.mark.parametrize("each", UNCERTAINTIES, ids=lambda each: each.suffix or "entropy")
def test_errors_and_attacks_are_told_as_scikit_learn_measures_it(each: Uncertainty) -> None:
    images = attacked_pair()
    clean = images.clean
    assert clean is not None
    of, of_clean = each.of(images), each.of(clean)
    expected = {
        "auroc_error": roc_auc_score(~images.correct, of),
        "auroc_error_mixed": roc_auc_score(np.r_[~clean.correct, ~images.correct], np.r_[of_clean, of]),
    }
    for name, which in (("auroc_adv", clean.correct), ("auroc_adv_broken", clean.correct & ~images.correct)):
        expected[name] = roc_auc_score(np.repeat([0, 1], which.sum()), np.r_[of_clean[which], of[which]])
    for name, number in expected.items():
        assert value(f"{name}{each.suffix}", images) == pytest.approx(number, abs=1e-12), name


def test_confident_errors_and_the_mixed_area_by_loop() -> None:
    images = attacked_pair()
    clean = images.clean
    assert clean is not None
    wrong = [not right and p > 0.9 for right, p in zip(images.correct, images.p_max, strict=True)]
    assert value("confident_errors", images) == sum(wrong) / len(images)
    sure, right = np.r_[clean.p_max, images.p_max], np.r_[clean.correct, images.correct]
    random, areas = np.random.default_rng(0), []
    for _ in range(200):  # images that are not attacked have one confidence twice, in either order
        order = np.lexsort((random.random(len(sure)), -sure))
        areas.append(np.mean(np.cumsum(~right[order]) / np.arange(1, len(sure) + 1)))
    assert value("aurc_mixed", images) == pytest.approx(np.mean(areas), abs=1e-3)
    fast = interval_of(metric_named("aurc_mixed"), images, value("aurc_mixed", images) or 0)
    assert fast == pytest.approx(bootstrap(u.aurc_mixed, images, draws=300), abs=0.03)


@pytest.mark.parametrize("metric", [m for m in METRICS if m in UNCERTAINTY], ids=lambda m: m.name)
def test_where_nothing_breaks_or_everything_is_wrong_there_is_a_reason_and_no_neutral_value(metric: Metric) -> None:
    z = np.random.default_rng(0).normal(size=(30, 3))
    right, wrong = images_of(z, z.argmax(axis=1)), images_of(z, z.argmin(axis=1))
    holds, none = replace(right, clean=right), replace(wrong, clean=wrong)
    for images in (holds, none):
        got = value(metric.name, images)
        assert (got is None) == bool(metric.undefined(images))
        assert got is None or math.isfinite(got)
    if "broken" in metric.name or metric.name.startswith("auroc_error"):
        assert value(metric.name, holds) is None
    if metric.name.startswith(("rise", "p_rise", "auroc")):
        assert value(metric.name, none) is None
