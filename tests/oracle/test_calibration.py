"""Calibration metrics beside plain loops, scikit-learn, closed forms, and models made for the purpose."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from made_images import images_of, random_images, value
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from zsr_core.evaluation.metrics import METRICS, Images, Metric, interval_of, metric_named
from zsr_core.evaluation.metrics import calibration as c
from zsr_core.evaluation.metrics import temperature as temperature_module
from zsr_core.evaluation.metrics.calibration import CALIBRATION
from zsr_core.evaluation.metrics.if_calibrated import IF_CALIBRATED
from zsr_core.evaluation.metrics.intervals import DRAWS, bootstrap
from zsr_core.evaluation.metrics.resampling import CELLS, draws_of, value_of
from zsr_core.evaluation.metrics.temperature import temperature, tempered


def with_confidence(confidence: Any, right: Any) -> Images:
    """Return images with these confidences of the answer, and no outputs."""
    images = images_of(np.zeros((len(confidence), 2)), np.zeros(len(confidence), np.int64))
    return replace(images, p_max=np.asarray(confidence, float), correct=np.asarray(right, bool), outputs=None)


def ece_by_loop(confidence: Any, right: Any, bins: int) -> float:
    total = 0.0
    for m in range(bins):
        inside = [i for i, p in enumerate(confidence) if (m / bins < p <= (m + 1) / bins) or (m == 0 and p == 0)]
        if inside:
            gap = sum(right[i] for i in inside) - sum(confidence[i] for i in inside)
            total += abs(gap) / len(confidence)
    return total


@pytest.mark.parametrize(("name", "bins"), [("ece", 15), ("ece10", 10), ("ece30", 30)])
@pytest.mark.parametrize("seed", range(3))
def test_the_calibration_error_is_that_of_a_plain_loop(name: str, bins: int, seed: int) -> None:
    images = random_images(seed=seed)
    assert value(name, images) == pytest.approx(ece_by_loop(images.p_max, images.correct, bins), abs=1e-12)


def test_the_calibration_error_is_that_of_scikit_learns_reliability_curve() -> None:
    images = random_images(500)
    right, sure = calibration_curve(images.correct, images.p_max, n_bins=15)  # bins that hold an image
    counts = np.bincount(c.bin_of(images.p_max, 15), minlength=15)
    counts = counts[counts > 0]
    assert value("ece", images) == pytest.approx((counts * np.abs(right - sure)).sum() / 500, abs=1e-12)


def test_a_confidence_of_exactly_one_is_in_the_last_bin() -> None:
    """torchmetrics 1.9 puts it into a bin of its own, and gives 0.525 here (Lightning-AI/torchmetrics#3510)."""
    images = with_confidence([1.0, 1.0, 0.95, 0.95], [True, False, True, False])
    assert value("ece", images) == pytest.approx(0.475, abs=1e-15)
    assert c.bin_of(np.array([0.0, 1 / 15, 0.2, 1.0]), 15).tolist() == [0, 0, 2, 14]


def test_a_confidently_wrong_model_has_the_largest_errors() -> None:
    images = images_of(np.tile([50.0, 0.0, 0.0], (40, 1)), np.ones(40, np.int64))
    for name in ("ece", "ece_adaptive", "mce", "overconfidence", "aurc"):
        assert value(name, images) == pytest.approx(1.0)
    assert value("brier", images) == pytest.approx(2.0)
    assert value("nll", images) == pytest.approx(50.0)
    assert value("ece_debiased", images) == pytest.approx(1.0)


def test_a_sure_and_right_model_has_none() -> None:
    images = images_of(np.tile([60.0, 0.0, 0.0], (40, 1)), np.zeros(40, np.int64))
    for name in ("ece", "ece_adaptive", "ece_classwise", "mce", "overconfidence", "aurc", "brier", "nll"):
        assert value(name, images) == pytest.approx(0.0, abs=1e-12)


def test_a_model_collapsed_to_one_class_is_as_wrong_as_that_class_is_rare() -> None:
    labels = np.repeat([0, 1, 2, 3], 25)
    images = images_of(np.tile([40.0, 0.0, 0.0, 0.0], (100, 1)), labels)
    assert value("overconfidence", images) == pytest.approx(0.75)
    assert value("ece", images) == pytest.approx(0.75)
    # Class 0 claims 1 and is 1/4 of the images; each other claims 0 and is 1/4.
    assert value("ece_classwise", images) == pytest.approx((0.75 + 3 * 0.25) / 4)


@pytest.mark.parametrize("seed", range(3))
def test_the_adaptive_error_cuts_the_sorted_images_into_equal_parts(seed: int) -> None:
    images = random_images(311, seed=seed)
    order = sorted(range(311), key=lambda i: images.p_max[i])
    total = 0.0
    for part in np.array_split(order, 15):
        total += abs(sum(float(images.correct[i]) - images.p_max[i] for i in part)) / 311
    assert value("ece_adaptive", images) == pytest.approx(total, abs=1e-12)


def test_the_class_wise_error_is_the_mean_of_one_against_the_rest() -> None:
    images = random_images(200, 4)
    assert images.outputs is not None
    p = np.exp(images.outputs.log_p)
    each = [ece_by_loop(p[:, k], images.label == k, 15) for k in range(4)]
    assert value("ece_classwise", images) == pytest.approx(sum(each) / 4, abs=1e-12)


def test_of_many_classes_the_most_frequent_ones_are_counted() -> None:
    images = random_images(400, 250)
    counted = c.counted_classes(images, 250)
    often = np.bincount(images.label, minlength=250)
    assert len(counted) == 20
    assert min(often[counted]) >= max(np.delete(often, counted))


def test_the_largest_gap_is_of_a_bin_with_ten_images() -> None:
    sure, unsure = [0.99] * 10, [0.4] * 9
    images = with_confidence(sure + unsure, [True] * 8 + [False] * 2 + [False] * 9)
    assert value("mce", images) == pytest.approx(0.19)
    small = with_confidence(unsure, [False] * 9)
    assert (value("mce", small), metric_named("mce").undefined(small)) == (None, "no bin has 10 images")


def test_the_debiased_error_is_that_of_a_plain_loop_and_about_0_for_a_calibrated_model() -> None:
    images = random_images(300)
    total, at = 0.0, c.bin_of(images.p_max, 15)
    for m in range(15):
        inside = np.flatnonzero(at == m)
        if len(inside) > 1:
            accuracy, sure = images.correct[inside].mean(), images.p_max[inside].mean()
            total += len(inside) / 300 * ((accuracy - sure) ** 2 - accuracy * (1 - accuracy) / (len(inside) - 1))
    assert value("ece_debiased", images) == pytest.approx(total, abs=1e-12)
    random = np.random.default_rng(0)
    confidence = random.uniform(0.3, 1, 400)
    perfect = [with_confidence(confidence, random.random(400) < confidence) for _ in range(200)]
    debiased, plain = ([value(name, images) for images in perfect] for name in ("ece_debiased", "ece"))
    assert abs(np.mean(debiased)) < 3 * np.std(debiased) / math.sqrt(200) + 1e-4  # bins of one value are a bit apart
    assert np.mean(plain) > 0.03, "the plain error of a perfect model is far from 0"


def test_likelihood_and_brier_score_are_those_of_scikit_learn_and_a_loop() -> None:
    images = random_images(150, 6)
    assert images.outputs is not None
    p = np.exp(images.outputs.log_p)
    assert value("nll", images) == pytest.approx(log_loss(images.label, p, labels=range(6)), abs=1e-9)
    loop = np.mean([sum((p[i, k] - (k == images.label[i])) ** 2 for k in range(6)) for i in range(150)])
    assert value("brier", images) == pytest.approx(loop, abs=1e-12)


def test_the_risk_coverage_area_is_the_mean_error_of_the_surest() -> None:
    images = random_images(120)
    order = sorted(range(120), key=lambda i: -images.p_max[i])
    wrong = np.cumsum([not images.correct[i] for i in order])
    assert value("aurc", images) == pytest.approx(np.mean(wrong / np.arange(1, 121)), abs=1e-12)


def test_images_of_one_confidence_are_accepted_in_random_order() -> None:
    confidence, right = [0.9, 0.9, 0.9, 0.5, 0.5], [True, False, False, True, False]
    random, areas = np.random.default_rng(0), []
    for _ in range(6_000):
        order = sorted(range(5), key=lambda i: (-confidence[i], random.random()))
        areas.append(np.mean(np.cumsum([not right[i] for i in order]) / np.arange(1, 6)))
    assert value("aurc", with_confidence(confidence, right)) == pytest.approx(np.mean(areas), abs=5e-3)
    assert value("aurc", with_confidence(confidence[::-1], right[::-1])) == value(
        "aurc", with_confidence(confidence, right)
    )


# ---- intervals


@pytest.mark.parametrize("metric", [m for m in CALIBRATION if m.name != "ece_classwise"], ids=lambda m: m.name)
def test_all_draws_at_once_give_the_interval_of_one_draw_after_the_other(metric: Metric) -> None:
    images = random_images(150 if metric.name == "mce" else 60)
    slow = bootstrap(metric.value, images, c.FEWER_DRAWS if metric.name in ("ece_adaptive", "aurc") else DRAWS)
    assert callable(metric.interval)
    fast = metric.interval(images, 0.0)
    assert slow is not None
    assert fast is not None
    assert fast == pytest.approx(slow, abs=1e-9)


def test_draws_in_blocks_are_the_same_draws() -> None:
    many = CELLS // 1000 + 50  # more images than fit in one block of 1000 draws
    blocks = list(draws_of(many))
    assert len(blocks) > 1
    assert np.concatenate(blocks).shape == (1000, many)
    assert all((block.sum(axis=1) == many).all() for block in blocks)


@pytest.mark.slow
def test_a_bootstrap_interval_holds_the_true_value_about_95_times_in_100() -> None:
    """Of the negative log-likelihood, whose true value is known: the mean over labels of a fixed softmax."""
    metric, held = metric_named("nll"), 0
    truth = value("nll", random_images(400_000, seed=1))
    assert truth is not None
    for trial in range(200):
        images = random_images(100, seed=1000 + trial)
        ends = interval_of(metric, images, float(metric.value(images) or 0))
        assert ends is not None
        held += ends[0] <= truth <= ends[1]
    assert 0.9 <= held / 200 <= 0.99


def test_no_metric_of_this_family_depends_on_the_order_of_the_images() -> None:
    images = random_images(90)
    turned = images.take(np.random.default_rng(0).permutation(90))
    for metric in METRICS:
        if metric in CALIBRATION:
            assert metric.value(turned) == pytest.approx(metric.value(images), abs=1e-12), metric.name


# ---- what a calibrated model would show


@pytest.mark.parametrize("metric", IF_CALIBRATED, ids=lambda m: m.name)
def test_a_calibrated_models_number_is_the_mean_over_labels_drawn_from_its_own_probabilities(metric: Metric) -> None:
    images = random_images(80, 3)
    plain = metric_named(metric.name.removesuffix("_if_calibrated"))
    assert images.outputs is not None
    p = np.exp(images.outputs.log_p)
    random, seen = np.random.default_rng(5), []
    for _ in range(300):
        labels = (random.random((80, 1)) > p.cumsum(axis=1)[:, :-1]).sum(axis=1)
        drawn = replace(images, label=labels, correct=labels == images.pred)
        seen.append(plain.value(drawn))
    got = metric.value(images)
    assert got == pytest.approx(np.mean(seen), abs=4 * np.std(seen) / math.sqrt(300))
    ends = interval_of(metric, images, float(got or 0))
    assert ends is not None
    assert ends == pytest.approx(tuple(np.percentile(seen, (2.5, 97.5))), abs=0.6 * np.std(seen))


def test_a_calibrated_model_lies_inside_and_an_overconfident_one_outside() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.4, 0.95, 500)
    calibrated = with_confidence(confidence, random.random(500) < confidence)
    surer = replace(calibrated, p_max=np.minimum(confidence + 0.2, 1.0))
    metric = metric_named("ece_if_calibrated")
    for images, inside in ((calibrated, True), (surer, False)):
        ends = interval_of(metric, images, float(metric.value(images) or 0))
        assert ends is not None
        assert (ends[0] <= float(value("ece", images) or 0) <= ends[1]) is inside


# ---- temperature


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_recovered(planted: float) -> None:
    images = random_images(8_000, sharp=planted)
    assert temperature(images) == pytest.approx(planted, rel=0.04)


def test_the_temperature_minimises_the_likelihood() -> None:
    images = random_images(200)
    best = temperature(images)
    assert best is not None
    assert images.outputs is not None
    logits = images.outputs.logits

    def cost(t: float) -> float:
        return value_of(c.nll)(images_of(logits / t, images.label)) or 0.0

    fine = [cost(best * factor) for factor in (0.99, 0.999, 1.001, 1.01)]
    scaled = tempered(images, "oracle")
    assert scaled is not None
    at_best = value_of(c.nll)(scaled)
    assert at_best is not None
    assert at_best < min(fine)


def test_a_temperature_changes_no_prediction_and_is_the_sources_for_every_image() -> None:
    source, images = random_images(300, seed=3), random_images(200, seed=4, sharp=5.0)
    images = replace(images, source=source)
    t = value("temperature_source", images)
    assert t == temperature(source) != temperature(images)
    scaled = tempered(images, "source")
    assert scaled is not None
    assert np.array_equal(scaled.correct, images.correct)
    assert images.outputs is not None
    by_hand = images_of(images.outputs.logits / t, images.label)
    for name in ("ece", "overconfidence", "nll", "brier"):
        assert value(f"{name}_source_t", images) == pytest.approx(value(name, by_hand), abs=1e-6)
    assert value("nll_oracle_t", images) <= value("nll_source_t", images)  # type: ignore[operator]
    assert value("nll_oracle_t", images) < value("nll", images)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("logits", "labels", "reason"),
    [([[9.0, 0.0], [0.0, 9.0]], [0, 1], "every image is right"), ([[9.0, 0.0], [0.0, 9.0]], [1, 0], "no larger")],
)
def test_no_temperature_is_best_where_all_is_right_or_the_truth_is_unlikely(
    logits: Any, labels: Any, reason: str
) -> None:
    images = images_of(logits, labels)
    assert value("temperature_oracle", images) is None
    assert reason in metric_named("ece_oracle_t").undefined(images)
    assert "no task of the suite" in metric_named("ece_source_t").undefined(images)


def test_a_temperature_that_changed_a_prediction_would_be_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    images = random_images(50)
    monkeypatch.setattr(temperature_module, "_fitted", lambda images: -1.0)
    with pytest.raises(ArithmeticError, match="a prediction changed"):
        tempered(images, "oracle")


MAKE: dict[str, Callable[[], Images]] = {
    "all right": lambda: images_of(np.tile([5.0, 0.0], (30, 1)), np.zeros(30, np.int64)),
    "all wrong": lambda: images_of(np.tile([5.0, 0.0], (30, 1)), np.ones(30, np.int64)),
    "one image": partial(images_of, [[2.0, 1.0]], [0]),
}


# The others read what these images do not have, and are called where it is there.
OF_CLEAN_IMAGES = [m for m in METRICS if "clean" in m.conditions and m.reads in ("records", "embeddings")]


@pytest.mark.parametrize("case", MAKE)
@pytest.mark.parametrize("metric", OF_CLEAN_IMAGES, ids=lambda m: m.name)
def test_every_metric_of_clean_images_is_a_number_or_gives_a_reason(metric: Metric, case: str) -> None:
    images = MAKE[case]()
    reason = metric.undefined(images)
    if reason:
        return
    got = metric.value(images)
    assert got is not None
    assert math.isfinite(got)
    ends = interval_of(metric, images, got)
    assert ends is None or (math.isfinite(ends[0]) and ends[0] <= got <= ends[1])
