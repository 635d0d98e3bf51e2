"""Numbers of sets of captions are made as those of classification are: a value that is none is null with a reason."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.retrieval.gather import Retrieved
from zsr_core.evaluation.retrieval.measure import measure_retrieval
from zsr_core.evaluation.retrieval.suite import RetrievalSuite

CAPTIONS = 2  # of each image


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
