from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from sweeps.engine.commands.main import main
from sweeps.engine.documents import parquet as export
from sweeps.engine.documents.parquet import Exported, config_columns, export_study, write_trials
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, trial_folder
from zsr_core.codec import ConfigError
from zsr_core.evaluation.measure import Measurement
from zsr_core.field_types import scalar_types
from zsr_core.methods import AnyMethod, Fare, TgaZsr
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]


def exported(i: int, rows: int = 3, method: AnyMethod | None = None) -> Exported:
    identity = {
        "study": "s", "trial_id": f"{i:012x}", "label": f"l{i}", "cell": f"c{i}", "role": "cell", "seed": i,
        "status": "done" if rows else "failed", "error": "" if rows else "loss is NaN",
    }  # fmt: skip
    measurements = tuple(
        Measurement(
            trial_id=f"{i:012x}", weights_sha=f"w{i}", task=f"t{k}", split="selection", attack="none", eps=0.0,
            metric="clean", value=float(10 * i + k), n=5, low=None, high=None,
        )
        for k in range(rows)
    )  # fmt: skip
    config = config_columns(TrialConfig(method=method or TgaZsr()))
    return Exported(identity=identity, config=config, cost={"seconds": 1.0}, measurements=measurements)


def rows_of(path: Path) -> list[dict[str, object]]:
    found: list[dict[str, object]] = pq.read_table(path).to_pylist()
    return found


def one_failed(trial: PlannedTrial) -> bool:
    return trial.cell == "alpha=1 beta=1" and trial.role == "cell"


def one_missing(trial: PlannedTrial) -> bool:
    return trial.cell == "alpha=1 beta=0.1"


def test_every_measurement_of_every_trial_is_a_row(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, fails=one_failed, missing=one_missing)
    rows = rows_of(export_study(open_study(tmp_path)))
    expected = [
        (trial.trial_id, trial.role, m.task, m.attack, m.eps, m.metric, m.value, m.low, m.n)
        for trial in study.plan
        for m in open_study(tmp_path).results.get(trial.trial_id, _Nothing).measurements
    ]
    got = [
        tuple(row[name] for name in ("trial_id", "role", "task", "attack", "eps", "metric", "value", "low", "n"))
        for row in rows
        if row["status"] == "done"
    ]
    assert got == expected


class _Nothing:
    measurements = ()


def test_failed_and_missing_trials_are_rows_with_their_reason(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, fails=one_failed, missing=one_missing)
    rows = {row["status"]: row for row in rows_of(export_study(open_study(tmp_path))) if row["value"] is None}
    assert set(rows) == {"failed", "missing"}
    assert rows["failed"]["error"] == "loss is NaN at step 12, term larm"
    assert rows["failed"]["config.method.alpha"] == 1.0
    assert rows["missing"]["config.method.beta"] == 0.1
    assert {row["trial_id"] for row in rows_of(tmp_path / "study.parquet")} == {t.trial_id for t in study.plan}


def test_numbers_stay_numbers_and_text_is_coded(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    schema = pq.read_schema(export_study(open_study(tmp_path)))
    kinds = {name: schema.field(name).type for name in schema.names}
    assert kinds["config.method.alpha"] == pa.float64()
    assert kinds["config.epochs"] == pa.int64()
    assert kinds["config.train_attack.random_start"] == pa.bool_()
    assert kinds["config.train_attack.step_size"] == pa.float64()  # a column without values
    assert kinds["config.eval_suite.n"] == pa.int64()
    assert kinds["config.model.pretrained"] == kinds["config.defence.type"] == export.TEXT
    assert kinds["config.method.type"] == kinds["task"] == export.TEXT
    assert kinds["cost.seconds_train"] == pa.float64()
    assert schema.metadata[b"zsr.schema"] == b"3"


def test_the_file_is_zstd_and_opens_in_pandas(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    path = export_study(open_study(tmp_path))
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    frame = pd.read_parquet(path)
    harmonic = frame[(frame.task == "zero_shot_mean") & (frame.metric == "harmonic") & (frame.role == "cell")]
    winner = harmonic.loc[harmonic.value.idxmax()]
    assert (winner["config.method.alpha"], winner["config.method.beta"]) == (0.1, 0.1)
    assert set(frame["schema"]) == {3}


def test_two_unlike_studies_have_one_type_for_a_column_and_none_is_null(
    tmp_path: Path, make_study: MakeStudy, make_methods_study: MakeStudy
) -> None:
    make_study(tmp_path / "a", name="a", levels=(0.1,), fails=lambda trial: trial.role == "cell")
    make_methods_study(tmp_path / "b", name="b")
    files = [export_study(open_study(tmp_path / name)) for name in ("a", "b")]
    schemas = [pq.read_schema(file) for file in files]
    both = pa.unify_schemas(schemas)  # in strict mode, so that a column of two types is an error
    assert not [field for field in both if pa.types.is_null(field.type)]
    assert all(schema.names != both.names for schema in schemas), "each study has columns of its own"
    read = ds.dataset(files, schema=both).to_table()
    assert set(read["study"].to_pylist()) == {"a", "b"}
    assert read.num_rows == sum(pq.read_metadata(file).num_rows for file in files)
    joined = pa.concat_tables([pq.read_table(file) for file in files], promote_options="default")
    assert joined.schema.equals(both)


def test_every_config_column_has_the_type_of_its_field_in_every_method(tmp_path: Path) -> None:
    trials = [exported(i, method=method()) for i, method in enumerate(get_args(AnyMethod))]
    schema = pq.read_schema(write_trials(tmp_path / "x.parquet", trials, {}))
    columns = [field for field in schema if field.name.startswith("config.")]
    fields = scalar_types(TrialConfig)
    assert {column.name.removeprefix("config.") for column in columns} <= set(fields)
    assert schema.field("config.method.evaluation_scale").type == pa.float64()  # float | None
    assert schema.field("config.method.normalize").type == pa.bool_()
    assert schema.field("config.optim.betas").type == export.TEXT  # a list, as JSON


@dataclass(frozen=True, kw_only=True)
class One:
    width: int = 1
    name: str | None = None
    sizes: tuple[int, ...] = ()
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True, kw_only=True)
class Other:
    width: float = 1.0
    name: bool = True


@dataclass(frozen=True, kw_only=True)
class Outer:
    part: One | Other | None = None


def test_a_path_that_classes_share_has_a_type_that_holds_the_values_of_all() -> None:
    assert dict(scalar_types(Outer)) == {
        "type": str, "part.type": str, "part.width": float, "part.name": str, "part.sizes": str, "part.kind": str
    }  # fmt: skip


def test_configurations_of_different_fields_share_one_file(tmp_path: Path) -> None:
    trials = [exported(0, method=TgaZsr(alpha=1)), exported(1, method=Fare(clean_weight=0.5)), exported(2, 0)]
    rows = rows_of(write_trials(tmp_path / "x.parquet", trials, {"zsr.schema": "1"}))
    assert [row["config.method.alpha"] for row in rows] == [1.0] * 3 + [None] * 3 + [0.08]
    assert [row["config.method.clean_weight"] for row in rows] == [None] * 3 + [0.5] * 3 + [None]
    assert [row["config.method.type"] for row in rows] == ["TgaZsr"] * 3 + ["Fare"] * 3 + ["TgaZsr"]
    assert (rows[-1]["status"], rows[-1]["error"], rows[-1]["value"]) == ("failed", "loss is NaN", None)


def test_rows_are_written_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "GROUP_ROWS", 50)
    trials = [exported(i, rows=10) for i in range(40)]
    path = write_trials(tmp_path / "x.parquet", trials, {})
    assert pq.read_metadata(path).num_row_groups == 8
    assert [row["value"] for row in rows_of(path)] == [10.0 * i + k for i in range(40) for k in range(10)]


def test_exporting_again_gives_the_same_bytes(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    first = export_study(open_study(tmp_path)).read_bytes()
    (tmp_path / "study.parquet").unlink()
    assert export_study(open_study(tmp_path)).read_bytes() == first


def test_an_export_reads_every_result_once(
    tmp_path: Path, make_study: MakeStudy, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0))
    read: list[Path] = []
    text = Path.read_text

    def counted(path: Path, *args: Any, **kwargs: Any) -> str:
        read.append(path)
        return text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", counted)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read again"))
    assert main(["export", "--study", str(tmp_path)]) == 0
    results = [path.parent.name for path in read if path.name == "result.json"]
    assert sorted(results) == sorted(trial.trial_id for trial in study.plan)


def test_a_value_of_another_type_names_its_column(tmp_path: Path) -> None:
    trial = exported(0)
    wrong = replace(trial, config={**trial.config, "config.method.alpha": "much"})
    with pytest.raises(ConfigError, match=r"export: column config\.method\.alpha expects double"):
        write_trials(tmp_path / "x.parquet", [wrong], {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_trial_with_very_many_measurements_stands_among_small_ones(tmp_path: Path) -> None:
    trials = [exported(0, 1), exported(1, rows=20_000), exported(2, 0), exported(3, 2)]
    rows = rows_of(write_trials(tmp_path / "x.parquet", trials, {}))
    assert [row["seed"] for row in rows] == [0, *[1] * 20_000, 2, 3, 3]
    assert rows[-3]["value"] is None


@pytest.mark.parametrize("text", ["{", "[1]", json.dumps({"status": "done"}), "\udcff"])
def test_a_result_that_cannot_be_read_is_a_missing_trial(tmp_path: Path, make_study: MakeStudy, text: str) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    broken = trial_folder(tmp_path, study.plan[0].trial_id) / "result.json"
    broken.write_bytes(text.encode("utf-8", "surrogateescape"))
    rows = [row for row in rows_of(export_study(open_study(tmp_path))) if row["trial_id"] == study.plan[0].trial_id]
    assert [(row["status"], row["error"], row["value"]) for row in rows] == [("missing", "no result", None)]
