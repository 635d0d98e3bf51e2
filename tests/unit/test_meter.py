"""The meter of an evaluation counts passes, shrinks its plan as images fall, and ends at one."""

from __future__ import annotations

from zsr_core.evaluation.meter import Meter, Part, Standing
from zsr_core.events import BatchJudged, TaskEnded

PARTS = (
    Part(task="t", condition="none", eps=0.0, stage="", images=10, forwards=1, backwards=0),
    Part(task="t", condition="aa", eps=0.1, stage="weak", images=10, forwards=5, backwards=4),
    Part(task="t", condition="aa", eps=0.1, stage="dear", images=10, forwards=90, backwards=0),
)


def _at(part: Part, done: int, of: int, recalled: bool = False) -> BatchJudged:
    return BatchJudged(
        task=part.task, condition=part.condition, eps=part.eps, stage=part.stage, done=done, of=of, recalled=recalled
    )  # fmt: skip


def test_the_share_is_of_the_passes_still_needed_and_the_rest_is_told_at_the_pace_so_far() -> None:
    clock = iter([0.0, 1.0, 2.0, 4.0, 10.0]).__next__
    said: list[Standing] = []
    meter = Meter(PARTS, said.append, every=0.0, clock=clock)
    meter(_at(PARTS[0], 10, 10))
    assert said[-1].share == 10 / (10 + 90 + 900)
    meter(_at(PARTS[1], 4, 8))  # two images were wrong when clean
    assert said[-1].share == (10 + 36) / (10 + 72 + 900)
    meter(TaskEnded(task="t", done=1, of=1))  # not a batch: no time is read
    meter(_at(PARTS[1], 8, 8))
    assert said[-1].left == 900 / (72 / 3.0), "the second before the first batch was loading"
    meter(_at(PARTS[2], 2, 2))  # all but two had fallen
    assert said[-1].share == 1.0
    assert said[-1].left == 0.0


def test_what_was_recalled_says_nothing_of_the_pace() -> None:
    clock = iter([0.0, 1.0, 3.0]).__next__
    said: list[Standing] = []
    meter = Meter(PARTS, said.append, every=0.0, clock=clock)
    meter(_at(PARTS[0], 10, 10, recalled=True))
    assert said[-1].left is None
    meter(_at(PARTS[1], 10, 10))
    assert said[-1].left == 900 / (90 / 2.0)


def test_nothing_is_said_more_often_than_asked() -> None:
    clock = iter([0.0, 1.0, 2.0, 6.0]).__next__
    said: list[Standing] = []
    meter = Meter(PARTS, said.append, every=5.0, clock=clock)
    for part in PARTS:
        meter(_at(part, 10, 10))
    assert [s.at.stage for s in said] == ["dear"]
