"""Detection of classes without a text, beside scikit-learn and plain loops, and on models made for the purpose."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_images import attacked_pair, images_of, random_images, value
from ood_by_formula import measures_of, scores_of

from zsr_core.evaluation.metrics import Images, interval_of, metric_named
from zsr_core.evaluation.metrics.ood import OOD, SCORES, SPLITS, splits


def _scores(images: Any, classes: Any) -> dict[str, Any]:
    """Return every score of all images among ``classes``, by its formula."""
    return scores_of(images.outputs.cosines[:, classes], images.outputs.logits[:, classes])


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("side", ["", "_adv_id", "_adv_ood"])
def test_every_measure_is_the_mean_of_scikit_learns_over_five_halves_of_the_classes(score: str, side: str) -> None:
    pair = attacked_pair(n=160, classes=7)
    images = pair.clean if side == "" else pair
    each = []
    for part in splits(images):
        attacked, clean = (_scores(i, part.classes)[score] for i in (pair, pair.clean))
        inside, outside = (attacked if side == "_adv_id" else clean), (attacked if side == "_adv_ood" else clean)
        held = np.isin(pair.label, part.classes)
        each.append(measures_of(inside[held], outside[~held]))
    assert len(each) == SPLITS
    for measure in each[0]:
        expected = np.mean([numbers[measure] for numbers in each])
        assert value(f"ood_{measure}_{score}{side}", images) == pytest.approx(expected, abs=1e-9), measure


def test_halves_of_the_classes_are_the_same_for_every_model_and_differ_from_each_other() -> None:
    one, other = random_images(50, 9, seed=1), random_images(80, 9, seed=2)
    held = [part.classes.tolist() for part in splits(one)]
    assert held == [part.classes.tolist() for part in splits(other)]
    assert {len(classes) for classes in held} == {5}
    assert len({tuple(classes) for classes in held}) > 1


def test_a_model_that_knows_what_it_has_no_text_for_is_perfect_and_a_blind_one_is_at_one_half() -> None:
    labels = np.arange(80) % 8
    knows = images_of(10.0 * np.eye(8)[labels], labels)
    for score in SCORES:
        assert value(f"ood_auroc_{score}", knows) == 1.0
        assert value(f"ood_fpr_ood_at_id95_{score}", knows) == 0.0
        assert interval_of(metric_named(f"ood_auroc_{score}"), knows, 1.0) is None, "no width is no certainty"
    blind = images_of(np.ones((80, 8)), labels)
    for score in SCORES:
        assert value(f"ood_auroc_{score}", blind) == 0.5
        assert value(f"ood_fpr_ood_at_id95_{score}", blind) == 1.0, "equal scores are accepted together"


def test_the_two_rates_called_fpr95_differ() -> None:
    images = random_images(400, 8)
    first, second = value("ood_fpr_ood_at_id95_msp", images), value("ood_fpr_id_at_ood95_msp", images)
    assert first is not None
    assert second is not None
    assert abs(first - second) > 0.01


def test_mcm_is_the_largest_probability_at_another_temperature() -> None:
    images = random_images(60, 6)
    scaled = replace(images.outputs, texts=replace(images.outputs.texts, scale=100.0))
    at_100 = replace(images, outputs=scaled)
    assert value("ood_auroc_mcm", at_100) == value("ood_auroc_msp", images), "scale 1 is temperature 1"
    assert value("ood_auroc_mcm", at_100) != value("ood_auroc_msp", at_100)


def test_the_interval_of_an_auroc_over_halves_is_as_wide_as_a_bootstrap_of_the_images_finds() -> None:
    images = random_images(150, 6)
    metric = metric_named("ood_auroc_max_logit")
    found = metric.value(images)
    assert found is not None
    ends = interval_of(metric, images, found)
    random = np.random.default_rng(0)
    draws = [metric.value(images.take(random.integers(150, size=150))) for _ in range(200)]
    assert ends is not None
    assert ends[1] - ends[0] == pytest.approx(4 * np.std(draws), rel=0.25)


@pytest.mark.parametrize(
    ("images", "reason"),
    [(images_of(np.eye(3)[[0, 1, 2]], [0, 1, 2]), "3 classes cannot be split"),
     (images_of(np.eye(8)[[0, 0]], [0, 0]), "too few images")],
)  # fmt: skip
def test_what_cannot_be_split_gives_a_reason(images: Images, reason: str) -> None:
    for metric in OOD:
        assert reason in metric.undefined(images)


def test_every_number_is_a_share() -> None:
    pair = attacked_pair(n=60, classes=6)
    for metric in OOD:
        got = metric.value(pair.clean if "clean" in metric.conditions else pair)
        assert got is not None
        assert math.isfinite(got)
        assert 0 <= got <= 1
