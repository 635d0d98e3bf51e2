"""Pauses of a training run: at given shares of its steps the tower is looked at, and training may end there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from zsr_core.codec import is_finite, require
from zsr_core.model.text_tower import TextTower
from zsr_core.model.tower import ImageTower


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training run pauses: the number of the pause, from 1, and how far training has come."""

    number: int
    step: int  # steps taken
    share: float  # of all steps
    epoch: float  # epochs taken, with the part of the one that has not ended


@dataclass(frozen=True, kw_only=True)
class Pauses:
    """At which shares of its steps a training run pauses, and what is done there.

    ``at`` gets the towers that are being tuned, the text tower only where it is one of them, and must leave them as
    they are. It returns why training ends here, or an empty text if training goes on.
    """

    shares: tuple[float, ...]
    at: Callable[[Place, ImageTower, TextTower | None], str]

    def numbers(self, total: int) -> dict[int, int]:
        """Return the number of each pause by the steps taken before it; short runs have fewer pauses."""
        steps = [math.ceil(share * total - 1e-9) for share in self.shares]
        return {step: i for i, step in enumerate(steps, start=1) if 0 < step < total and step not in steps[: i - 1]}

    def place(self, taken: int, total: int, per_epoch: int) -> Place | None:
        """Return the pause after so many steps; None where there is none."""
        number = self.numbers(total).get(taken)
        if number is None:
            return None
        return Place(number=number, step=taken, share=taken / total, epoch=taken / per_epoch)


def check_shares(shares: tuple[float, ...], path: str) -> None:
    """Raise ``ConfigError`` unless ``shares`` rise within (0, 1)."""
    sound = all(is_finite(share) and 0 < share < 1 for share in shares)
    require(sound and list(shares) == sorted(set(shares)), path, shares, "rising shares of the steps between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Partial:
    """An epoch that has not ended: the steps taken in it, and its row of the history so far."""

    taken: int = 0
    means: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0


class TrainingStopped(Exception):
    """Training has ended at a pause, for the reason that the message gives; its checkpoint is kept."""

    def __init__(self, reason: str, history: list[dict[str, float]], cost: dict[str, float]) -> None:
        super().__init__(reason)
        self.history, self.cost = history, cost
