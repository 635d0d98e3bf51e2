"""A study without training in a results folder, and what an MLflow store shows of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from sweeps.engine.tracking.recorder import Recorder, record_study
from sweeps.engine.tracking.store import connect
from zsr_core.attacks import Pgd
from zsr_core.codec import to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.measure import Measurement
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.threat import ThreatModel
from zsr_core.trial import presets
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

FINISHED_AT = "2026-03-01T10:00:20+00:00"


def suite(config: TrialConfig) -> TrialConfig:
    tasks = (DataRef(name="source"), DataRef(name="dishes"))
    evaluated = EvalSuite(tasks=tasks, attacks=(Pgd(steps=10),), eps=(1 / 255, 4 / 255), n=8)
    return replace(config, epochs=2, eval_suite=evaluated, threat=ThreatModel(eps=4 / 255))


SWEEP = Sweep(
    name="two_by_two",
    question="Where should alpha and beta stand?",
    base={"miniature": suite(presets.miniature(TgaZsr()))},
    space={path: Real(low=0.003, high=0.3, log=True) for path in ("method.alpha", "method.beta")},
    levels=2,
)


def measured(config: TrialConfig, at: float) -> tuple[Measurement, ...]:
    split = config.eval_suite.split
    rows = []
    for task in ("source", "dishes", "zero_shot_mean"):
        conditions = [("clean", "none", 0.0, 60 + at)]
        for eps in config.eval_suite.eps:
            conditions += [("robust", name, eps, 20 + at) for name in ("pgd10", "worst")]
            conditions += [("harmonic", "worst", eps, 30 + at)]
        rows += [
            Measurement(
                trial_id=config.trial_id, weights_sha="w" * 12, task=task, split=split, attack=attack, eps=eps,
                metric=metric, value=value, n=8, low=value - 5, high=value + 5,
            )
            for metric, attack, eps, value in conditions
        ]  # fmt: skip
    return tuple(rows)


def planned(epochs: int = 2) -> Study:
    """Return the study of the untouched model and 2 x 2 cells, five trials."""
    base = {preset: replace(config, epochs=epochs) for preset, config in SWEEP.base.items()}
    sweep = replace(SWEEP, base=base)
    return new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))


@dataclass(frozen=True)
class Case:
    """A planned study in a results folder. The store beside it is empty at first."""

    folder: Path

    @property
    def uri(self) -> str:
        return f"sqlite:///{self.folder.parent}/mlflow.db"

    def planned(self, epochs: int = 2) -> Study:
        return planned(epochs)

    def finish(self, study: Study, trial: PlannedTrial, at: float = 0.0, error: str = "") -> None:
        """Write the result of a trial, done or failed; ``at`` is added to its scores."""
        config = study.config(trial)
        epochs = tuple({"epoch": e, "loss": 2.0 - e, "ce": 1.5 - e, "seconds": 4.0} for e in range(config.epochs))
        result = TrialResult(
            trial_id=config.trial_id,
            config=config,
            status="failed" if error else "done",
            error=error,
            measurements=() if error else measured(config, at),
            history=epochs,
            cost={"seconds_total": 20.0, "passes_forward": 1234.0},
            provenance={
                "zsr": "0.0.1", "torch": "2.0", "git_sha": "ab" * 20, "git_dirty": "true", "device": "cpu: x86_64",
                "weights_sha": "w" * 12, "started": "2026-03-01T10:00:00+00:00", "finished": FINISHED_AT,
            },
            audit={"G01": "pass"},
        )  # fmt: skip
        write_text(trial_folder(self.folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))

    def finish_all(self) -> Study:
        """Finish every trial, each a point better than the one before, and return the study."""
        study = self.planned()
        for number, trial in enumerate(study.plan):
            self.finish(study, trial, at=number)
        return study

    def beside(self, name: str) -> Case:
        """Return a case in the same results folder."""
        return Case(self.folder.parent / name)

    def runs(self, uri: str | None = None) -> dict[str, Run]:
        """Return all runs by trial id, the study's own under ""; a trial that has two fails the test."""
        client = MlflowClient(tracking_uri=uri or self.uri)
        experiment = client.get_experiment_by_name(SWEEP.name)
        runs = client.search_runs([experiment.experiment_id])
        keys = [run.data.tags.get("zsr.trial_id", "") for run in runs]
        assert len(keys) == len(set(keys))
        return dict(zip(keys, runs, strict=True))

    def curve(self, run: Run, name: str) -> list[tuple[int, float]]:
        """Return step and value of a metric's points, by step."""
        history = MlflowClient(tracking_uri=self.uri).get_metric_history(run.info.run_id, name)
        return sorted((point.step, point.value) for point in history)


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty SQLite store: its schema takes seconds, so it is made once and copied."""
    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    connect(f"sqlite:///{file}")
    return file


@pytest.fixture
def case(tmp_path: Path, empty_store: Path) -> Case:
    case = Case(tmp_path / "results" / SWEEP.name)
    write_study(case.folder, case.planned())
    shutil.copy(empty_store, case.folder.parent / "mlflow.db")
    return case


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Case:
    """A finished and recorded study with a table, a figure and one trial's records, for tests that only look at it."""
    case = Case(tmp_path_factory.mktemp("recorded") / "results" / SWEEP.name)
    write_study(case.folder, case.planned())
    shutil.copy(empty_store, case.folder.parent / "mlflow.db")
    study = case.finish_all()
    (trial_folder(case.folder, study.plan[1].trial_id) / "samples.parquet").write_bytes(b"one row per image")
    write_text(case.folder / "table.md", "| cell | clean |\n|---|---|\n| one | 61.0 |\n")
    write_text(case.folder / "figures" / "surface.svg", "<svg/>")
    record_study(case.folder, case.uri)
    return case


@pytest.fixture(scope="session")
def config() -> TrialConfig:
    """The configuration that the trials of the study start from."""
    return planned().base


@pytest.fixture
def said() -> list[str]:
    """What the recorder has reported."""
    return []


@pytest.fixture
def recorder(case: Case, said: list[str]) -> Iterator[Recorder]:
    """A recorder that is tried again without a pause, and closed after the test."""
    live = Recorder(case.folder, case.uri, said.append, pauses=(0.01,))
    yield live
    live.close([])
