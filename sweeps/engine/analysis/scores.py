"""From finished trials to one score per cell, and from scores to the best cell and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sweeps.engine.analysis.stats import summarise
from sweeps.engine.study.folder import PlannedTrial, Role, Study
from sweeps.engine.study.objectives import AVERAGE, OBJECTIVES, WORST, Objective, score_eps
from zsr_core.audit.finding import SEVERITY, VerdictStatus
from zsr_core.codec import unknown
from zsr_core.evaluation.measure import Measurement
from zsr_core.trial.result import TrialResult


@dataclass(frozen=True, kw_only=True)
class CellScore:
    """One cell of the plan: its zero-shot scores in percent, averaged over the seeds that finished."""

    cell: str
    overrides: Mapping[str, Any]
    n: int  # seeds that finished
    clean: float | None  # None where nothing finished or nothing was measured
    robust: float | None
    harmonic: float | None
    clean_sd: float | None  # sample standard deviation over seeds; None below two seeds
    robust_sd: float | None
    harmonic_sd: float | None
    failed: int  # seeds that failed
    missing: int = 0  # seeds without a result, or stopped early
    reason: str = ""  # the first failure's error
    audit_fails: tuple[str, ...] = ()  # audit rules that fail in any of the seeds

    def value(self, objective: str) -> float | None:
        """Return the mean of one of :data:`OBJECTIVES`."""
        if objective not in OBJECTIVES:
            raise unknown("objective", objective, OBJECTIVES)
        found: float | None = getattr(self, objective)
        return found

    def doubts(self, objective: str) -> bool:
        """Return whether the audit doubts this score: it speaks of robustness, not of clean accuracy."""
        return bool(self.audit_fails) and objective != "clean"


def headline(result: TrialResult) -> dict[Objective, Measurement]:
    """Return the zero-shot averages of one trial by objective; what its suite did not measure is absent."""
    eps = score_eps(result.config)
    wanted: dict[Objective, tuple[str, float]] = {
        "clean": ("none", 0.0),
        "robust": (WORST, eps),
        "harmonic": (WORST, eps),
    }
    averages = {(m.metric, m.attack, m.eps): m for m in result.measurements if m.task == AVERAGE}
    found = {name: averages.get((name, *condition)) for name, condition in wanted.items()}
    return {name: m for name, m in found.items() if m is not None}


def rules_that(status: VerdictStatus, results: Iterable[TrialResult]) -> tuple[str, ...]:
    """Return the audit rules that have ``status`` in any of the trials and nothing graver in another, in order."""
    found: dict[str, set[str]] = {}
    for result in results:
        for rule, verdict in result.audit.items():
            found.setdefault(rule, set()).add(verdict)
    graver = set(SEVERITY[SEVERITY.index(status) + 1 :])
    return tuple(sorted(rule for rule, verdicts in found.items() if status in verdicts and not verdicts & graver))


def trial_row(trial: PlannedTrial, result: TrialResult | None) -> dict[str, Any]:
    """Return one flat row: overrides by path, cell, seed, role, status, error, and the scores or None."""
    done = result is not None and result.status == "done"
    found = headline(result) if result is not None and done else {}
    return {
        **trial.overrides,
        "trial_id": trial.trial_id,
        "cell": trial.cell,
        "seed": trial.seed,
        "role": trial.role,
        "status": "missing" if result is None else result.status,
        "error": "" if result is None else result.error,
        **{name: found[name].value if name in found else None for name in OBJECTIVES},
    }


def trial_rows(study: Study, results: Mapping[str, TrialResult], role: Role = "cell") -> list[dict[str, Any]]:
    """Return :func:`trial_row` for every planned trial of ``role``, in plan order."""
    return [trial_row(trial, results.get(trial.trial_id)) for trial in study.plan if trial.role == role]


def scores(study: Study, results: Mapping[str, TrialResult], role: Role = "cell") -> list[CellScore]:
    """Return one score per cell of ``role``, in plan order."""
    cells: dict[str, list[PlannedTrial]] = {}
    for trial in study.plan:
        if trial.role == role:
            cells.setdefault(trial.cell, []).append(trial)
    found = []
    for cell, trials in cells.items():
        rows = [trial_row(trial, results.get(trial.trial_id)) for trial in trials]
        fails = rules_that("FAIL", [results[t.trial_id] for t in trials if t.trial_id in results])
        found.append(score_cell(cell, trials[0].overrides, rows, audit_fails=fails))
    return found


def score_cell(
    cell: str, overrides: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], *, audit_fails: tuple[str, ...] = ()
) -> CellScore:
    """Return the score of the trials in ``rows``, which differ by seed alone."""
    failed = [row for row in rows if row["status"] == "failed"]
    done = [row for row in rows if row["status"] == "done"]
    over_seeds = {}
    for name in OBJECTIVES:
        values = [row[name] for row in done if row[name] is not None]
        over_seeds[name] = summarise(values) if values else None
    return CellScore(
        cell=cell,
        overrides=dict(overrides),
        n=len(done),
        **{name: found.mean if found else None for name, found in over_seeds.items()},
        **{f"{name}_sd": found.sd if found else None for name, found in over_seeds.items()},
        failed=len(failed),
        missing=len(rows) - len(done) - len(failed),
        reason=failed[0]["error"] if failed else "",
        audit_fails=audit_fails,
    )


def eligible(rows: Iterable[CellScore], objective: str) -> list[CellScore]:
    """Return the cells that may be chosen: measured, and with no seed that failed."""
    return [row for row in rows if row.value(objective) is not None and not row.failed]


def best(rows: Iterable[CellScore], objective: str = "harmonic") -> CellScore | None:
    """Return the cell that scores highest, the first of equals; None if no cell is eligible."""
    found = eligible(rows, objective)
    return max(found, key=lambda row: _known(row.value(objective)), default=None)


def pareto(rows: Iterable[CellScore]) -> list[CellScore]:
    """Return the cells that no other beats in both clean and robust accuracy, by rising clean accuracy."""
    found = [row for row in eligible(rows, "clean") if row.robust is not None]
    points = [(_known(row.clean), _known(row.robust)) for row in found]
    front = [row for row, point in zip(found, points, strict=True) if not any(_beats(q, point) for q in points)]
    return sorted(front, key=lambda row: (_known(row.clean), -_known(row.robust)))


def _beats(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] >= b[0] and a[1] >= b[1] and a != b


def _known(value: float | None) -> float:
    if value is None:
        raise ValueError("a cell without a score was compared")
    return value
