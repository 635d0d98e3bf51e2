"""Every row of the table of metrics, computed again from a trial's Parquet files by other libraries, to 1e-9.

The files are read with pyarrow alone. What is computed from them is :mod:`by_formula`, which uses NumPy, SciPy,
scikit-learn, mpmath and pycocotools, and nothing of the product but the seeds of its random halves, moves and draws.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from by_formula import attention, calibrated, corrupted, detection, factors, tasks
from retrieval_by_formula import retrieval
from whole_trial import SUITE, write_everything

from zsr_core.evaluation.embeddings import read_evaluated
from zsr_core.evaluation.measure import Measurement, measure
from zsr_core.evaluation.metrics import METRICS
from zsr_core.evaluation.retrieval.measure import measure_retrieval
from zsr_core.evaluation.scenes.measure import measure_detection

Key = tuple[str, str, str, float]  # task, metric, attack, eps
DRAWN = {f"{name}_if_calibrated" for name in ("ece", "ece10", "ece30", "ece_adaptive", "ece_classwise", "mce", "aurc")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    write_everything(place)
    return place


@pytest.fixture(scope="module")
def measured(folder: Path) -> dict[Key, Measurement]:
    found = read_evaluated(folder, "source")
    rows = measure(found.records, (), METRICS, texts=found.texts, source=found.source, ood=found.ood,
                   shifted=found.shifted)  # fmt: skip
    rows += measure_retrieval(found.retrieved, SUITE, METRICS)
    rows += measure_detection(found.detected, METRICS)
    return {(m.task, m.metric, m.attack, m.eps): m for m in rows if m.task != "zero_shot_mean"}


@pytest.mark.slow
def test_every_number_of_the_table_follows_from_the_files_by_other_libraries(
    folder: Path, measured: dict[Key, Measurement]
) -> None:
    again: dict[Key, float] = {}
    for part in (tasks, corrupted, factors, attention, retrieval, detection):
        again |= part(folder)
    wrong = [
        (key, m.value, m.reason, again.get(key))
        for key, m in measured.items()
        if key[1] not in DRAWN and (m.value is None or key not in again or not math.isclose(
            m.value, again[key], rel_tol=1e-9, abs_tol=1e-9))
    ]  # fmt: skip
    assert wrong == []
    assert again.keys() <= measured.keys()
    assert {name for _, name, _, _ in again} | DRAWN == {metric.name for metric in METRICS}


@pytest.mark.slow
def test_what_a_calibrated_model_would_show_is_what_other_draws_show(
    folder: Path, measured: dict[Key, Measurement]
) -> None:
    """The draws are others, so that means agree within five standard errors of both."""
    compared = set()
    for (name, attack), draws in calibrated(folder).items():
        number = next(m for (_, metric, at, _), m in measured.items() if (metric, at) == (name, attack))
        assert number.value is not None
        error = 100 * np.std(draws) * math.sqrt(1 / 200 + 1 / len(draws))  # the product draws 200 or 1000 times
        assert abs(number.value - 100 * np.mean(draws)) < 5 * error, (name, attack)
        compared.add(name)
    assert compared == DRAWN
