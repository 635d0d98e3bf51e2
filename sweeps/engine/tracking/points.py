"""Metrics of a tracked run, as plain values: the scores, costs and curves of a trial, and the numbers of a study.

The tracker's compare view lists metrics in alphabetical order. So curves start with ``train_``, costs with ``cost_``.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.scores import CellScore, scores
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.objectives import AWAITED, TITLES, headline
from zsr_core.data.shifts.names import is_shift
from zsr_core.evaluation.measure import Measurement, score_task
from zsr_core.evaluation.metrics.retrieval import FEATURES
from zsr_core.threat import Norm
from zsr_core.trial.result import TrialResult

# fields of a report that say how far a trial is, and so are no metrics
PROGRESS = ("epoch", "epochs", "step", "steps", "task", "tasks", "phase", "done_share")
BEFORE = -1  # the step of a score that is not known yet; every other step comes after it


@dataclass(frozen=True, kw_only=True)
class Point:
    """One value of a metric: ``step`` is the epoch of a curve, ``at`` the time in ms since 1970."""

    name: str
    value: float
    step: int
    at: int


def metric_name(m: Measurement, norm: Norm) -> str:
    """Return ``clean_<task>``, ``robust_pgd10_eps1_<task>``: eps in 1/255 for linf, in pixel units for l2."""
    budget = "" if is_shift(m.attack) else f"_{_budget(m, norm)}"
    condition = "" if m.attack == "none" else f"_{m.attack}{budget}"
    return re.sub(r"[^\w./ -]", "_", f"{m.metric}{condition}_{m.task}")


def _budget(m: Measurement, norm: Norm) -> str:
    if m.attack in FEATURES:
        return f"{m.eps:.4g}"
    eps = m.eps
    return f"eps{eps * 255:.4g}" if norm == "linf" else f"l2eps{eps:.4g}"


def final_points(result: TrialResult, at: int, eps: float) -> list[Point]:
    """Return the zero-shot scores of a trial, read at the budget ``eps``, every measurement, and the costs.

    Of single corruptions and factors the means over sets alone, because a run would else have thousands of metrics.
    """
    norm = result.config.eval_suite.norm
    values = {
        str(name): m.value for name, m in headline(result, eps).items()
    }  # first, because a comparison opens on the first metric
    scored = score_task(result.measurements)
    kept = [m for m in result.measurements if m.task == scored or not is_shift(m.attack)]
    values |= {metric_name(m, norm): m.value for m in kept}
    values |= {f"cost_{name}": value for name, value in result.cost.items()}
    defined = {name: value for name, value in values.items() if value is not None}  # an undefined number is no point
    return [Point(name=name, value=float(value), step=0, at=at) for name, value in defined.items()]


def awaited_scores(at: int) -> list[Point]:
    """Return the scores of a trial that still trains: not a number, at a step before every other step.

    Parallel coordinates open on the first metric that a run was given, and the scores are known last.
    """
    return [Point(name=name, value=math.nan, step=BEFORE, at=at) for name in AWAITED]


def curve_points(metrics: Mapping[str, float], step: int, at: int) -> list[Point]:
    """Return one report of a trial as points of its training curves; a report of an evaluation has none."""
    if metrics.get("phase"):
        return []
    curves = {name: value for name, value in metrics.items() if name not in PROGRESS}
    return [Point(name=f"train_{name}", value=float(value), step=step, at=at) for name, value in curves.items()]


def history_points(result: TrialResult, start: int) -> list[Point]:
    """Return a finished trial's training curves, each epoch at the time it ended."""
    points, seconds = [], 0.0
    for number, row in enumerate(result.history):
        seconds += row.get("seconds", 0.0)
        points += curve_points(row, int(row.get("epoch", number)), start + round(1000 * seconds))
    for score in result.rungs:
        at = start + round(1000 * score.share * result.cost.get("seconds_train", 0.0))
        points += [
            Point(name=f"rung_{name}", value=value, step=score.step, at=at) for name, value in score.scores.items()
        ]
    return points


def start_and_end(result: TrialResult, fallback: float) -> tuple[int, int]:
    """Return when a trial started and ended, in ms since 1970; ``fallback`` is an end in seconds if none is noted."""
    end = _ms(result.provenance.get("finished", "")) or round(1000 * fallback)
    length = round(1000 * result.cost.get("seconds_total", 0.0))
    return _ms(result.provenance.get("started", "")) or end - length, end


def created_ms(study: Study) -> int | None:
    """Return when the study was created, in ms since 1970, or None where that cannot be read."""
    return _ms(study.created)


def _ms(text: str) -> int | None:
    try:
        return round(1000 * datetime.fromisoformat(text).timestamp())
    except ValueError:
        return None


def study_values(folder: StudyFolder) -> dict[str, float]:
    """Return a study's own metrics: trials by status, and the scores of the best cell, the baseline and the final."""
    study, results = folder.study, folder.results
    ended = Counter(result.status for result in results.values())
    values: dict[str, float] = {
        "trials_planned": len(study.plan),
        "trials_done": ended["done"],
        "trials_failed": ended["failed"],
        **({"trials_stopped": ended["pruned"]} if ended["pruned"] else {}),
        "trials_missing": len(study.plan) - len(results),
    }
    shown = {"best": chosen(folder), **_rows(folder)}
    for name, row in shown.items():
        by_objective = {objective: row.value(objective) for objective in TITLES} if row else {}
        values |= {f"{name}_{objective}": value for objective, value in by_objective.items() if value is not None}
    return {name: float(value) for name, value in values.items()}


def _rows(folder: StudyFolder) -> dict[str, CellScore]:
    """Return the scores of the untouched model and of the final choice, by role and split."""
    rows = scores(folder, "baseline") + scores(folder, "final")
    return {f"{row.role}_{row.split}": row for row in reversed(rows)}
