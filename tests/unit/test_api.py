"""The engine from Python: frames hold the tables' numbers, paths may be text, and errors name what is wrong."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path

import pandas
import pytest
from matplotlib.figure import Figure

import sweeps.engine
from sweeps.engine import (
    evaluate,
    figures_of,
    matrix_frame,
    measurements,
    open_study,
    ranking,
    run_sweep,
    train,
    tuned,
    weights_of,
)
from sweeps.engine.analysis.matrix import MatrixRequest, matrices
from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.api import _arguments
from sweeps.engine.documents.forms.csv import comma_separated
from sweeps.engine.documents.parquet import export_study
from sweeps.engine.running.options import read_options
from sweeps.engine.study.folder import Study
from sweeps.tga_alpha_beta import SWEEP
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.model.load import ModelRef
from zsr_core.trial.presets import base

MakeStudy = Callable[..., Study]


@pytest.fixture
def folder(tmp_path: Path, make_study: MakeStudy) -> Path:
    """Return a study of four cells with two seeds, its end included."""
    make_study(tmp_path / "weights", levels=(0.1, 1.0), seeds=(0, 1))
    return tmp_path / "weights"


# ---- names


def test_every_name_of_the_engine_is_what_it_says_and_no_folder_hides_it() -> None:
    assert sorted(sweeps.engine.__all__) == list(sweeps.engine.__all__)
    here = Path(sweeps.engine.__file__).parent
    assert [name for name in sweeps.engine.__all__ if (here / name).exists() or (here / f"{name}.py").exists()] == []
    assert all(callable(getattr(sweeps.engine, name)) for name in sweeps.engine.__all__)


# ---- frames


def test_measurements_are_what_the_parquet_file_holds(folder: Path) -> None:
    written = pandas.read_parquet(export_study(open_study(folder)))
    pandas.testing.assert_frame_equal(measurements(folder), written, check_categorical=False, check_dtype=False)


@pytest.mark.parametrize("split", ["selection", "report"])
def test_the_ranking_has_the_numbers_of_the_table_in_its_order(folder: Path, split: str) -> None:
    found, frame = ranked(open_study(folder), split), ranking(folder, split)  # type: ignore[arg-type]
    assert list(frame["configuration"]) == [row.label for row in found.rows]
    for (_, line), row in zip(frame.iterrows(), found.rows, strict=True):
        for column, cell in zip(found.columns, row.cells, strict=True):
            assert line[column.title] == cell.value
            assert line[f"{column.title}_sd"] == cell.sd
            if cell.gap is None:
                assert pandas.isna(line[f"{column.title}_gap"])
            else:
                assert line[f"{column.title}_gap"] == cell.gap.value
                assert (line[f"{column.title}_gap_low"], line[f"{column.title}_gap_high"]) == cell.gap.interval
                assert line[f"{column.title}_gap_holds"] == cell.gap.holds


def test_a_ranking_names_the_chosen_row_its_rivals_and_the_axes_of_tuned_rows_alone(folder: Path) -> None:
    frame = ranking(folder)
    assert list(frame.loc[frame["chosen"], "configuration"]) == ["alpha=0.1 beta=0.1"]
    assert set(frame.loc[frame["rival"], "configuration"]) == set(ranked(open_study(folder)).rivals)
    assert {"method.alpha", "method.beta"} <= set(frame)
    assert not {"epochs", "eval_suite.split"} & {*frame, *ranking(folder, "report")}
    assert pandas.isna(frame.iloc[-1]["method.alpha"])  # the untouched model has none
    assert len(ranking(folder, most=2)) == 3  # two cells and the untouched model


def test_a_matrix_frame_has_the_lines_of_the_csv_form(folder: Path) -> None:
    frame = matrix_frame(folder, per_set=True, metrics=("clean", "robust"), draws=100)
    asked = MatrixRequest(per_set=True, metrics=("clean", "robust"), draws=100)
    lines = list(csv.DictReader(io.StringIO(comma_separated(matrices(open_study(folder), asked)))))
    assert len(frame) == len(lines)
    assert list(frame) == list(lines[0])
    for name in ("configuration", "over", "notes"):
        assert list(frame[name]) == [line[name] for line in lines]
    for name in ("value", "image_low", "gap", "p_holm"):
        assert [None if pandas.isna(v) else v for v in frame[name]] == [
            float(line[name]) if line[name] else None for line in lines
        ]


def test_a_study_opened_once_and_its_path_as_text_give_the_same_frames(folder: Path) -> None:
    opened = open_study(str(folder))
    pandas.testing.assert_frame_equal(measurements(opened), measurements(str(folder)))
    pandas.testing.assert_frame_equal(matrix_frame(opened, draws=100), matrix_frame(str(folder), draws=100))


# ---- figures


def test_figures_are_returned_by_name_and_no_file_is_written(folder: Path) -> None:
    drawn = figures_of(str(folder))
    assert list(drawn) == ["surface_alpha_beta", "clean_vs_robust"]
    assert all(isinstance(figure, Figure) for figure in drawn.values())
    assert not (folder / "figures").exists()


def test_the_kind_all_leaves_out_what_cannot_be_drawn(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"configurations"):
        figures_of(folder, "importance")
    assert {"surface_alpha_beta", "clean_vs_robust"} < set(figures_of(folder, "all"))


def test_an_unknown_kind_is_an_error_that_names_the_nearest(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"heatmpa.*did you mean 'heatmap'"):
        figures_of(folder, "heatmpa")


# ---- sweeps


def test_flags_by_name_are_those_of_the_script() -> None:
    flags = {"local": True, "fresh": False, "search": "tpe", "samples": 4, "objectives": ("clean", "robust"),
             "warm_start": ["a b", Path("c")], "keep": ["clean >= 2"],
             "gpus_per_trial": 0, "limit": None, "seeds": 1}  # fmt: skip
    options = read_options(SWEEP, _arguments(flags))
    assert (options.local, options.fresh, options.search, options.samples) == (True, False, "tpe", 4)
    assert options.objectives == ("clean", "robust")
    assert [path.name for path in options.warm_start] == ["a b", "c"]
    assert [keep.text for keep in options.keep] == ["clean >= 2"]
    assert (options.gpus_per_trial, options.limit, options.seeds) == (0.0, None, (0,))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({"serch": "tpe"}, "--serch.*did you mean.*--search"),
        ({"search": "tpa"}, "did you mean 'tpe'"),
        ({"preset": "minature"}, "did you mean 'miniature'"),
        ({"plan": True}, "plan: .*launch"),
        ({"local": True, "tracking": "ftp://x"}, "tracking"),
    ],
)
def test_flags_that_cannot_be_used_raise_and_leave_nothing(tmp_path: Path, flags: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run_sweep(SWEEP, results=str(tmp_path / "results"), **flags)
    assert not (tmp_path / "results").exists()


# ---- trials and models


def test_a_cell_that_has_not_finished_is_an_error_that_names_it_and_the_nearest(folder: Path) -> None:
    for take in (tuned, weights_of):
        with pytest.raises(ConfigError, match=r"'alpha=0.1 beta=0.2'.*did you mean 'alpha=0.1 beta=0.1'"):
            take(str(folder), "alpha=0.1 beta=0.2")
        with pytest.raises(ConfigError, match=r"'untouched' with seed 7"):
            take(folder, "untouched", seed=7)


def test_a_study_without_a_final_choice_says_so(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    with pytest.raises(ConfigError, match="final choice"):
        tuned(tmp_path)


def test_weights_that_are_gone_or_never_were_are_an_error(folder: Path) -> None:
    for cell in ("alpha=0.1 beta=0.1", "untouched"):
        with pytest.raises(ConfigError, match=f"no tuned weights of '{cell}"):
            weights_of(folder, cell)


def test_no_study_and_no_such_task_are_errors_that_name_them(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"study\.json"):
        measurements(str(tmp_path / "nothing"))
    with pytest.raises(ConfigError, match=r"animls.*did you mean 'animals'"):
        evaluate(ModelRef(name="miniature"), EvalSuite(tasks=(DataRef(name="animls"),)), tmp_path)
    with pytest.raises(ConfigError, match="animls"):
        train(base(TgaZsr(), "miniature").with_({"train_data.name": "animls"}), str(tmp_path))


def test_a_failed_trial_raises_with_its_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def breaks(*_: object, **__: object) -> None:
        raise ValueError("the disk is on fire")

    monkeypatch.setattr("zsr_core.trial.run.evaluate", breaks)
    suite = EvalSuite(tasks=(DataRef(name="animals"),), n=2)
    with pytest.raises(RuntimeError, match=r"failed: .*the disk is on fire"):
        evaluate(ModelRef(name="miniature"), suite, tmp_path, device="cpu")
