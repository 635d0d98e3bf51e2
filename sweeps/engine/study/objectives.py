"""What a sweep can select by, and the names of averages and worst cases."""

from __future__ import annotations

from typing import Literal

from zsr_core.evaluation.measure import WORST as WORST  # per image over all attacks of the suite
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.trial.config import TrialConfig

Objective = Literal["clean", "robust", "harmonic"]
OBJECTIVES: tuple[Objective, ...] = ("clean", "robust", "harmonic")
AVERAGE = ZERO_SHOT_MEAN


def score_eps(config: TrialConfig) -> float:
    """Return the budget that robust scores are read at: the suite's first, whatever a trial was trained against."""
    return (*config.eval_suite.eps, config.threat.eps)[0]
