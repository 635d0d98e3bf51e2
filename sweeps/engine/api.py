"""The engine from Python: studies as data frames and figures, sweeps, single trials and their models, evaluations.

Whatever the command line does, a function here or one that it names does as well. Paths may be text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas
import torch
from matplotlib.figure import Figure

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.matrix import MatrixRequest, matrices
from sweeps.engine.analysis.ranking import LISTED, ranked
from sweeps.engine.documents.forms.csv import FIELDS
from sweeps.engine.documents.parquet import study_table
from sweeps.engine.figures.kinds import KINDS, draw_into
from sweeps.engine.figures.names import READS
from sweeps.engine.figures.scene import Request
from sweeps.engine.running.launch import run_launch, stoppable
from sweeps.engine.running.options import read_options
from sweeps.engine.running.output import encodable_output
from sweeps.engine.study.folder import SPLIT, PlannedTrial, StudyFolder, open_study
from sweeps.engine.study.plan import study_name
from sweeps.engine.study.sweep import Sweep
from zsr_core.codec import ConfigError, did_you_mean, require, unknown
from zsr_core.data import DataRef, ImageSet, Split
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.model.load import ModelRef
from zsr_core.text import TextBank
from zsr_core.trial.check import check
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.context import RunContext
from zsr_core.trial.deploy import kept_weights, restored
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

Place = StudyFolder | Path | str
SEVERAL = ("warm_start", "report_rows", "keep")  # flags that take several arguments, rather than a list with commas


def _opened(study: Place) -> StudyFolder:
    return study if isinstance(study, StudyFolder) else open_study(study)


# ---- a study as data


def measurements(study: Place) -> pandas.DataFrame:
    """Return one row per measurement, the whole configuration beside it: what ``study.parquet`` holds.

    Raises:
        ConfigError: if the folder holds no study, or a result that cannot be read.
    """
    return study_table(_opened(study)).to_pandas()


def ranking(study: Place, split: Split = "selection", *, most: int = LISTED) -> pandas.DataFrame:
    """Return the ``most`` best configurations of one split from the best down, the untouched model last.

    A row has the axes by dotted path, then per score such as "robust" its mean in percent, its sample standard
    deviation over seeds (``robust_sd``), its difference to the untouched model in points with the 95 % interval
    (``robust_gap``, ``robust_gap_low``, ``robust_gap_high``), and whether tables star that (``robust_gap_holds``).
    """
    table = ranked(_opened(study), split, most)
    rows = []
    for row in table.rows:
        axes = {} if row.role == "baseline" else {path: v for path, v in row.overrides.items() if path != SPLIT}
        facts: dict[str, Any] = {
            "configuration": row.label, **axes, "chosen": row.chosen, "rival": row.label in table.rivals,
            "seeds": len(row.seeds), "failed": row.failed, "audit_fails": " ".join(row.fails),
        }  # fmt: skip
        for column, cell in zip(table.columns, row.cells, strict=True):
            name = column.title
            facts |= {name: cell.value, f"{name}_sd": cell.sd}
            if cell.gap is not None:
                low, high = cell.gap.interval
                facts |= {f"{name}_gap": cell.gap.value, f"{name}_gap_low": low, f"{name}_gap_high": high}
                facts[f"{name}_gap_holds"] = cell.gap.holds
        rows.append(facts)
    return pandas.DataFrame(rows)


def matrix_frame(study: Place, **asked: Any) -> pandas.DataFrame:
    """Return the matrices of a study, one per split, a row per number with all that is known of it.

    Args:
        asked: the fields of :class:`~sweeps.engine.analysis.matrix.MatrixRequest`: baseline, metrics, per_set, ...

    Raises:
        ConfigError: for a baseline that is no row's label, or a score that is not in the table.
    """
    rows = [
        {name: get(matrix, row, column, cell) for name, get in FIELDS}
        for matrix in matrices(_opened(study), MatrixRequest(**asked))
        for row in matrix.rows
        for column, cell in zip(matrix.columns, row.cells, strict=True)
    ]
    return pandas.DataFrame(rows, columns=[name for name, _ in FIELDS])


def figures_of(study: Place, *kinds: str, **asked: Any) -> dict[str, Figure]:
    """Return figures of a study by name: of the ``kinds`` named, by default those that a launch draws.

    The kind "all" by itself names every kind; those that cannot be drawn of this study are left out.

    Args:
        asked: the fields of :class:`~sweeps.engine.figures.scene.Request`: x, y, z, facet, beside, cliff, baseline.

    Raises:
        ConfigError: for an unknown kind, one that cannot be drawn of this study, or an option that no kind reads.
    """
    every = kinds == ("all",)
    for kind in () if every else kinds:
        if kind not in KINDS:
            raise unknown("kind", kind, (*KINDS, "all"))
    folder = _opened(study)
    if "beside" in asked:
        asked["beside"] = tuple(_opened(each) for each in asked["beside"])
    drawn: dict[str, Figure] = {}

    def keep(figure: Figure, name: str) -> None:
        drawn[name] = figure

    for together in [(kind,) for kind in KINDS] if every else [kinds]:
        read = {name: value for name, value in asked.items() if not every or name in READS[together[0]]}
        try:
            draw_into(folder, Request(kinds=together, **read), keep)
        except ConfigError:
            if not every:
                raise
    return drawn


# ---- sweeps


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """A launch that has ended: its exit code and the study as it stands."""

    exit_code: int  # 0: every planned trial is done; 1: one is missing or failed, or an output could not be made
    folder: StudyFolder


def run_sweep(sweep: Sweep, *, results: Path | str | None = None, **flags: Any) -> SweepRun:
    """Run what is missing of a sweep, as its script does, and return the study.

    Args:
        results: where studies are kept; by default ``./results``.
        flags: the script's flags by name, as in ``local=True, seeds=3, search="tpe", samples=20, tracking="none"``.

    Raises:
        ConfigError: if the input cannot be used, and nothing was started.
        KeyboardInterrupt: if it was stopped; the same call goes on from what has finished.
    """
    given = {**flags, "results": str(results)} if results is not None else flags
    options = read_options(sweep, _arguments(given))
    require(not options.plan, "plan", True, "no such flag here: `launch(sweep, ['--plan'])` prints the plan")
    with encodable_output(), stoppable():
        code = run_launch(sweep, options)
    return SweepRun(
        exit_code=code, folder=open_study(options.results / study_name(sweep, options.preset, options.search))
    )


def _arguments(flags: Mapping[str, Any]) -> list[str]:
    arguments: list[str] = []
    for name, value in flags.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            arguments.append(flag)
        elif isinstance(value, (list, tuple)):
            arguments += [flag, *map(str, value)] if name in SEVERAL else [flag, ",".join(map(str, value))]
        elif value is not None and value is not False:  # 0 is a value: no GPU for a trial
            arguments += [flag, str(value)]
    return arguments


# ---- trials and models


@dataclass(frozen=True, kw_only=True, eq=False)
class TunedModel:
    """A trial with its model: the classifier as it is deployed, its texts per image set, and its image size."""

    result: TrialResult
    victim: Victim  # ``victim.embed`` is the image tower; ``victim.logits(x, texts)`` classifies
    texts: Callable[[ImageSet], TextBank]
    image_size: int  # pixels a side


def train(config: TrialConfig, folder: Path | str, *, device: str | None = None) -> TunedModel:
    """Train and evaluate one trial in ``folder``, or find it there, and return it with its model.

    The folder holds ``trials/<id>/`` and, so that nothing is trained twice, the tuned weights.

    Raises:
        ConfigError: if the configuration cannot be used here.
        RuntimeError: if the trial failed, with its reason.
    """
    check(config)
    root = Path(folder).expanduser()
    result = run_trial(config, root / "trials" / config.trial_id, RunContext(cache=root, device=device))
    if result.status != "done":
        raise RuntimeError(f"trial {config.trial_id} {result.status}: {result.error}")
    return _model(result, root, device)


def tuned(study: Place, cell: str | None = None, *, seed: int | None = None, device: str | None = None) -> TunedModel:
    """Return a finished trial of a study with its model; without a cell the trial of the study's final choice.

    Raises:
        ConfigError: if no such trial has finished.
    """
    folder = _opened(study)
    trial = _trial(folder, cell, seed)
    return _model(folder.results[trial.trial_id], folder.path, device)


def weights_of(study: Place, cell: str | None = None, *, seed: int | None = None) -> Path:
    """Return the file of a cell's tuned weights, as safetensors; without a cell of the study's final choice.

    Raises:
        ConfigError: if no such trial has finished, it is untouched, or its weights are no longer there.
    """
    folder = _opened(study)
    trial = _trial(folder, cell, seed)
    config = folder.results[trial.trial_id].config
    file = kept_weights(config, folder.path) if config.epochs else None
    if file is None or not file.is_file():
        raise ConfigError(f"weights: {folder.path} holds no tuned weights of {trial.label!r}")
    return file


def _trial(folder: StudyFolder, cell: str | None, seed: int | None) -> PlannedTrial:
    done = [trial for trial in folder.study.plan if folder.is_done(trial)]
    winner = chosen(folder) if cell is None else None
    name = cell if winner is None else winner.cell
    wanted = [t for t in done if t.cell == name and (cell is not None or t.role == "final") and seed in (None, t.seed)]
    if not wanted:
        known = list(dict.fromkeys(trial.cell for trial in done))
        asked = "final choice" if cell is None else repr(cell)
        of_seed = "" if seed is None else f" with seed {seed}"
        nearest = did_you_mean(cell or "", known)
        raise ConfigError(
            f"cell: no finished trial of {asked}{of_seed}{nearest}; there are: {', '.join(known) or 'none'}"
        )
    return wanted[0]


def _model(result: TrialResult, cache: Path, device: str | None) -> TunedModel:
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    model = restored(result.config, cache, where)
    return TunedModel(result=result, victim=model.victim, texts=model.banks, image_size=model.image_size)


def evaluate(
    model: ModelRef,
    suite: EvalSuite,
    folder: Path | str = "results/evaluated",
    *,
    seed: int = 0,
    device: str | None = None,
    trained_on: DataRef | None = None,
) -> TrialResult:
    """Evaluate a model as it is under attack; finished batches are found again, as ``zsr evaluate`` finds them.

    ``trained_on``: the set that the model was tuned on, which is kept out of the zero-shot mean.

    Raises:
        ConfigError: if the model or a set cannot be used here.
        RuntimeError: if the evaluation failed, with its reason.
    """
    config = TrialConfig(model=model, epochs=0, seed=seed, eval_suite=suite, train_data=trained_on or DataRef())
    check(config)
    result = run_trial(config, Path(folder).expanduser() / config.trial_id, RunContext(device=device))
    if result.status != "done":
        raise RuntimeError(f"evaluation {config.trial_id} {result.status}: {result.error}")
    return result
