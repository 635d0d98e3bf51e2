"""What ``docs/evaluation.md`` tells a reader to write as a metric is measured, and is a score."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.study.objectives import score_of
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics import ACCURACY, Metric
from zsr_core.records import SampleRecord

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"
EPS = 4 / 255


@pytest.fixture(scope="module")
def metric() -> Metric:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(code.splitlines()) <= 25
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    found = names["WRONG_CONFIDENCE"]
    assert isinstance(found, Metric)
    return found


def _records(confidences: dict[str, list[float]], wrong: int) -> list[SampleRecord]:
    """Return two records an image, clean and attacked; under attack a task's first ``wrong`` images are wrong."""
    clean = SampleRecord(
        trial_id="t", weights_sha="w", task="a", split="report", sample_id="0", condition="none", attack_id="", ran="",
        stage="", norm="linf", threat_space="model_input", eps=0.0, label=1, pred=1, correct=True, p_max=0.9,
        entropy=0.1, margin=1.0, linf=0.0, l2=0.0, queries=1,
    )  # fmt: skip
    records = []
    for task, values in confidences.items():
        for i, p_max in enumerate(values):
            own = replace(clean, task=task, sample_id=str(i))
            broken = i < wrong
            attacked = replace(own, condition="pgd10", eps=EPS, p_max=p_max, correct=not broken, pred=int(not broken))
            records += [own, attacked]
    return records


def _worst(metric: Metric, records: list[SampleRecord]) -> dict[str, Measurement]:
    rows = measure(records, ["a", "b"], (*ACCURACY, metric))
    assert {m.attack for m in rows if m.metric == metric.name} == {"pgd10", "worst"}
    return {m.task: m for m in rows if m.metric == metric.name and m.attack == "worst"}


def test_the_metric_on_the_page_is_measured_with_its_interval_and_averaged(metric: Metric) -> None:
    values = [0.2, 0.4, 0.6, 0.8, 0.3, 0.5] * 4
    rows = _worst(metric, _records({"a": values, "b": [0.5] * 24}, wrong=12))
    row, mean = rows["a"], rows["zero_shot_mean"]
    assert row.value == pytest.approx(100 * sum(values[:12]) / 12)
    assert row.low is not None
    assert row.high is not None
    assert row.low < row.value < row.high
    assert mean.value == pytest.approx((row.value + 50) / 2)


def test_it_is_undefined_with_a_reason_where_no_image_is_wrong(metric: Metric) -> None:
    rows = _worst(metric, _records({"a": [0.5] * 4, "b": [0.5] * 4}, wrong=0))
    assert [(row.value, row.reason) for row in (rows["a"], rows["b"])] == [(None, "no image is wrong")] * 2
    assert rows["zero_shot_mean"].value is None
    assert rows["zero_shot_mean"].reason == "undefined for a (no image is wrong), b (no image is wrong)"


def test_it_is_a_score_of_attacked_images_that_should_be_low(metric: Metric) -> None:
    score = score_of(metric)
    assert (score.name, score.condition, score.higher_is_better) == ("wrong_confidence", "worst", False)
