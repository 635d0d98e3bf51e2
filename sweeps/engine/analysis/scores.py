"""From finished trials to one score per cell, and from scores to the best cell and the Pareto front."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sweeps.engine.analysis.nondominated import dominates
from sweeps.engine.analysis.stats import Summary, summarise
from sweeps.engine.study.folder import PlannedRow, PlannedTrial, Role, StudyFolder
from sweeps.engine.study.objectives import CLEAN, HARMONIC, ROBUST, SCORES, headline, score_named
from zsr_core.audit.finding import SEVERITY, VerdictStatus
from zsr_core.data import Split
from zsr_core.trial.result import TrialResult

EQUAL = 1e-9  # scores closer than this are ties, because the order of a sum changes the last digits


@dataclass(frozen=True, kw_only=True)
class CellScore:
    """One row of the plan with its zero-shot scores in percent, each over the seeds that finished."""

    cell: str
    overrides: Mapping[str, Any] = field(default_factory=dict)
    role: Role = "cell"
    split: Split = "selection"
    proposal: int | None = None
    n: int = 0  # seeds that finished
    failed: int = 0  # seeds that failed
    missing: int = 0  # seeds without a result
    stopped: int = 0  # seeds that were stopped early
    reason: str = ""  # the first failure's error, or why the first stopped seed was stopped
    audit_fails: tuple[str, ...] = ()  # audit rules that fail in any of the seeds
    over_seeds: Mapping[str, Summary] = field(default_factory=dict)  # by score; absent where nothing was measured

    def value(self, score: str) -> float | None:
        """Return the mean over seeds; None where nothing was measured.

        Raises:
            ConfigError: for a name that is no score.
        """
        score_named(score)
        summary = self.over_seeds.get(score)
        return None if summary is None else summary.mean

    def sd(self, score: str) -> float | None:
        """Return the sample standard deviation over seeds; None below two seeds."""
        summary = self.over_seeds.get(score)
        return None if summary is None else summary.sd

    def doubts(self, score: str) -> bool:
        """Return whether the audit doubts this score; it never doubts clean accuracy."""
        return bool(self.audit_fails) and score_named(score).attacked


def rules_that(status: VerdictStatus, results: Iterable[TrialResult]) -> tuple[str, ...]:
    """Return the audit rules whose gravest verdict over the trials is ``status``, sorted."""
    verdicts: dict[str, set[str]] = {}
    for result in results:
        for rule, verdict in result.audit.items():
            verdicts.setdefault(rule, set()).add(verdict)
    graver = set(SEVERITY[SEVERITY.index(status) + 1 :])
    return tuple(sorted(rule for rule, seen in verdicts.items() if status in seen and not seen & graver))


def trial_row(folder: StudyFolder, trial: PlannedTrial) -> dict[str, Any]:
    """Return one flat row: overrides by path, cell, seed, role, split, status, error, and the scores or None."""
    result = folder.result(trial)
    read = {} if result is None or not folder.is_done(trial) else headline(result, folder.study.score_eps)
    return {
        **trial.overrides,
        "trial_id": trial.trial_id,
        "cell": trial.cell,
        "seed": trial.seed,
        "role": trial.role,
        "split": trial.split,
        "status": folder.status(trial),
        "error": "" if result is None else result.error,
        **{score.name: read[score.name].value if score.name in read else None for score in SCORES},
    }


def scores(folder: StudyFolder, role: Role = "cell", split: Split | None = None) -> list[CellScore]:
    """Return one score per row of ``role``, in plan order; with ``split`` only the rows of that split."""
    rows = folder.study.rows(role=role, split=split)
    return list(folder.once(("scores", role, split), lambda: [row_score(folder, row) for row in rows]))


def row_score(folder: StudyFolder, row: PlannedRow) -> CellScore:
    """Return the score of one row, whose trials differ only by seed."""
    rows = [trial_row(folder, trial) for trial in row.trials]
    failed = [each for each in rows if each["status"] == "failed"]
    stopped = [each for each in rows if each["status"] == "pruned"]
    done = [each for each in rows if each["status"] == "done"]
    values = {score.name: [each[score.name] for each in done if each[score.name] is not None] for score in SCORES}
    results = [result for trial in row.trials if (result := folder.result(trial)) is not None]
    return CellScore(
        cell=row.cell, overrides=dict(row.overrides), role=row.role, split=row.split, proposal=row.proposal,
        n=len(done), failed=len(failed), missing=len(rows) - len(done) - len(failed) - len(stopped),
        stopped=len(stopped), reason=next((each["error"] for each in (*failed, *stopped)), ""),
        audit_fails=rules_that("FAIL", results),
        over_seeds={name: summarise(known) for name, known in values.items() if known},
    )  # fmt: skip


def untouched_score(folder: StudyFolder, split: Split = "selection") -> CellScore | None:
    """Return the untouched model's score on ``split``; None where the plan has none."""
    return next(iter(scores(folder, "baseline", split)), None)


def eligible(cells: Iterable[CellScore], score: str) -> list[CellScore]:
    """Return the cells that may be chosen: measured, and with no seed that failed or was stopped early."""
    return [cell for cell in cells if cell.value(score) is not None and not (cell.failed or cell.stopped)]


def best(cells: Iterable[CellScore], score: str = HARMONIC.name) -> CellScore | None:
    """Return the cell that is best at ``score``; None if no cell is eligible.

    A tie goes to the first cell of the ties' clean-robust Pareto front.
    """
    among = eligible(cells, score)
    if not among:
        return None
    sign = score_named(score).sense
    top = max(sign * known(cell.value(score)) for cell in among)
    equals = [cell for cell in among if sign * known(cell.value(score)) >= top - EQUAL]
    front = {id(cell) for cell in pareto(equals)}
    return next((cell for cell in equals if id(cell) in front), equals[0])


def pareto(cells: Iterable[CellScore], objectives: Sequence[str] = (CLEAN.name, ROBUST.name)) -> list[CellScore]:
    """Return the Pareto front of the cells over ``objectives``, by rising first objective."""
    among = [cell for cell in cells if all(cell in eligible([cell], name) for name in objectives)]
    signs = [score_named(name).sense for name in objectives]
    points = [
        tuple(sign * known(cell.value(name)) for sign, name in zip(signs, objectives, strict=True)) for cell in among
    ]
    front = [(point, i) for i, point in enumerate(points) if not any(dominates(other, point) for other in points)]
    return [among[i] for point, i in sorted(front, key=lambda each: (each[0][0], tuple(-v for v in each[0][1:])))]


def known(value: float | None) -> float:
    """Return the score, which must not be None."""
    if value is None:
        raise ValueError("a cell without a score was compared")
    return value
