from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.engine.documents import parquet as export
from sweeps.engine.documents.parquet import Exported, export_study, write_trials
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, trial_folder
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]


def exported(i: int, rows: int = 3, **config: object) -> Exported:
    identity = {
        "study": "s", "trial_id": f"{i:012x}", "label": f"l{i}", "cell": f"c{i}", "role": "cell", "seed": i,
        "status": "done" if rows else "failed", "error": "" if rows else "loss is NaN",
    }  # fmt: skip
    measurements = [
        {"weights_sha": f"w{i}", "task": f"t{k}", "split": "selection", "attack": "none", "eps": 0.0, "metric": "clean",
         "value": float(10 * i + k), "n": 5, "low": None, "high": None}
        for k in range(rows)
    ]  # fmt: skip
    named = {f"config.{key}": value for key, value in config.items()}
    return Exported(
        identity=identity, config=named, cost={"seconds": 1.0}, measurements=json.dumps(measurements).encode()
    )


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
    assert kinds["config.train_attack.step_size"] == pa.null()
    assert kinds["config.method.type"] == kinds["task"] == export.TEXT
    assert kinds["cost.seconds_train"] == pa.float64()
    assert schema.metadata[b"zsr.schema"] == b"2"


def test_the_file_is_zstd_and_opens_in_pandas(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path)
    path = export_study(open_study(tmp_path))
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    frame = pd.read_parquet(path)
    harmonic = frame[(frame.task == "zero_shot_mean") & (frame.metric == "harmonic") & (frame.role == "cell")]
    winner = harmonic.loc[harmonic.value.idxmax()]
    assert (winner["config.method.alpha"], winner["config.method.beta"]) == (0.1, 0.1)
    assert set(frame["schema"]) == {2}


def test_two_studies_concatenate(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path / "a", name="a", levels=(0.1,))
    make_study(tmp_path / "b", name="b", levels=(0.2,), fails=lambda trial: trial.role == "cell")
    tables = [pq.read_table(export_study(open_study(tmp_path / name))) for name in ("a", "b")]
    both = pa.concat_tables(tables, promote_options="permissive")
    assert both.num_rows == sum(table.num_rows for table in tables)
    assert set(both["study"].to_pylist()) == {"a", "b"}


def test_configurations_of_different_fields_share_one_file(tmp_path: Path) -> None:
    trials = [exported(0, alpha=1, method="a"), exported(1, alpha=0.5, temperature=2.0, method=3), exported(2, 0)]
    rows = rows_of(write_trials(tmp_path / "x.parquet", lambda: trials, {"zsr.schema": "1"}))
    assert [row["config.alpha"] for row in rows] == [1.0] * 3 + [0.5] * 3 + [None]
    assert [row["config.temperature"] for row in rows] == [None] * 3 + [2.0] * 3 + [None]
    assert [row["config.method"] for row in rows] == ["a"] * 3 + ["3"] * 3 + [None]
    assert (rows[-1]["status"], rows[-1]["error"], rows[-1]["value"]) == ("failed", "loss is NaN", None)


def test_rows_are_written_a_group_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "TRIAL_BYTES", 0)
    monkeypatch.setattr(export, "GROUP_BYTES", 5 * len(exported(0, rows=10).measurements))
    held = most = 0

    def trials() -> Iterator[Exported]:
        nonlocal held
        for i in range(40):
            held += 1
            yield exported(i, rows=10, alpha=float(i))

    to_table = export.to_table

    def watched(batch: list[Exported], schema: pa.Schema) -> pa.Table:
        nonlocal held, most
        most, held = max(most, len(batch)), 0
        return to_table(batch, schema)

    monkeypatch.setattr(export, "to_table", watched)
    path = write_trials(tmp_path / "x.parquet", trials, {})
    assert most == 5
    assert pq.read_metadata(path).num_row_groups == 8
    assert [row["value"] for row in rows_of(path)] == [10.0 * i + k for i in range(40) for k in range(10)]


def test_exporting_again_gives_the_same_bytes(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    first = export_study(open_study(tmp_path)).read_bytes()
    (tmp_path / "study.parquet").unlink()
    assert export_study(open_study(tmp_path)).read_bytes() == first


def test_the_way_a_result_is_laid_out_does_not_matter(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), fails=lambda trial: trial.role == "baseline")
    tables = []
    for indent in (None, 0, 1, 2):
        for trial in study.plan:
            file = trial_folder(tmp_path, trial.trial_id) / "result.json"
            file.write_text(json.dumps(json.loads(file.read_text()), indent=indent))
        tables.append(pq.read_table(export_study(open_study(tmp_path))))
    assert tables[0].num_rows > len(study.plan)
    assert [table.equals(tables[0]) for table in tables] == [True] * 4


def test_a_value_of_another_type_names_its_column(tmp_path: Path) -> None:
    trial = replace(exported(0), measurements=b'[{"value": "much"}]')
    with pytest.raises(ConfigError, match=r"export: the measurements of trial 000000000000 .*/value\) changed from"):
        write_trials(tmp_path / "x.parquet", lambda: [trial], {})
    assert list(tmp_path.iterdir()) == []


def test_among_many_trials_the_one_with_the_wrong_value_is_named(tmp_path: Path) -> None:
    trials = [exported(0), exported(1), replace(exported(2), measurements=b'[{"value": "much"}]'), exported(3, 0)]
    with pytest.raises(ConfigError, match=r"export: the measurements of trial 000000000002 "):
        write_trials(tmp_path / "x.parquet", lambda: trials, {})


def test_a_trial_with_very_many_measurements_stands_among_small_ones(tmp_path: Path) -> None:
    trials = [exported(0, 1), exported(1, rows=20_000), exported(2, 0), exported(3, 2)]  # the second is over 2 MiB
    rows = rows_of(write_trials(tmp_path / "x.parquet", lambda: trials, {}))
    assert [row["seed"] for row in rows] == [0, *[1] * 20_000, 2, 3, 3]
    assert rows[-3]["value"] is None


@pytest.mark.parametrize("text", ["{", "[1]", json.dumps({"status": "done"}), "\udcff"])
def test_a_result_that_cannot_be_read_is_named(tmp_path: Path, make_study: MakeStudy, text: str) -> None:
    study = make_study(tmp_path, levels=(0.1,), report=False)
    folder = open_study(tmp_path)
    broken = trial_folder(tmp_path, study.plan[0].trial_id) / "result.json"
    broken.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=rf"{study.plan[0].trial_id}/result\.json is not a trial's result"):
        export_study(folder)
    assert study.plan[0].trial_id not in open_study(tmp_path).results, "it is set aside, and the trial is missing"
