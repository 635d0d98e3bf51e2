"""A metric of one's own is one short file and its row in the table: then everything selects by it and shows it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
CONFIDENCE = '''
"""How sure the model is, right or wrong."""

from zsr_core.evaluation.metrics.metric import Images, Metric


def confidence(images: Images) -> float:
    """Return the mean of the largest softmax probability."""
    return float(images.p_max.mean())


CONFIDENCE = Metric(
    name="confidence", title="mean confidence", unit="%", higher_is_better=True, conditions=("clean", "worst"),
    value=confidence, interval="bootstrap", attacked=False,
)
'''
TABLE = "METRICS: tuple[Metric, ...] = (CLEAN, ROBUST, HARMONIC"
IMPORT = "from zsr_core.evaluation.metrics.confidence import CONFIDENCE\n"
# Runs where the copies are: the launch as a user types it, then what is made of the study that it leaves.
CHECK = """
import json, runpy, sys
from pathlib import Path

import pandas

import zsr_core
from sweeps.engine.analysis.matrix import MatrixRequest
from sweeps.engine.analysis.scores import scores
from sweeps.engine.documents.forms.written import matrix_text
from sweeps.engine.figures.kinds import draw
from sweeps.engine.figures.scene import Request
from sweeps.engine.running.options import read_options
from sweeps.engine.study.folder import open_study
from sweeps.engine.tracking.points import final_points, study_values

sweep = runpy.run_path("tiny.py")["SWEEP"]
folder = open_study("results/tiny")
cells = scores(folder, "cell")
trial = next(trial for trial in folder.study.plan if trial.role == "cell")
frame = pandas.read_parquet("results/tiny/study.parquet")
points = final_points(folder.results[trial.trial_id], 0, folder.study.score_eps)
print(json.dumps({
    "core": zsr_core.__file__,
    "option": read_options(sweep, ["--objectives", "robust,confidence"]).objectives,
    "objectives": folder.study.objectives,
    "cells": {cell.cell: cell.value("confidence") for cell in cells},
    "table": Path("results/tiny/table.md").read_text(encoding="utf-8"),
    "matrix": matrix_text(folder, "md", MatrixRequest(draws=200)),
    "one": matrix_text(folder, "csv", MatrixRequest(metrics=("confidence",), draws=200)),
    "heatmaps": [str(p) for p in draw(folder, Request(kinds=("heatmap",), z="confidence")).paths],
    "parquet": frame[(frame.trial_id == trial.trial_id) & (frame.metric == "confidence")]
    [["task", "attack", "value"]].values.tolist(),
    "points": {point.name: point.value for point in points},
    "cell": trial.cell,
    "values": study_values(folder),
}))
"""


@pytest.fixture
def lab(tmp_path: Path, write: Callable[..., Path]) -> Callable[..., str]:
    """Return a runner of Python in a copy of the packages whose table holds the metric; a tiny sweep stands beside."""
    for package in ("zsr_core", "sweeps", "search_spaces"):
        shutil.copytree(ROOT / package, tmp_path / package)  # with what is compiled, which copies keep valid
    metrics = tmp_path / "zsr_core" / "evaluation" / "metrics"
    assert CONFIDENCE.count("\n") < 30
    (metrics / "confidence.py").write_text(CONFIDENCE, encoding="utf-8")
    table = (metrics / "__init__.py").read_text(encoding="utf-8")
    assert table.count(TABLE) == 1
    table = table.replace(TABLE, f"{IMPORT}{TABLE}, CONFIDENCE")
    (metrics / "__init__.py").write_text(table, encoding="utf-8")
    write()

    def python(*args: str) -> str:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        env = {**kept, "PYTHONPATH": str(tmp_path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, *args], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return python


@pytest.mark.slow
def test_a_metric_of_one_file_is_an_objective_a_column_a_surface_and_a_tracked_value(
    tmp_path: Path, lab: Callable[..., str]
) -> None:
    launched = lab("tiny.py", "--local", "--tracking", "none", "--objectives", "confidence")
    told: dict[str, Any] = json.loads(lab("-c", CHECK).splitlines()[-1])
    assert Path(told["core"]).is_relative_to(tmp_path), "the copy must be what ran"
    assert told["option"] == ["robust", "confidence"]
    assert told["objectives"] == ["confidence"]
    values: dict[str, float] = told["cells"]
    best = max(values.values())
    assert 0 < best <= 100
    assert "Best of 4 cells on the selection split" in launched
    assert f"confidence {best:.1f}" in launched
    for text in (told["table"], told["matrix"]):
        head = next(line for line in text.splitlines() if line.startswith("|"))
        assert "confidence, %" in head
        assert "Δ confidence" in head
        assert f"{best:.1f}" in text
    chosen = next(line for line in told["table"].splitlines() if line.endswith("chosen |"))
    assert f"{best:.1f}" in chosen, "the metric decides, because it is the objective"
    assert told["one"].splitlines()[1].count("confidence") == 1
    assert told["heatmaps"]
    assert all("confidence" in path and (tmp_path / path).stat().st_size > 1000 for path in told["heatmaps"])
    mean = {(task, attack): value for task, attack, value in told["parquet"]}
    assert mean["zero_shot_mean", "none"] == pytest.approx(values[told["cell"]])
    assert ("zero_shot_mean", "worst") in mean
    assert told["points"]["confidence"] == pytest.approx(values[told["cell"]])
    assert told["values"]["best_confidence"] == best
