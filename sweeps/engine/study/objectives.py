"""What a sweep can select by, and the names of averages and worst cases."""

from __future__ import annotations

from typing import Literal

from zsr_core.trial.config import TrialConfig

Objective = Literal["clean", "robust", "harmonic"]
OBJECTIVES: tuple[Objective, ...] = ("clean", "robust", "harmonic")
AVERAGE = "zero_shot_mean"  # the mean over every evaluated set but the one trained on
WORST = "worst"  # per image over all attacks of the suite


def score_eps(config: TrialConfig) -> float:
    """Return the budget that robust scores are read at."""
    return config.headline_eps
