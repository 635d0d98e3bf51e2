"""A study's folder: what was asked and planned (``study.json``), and the finished trials beside it.

The trial folders are the truth; every table, figure, Parquet file and tracked run derives from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from zsr_core.codec import ConfigError, read_json, to_plain
from zsr_core.files import write_text
from zsr_core.space import Domain
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult, read_result

SCHEMA = 1
Role = Literal["cell", "baseline", "final"]
UNTOUCHED_LABEL = "untouched"  # the label of the model as it came


@dataclass(frozen=True, kw_only=True)
class PlannedTrial:
    """One trial of the plan: its id, how tables call it, what makes it differ from the base, and why it is run."""

    trial_id: str
    label: str
    cell: str  # the label without the seed: trials of one cell differ by seed alone
    overrides: Mapping[str, Any]
    seed: int
    role: Role = "cell"


@dataclass(frozen=True, kw_only=True)
class Study:
    """What ``study.json`` holds: the question, the space it moves in, and the trials planned so far."""

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
    schema: int = SCHEMA
    notes: Mapping[str, str] = field(default_factory=dict)
    # source -> its tables: what the study reproduces, row by row; a study that asks a question of its own has none.
    reproduces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    baseline: str = UNTOUCHED_LABEL  # the row that tables compare the others with, by its label

    def config(self, trial: PlannedTrial) -> TrialConfig:
        """Return the full configuration of a planned trial."""
        return self.base.with_({**trial.overrides, "seed": trial.seed})


def read_study(folder: Path) -> Study:
    """Return the study in ``folder``.

    Raises:
        ConfigError: naming the folder, if it holds no study or one that cannot be read.
    """
    found = read_json(Study, folder / "study.json", "study")
    if found is None:
        raise ConfigError(f"study: {folder} holds no study.json; expected a folder that a sweep has written")
    return found


def write_study(folder: Path, study: Study) -> Path:
    """Write ``study.json``, whole or not at all."""
    return write_text(folder / "study.json", json.dumps(to_plain(study), indent=1) + "\n")


def trial_folder(folder: Path, trial_id: str) -> Path:
    """Return where the trial's config, result and records are."""
    return folder / "trials" / trial_id


def read_results(folder: Path, study: Study) -> dict[str, TrialResult]:
    """Return the results there are, by trial id, in plan order. A planned trial without one is missing."""
    found = ((trial.trial_id, read_result(trial_folder(folder, trial.trial_id))) for trial in study.plan)
    return {trial_id: result for trial_id, result in found if result is not None}


SPLIT = "eval_suite.split"  # cells are scored on the selection split, the chosen one then on the reporting split
UNTOUCHED = {"epochs": 0}  # the model as it came
