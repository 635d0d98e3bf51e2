"""Numbers of sets of captions are made as those of classification are: a value that is none is null with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.evaluation.metrics import CORRUPTED_RETRIEVAL, metric_named
from zsr_core.evaluation.retrieval.gather import Retrieved
from zsr_core.evaluation.retrieval.measure import measure_retrieval
from zsr_core.evaluation.retrieval.suite import RetrievalSuite

CAPTIONS = 2  # of each image
CELLS = ("corruption-fog-1", "corruption-fog-4", "corruption-snow-2")


def _set(name: str, seed: int, n: int = 12) -> Retrieved:
    random = np.random.default_rng(seed)
    rows = random.normal(size=(n, 8))
    told = np.repeat(rows, CAPTIONS, axis=0) + 0.8 * random.normal(size=(n * CAPTIONS, 8))
    unit, said = ((x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in (rows, told))
    return Retrieved(
        name=name, split="report", trial_id="t", weights_sha="w", ids=tuple(map(str, range(n))),
        captions=tuple(map(str, range(n * CAPTIONS))), owner=np.repeat(np.arange(n), CAPTIONS), images=unit,
        texts=said, copies={},
    )  # fmt: skip


def test_the_mean_over_sets_is_that_of_their_numbers() -> None:
    rows = measure_retrieval([_set("a", 0), _set("b", 1)], RetrievalSuite(radii=()), [metric_named("i2t_r1")])
    a, b, mean = rows
    assert (a.task, b.task, mean.task) == ("a", "b", ZERO_SHOT_MEAN)
    assert a.value is not None
    assert b.value is not None
    assert mean.value == pytest.approx((a.value + b.value) / 2)
    assert (mean.n, mean.trial_id, mean.weights_sha) == (24, "t", "w")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None])
def test_a_value_that_is_no_number_is_null_with_its_reason_in_the_set_and_the_mean(value: float | None) -> None:
    broken = replace(metric_named("i2t_r1"), value=lambda images: value)
    row, mean = measure_retrieval([_set("a", 0)], RetrievalSuite(radii=()), [broken])
    assert (row.value, row.low, row.reason) == (None, None, f"the metric gave {value} and no reason")
    assert (mean.value, mean.reason) == (None, f"undefined for a (the metric gave {value} and no reason)")


def _corrupted() -> Retrieved:
    clean, random = _set("a", 0), np.random.default_rng(5)
    moved = [clean.images + scale * random.normal(size=clean.images.shape) for scale in (0.2, 0.6, 1.0)]
    units = [(x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32) for x in moved]
    return replace(clean, copies={(name, 0.0): unit for name, unit in zip(CELLS, units, strict=True)})


def _recall(images: np.ndarray, one: Retrieved, k: int) -> float:
    """Return text-to-image R@k in percent by sorting, which is right where no scores are equal."""
    first = np.argsort(-one.texts.astype(float) @ images.astype(float).T, axis=1)[:, :k]
    return 100 * float(np.mean((first == one.owner[:, None]).any(axis=1)))


def test_recall_over_corruptions_is_the_mean_over_kinds_of_the_mean_over_severities() -> None:
    one = _corrupted()
    rows = {(m.metric, m.attack): m.value for m in measure_retrieval([one], RetrievalSuite(), CORRUPTED_RETRIEVAL)}
    for k in (1, 5, 10):
        fog1, fog4, snow = (_recall(one.copies[name, 0.0], one, k) for name in CELLS)
        assert rows[f"t2i_r{k}_corrupted", "corruption-fog-4"] == pytest.approx(fog4)
        assert rows[f"t2i_r{k}_corrupted", "corruption-fog"] == pytest.approx((fog1 + fog4) / 2)
        assert rows[f"t2i_r{k}_corrupted", "none"] == pytest.approx(((fog1 + fog4) / 2 + snow) / 2)
    clean = _recall(one.images, one, 1)
    over = rows["t2i_r1_corrupted", "none"] or 0
    assert rows["t2i_relative_corrupted", "none"] == pytest.approx(100 * over / clean)
    assert over < clean


def test_a_set_that_was_not_corrupted_has_no_recall_under_corruptions_and_says_so() -> None:
    rows = measure_retrieval([_set("a", 0)], RetrievalSuite(), CORRUPTED_RETRIEVAL)
    assert {(m.attack, m.value) for m in rows} == {("none", None)}
    assert all("no corruption was evaluated" in m.reason for m in rows)


def test_a_corruption_is_no_attack_on_the_gallery() -> None:
    rows = measure_retrieval([_corrupted()], RetrievalSuite(radii=()), [metric_named("t2i_r1_gallery")])
    assert rows == []
