"""Reliability diagrams: rows first, of every trial and of what a figure shows; then the figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sweeps.engine.analysis.reliability import diagrams
from sweeps.engine.commands.main import main
from sweeps.engine.figures.kinds import Request, draw
from sweeps.engine.study.folder import Study, open_study, trial_folder
from zsr_core.evaluation.measure import by_place, measure
from zsr_core.evaluation.metrics import metric_named
from zsr_core.evaluation.reliability import reliability
from zsr_core.records import from_table, read_samples

MakeStudy = Callable[..., Study]


def test_the_gaps_of_the_rows_add_up_to_the_calibration_error(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    records = from_table(read_samples(trial_folder(tmp_path, study.plan[0].trial_id) / "samples.parquet"))
    rows = reliability(by_place(records))
    errors = {(m.task, m.attack): m.value for m in measure(records, (), (metric_named("ece"),))}
    for (task, attack), error in errors.items():
        own = [row for row in rows if (row.task, row.attack) == (task, attack)]
        n = sum(row.n for row in own)
        gaps = sum(row.n * abs(row.accuracy - row.confidence) for row in own) / n
        assert 100 * gaps == pytest.approx(error, abs=1e-9)
        assert all(row.low < row.confidence <= row.high for row in own)
        assert all(row.accuracy_low <= row.accuracy <= row.accuracy_high for row in own)


def test_the_rows_of_every_trial_are_written_as_parquet(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path, levels=(0.1,))
    assert main(["export", "--study", str(tmp_path), "--reliability"]) == 0
    assert "reliability.parquet" in capsys.readouterr().out
    frame = pq.read_table(tmp_path / "reliability.parquet").to_pandas()
    assert set(frame.trial_id) == {trial.trial_id for trial in study.plan}
    assert set(frame.attack) == {"none", "pgd10", "worst"}
    # Every image has a confidence of 0.5, which is one bin of 15.
    assert (frame.groupby(["trial_id", "task", "attack"]).n.sum() == 24).all()
    assert set(frame.bin) == {7}


def test_a_diagram_is_of_the_report_split_and_of_all_zero_shot_images_together(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    found = diagrams(open_study(tmp_path))
    assert [(d.cell, d.split, d.attack) for d in found] == [
        ("untouched", "report", "none"), ("untouched", "report", "worst"),
        ("alpha=0.1 beta=0.1", "report", "none"), ("alpha=0.1 beta=0.1", "report", "worst"),
    ]  # fmt: skip
    assert {d.n for d in found} == {3 * 24}
    for diagram in found:
        assert diagram.error == pytest.approx(abs(diagram.bins[0].accuracy - 0.5))


def test_the_diagrams_are_drawn(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    drawn = draw(open_study(tmp_path), Request(kinds=("reliability",)))
    assert {path.name for path in drawn.paths} == {f"reliability.{kind}" for kind in ("png", "svg", "pdf")}
    text = next(path for path in drawn.paths if path.suffix == ".svg").read_text(encoding="utf-8")
    assert "<svg" in text
