"""Whether a model still answers to its input: the level of chance, and how far the predictions are one class.

A model that gives the same answer to every image is perfectly robust and useless, because no attack changes the answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from zsr_core.evaluation.metrics.intervals import mean_interval, wilson
from zsr_core.records import SampleRecord

COLLAPSED = 0.5  # of the way from the largest true class to one class for all images; ours
UNEVEN = 0.25  # the same, from where on the predictions are worth a look; ours


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The clean predictions on one task, counted."""

    task: str
    n: int  # images
    classes: int  # 1 + the largest index among labels and predictions
    right: int
    largest_predicted: int  # images with the most frequent prediction
    largest_true: int  # images of the most frequent class

    @property
    def excess(self) -> float:
        """How far the most predicted class exceeds the largest true one, from 0 (not at all) to 1 (every image)."""
        if self.largest_true == self.n:  # one true class alone: nothing can be told
            return 0.0
        return max(0.0, (self.largest_predicted - self.largest_true) / (self.n - self.largest_true))


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """A model's clean predictions beside chance; shares in percent, each the mean over the tasks."""

    chance: float  # accuracy of a guess
    clean: float
    low: float  # lower end of the 95 % interval of ``clean`` over images
    largest_predicted: float
    excess: float  # in [0, 1]

    @property
    def at_chance(self) -> bool:
        """Whether chance lies inside or above the interval of clean accuracy."""
        return self.low <= self.chance

    @property
    def one_class(self) -> bool:
        """Whether the predictions are mostly one class."""
        return self.excess >= COLLAPSED

    @property
    def collapsed(self) -> bool:
        """Whether the model does not answer to its input."""
        return self.at_chance or self.one_class

    @property
    def text(self) -> str:
        """The figures, in words."""
        return (
            f"clean {self.clean:.1f} % (95 % interval from {self.low:.1f}), chance {self.chance:.1f} %; the most "
            f"predicted class of a set gets {self.largest_predicted:.0f} % of its images"
        )


def answers_by_task(rows: Iterable[tuple[str, int, int]]) -> list[Answers]:
    """Return the counts of ``(task, label, prediction)`` of clean images, task by task."""
    labels: dict[str, list[int]] = {}
    predictions: dict[str, list[int]] = {}
    for task, label, prediction in rows:
        labels.setdefault(task, []).append(label)
        predictions.setdefault(task, []).append(prediction)
    return [
        Answers(
            task=task, n=len(true), classes=1 + max(*true, *predictions[task]),
            right=sum(a == b for a, b in zip(true, predictions[task], strict=True)),
            largest_predicted=max(Counter(predictions[task]).values()), largest_true=max(Counter(true).values()),
        )
        for task, true in labels.items()
    ]  # fmt: skip


def clean_answers(records: Iterable[SampleRecord]) -> list[Answers]:
    """Return the counts of the clean records."""
    return answers_by_task((r.task, r.label, r.pred) for r in records if r.condition == "none")


def collapse(answers: Collection[Answers]) -> Collapse | None:
    """Return the model's predictions beside chance; None without images."""
    if not answers:
        return None
    shares = [each.right / each.n for each in answers]
    ends = mean_interval(shares, [wilson(share, each.n) for share, each in zip(shares, answers, strict=True)])
    assert ends is not None  # every task has an interval

    def mean(values: Iterable[float]) -> float:
        return sum(values) / len(answers)

    return Collapse(
        chance=100 * mean(1 / each.classes for each in answers), clean=100 * mean(shares), low=100 * ends[0],
        largest_predicted=100 * mean(each.largest_predicted / each.n for each in answers),
        excess=mean(each.excess for each in answers),
    )  # fmt: skip
