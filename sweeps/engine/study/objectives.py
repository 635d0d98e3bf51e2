"""What a sweep can select by, the names of averages and worst cases, and when two scores are far apart.

Imports nothing heavy, because help texts name these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from zsr_core.trial.config import TrialConfig

Objective = Literal["clean", "robust", "harmonic"]
OBJECTIVES: tuple[Objective, ...] = ("clean", "robust", "harmonic")
AVERAGE = "zero_shot_mean"  # the mean over every evaluated set but the one trained on
WORST = "worst"  # per image over all attacks of the suite
CLIFF = 5.0  # points of a score between neighbouring configurations, above which what lies between is unresolved


def score_eps(config: TrialConfig) -> float:
    """Return the budget that robust scores are read at."""
    return config.headline_eps
