"""How far an evaluation is, in encoder passes, and how long it will still take at the pace so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from zsr_core.attacks import AnyAttack
from zsr_core.events import BatchJudged, Event


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where an evaluation stands. ``left`` is in seconds; None before a second batch was computed here."""

    at: BatchJudged
    share: float  # the passes done, of all that are now expected to be needed
    left: float | None


class Meter:
    """Counts finished batches and calls ``say`` with where the whole stands, at most once in ``every`` seconds.

    The plan is the passes for images that no attack breaks; it shrinks as stages turn out to face fewer images.
    """

    def __init__(
        self,
        parts: Sequence[Part],
        say: Callable[[Standing], None],
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cost = {_key(part.task, part.condition, part.eps, part.stage): part.passes for part in parts}
        self._images = {_key(part.task, part.condition, part.eps, part.stage): part.images for part in parts}
        self._done = dict.fromkeys(self._images, 0)
        self._order = list(self._images)
        self._say, self._every, self._clock = say, every, clock
        self._began: float | None = None  # at the first batch, because the time before it was spent loading
        self._said = clock()
        self._computed = 0.0

    def __call__(self, at: Event) -> None:
        """Count a finished batch; other events are ignored."""
        if not isinstance(at, BatchJudged):
            return
        key = _key(at.task, at.condition, at.eps, at.stage)
        self._settle(key)
        now = self._clock()
        if self._began is None:
            self._began = now
        elif not at.recalled:
            self._computed += (at.done - self._done[key]) * self._cost[key]
        self._done[key], self._images[key] = at.done, at.of
        if now - self._said >= self._every:
            self._said = now
            self._say(self.standing(at, now))

    def _settle(self, key: tuple[str, str, float, str]) -> None:
        """Drop what earlier stages had planned for images that were broken before they ran."""
        for before in self._order[: self._order.index(key)]:
            self._images[before] = self._done[before]

    def standing(self, at: BatchJudged, now: float) -> Standing:
        """Return the share done and the seconds left at the pace of what was computed here."""
        done = sum(n * self._cost[key] for key, n in self._done.items())
        whole = sum(n * self._cost[key] for key, n in self._images.items())
        share = done / max(whole, 1)
        if self._began is None or not self._computed:
            return Standing(at=at, share=share, left=None)
        return Standing(at=at, share=share, left=(whole - done) * max(now - self._began, 1e-9) / self._computed)


def _key(task: str, condition: str, eps: float, stage: str) -> tuple[str, str, float, str]:
    return task, condition, eps, stage


@dataclass(frozen=True, kw_only=True)
class Part:
    """One stage of one attack on one task, and what it costs an image that never falls, in encoder passes."""

    task: str
    condition: str
    eps: float
    stage: str
    images: int
    forwards: int
    backwards: int  # to the input only: as dear as a forward
    published: bool = False  # the set is not here: its images are counted by its published size
    looks: int = 0  # passes beside those, for attention maps

    @property
    def passes(self) -> int:
        return self.forwards + self.backwards + self.looks


def attacked_parts(clean: Part, attacks: Sequence[AnyAttack], eps: Sequence[float], classes: int) -> Iterator[Part]:
    """Yield what the attacks do on the images of ``clean``, in their order: a part per budget, attack and stage."""
    for budget in eps:
        for attack in attacks:
            for stage in attack.stages(classes):
                forwards, backwards = stage.cost(classes)
                yield replace(
                    clean, condition=attack.name, eps=budget, stage=stage.name, forwards=forwards + 1,
                    backwards=backwards, looks=2 * clean.looks,
                )  # fmt: skip
