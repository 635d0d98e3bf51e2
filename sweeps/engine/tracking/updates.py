"""What a run at the tracker lacks, decided from values alone: whether it is up to date, and what is to be sent to it.

Nothing here calls the tracker. ``mirror`` reads the runs that exist, asks here what they lack, and makes the calls.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import ceil
from pathlib import Path
from urllib.parse import quote

from sweeps.engine.study.folder import PlannedTrial, Study, StudyFolder, trial_folder
from sweeps.engine.study.objectives import AWAITED, TITLES
from sweeps.engine.tracking.entries import Data, datasets, params, result_tags, study_params, study_tags, swept
from sweeps.engine.tracking.points import (
    BEFORE,
    Point,
    awaited_scores,
    created_ms,
    curve_points,
    final_points,
    history_points,
    start_and_end,
    study_values,
)
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

SCHEMA = 3  # of what a run shows; a higher number brings every recorded run up to date once more
SEAL = "zsr.mirrored"  # the tag that holds the digest of what a run was last brought up to date from
METRICS_PER_CALL = 800  # servers accept 1000 entries a call, parameters and tags included
TEXTS_PER_CALL = 99  # servers accept 100 tags a call, and the seal may be one more
LINKED = 100  # trials in the comparison that a study's note links to, because browsers limit the length of an address
TRAINING_VIEW = "&workflowType=machine_learning"  # the UI's view for training, not the one for language models
STATUS = {"done": "FINISHED", "failed": "FAILED", "pruned": "KILLED"}  # of a trial -> of its run
RECORDS = ("result.json", "samples.parquet", "audit.json")  # files of a trial's folder that go with its run


@dataclass(frozen=True, kw_only=True)
class KnownRun:
    """A run that exists, as far as bringing it up to date needs it."""

    run_id: str
    status: str
    params: frozenset[str] = frozenset()
    tags: Mapping[str, str] = field(default_factory=dict)
    has_metrics: bool = False
    awaits_scores: bool = False  # its scores are recorded as not a number so far
    digest: str = ""  # the value of its seal


@dataclass(frozen=True, kw_only=True)
class Update:
    """Entries to be sent to a run. ``digest`` becomes its seal, which says that it is complete."""

    points: Sequence[Point] = ()
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    digest: str = ""


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the run of a trial or of a study must show."""

    status: str
    end: int  # in ms since 1970
    update: Update
    files: tuple[tuple[Path, str | None], ...]  # each with the folder among the artifacts that it goes to
    start: int = 0
    data: tuple[Data, ...] = ()


# --- what is sent -----------------------------------------------------------------------------------------------


def unsent(run: KnownRun, update: Update) -> Update:
    """Return the part of an update that the run does not show yet. A parameter that exists cannot change."""
    return replace(
        update,
        params={name: value for name, value in update.params.items() if name not in run.params},
        tags={name: value for name, value in update.tags.items() if run.tags.get(name) != value},
    )


def batches(update: Update) -> list[Update]:
    """Return an update in parts that servers accept in one call. The last part carries the seal."""
    texts = max(len(update.params), len(update.tags))
    calls = max(ceil(len(update.points) / METRICS_PER_CALL), ceil(texts / TEXTS_PER_CALL), 1 if update.digest else 0)
    return [
        Update(
            points=update.points[call * METRICS_PER_CALL : (call + 1) * METRICS_PER_CALL],
            params=_part(update.params, call),
            tags={**_part(update.tags, call), **({SEAL: update.digest} if update.digest and call == calls - 1 else {})},
        )
        for call in range(calls)
    ]


def _part(texts: Mapping[str, str], call: int) -> dict[str, str]:
    return dict(list(texts.items())[call * TEXTS_PER_CALL : (call + 1) * TEXTS_PER_CALL])


def after(run: KnownRun, update: Update) -> KnownRun:
    """Return what is known of a run once an update has been sent to it."""
    return replace(
        run,
        params=run.params | update.params.keys(),
        tags={**run.tags, **update.tags},
        has_metrics=run.has_metrics or bool(update.points),
        awaits_scores=run.awaits_scores or any(point.step == BEFORE for point in update.points),
        digest=update.digest or run.digest,
    )


# --- a trial ----------------------------------------------------------------------------------------------------


def progress_points(run: KnownRun, config: TrialConfig, report: Mapping[str, float], step: int, at: int) -> list[Point]:
    """Return the points of a running trial's report. Before its first points, its scores are set to not a number.

    The last epoch is left out: it is sent after the scores, because some databases list the latest metric last.
    """
    points = curve_points(report, step, at) if step != config.epochs else []
    return awaited_scores(at) + points if points and not run.has_metrics else points


def trial_digest(study: Study, trial: PlannedTrial, folder: Path) -> str:
    """Return the digest of what a trial's run shows: its place in the plan, and its result."""
    place = (SCHEMA, trial.label, trial.cell, trial.role, study.study)
    return _digest(repr(place).encode() + _result_file(folder, trial).read_bytes())


def trial_target(study: Study, trial: PlannedTrial, result: TrialResult, folder: Path) -> Target:
    """Return what the run of a trial with a result must show."""
    file = _result_file(folder, trial)
    start, end = start_and_end(result, fallback=file.stat().st_mtime)
    update = Update(
        points=final_points(result, end, study.score_eps) + history_points(result, start),
        params=params(result.config, swept(study)),
        tags=result_tags(study, trial, result, folder),
    )
    records = (file.with_name(name) for name in RECORDS)
    return Target(
        status=STATUS[result.status],
        start=start,
        end=end,
        update=update,
        files=tuple((path, "records") for path in records if path.is_file()),
        data=tuple(datasets(result.config)),
    )


def _result_file(folder: Path, trial: PlannedTrial) -> Path:
    return trial_folder(folder, trial.trial_id) / "result.json"


def is_current(run: KnownRun | None, digest: str, status: str) -> bool:
    """Return whether a run shows what it must show."""
    return run is not None and run.digest == digest and run.status == status


def must_be_replaced(run: KnownRun, update: Update) -> bool:
    """Return whether a run has to be made anew: it awaits scores, and its trial has ended without one of them.

    The UI's contour plot leaves out a metric that is not a number in any of the compared runs.
    """
    return run.awaits_scores and not {point.name for point in update.points} >= set(AWAITED)


def split_scores(points: Iterable[Point]) -> tuple[list[Point], list[Point]]:
    """Return the points of the headline scores, and the other points."""
    points = list(points)
    scores = [point for point in points if point.name in TITLES]
    return scores, [point for point in points if point.name not in TITLES]


def curve_names(points: Iterable[Point]) -> set[str]:
    """Return the names of the training curves among the points."""
    return {point.name for point in points if point.name.startswith("train_")}


def without_sent(points: Iterable[Point], sent: Iterable[tuple[str, int, float]]) -> list[Point]:
    """Return the points whose name, step and value were not sent yet.

    The time is not compared, because a running trial's curve has the times at which the driver heard of its points.
    """
    known = {(name, step, repr(value)) for name, step, value in sent}
    return [point for point in points if (point.name, point.step, repr(point.value)) not in known]


# --- a study ----------------------------------------------------------------------------------------------------


def study_target(folder: StudyFolder, *, artifacts: Sequence[Path], link: str) -> Target:
    """Return what the study's own run must show: scores, note, files, and the status that follows from its trials."""
    tags, values = study_tags(folder, link=link), study_values(folder)
    files = {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in artifacts if path.is_file()}
    status = study_status(folder)
    shown = (SCHEMA, status, tags, values, {str(path): sha for path, sha in files.items()})
    ends = [start_and_end(result, fallback=time.time())[1] for result in folder.results.values()]
    end = max([*ends, created_ms(folder.study) or 0])
    points = [Point(name=name, value=value, step=0, at=end) for name, value in values.items()]
    params = study_params(folder.study)
    return Target(
        status=status,
        end=end,
        update=Update(points=points, params=params, tags=tags, digest=_digest(repr(shown).encode())),
        files=tuple((path, path.parent.name if path.parent != folder.path else None) for path in files),
    )


def study_status(folder: StudyFolder) -> str:
    """Return the status of a study's own run."""
    states = {folder.status(trial) for trial in folder.study.plan}
    if "missing" in states:
        return "KILLED"
    return "FAILED" if "failed" in states else "FINISHED"


def comparison_link(run_ids: Sequence[str], experiment: str) -> str:
    """Return the address within the UI that compares these runs, or an empty string for fewer than two."""
    linked = list(run_ids[:LINKED])
    runs, experiments = (quote(json.dumps(ids, separators=(",", ":"))) for ids in (linked, [experiment]))
    return f"#/compare-runs?runs={runs}&experiments={experiments}{TRAINING_VIEW}" if len(linked) > 1 else ""


def _digest(shown: bytes) -> str:
    return hashlib.sha256(shown).hexdigest()[:16]
