"""How far uncertainty rises under attack, over the attack's budget, for every row of a study."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sweeps.engine.analysis.stats import mean_of_seeds
from sweeps.engine.study.folder import Role, StudyFolder
from zsr_core.codec import ConfigError
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, Measurement
from zsr_core.evaluation.measurement import where
from zsr_core.trial.result import TrialResult

RISE = "rise"  # of the entropy, whose interval is a paired bootstrap over images
RISE_METRICS = frozenset({RISE, "p_rise", "auroc_adv"})
ADAPTIVE = "confidence-"  # how the names of attacks begin that look for confident wrong answers
Verdict = Literal["rises", "falls", "undecided"]


@dataclass(frozen=True, kw_only=True)
class RisePoint:
    """The zero-shot mean of the rise at one budget, over the seeds of a row; in nats."""

    eps: float
    value: float
    low: float | None
    high: float | None

    @property
    def verdict(self) -> Verdict:
        """Whether the interval lies wholly on one side of 0."""
        if self.low is not None and self.low > 0:
            return "rises"
        return "falls" if self.high is not None and self.high < 0 else "undecided"


@dataclass(frozen=True, kw_only=True)
class Rise:
    """One row of a study under one attack: its rise at every budget measured."""

    label: str
    role: Role
    attack: str
    points: tuple[RisePoint, ...]
    seeds: int

    def at(self, eps: float) -> RisePoint | None:
        """Return the point at a budget, if it was measured there."""
        return next((p for p in self.points if math.isclose(p.eps, eps, rel_tol=1e-6)), None)


@dataclass(frozen=True, kw_only=True)
class Rises:
    """All rows of a study under every attack of its suite."""

    study: str
    eps: float  # the budget at which the rows are judged
    split: str
    attacks: tuple[str, ...]
    rows: tuple[Rise, ...]

    @property
    def adaptive(self) -> tuple[str, ...]:
        """The attacks that look for confident wrong answers: a claim that lacks one of them is not tested."""
        return tuple(name for name in self.attacks if name.startswith(ADAPTIVE))

    def under(self, attack: str) -> tuple[Rise, ...]:
        """Return the rows under one attack."""
        return tuple(row for row in self.rows if row.attack == attack)


def rises(folder: StudyFolder) -> Rises:
    """Return the rises on the selection split, where every row of a study is measured.

    Raises:
        ConfigError: if no finished trial has them.
    """
    study = folder.study
    attacks = tuple(attack.name for attack in study.base.eval_suite.attacks)
    rows: list[Rise] = []
    for row in study.rows(split="selection"):
        results = list(folder.done(row.trials).values())
        for attack in attacks if results else ():
            points = _points(results, attack)
            if points:
                rows.append(Rise(label=row.cell, role=row.role, attack=attack, points=points, seeds=len(results)))
    if not rows:
        raise ConfigError(
            f"uncertainty: no trial of {study.study} has measured {RISE!r}; "
            f"expected it: zsr measure --study {folder.path} --metrics {RISE}"
        )
    return Rises(study=study.study, eps=study.score_eps, split="selection", attacks=attacks, rows=tuple(rows))


def _points(results: Sequence[TrialResult], attack: str) -> tuple[RisePoint, ...]:
    """Return the mean over seeds at each budget that all seeds have."""
    series = [
        {m.eps: m for m in where(result.measurements, metric=RISE, task=ZERO_SHOT_MEAN, attack=attack)}
        for result in results
    ]
    shared = sorted(set.intersection(*(set(each) for each in series)))
    return tuple(point for eps in shared if (point := _point(eps, [each[eps] for each in series])) is not None)


def _point(eps: float, seeds: Sequence[Measurement]) -> RisePoint | None:
    mean = mean_of_seeds(seeds)
    return None if mean is None else RisePoint(eps=eps, value=mean.value, low=mean.low, high=mean.high)
