"""``RungScore``: what a trial scored at one rung, and the file of its records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RungScore:
    """A trial's scores at one rung, in percent: means over the zero-shot tasks' few images."""

    trial_id: str
    weights_sha: str  # of the tower as it was there
    rung: int  # from 1
    rungs: int  # that a trial has
    step: int  # steps taken
    share: float  # of all training steps
    epoch: float  # epochs taken, with the part of the one that has not ended
    images: int  # of all tasks
    scores: Mapping[str, float]  # clean, robust, harmonic
    seconds: float  # that the scoring took

    @property
    def row(self) -> dict[str, float]:
        """The scores as a row of a learning curve: ``rung_clean``, ... at an epoch."""
        return {"epoch": self.epoch, **{f"rung_{name}": value for name, value in self.scores.items()}}


def rung_records(folder: Path, rung: int) -> Path:
    """Return the file in a trial's folder that holds the records of one rung."""
    return folder / f"rung-{rung}.parquet"
