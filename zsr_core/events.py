"""What happens while a trial runs, as values: the one channel by which anyone follows it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class EpochEnded:
    """One pass over the training images has ended."""

    row: Mapping[str, float]  # the epoch's row of the history: "epoch" (from 1), "loss", the terms, "seconds"


@dataclass(frozen=True, kw_only=True)
class TaskEnded:
    """One image set has been evaluated: the ``done``-th of ``of``."""

    task: str
    done: int
    of: int


@dataclass(frozen=True, kw_only=True)
class BatchJudged:
    """One batch was classified, clean or under attack: ``done`` of the ``of`` images that this stage has to face."""

    task: str
    condition: str  # "none" or the attack's name
    eps: float
    stage: str
    done: int
    of: int
    recalled: bool  # read from the journal, not computed


Event = EpochEnded | TaskEnded | BatchJudged
OnEvent = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Do nothing: the default of whoever takes an ``on_event``."""


class AsOne:
    """Passes events on as of one condition, whose images are those of all sets that are judged in turn.

    Whoever judges a set adds its images to ``before`` when the set is done.
    """

    def __init__(self, *, on_event: OnEvent, condition: str, of: int) -> None:
        self._on_event, self._condition, self._of = on_event, condition, of
        self.before = 0  # images of the sets that are done

    def __call__(self, event: Event) -> None:
        if isinstance(event, BatchJudged):
            done = self.before + event.done
            self._on_event(replace(event, condition=self._condition, done=done, of=self._of))


def plain_numbers(event: Event) -> dict[str, float] | None:
    """Return the numbers that a log of the trial keeps of an event; None for a batch, because there are too many."""
    if isinstance(event, EpochEnded):
        return dict(event.row)
    if isinstance(event, TaskEnded):
        return {"task": event.done, "tasks": event.of}
    return None
