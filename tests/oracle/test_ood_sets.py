"""Detection of out-of-distribution sets, beside scikit-learn, planted scores and plain loops."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from made_images import images_of, random_images, value
from ood_by_formula import measures_of, scores_of

from zsr_core.codec import ConfigError
from zsr_core.evaluation.metrics import METRICS, Images, interval_of, metric_named
from zsr_core.evaluation.metrics.metric import Detection, OodSet
from zsr_core.evaluation.metrics.outputs import Outputs
from zsr_core.evaluation.metrics.outside import OUTSIDE, SIDES, rows_of_sets, usual_rows
from zsr_core.names import OodKind

CLASSES = 5
SCORES = ("msp", "max_logit", "energy", "mcm", "entropy")


def _outputs(images: Images, n: int, seed: int, shift: float = 0.0) -> Outputs:
    """Return outputs before the same texts at another scale, where MSP and MCM differ."""
    z = np.random.default_rng(seed).normal(size=(n, CLASSES)).astype(np.float32)
    z[:, 0] += shift
    return Outputs(unit=z, texts=images.kept.texts)


def _scene() -> tuple[Images, Images]:
    """Return clean images with two far sets and a near one, and the same under attacks on detectors."""
    clean = random_images(120, CLASSES)
    texts = replace(clean.kept.texts, scale=7.0)
    clean = replace(clean, outputs=replace(clean.kept, texts=texts))
    listed: list[tuple[str, OodKind, int, int]] = [("close", "near", 70, 1), ("dots", "far", 50, 2),
                                                ("far-off", "far", 90, 3)]  # fmt: skip
    sets = tuple(
        OodSet(name=name, kind=kind, clean=_outputs(clean, n, seed),
               attacked=(_outputs(clean, n, seed + 50, 1.0), _outputs(clean, n, seed + 60, 0.5)))
        for name, kind, n, seed in listed
    )  # fmt: skip
    bare = tuple(replace(each, attacked=()) for each in sets)
    clean = replace(clean, ood=Detection(sets=bare, inside=(clean.kept,)))
    inside = (_outputs(clean, 120, 4), _outputs(clean, 120, 5))
    return clean, replace(clean, clean=clean, outputs=inside[0], ood=Detection(sets=sets, inside=inside))


def _score(outputs: Outputs, score: str) -> Any:
    """Return a score by its formula."""
    return scores_of(outputs.cosines, 7.0 * outputs.cosines)[score]


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("side", SIDES)
def test_every_row_is_what_scikit_learn_gives_for_the_worst_scores_of_the_attacked_side(score: str, side: str) -> None:
    clean, attacked = _scene()
    images = attacked if side else clean
    assert images.ood is not None
    inside = _score(clean.kept, score)
    if side == "_adv_id":
        inside = np.minimum(*(_score(each, score) for each in images.ood.inside))
    by_set = {}
    for each in images.ood.sets:
        outside = _score(each.clean, score)
        if side == "_adv_ood":
            outside = np.maximum(*(_score(one, score) for one in each.attacked))
        by_set[each.name] = measures_of(inside, outside)
    for measure in by_set["close"]:
        near, dots, off = (numbers[measure] for numbers in by_set.values())
        expected = {
            f"near_{measure}_{score}{side}": near, f"far_{measure}_{score}{side}": (dots + off) / 2,
            f"{measure}_{score}{side}_vs_dots": dots, f"{measure}_{score}{side}_vs_far_off": off,
        }  # fmt: skip
        for name, number in expected.items():
            assert value(name, images) == pytest.approx(number, abs=1e-9), name


def test_a_model_that_is_sure_of_its_own_images_alone_is_perfect_and_a_blind_one_is_at_one_half() -> None:
    labels = np.arange(40) % 4
    knows = images_of(9.0 * np.eye(4)[labels], labels)
    for inside, expected in ((knows, 1.0), (images_of(np.ones((40, 4)), labels), 0.5)):
        flat = Outputs(unit=np.ones((30, 4), np.float32), texts=inside.kept.texts)
        far = OodSet(name="flat", kind="far", clean=flat)
        images = replace(inside, ood=Detection(sets=(far,), inside=(inside.kept,)))
        for score in SCORES:
            if score in ("max_logit", "energy") and expected == 1.0:
                continue  # they see the size of logits, which is large for equal ones too
            assert value(f"far_auroc_{score}", images) == expected
            assert value(f"far_fpr_ood_at_id95_{score}", images) == (0.0 if expected == 1.0 else 1.0)
        assert interval_of(metric_named("far_auroc_msp"), images, expected) is None, "no width is no certainty"


@pytest.mark.parametrize("name", ["near_auroc_msp", "far_auroc_energy", "auroc_mcm_vs_dots"])
def test_an_interval_is_as_wide_as_a_bootstrap_of_both_sides_finds(name: str) -> None:
    clean, _ = _scene()
    assert clean.ood is not None
    metric, got = metric_named(name), value(name, clean)
    assert got is not None
    ends, random, draws = interval_of(metric, clean, got), np.random.default_rng(0), []
    for _ in range(300):
        own = clean.kept.take(random.integers(120, size=120))
        sets = tuple(
            replace(each, clean=each.clean.take(random.integers(len(each.clean), size=len(each.clean))))
            for each in clean.ood.sets
        )
        drawn = replace(clean, outputs=own, ood=Detection(sets=sets, inside=(own,)))
        draws.append(metric.value(drawn) or 0.0)
    assert ends is not None
    assert ends[1] - ends[0] == pytest.approx(4 * np.std(draws), rel=0.25)


def test_what_was_not_evaluated_gives_a_reason() -> None:
    clean, attacked = _scene()
    assert attacked.ood is not None
    far_alone = replace(clean, ood=Detection(sets=clean.ood.sets[1:], inside=()))  # type: ignore[union-attr]
    none = replace(clean, ood=Detection(sets=(replace(clean.ood.sets[0], clean=_outputs(clean, 0, 0)),), inside=()))  # type: ignore[union-attr]
    for name, images, reason in (
        ("near_auroc_msp", replace(clean, ood=None), "no near OOD set was evaluated"),
        ("near_auroc_msp", far_alone, "no near OOD set was evaluated"),
        ("auroc_msp_vs_ninco", clean, "no OOD set ninco was evaluated"),
        ("near_auroc_msp_adv_ood", clean, "no OOD image was attacked"),
        ("near_auroc_msp", none, "close has no image"),
    ):
        assert metric_named(name).undefined(images) == reason


def test_rows_have_names_that_find_them_again_and_no_two_share_one() -> None:
    rows = (*OUTSIDE, *rows_of_sets(["far_noise", "my set-2"]))
    assert [metric_named(row.name) for row in rows] == list(rows)
    assert len({row.name for row in rows}) == len(rows) == 2 * 75 + 2 * 75
    assert metric_named("auroc_msp_vs_my_set_2") in rows
    assert not any(row.always for row in METRICS if row in OUTSIDE)
    with pytest.raises(ConfigError, match="did you mean 'auroc_msp_vs_far_noise'"):
        metric_named("auroc_mps_vs_far_noise")


def test_a_trial_measures_rows_of_the_kinds_that_it_has_and_attacked_ones_if_detectors_are_attacked() -> None:
    plain = [row.name for row in usual_rows(["dots"], ["far"], attacked=False)]
    assert plain[:2] == ["far_auroc_msp", "far_fpr_ood_at_id95_msp"]
    assert plain[10:] == [f"auroc_{score}_vs_dots" for score in SCORES]
    attacked = {row.name for row in usual_rows(["dots"], ["far"], attacked=True)}
    assert attacked >= {*plain, "far_auroc_mcm_adv_ood", "auroc_msp_adv_id_vs_dots"}
    assert not any(name.startswith("near") for name in attacked)
