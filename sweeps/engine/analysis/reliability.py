"""Reliability of a study's rows: the bins of every trial, and those of the rows that a diagram shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.study.folder import PlannedRow, PlannedTrial, StudyFolder
from sweeps.engine.study.objectives import score_named
from zsr_core.codec import ConfigError
from zsr_core.data import zero_shot_names
from zsr_core.evaluation.measure import WORST, Place, by_place
from zsr_core.evaluation.metrics import Images
from zsr_core.evaluation.reliability import ReliabilityBin, pooled, reliability
from zsr_core.records import from_table, read_samples

POOLED = "zero-shot sets together"  # a diagram's task: every image of all sets but the training set counts once


@dataclass(frozen=True, kw_only=True)
class Diagram:
    """One reliability diagram: a row of the study without attack or under the worst one."""

    cell: str
    split: str
    attack: str  # "none" or "worst"
    eps: float
    bins: tuple[ReliabilityBin, ...]
    n: int  # images, over sets and seeds

    @property
    def error(self) -> float:
        """The expected calibration error of the pooled images, as a fraction."""
        return sum(b.n * abs(b.accuracy - b.confidence) for b in self.bins) / self.n


def trial_places(folder: StudyFolder, trial: PlannedTrial) -> Mapping[Place, Images]:
    """Return the images of a finished trial by task and condition, read once."""

    def read() -> Mapping[Place, Images]:
        return by_place(from_table(read_samples(folder.trial_path(trial.trial_id) / "samples.parquet")))

    return folder.once(("places", trial.trial_id), read)


def reliability_rows(folder: StudyFolder) -> list[tuple[PlannedTrial, ReliabilityBin]]:
    """Return the bins of every finished trial, task and condition."""
    done = [trial for trial in folder.study.plan if folder.is_done(trial)]
    return [(trial, row) for trial in done for row in reliability(trial_places(folder, trial))]


def diagrams(folder: StudyFolder) -> list[Diagram]:
    """Return the diagrams of the untouched model and of the chosen cell, clean and under the worst attack.

    They are of the report split if it was measured. Images of all zero-shot sets and of all seeds are pooled.

    Raises:
        ConfigError: if no trial is done.
    """
    winner = chosen(folder)
    rows = [row for row in _last(folder) if row.role == "baseline" or (winner and row.cell == winner.cell)]
    made = [diagram for row in rows for diagram in _of_row(folder, row)]
    if not made:
        raise ConfigError(f"reliability: no trial of {folder.study.study} is done; expected records to draw")
    return made


def _last(folder: StudyFolder) -> Sequence[PlannedRow]:
    """Return the rows of the report split if one is done, else those of the selection split."""
    study = folder.study
    report = study.rows(split="report")
    return report if any(folder.is_done(t) for row in report for t in row.trials) else study.rows(split="selection")


def _of_row(folder: StudyFolder, row: PlannedRow) -> list[Diagram]:
    study = folder.study
    groups: dict[Place, list[Images]] = {}
    for trial in row.trials:
        if not folder.is_done(trial):
            continue
        config = folder.results[trial.trial_id].config
        zero_shot = set(zero_shot_names(config.eval_suite.tasks, config.train_data))
        for (task, attack, eps), images in trial_places(folder, trial).items():
            at = score_named("clean").budget(eps) if attack == "none" else study.score_eps
            if task in zero_shot and attack in ("none", WORST) and abs(eps - at) < 1e-9:
                groups.setdefault((POOLED, attack, eps), []).append(images)
    bins: dict[Place, list[ReliabilityBin]] = {}
    for each in pooled(groups):
        bins.setdefault((each.task, each.attack, each.eps), []).append(each)
    return [
        Diagram(
            cell=row.cell, split=row.split, attack=place[1], eps=place[2], bins=tuple(rows), n=sum(r.n for r in rows)
        )
        for place, rows in bins.items()
    ]
