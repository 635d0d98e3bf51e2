"""The columns that notebooks rely on, written down by hand: another schema is another version."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

from sweeps.engine.documents.parquet import SCHEMA_VERSION, Exported, config_columns, write_trials
from zsr_core.evaluation.measure import Measurement
from zsr_core.methods import TgaZsr
from zsr_core.trial.config import TrialConfig

TEXT = "dictionary<values=string, indices=int32, ordered=0>"
CORE = [
    ("study", TEXT), ("trial_id", TEXT), ("label", TEXT), ("cell", TEXT), ("role", TEXT), ("status", TEXT),
    ("error", TEXT), ("seed", "int64"), ("weights_sha", TEXT), ("task", TEXT), ("split", TEXT), ("attack", TEXT),
    ("eps", "double"), ("metric", TEXT), ("value", "double"), ("n", "int64"), ("low", "double"), ("high", "double"),
    ("reason", TEXT),
]  # fmt: skip
TYPED = {
    "config.method.type": TEXT, "config.method.alpha": "double", "config.method.beta": "double",
    "config.method.map_side": "int64", "config.model.name": TEXT, "config.threat.eps": "double",
    "config.optim.lr": "double", "config.epochs": "int64", "config.seed": "int64",
    "config.train_attack.steps": "int64", "config.train_attack.random_start": "bool",
    "config.eval_suite.split": TEXT, "config.model.pretrained": TEXT, "config.train_attack.step_size": "double",
    "config.eval_suite.n": "int64", "config.defence.type": TEXT, "cost.seconds_train": "double", "schema": "int32",
}  # fmt: skip


def test_the_parquet_schema_is_version_3(tmp_path: Path) -> None:
    assert SCHEMA_VERSION == 3
    measured = Measurement(
        trial_id="t", weights_sha="w", task="animals", split="selection", attack="none", eps=0.0, metric="clean",
        value=50.0, n=10, low=20.0, high=80.0,
    )  # fmt: skip
    identity = dict.fromkeys(("study", "trial_id", "label", "cell", "role", "status", "error"), "x") | {"seed": 0}
    trial = Exported(
        identity=identity,
        config=config_columns(TrialConfig(method=TgaZsr())),
        cost={"seconds_train": 1.0},
        measurements=(measured,),
    )
    path = write_trials(tmp_path / "study.parquet", [trial], {"zsr.schema": "3"})
    schema = pq.read_schema(path)
    kinds = [(name, str(schema.field(name).type)) for name in schema.names]
    assert kinds[: len(CORE)] == CORE
    assert {name: kind for name, kind in kinds if name in TYPED} == TYPED
    assert all(name.startswith(("config.", "cost.")) for name, _ in kinds[len(CORE) : -1])
    assert kinds[-1] == ("schema", "int32")
