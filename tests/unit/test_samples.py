"""Records of a whole study, cut by task and condition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.documents.samples import SCHEMA, export_samples
from sweeps.engine.study.folder import Study, open_study, read_study, trial_folder
from zsr_core.codec import ConfigError
from zsr_core.records import ARROW

MakeStudy = Callable[..., Study]


def opened(*folders: Path) -> pa.Table:
    """What pandas, polars, DuckDB and Spark see: the two partition columns come from the folders' names."""
    return ds.dataset([ds.dataset(folder, partitioning="hive") for folder in folders]).to_table()


def test_every_record_of_every_trial_is_there_once(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    found = opened(export_samples(open_study(tmp_path)))
    names = [name for name in ARROW.names if name not in ("task", "condition")]
    own = [pq.read_table(trial_folder(tmp_path, t.trial_id) / "samples.parquet") for t in study.plan]
    order = [(name, "ascending") for name in ("trial_id", "task", "condition", "eps", "sample_id")]
    expected = pa.concat_tables(own).sort_by(order)
    got = found.sort_by(order)
    assert got.select(names).equals(expected.select(names))
    assert got["task"].to_pylist() == expected["task"].to_pylist()
    assert set(got["study"].to_pylist()) == {"weights"}


def test_a_part_holds_one_task_under_one_condition_and_says_so_in_its_path(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1,))
    samples = export_samples(open_study(tmp_path))
    parts = sorted(path.relative_to(samples).as_posix() for path in samples.rglob("*.parquet"))
    tasks = ("animals", "dishes", "source", "sport")
    expected = [f"task={task}/condition={c}/part-0.parquet" for task in tasks for c in ("none", "pgd10")]
    assert parts == expected
    schema = pq.read_schema(samples / parts[0])
    assert schema.names == [name for name in SCHEMA.names if name not in ("task", "condition")]


def test_the_records_of_several_studies_are_one_data_set(tmp_path: Path, make_study: MakeStudy) -> None:
    for name in ("a", "b"):
        make_study(tmp_path / name, name=name, levels=(0.1,))
    both = opened(*(export_samples(open_study(tmp_path / name)) for name in ("a", "b")))
    assert both.num_rows == 2 * opened(tmp_path / "a" / "samples").num_rows
    assert set(both["study"].to_pylist()) == {"a", "b"}


def test_failed_trials_have_no_records_and_what_was_there_is_replaced(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    export_samples(open_study(tmp_path))
    make_study(tmp_path, levels=(0.1, 1.0), report=False, fails=lambda trial: trial.cell == "alpha=1 beta=1")
    found = set(opened(export_samples(open_study(tmp_path)))["cell"].to_pylist())
    assert found == {t.cell for t in read_study(tmp_path).plan} - {"alpha=1 beta=1"}
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_a_study_without_records_and_records_of_another_form_are_named(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    file = trial_folder(tmp_path, study.plan[0].trial_id) / "samples.parquet"
    pq.write_table(pq.read_table(file).drop_columns(["margin"]), file)
    with pytest.raises(ConfigError, match=rf"{study.plan[0].trial_id}/samples\.parquet has other columns.*margin"):
        export_samples(open_study(tmp_path))
    make_study(tmp_path / "none", levels=(0.1,), report=False, fails=lambda _: True)
    with pytest.raises(ConfigError, match=r"no trial of .* is done"):
        export_samples(open_study(tmp_path / "none"))


def test_zsr_export_writes_samples_when_asked(
    tmp_path: Path, make_study: MakeStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    make_study(tmp_path, levels=(0.1,))
    assert main(["export", "--study", str(tmp_path)]) == 0
    assert not (tmp_path / "samples").exists()
    assert main(["export", "--study", str(tmp_path), "--samples"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in ("study.parquet",) * 2 + ("samples",)]
