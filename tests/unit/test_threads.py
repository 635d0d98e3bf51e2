"""Batches side by side on the cores of a CPU."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import CancelledError
from threading import Barrier, Event, current_thread, main_thread

import pytest
import torch

from zsr_core.threads import side_by_side


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def test_answers_come_in_the_order_of_the_items() -> None:
    late = Event()

    def work(item: int) -> int:
        if item == 0:
            assert late.wait(10)  # the first ends after the second
        if item == 1:
            late.set()
        return 10 * item

    assert list(side_by_side(work, range(20), 3, Event())) == [10 * item for item in range(20)]


def test_so_many_are_worked_on_at_a_time_with_one_thread_of_torch_each() -> None:
    together = Barrier(3, timeout=10)  # breaks unless three come

    def work(item: int) -> tuple[int, bool]:
        together.wait()
        return torch.get_num_threads(), current_thread() is main_thread()

    assert list(side_by_side(work, range(6), 3, Event())) == [(1, False)] * 6
    assert torch.get_num_threads() == 3


def test_items_are_taken_at_most_two_a_thread_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(50):
            taken.append(item)
            yield item

    for answer in side_by_side(lambda item: item, items(), 3, Event()):
        assert len(taken) <= answer + 6


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_what_one_raises_is_raised_and_ends_the_others_early(broken: int) -> None:
    stop = Event()

    def work(item: int) -> int:
        if item == broken:
            raise ArithmeticError(f"item {item}")
        if stop.wait(10):
            raise CancelledError
        return item

    with pytest.raises(ArithmeticError, match=f"item {broken}"):
        list(side_by_side(work, range(9), 3, stop))
    assert stop.is_set()
    assert torch.get_num_threads() == 3


def test_of_several_errors_the_first_in_order_is_raised() -> None:
    second = Event()

    def work(item: int) -> int:
        if item == 0:
            assert second.wait(10)
        if item == 1:
            second.set()
        raise ArithmeticError(f"item {item}")

    with pytest.raises(ArithmeticError, match="item 0"):
        list(side_by_side(work, range(2), 2, Event()))


def test_a_caller_that_gives_up_ends_all_early() -> None:
    stop = Event()
    answers = side_by_side(lambda item: item == 0 or stop.wait(10), range(9), 3, stop)
    assert next(answers)
    answers.close()
    assert stop.is_set()
    assert torch.get_num_threads() == 3
