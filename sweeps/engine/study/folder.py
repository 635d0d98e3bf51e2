"""A study's folder, read once: the question and the plan (``study.json``), the results, and the records on demand.

The trial folders are authoritative: every table, figure, Parquet file and tracked run derives from them.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from textwrap import indent
from typing import Any, Literal, TypeVar, cast

from search_spaces import Branch
from sweeps.engine.study.index import Stamp, add_results, open_index, stamp_of
from sweeps.engine.study.keeping import Keep
from sweeps.engine.study.rebuilt import UNKNOWN, check_trial_id, rebuilt_plan
from sweeps.engine.study.stopping import Stopping
from zsr_core.codec import ConfigError, from_plain, parse_json, to_plain
from zsr_core.data import Split
from zsr_core.files import write_text
from zsr_core.space import Domain
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import Status, TrialResult, read_result

SCHEMA = 2
Role = Literal["cell", "baseline", "final"]
UNTOUCHED_LABEL = "untouched"  # the label of the pretrained model without fine-tuning
UNTOUCHED = {"epochs": 0}  # the overrides of that model
SPLIT = "eval_suite.split"  # cells are scored on the selection split, the chosen cell then on the report split
NUMBERED = re.compile(r"#(\d+) ")  # the beginning of the label of a search's proposal
JOURNAL = "optuna.journal"  # in the folder of a search
NO_PLAN = '\n "plan": []'  # an empty plan in the text of study.json
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of the plan: its id, its label in tables, its overrides of the base, and its role."""

    trial_id: str
    label: str
    cell: str  # the label without the seed: trials of one cell and split differ by seed alone
    overrides: Mapping[str, Any]
    seed: int
    role: Role = "cell"
    split: Split = "selection"  # the images that score it
    proposal: int | None = None  # which proposal of a search it runs, from 1; None in a listed plan

    def __post_init__(self) -> None:
        check_trial_id(self.trial_id)  # a study from elsewhere must not name a folder outside of itself

    @cached_property
    def lines(self) -> str:
        """The trial as an entry of the plan in ``study.json``."""
        return indent(json.dumps(to_plain(self), indent=1), "  ")

    @property
    def is_report(self) -> bool:
        """Whether the trial is scored on the report split, so that it takes no part in the selection."""
        return self.split == "report"


@dataclass(frozen=True, kw_only=True)
class PlannedRow:
    """The planned trials of one row of a table: they share everything but the seed."""

    cell: str
    role: Role
    split: Split
    proposal: int | None
    overrides: Mapping[str, Any]
    trials: tuple[PlannedTrial, ...]

    @property
    def is_report(self) -> bool:
        """Whether the row is scored on the report split."""
        return self.split == "report"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What ``study.json`` holds: the question, the search space, and the trials planned so far."""

    name: str
    study: str
    question: str
    preset: str
    mode: Literal["matrix", "search"]
    search: str | None
    space: Mapping[str, Domain]
    objectives: tuple[str, ...]
    surfaces: tuple[tuple[str, str], ...]
    published: Mapping[str, float]
    base: TrialConfig
    seeds: tuple[int, ...]
    plan: tuple[PlannedTrial, ...]
    fingerprint: str
    created: str
    zsr: str
    score_eps: float  # the budget at which every row's robust scores are read, in [0, 1] pixel units
    schema: int = SCHEMA
    notes: Mapping[str, str] = field(default_factory=dict)
    # source -> the tables that the study reproduces row by row; empty if it reproduces none.
    reproduces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str = UNTOUCHED_LABEL  # the row that tables compare the others with, by its label
    # Which cells run on the report split besides the chosen one: all of them, or those of these labels or numbers.
    report_all: bool = False
    report_rows: tuple[str, ...] = ()
    keep: tuple[Keep, ...] = ()  # conditions that the chosen cell must keep
    stop: Stopping | None = None  # the rule by which trials are stopped early; None: every trial runs to its end
    branches: tuple[Branch, ...] = ()  # of a conditional space, in which the axis `method` chooses one of them

    def config(self, trial: PlannedTrial) -> TrialConfig:
        """Return the full configuration of a planned trial."""
        return self.base.with_({**trial.overrides, "seed": trial.seed})

    def rows(self, *, role: Role | None = None, split: Split | None = None) -> tuple[PlannedRow, ...]:
        """Return the plan's rows in plan order, optionally of one role or one split only."""
        groups: dict[tuple[Role, Split, str], list[PlannedTrial]] = {}
        for trial in self.plan:
            if role in (None, trial.role) and split in (None, trial.split):
                groups.setdefault((trial.role, trial.split, trial.cell), []).append(trial)
        return tuple(_row(trials) for trials in groups.values())


def _row(trials: list[PlannedTrial]) -> PlannedRow:
    first = trials[0]
    return PlannedRow(
        cell=first.cell, role=first.role, split=first.split, proposal=first.proposal, overrides=first.overrides,
        trials=tuple(trials),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyFolder:
    """A study as it is on disk: its plan and the results so far. A command reads it once and passes it on.

    Records per image are read on demand. What is derived from them is cached until the command ends (:meth:`once`),
    because several tables use the same images.
    """

    path: Path
    study: Study
    results: Mapping[str, TrialResult]  # by trial id; a planned trial without one is missing
    _kept: dict[object, object] = field(default_factory=dict, init=False, repr=False)

    def result(self, trial: PlannedTrial) -> TrialResult | None:
        """Return the trial's result, done or not; None if it has none."""
        return self.results.get(trial.trial_id)

    def status(self, trial: PlannedTrial) -> Status | Literal["missing"]:
        """Return the trial's status; ``missing`` if it has no result."""
        result = self.result(trial)
        return "missing" if result is None else result.status

    def is_done(self, trial: PlannedTrial) -> bool:
        """Return whether the trial is done, so that it has numbers."""
        return self.status(trial) == "done"

    def done(self, trials: Iterable[PlannedTrial] | None = None) -> dict[str, TrialResult]:
        """Return the results of the done trials among ``trials`` (default: all planned ones), by trial id."""
        among = self.study.plan if trials is None else trials
        return {trial.trial_id: self.results[trial.trial_id] for trial in among if self.is_done(trial)}

    def by_seed(self, trials: Iterable[PlannedTrial]) -> dict[int, TrialResult]:
        """Return the results of the done trials among those of one row, by seed."""
        return {trial.seed: self.results[trial.trial_id] for trial in trials if self.is_done(trial)}

    def unfinished(self, trials: Iterable[PlannedTrial] | None = None) -> tuple[PlannedTrial, ...]:
        """Return the trials that are left to run: never run, cut off or failed. Those stopped early are not."""
        among = self.study.plan if trials is None else trials
        return tuple(trial for trial in among if self.status(trial) in ("missing", "failed"))

    def trial_path(self, trial_id: str) -> Path:
        """Return the folder of a trial."""
        return trial_folder(self.path, trial_id)

    def once(self, key: object, make: Callable[[], T]) -> T:
        """Return what ``make`` returns; it is called once for each ``key``."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(T, self._kept[key])


def open_study(path: Path | str) -> StudyFolder:
    """Return the study in the folder ``path`` with its results.

    Raises:
        ConfigError: naming the file, if the folder holds no study, or a study or result that cannot be read.
    """
    study = read_study(Path(path))
    return StudyFolder(path=Path(path), study=study, results=read_results(Path(path), study))


def read_study(path: Path) -> Study:
    """Return the plan of the study in the folder ``path``; a plan of schema 1 is converted.

    A ``study.json`` that is torn is set aside. Without one, the plan is what the trial folders tell.

    Raises:
        ConfigError: naming the folder, if it holds no study or one that cannot be read.
    """
    file = path / "study.json"
    plain, lack = read_plan(path)
    if plain is None:
        plain = rebuilt_plan(path)
        if plain is None:
            raise ConfigError(f"study: {path} {lack}; expected a folder that a sweep has written")
        print(
            f"study: {path} {lack}; read from {len(plain['plan'])} trial folders. Unknown: {UNKNOWN}", file=sys.stderr
        )
    if isinstance(plain, dict) and plain.get("schema") == 1:
        plain = _from_schema_1(plain)
    return from_plain(Study, plain, str(file))


def read_plan(path: Path) -> tuple[Any, str]:
    """Return the plain form of ``study.json``, or None and what is wrong with it; a torn file is set aside."""
    file = path / "study.json"
    if not file.is_file():
        return None, "holds no study.json"
    try:
        return parse_json(file.read_text(encoding="utf-8")), ""
    except (ValueError, RecursionError):  # no JSON, or no text
        aside = file.with_name("study.json.torn")
        with suppress(OSError):  # a read-only folder can still be read
            file.rename(aside)
        return None, f"holds a torn study.json, set aside as {aside.name}"


def _from_schema_1(plain: dict[str, Any]) -> dict[str, Any]:
    """Return a study of schema 1 as one of schema 2.

    Schema 1 kept the split and the number of a proposal in labels, and read scores at the suite's first budget.
    """
    try:
        plan = [_trial_from_schema_1(trial) for trial in plain["plan"]]
        budgets = [*plain["base"]["eval_suite"]["eps"], plain["base"]["threat"]["eps"]]
    except (KeyError, TypeError, AttributeError):
        return plain  # the strict reader names what is missing
    return {**plain, "schema": SCHEMA, "plan": plan, "score_eps": budgets[0]}


def _trial_from_schema_1(trial: dict[str, Any]) -> dict[str, Any]:
    split = trial["overrides"].get(SPLIT, "selection")
    numbered = NUMBERED.match(trial["cell"])
    renamed = {"cell": trial["cell"], "label": trial["label"]}
    if trial["role"] == "baseline" and split == "report":
        renamed = {name: text.replace(" (report)", "", 1) for name, text in renamed.items()}
    return {**trial, **renamed, "split": split, "proposal": int(numbered[1]) if numbered else None}


def write_study(path: Path, study: Study) -> Path:
    """Write ``study.json`` atomically.

    Each trial becomes text once, because a search writes its plan again with every proposal.
    """
    rest = json.dumps(to_plain(replace(study, plan=())), indent=1)
    trials = ",\n".join(trial.lines for trial in study.plan)
    plan = f'\n "plan": [\n{trials}\n ]' if study.plan else NO_PLAN
    return write_text(path / "study.json", rest.replace(NO_PLAN, plan, 1) + "\n")


def trial_folder(path: Path, trial_id: str) -> Path:
    """Return the folder of a trial's config, result and records.

    Raises:
        ConfigError: for an id that would name another folder.
    """
    check_trial_id(trial_id)
    return path / "trials" / trial_id


def read_results(path: Path, study: Study) -> dict[str, TrialResult]:
    """Return the results by trial id, in plan order; a planned trial without a result is left out.

    They are read from the study's index where it has them, otherwise from their folders.

    Raises:
        ConfigError: naming the file, if a folder holds the result of another trial.
    """
    index, results = open_index(path), {}
    new: dict[str, tuple[Stamp, TrialResult]] = {}
    for trial_id in (trial.trial_id for trial in study.plan):
        stamp = stamp_of(trial_folder(path, trial_id) / "result.json")
        if stamp is None:
            continue
        result = index.result(trial_id, stamp)
        if result is None:
            result = _own_result(path, trial_id)
            if result is None:
                continue
            new[trial_id] = (stamp, result)
        results[trial_id] = result
    add_results(path, new)
    return results


def _own_result(path: Path, trial_id: str) -> TrialResult | None:
    """Return a trial's result. A broken file is renamed with a warning, and the trial counts as missing."""
    folder = trial_folder(path, trial_id)
    try:
        result = read_result(folder)
    except ConfigError as error:
        file = folder / "result.json"
        aside = file.with_name("result.json.torn")
        with suppress(OSError):  # a read-only folder can still be read
            file.rename(aside)
        print(f"{error}: set aside as {aside.name}, the trial counts as missing", file=sys.stderr)
        return None
    if result is not None and result.trial_id != trial_id:
        raise ConfigError(f"result: {folder / 'result.json'} is of trial {result.trial_id}, expected {trial_id}")
    return result
