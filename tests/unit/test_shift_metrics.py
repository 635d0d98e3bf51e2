"""Metrics of corruptions and factors against their definitions, on planted answers."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from zsr_core.data.shifts.kinds import Cell
from zsr_core.evaluation.metrics import Images, interval_of, metric_named
from zsr_core.evaluation.metrics.calibration import ece
from zsr_core.evaluation.metrics.intervals import wilson
from zsr_core.evaluation.metrics.shifts import Corruptions, Group, Profile

N = 40
CELLS = (Cell(kind="fog", severity=1), Cell(kind="fog", severity=5), Cell(kind="snow", severity=3))


def _images(right: np.ndarray, sure: np.ndarray | None = None) -> Images:
    n = len(right)
    return Images(
        sample_id=np.array([str(i) for i in range(n)], object), label=np.zeros(n, np.int64),
        pred=np.zeros(n, np.int64), correct=right, p_max=np.full(n, 0.6) if sure is None else sure,
        entropy=np.zeros(n), margin=np.zeros(n),
    )  # fmt: skip


def _corrupted(shares: tuple[float, ...], untouched: tuple[float, ...], seed: int = 0) -> Images:
    random = np.random.default_rng(seed)
    own, theirs = (
        np.stack([np.arange(N) < round(share * N) for share in each], axis=1) for each in (shares, untouched)
    )
    corruptions = Corruptions(cells=CELLS, correct=own, p_max=random.uniform(0.2, 1, (N, len(CELLS))), untouched=theirs)
    return dataclasses.replace(_images(np.arange(N) < 0.8 * N), corruptions=corruptions)


def _value(name: str, images: Images) -> float:
    metric = metric_named(name)
    assert not metric.undefined(images)
    value = metric.value(images)
    assert value is not None
    return value


def test_a_mean_over_corruptions_weighs_kinds_alike_whatever_their_number_of_severities() -> None:
    images = _corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 0.6))
    assert _value("corrupted_accuracy", images) == pytest.approx(((0.9 + 0.5) / 2 + 0.2) / 2)
    assert _value("relative_corrupted_accuracy", images) == pytest.approx(((0.9 + 0.5) / 2 + 0.2) / 2 / 0.8)


def test_the_corruption_error_is_the_mean_of_the_ratios_of_errors_summed_over_severities() -> None:
    images = _corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 0.6))
    fog, snow = (0.1 + 0.5) / (0.1 + 0.3), 0.8 / 0.4
    assert _value("corruption_error", images) == pytest.approx((fog + snow) / 2)
    only = dataclasses.replace(images, corruptions=images.corrupted.only("fog"))
    assert _value("corruption_error", only) == pytest.approx(fog)


def test_the_untouched_model_has_a_corruption_error_of_one() -> None:
    assert _value("corruption_error", _corrupted((0.9, 0.5, 0.2), (0.9, 0.5, 0.2))) == 1


def test_the_calibration_error_under_corruptions_is_the_mean_of_each_ones() -> None:
    images = _corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 0.6))
    seen = images.corrupted
    each = [float(ece(_images(seen.correct[:, c], seen.p_max[:, c]), np.ones((1, N)))[0]) for c in range(3)]
    assert _value("corrupted_ece", images) == pytest.approx(((each[0] + each[1]) / 2 + each[2]) / 2)


def test_errors_cannot_be_compared_with_a_model_that_makes_none() -> None:
    metric = metric_named("corruption_error")
    assert (
        metric.undefined(_corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 1.0)))
        == "the untouched model makes no error under snow"
    )


def test_one_corruption_has_a_wilson_interval_and_several_a_bootstraps_of_whole_images() -> None:
    images = _corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 0.6))
    one = dataclasses.replace(images, corruptions=images.corrupted.only("fog", 5))
    metric = metric_named("corrupted_accuracy")
    assert interval_of(metric, one, 0.5) == wilson(0.5, N)
    value = _value("corrupted_accuracy", images)
    low, high = interval_of(metric, images, value) or (0.0, 0.0)
    # All cells are right for the first images first, so that an image is right under several or under none.
    per_image = images.corrupted.correct @ np.array([0.25, 0.25, 0.5])
    half = 1.96 * per_image.std() / np.sqrt(N)
    assert (low, high) == pytest.approx((value - half, value + half), abs=0.03)


def test_the_interval_of_a_corruption_error_is_paired_by_image() -> None:
    """A model that is right wherever the untouched one is has a ratio that hardly moves with the images drawn."""
    same = _corrupted((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert interval_of(metric_named("corruption_error"), same, 1.0) is None, "all draws agree"
    nearly = _corrupted((0.525, 0.525, 0.525), (0.5, 0.5, 0.5))
    low, high = interval_of(metric_named("corruption_error"), nearly, _value("corruption_error", nearly)) or (0, 9)
    assert high - low < 0.2


def _profile(every: np.ndarray, *groups: Group) -> Images:
    return dataclasses.replace(_images(np.ones(3, np.bool_)), factors=Profile(correct=every, groups=groups))


def test_a_factors_gap_and_ratio_compare_with_all_images() -> None:
    every = np.arange(N) < 30
    shown = Group(name="factor-pose", rows=np.arange(20, N), correct=every[20:])
    images = _profile(every, shown)
    assert _value("factor_accuracy", images) == pytest.approx(0.5)
    assert _value("factor_gap", images) == pytest.approx(0.5 - 0.75)
    assert _value("factor_error_ratio", images) == pytest.approx(0.5 / 0.25)
    low, high = interval_of(metric_named("factor_gap"), images, -0.25) or (0.0, 0.0)
    assert low < -0.25 < high < 0


def test_over_all_factors_the_number_is_the_mean_over_factors() -> None:
    every = np.arange(N) < 30
    groups = [Group(name=f"factor-{k}", rows=np.arange(N), correct=np.arange(N) < n) for k, n in (("a", 10), ("b", 20))]
    assert _value("factor_accuracy", _profile(every, *groups)) == pytest.approx((0.25 + 0.5) / 2)


def test_a_factor_whose_images_are_those_of_all_has_no_gap_and_no_interval() -> None:
    every = np.arange(N) < 30
    images = _profile(every, Group(name="factor-a", rows=np.arange(N), correct=every))
    assert _value("factor_gap", images) == 0
    assert interval_of(metric_named("factor_gap"), images, 0.0) is None


def test_a_ratio_of_errors_is_undefined_where_no_image_is_wrong() -> None:
    every = np.ones(N, np.bool_)
    images = _profile(every, Group(name="factor-a", rows=np.arange(3), correct=every[:3]))
    assert metric_named("factor_error_ratio").undefined(images) == "no image is wrong"


def test_resampled_images_take_their_corruptions_with_them() -> None:
    images = _corrupted((0.9, 0.5, 0.2), (0.9, 0.7, 0.6)).take(np.zeros(5, np.intp))
    assert images.corrupted.correct.shape == (5, 3)
    assert images.corrupted.correct.all()
