"""The plan as lines of text, and the cost of the trials that are left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sweeps.engine.format import counted
from sweeps.engine.study.folder import UNTOUCHED, StudyFolder
from zsr_core.duration import duration
from zsr_core.trial.config import TrialConfig


def listing(
    folder: StudyFolder,
    seconds: Callable[[TrialConfig], float],
    *,
    slots: int,
    to_come: int = 0,
    closing: int = 0,
    gpu: Gpu | None = None,
) -> list[str]:
    """Return the plan as lines: every trial with its status, then how many are left and the estimated time.

    ``to_come`` is the number of trials that a search has yet to propose; each is taken to cost as much as the base.
    ``closing`` is the number of trials on the report split that the choice will add. ``gpu``: also give the cost in GPU
    hours of this card.
    """
    study = folder.study
    lines = [f"{study.study}: {study.question}", ""]
    lines += [f"  {t.trial_id}  {folder.status(t):<8} {t.role:<9} {t.split:<9} {t.label}" for t in study.plan]
    left = work_left(folder, seconds, to_come)
    if to_come:
        lines.append(f"  and {to_come} trials that {study.search} has yet to propose")
    todo = len(folder.unfinished()) + to_come
    rows = "every row" if study.report_all else f"the best cell{' and the named rows' if study.report_rows else ''}"
    then = f"; then {rows} and the untouched model on the report split"
    planned = len(study.plan) + to_come
    in_all = f": {counted(planned + closing, 'trial')} in all" if closing else ""
    end = "" if study.rows(split="report") else f"{then}{in_all}"
    lines += ["", f"{todo} of {planned} trials to run{end}."]
    if todo:
        lines.append(f"About {duration(left)} of work: {duration(left / slots)} with {slots} at a time.")
    if todo and gpu is not None:
        hours = work_left(folder, gpu.seconds, to_come) / 3600
        lines.append(f"On {gpu.name}: about {hours:.3g} GPU hours.")
    return lines


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A graphics card, with the seconds that a trial takes on it."""

    name: str
    seconds: Callable[[TrialConfig], float]


def work_left(folder: StudyFolder, cost: Callable[[TrialConfig], float], to_come: int = 0) -> float:
    """Return the cost of the trials that are left; weights that trials share are trained once."""
    study = folder.study
    left = to_come * cost(study.base)
    trained: set[str] = set()
    for trial in sorted(study.plan, key=lambda t: not folder.is_done(t)):
        config = study.config(trial)
        if not folder.is_done(trial):
            left += cost(config.with_(UNTOUCHED) if config.training_id in trained else config)
        trained.add(config.training_id)
    return left
