"""Studies on disk without training: the records are made up, every number is measured from them as in a real trial."""

from __future__ import annotations

import json
import math
import random
import tempfile
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.engine.study.folder import PlannedTrial, Role, Study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.sweep import Sweep
from tests.support.public_sets import BUILD
from zsr_core.attacks import Apgd, Pgd
from zsr_core.codec import to_plain
from zsr_core.data import DataRef
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, measure
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.files import write_text
from zsr_core.methods import Fare, PmgAft, TgaZsr, Ucat
from zsr_core.records import SampleRecord, read_samples, write_samples
from zsr_core.space import Real, Variant, grid
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SETS = ("animals", "dishes", "sport")
IMAGES = 24
SPACE = {
    "method.alpha": Real(low=0.01, high=1.0, log=True),
    "method.beta": Real(low=0.01, high=1.0, log=True),
}
MakeStudy = Callable[..., Study]


def records(trial_id: str, config: TrialConfig) -> list[SampleRecord]:
    """Return records of a trial whose scores depend on alpha, beta and seed: the middle of the axes is the best."""
    method = config.method
    assert isinstance(method, TgaZsr)
    off = (math.log10(method.alpha) + 1) ** 2 + (math.log10(method.beta) + 1) ** 2
    untouched = config.epochs == 0
    clean = 0.9 if untouched else 0.8 - 0.1 * off
    robust = 0.05 if untouched else 0.6 - 0.15 * off
    found = []
    for task in config.eval_suite.tasks:
        for i in range(IMAGES):
            # The same image is as hard for every trial, up to a little of the seed's own: comparisons are paired.
            hard = random.Random(f"{task.called}/{i}").random()
            hard += 0.1 * random.Random(f"{config.seed}/{task.called}/{i}").uniform(-1, 1)
            attacked = [("pgd10", eps, hard < robust / (255 * eps)) for eps in config.eval_suite.eps]
            for condition, eps, right in (("none", 0.0, hard < clean), *attacked):
                found.append(
                    SampleRecord(
                        trial_id=trial_id,
                        weights_sha=f"w{trial_id}",
                        task=task.called,
                        split=config.eval_suite.split,
                        sample_id=f"{i:03d}",
                        condition=condition,
                        attack_id="",
                        ran="",
                        stage="",
                        norm="linf",
                        threat_space="model_input",
                        eps=eps,
                        label=i % 4,
                        pred=(i if right else i + 1) % 4,
                        correct=right,
                        p_max=0.5,
                        entropy=0.1,
                        margin=0.1,
                        linf=eps,
                        l2=eps,
                        queries=1,
                    )
                )
    return found


def run(folder: Path, trial: PlannedTrial, config: TrialConfig, *, fails: bool) -> None:
    """Leave what a trial leaves: config, records and result; of a failed one no records and no measurements."""
    where = trial_folder(folder, trial.trial_id)
    where.mkdir(parents=True, exist_ok=True)
    for name, content in left_by(config, fails=fails).items():
        (where / name).write_bytes(content)


@cache
def left_by(config: TrialConfig, *, fails: bool) -> dict[str, bytes]:
    """Return the files of a trial by name. Many tests have trials of the same configuration."""
    trial_id = config.trial_id
    found = [] if fails else records(trial_id, config)
    result = TrialResult(
        trial_id=trial_id,
        config=config,
        status="failed" if fails else "done",
        measurements=tuple(
            measure(found, [name for name in SETS if any(task.called == name for task in config.eval_suite.tasks)])
        ),
        cost={"seconds_train": 1.5, "seconds_eval": 0.5},
        provenance={"zsr": "0.1.0", "git_sha": "0123456789abcdef", "torch": "2.15.0", "device": "cpu"},
        error="loss is NaN at step 12, term larm" if fails else "",
    )
    files = {"config.json": json.dumps(to_plain(config)).encode()}
    if found:
        with tempfile.TemporaryDirectory() as folder:
            write_samples(Path(folder) / "samples.parquet", found)
            files["samples.parquet"] = (Path(folder) / "samples.parquet").read_bytes()
    return {**files, "result.json": json.dumps(to_plain(result)).encode()}


def build_study(
    folder: Path,
    *,
    name: str = "weights",
    levels: Sequence[float] = (0.01, 0.1, 1.0),
    points: Sequence[tuple[float, float]] = (),
    seeds: Sequence[int] = (0,),
    fails: Callable[[PlannedTrial], bool] = lambda trial: False,
    missing: Callable[[PlannedTrial], bool] = lambda trial: False,
    report: bool = True,
    eps: Sequence[float] = (1 / 255,),
    sets: Sequence[str] = SETS,
) -> Study:
    """Write a study of ``levels`` x ``levels``, or of a search's ``points``; return its plan.

    ``sets`` are evaluated beside the training set.
    """
    tasks = (DataRef(), *(DataRef(name=task) for task in sets))
    base = TrialConfig(method=TgaZsr(), epochs=2, eval_suite=EvalSuite(tasks=tasks, eps=tuple(eps)))
    cells = [dict(variant.overrides) for variant in grid(dict.fromkeys(SPACE, levels))]
    if points:
        cells = [dict(zip(SPACE, point, strict=True)) for point in points]
    plan: list[PlannedTrial] = []

    def add(cell: str, overrides: dict[str, object], role: Role, proposal: int | None = None) -> None:
        for seed in seeds:
            trial_id = base.with_({**overrides, "seed": seed}).trial_id
            plan.append(
                PlannedTrial(
                    trial_id=trial_id,
                    label=f"{cell} seed={seed}",
                    cell=cell,
                    overrides=overrides,
                    seed=seed,
                    role=role,
                    split="report" if "eval_suite.split" in overrides else "selection",
                    proposal=proposal,
                )
            )

    add("untouched", {"epochs": 0}, "baseline")
    for number, cell in enumerate(cells, 1):
        label = " ".join(f"{path[7:]}={value:g}" for path, value in cell.items())
        add(label, cell, "cell", number if points else None)
    if report:
        split = {"eval_suite.split": "report"}
        add("untouched", {"epochs": 0, **split}, "baseline")
        add("alpha=0.1 beta=0.1", {"method.alpha": 0.1, "method.beta": 0.1, **split}, "final")
    study = Study(
        name=name, study=name, question="Where should the weights stand?", preset="miniature",
        mode="search" if points else "matrix", search="tpe" if points else None, space=SPACE,
        objectives=("clean", "robust"), surfaces=(("method.alpha", "method.beta"),),
        published={"method.alpha": 0.08, "method.beta": 0.05}, base=base, seeds=tuple(seeds), plan=tuple(plan),
        fingerprint="0" * 12, created="2026-01-01T00:00:00+00:00", zsr="0.1.0", score_eps=eps[0],
    )  # fmt: skip
    write_study(folder, study)
    for trial in plan:
        if not missing(trial):
            run(folder, trial, study.config(trial), fails=fails(trial))
    return study


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """Return :func:`build_study`."""
    return build_study


@pytest.fixture
def make_methods_study() -> MakeStudy:
    """Return :func:`build_methods_study`."""
    return build_methods_study


def build_methods_study(folder: Path, *, name: str = "methods") -> Study:
    """Write a study that lists methods, of other fields than TGA-ZSR has; one trial failed, and none has records."""
    sets = (DataRef(), DataRef(name="animals"))
    attack = Apgd(steps=2)
    suite = EvalSuite(tasks=sets, n=IMAGES, attacks=(attack,), eps=(1 / 255, 2 / 255))
    base = TrialConfig(method=TgaZsr(), epochs=1, eval_suite=suite, train_attack=Pgd(steps=1, step_size=1 / 255))
    variants = tuple(Variant(label=method.title, overrides={"method": method}) for method in (Fare(), PmgAft(), Ucat()))
    sweep = Sweep(name=name, question="Which method?", variants=variants, base={"miniature": base})
    study = new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=("clean", "robust"))
    write_study(folder, study)
    for trial in study.plan:
        config, fails = study.config(trial), trial.cell == Ucat.title
        numbers = [
            Measurement(
                trial_id=trial.trial_id, weights_sha="w", task=task, split=trial.split, attack=name, eps=eps,
                metric=metric, value=value, n=IMAGES, low=None, high=None,
            )
            for task in ("source", "animals", ZERO_SHOT_MEAN)
            for metric, name, eps, value in (
                ("clean", "none", 0.0, 80.0), ("robust", attack.name, 1 / 255, 30.0), ("robust", WORST, 1 / 255, 30.0),
                ("harmonic", WORST, 1 / 255, 43.6),
            )
        ]  # fmt: skip
        result = TrialResult(
            trial_id=trial.trial_id, config=config, status="failed" if fails else "done",
            measurements=() if fails else tuple(numbers), cost={} if fails else {"seconds_eval": 0.5},
            error="loss is NaN" if fails else "",
        )  # fmt: skip
        write_text(trial_folder(folder, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return study


CopyRecords = Callable[[Path, Path], None]


@pytest.fixture
def copy_records() -> CopyRecords:
    """Copy the records of one trial folder into another, as that trial's own."""

    def copied(source: Path, target: Path) -> None:
        table = read_samples(source / "samples.parquet")
        at = table.schema.get_field_index("trial_id")
        ids = pa.array([target.name] * len(table), pa.string()).cast(table.schema.field(at).type)
        pq.write_table(table.set_column(at, table.schema.field(at), ids), target / "samples.parquet")

    return copied


@pytest.fixture(scope="session")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A folder per set, built on demand and only read."""

    @lru_cache
    def folder(name: str) -> Path:
        root = tmp_path_factory.mktemp(name)
        BUILD[name](root)
        return root

    return folder
