"""The tally of a running sweep, and the two ways it is shown."""

from __future__ import annotations

import io

from rich.console import Console

from sweeps.engine.running.progress import Drawn, Lines, Tally, counts, display, drawing, report_text

START = Tally(title="weights", planned=4, done=1, began=100.0)
EPOCH = {"epoch": 1.0, "epochs": 2.0, "loss": 1.5, "done_share": 0.5}


def text(tally: Tally, now: float = 120.0) -> str:
    out = io.StringIO()
    Console(file=out, width=100).print(drawing(tally, now))
    return out.getvalue()


def test_a_trial_goes_from_running_to_done() -> None:
    running = START.started("t1", "alpha=0.1", 110.0)
    assert list(running.running) == ["t1"]
    done = running.ended("t1", "alpha=0.1", None, "alpha=0.1, harmonic 40.0")
    assert (done.done, done.failed, done.running, done.best) == (2, (), {}, "alpha=0.1, harmonic 40.0")


def test_a_failed_trial_is_counted_with_its_reason_and_not_as_done() -> None:
    failed = START.started("t1", "alpha=9", 110.0).ended("t1", "alpha=9", "loss is NaN", "")
    assert (failed.done, failed.failed) == (1, (("alpha=9", "loss is NaN"),))
    assert counts(failed, 120.0) == "1/4 done, 1 failed, about 40 s left"


def test_the_time_left_follows_the_pace_and_counts_running_shares_in() -> None:
    assert START.eta(120.0) is None, "nothing has ended: there is no pace"
    one = START.started("t1", "a", 100.0).ended("t1", "a", None, "")
    assert one.eta(120.0) == 40.0, "20 s for one, two to go"
    half = one.started("t2", "b", 120.0).reported("t2", EPOCH)
    assert half.eta(130.0) == 30.0, "30 s for one and a half, one and a half to go"


def test_what_ran_before_this_launch_sets_no_pace() -> None:
    assert Tally(title="s", planned=10, done=9, began=0.0).eta(1000.0) is None


def test_a_report_is_a_few_words() -> None:
    assert report_text(EPOCH) == "epoch 1/2, loss 1.500"
    assert report_text({"task": 3, "tasks": 13}) == "task 3/13"


def test_the_table_shows_running_failed_best_and_time_left() -> None:
    tally = START.started("t1", "alpha=0.1", 110.0).reported("t1", EPOCH)
    tally = tally.ended("t0", "alpha=9", "step 3: NaN", "alpha=0.3")
    shown = text(tally)
    head = "weights  1/4 done, 1 running, 1 failed"
    for part in (head, "alpha=0.1", "50%", "epoch 1/2", "step 3: NaN", "best so far: alpha=0.3"):
        assert part in shown
    (bar,) = [line for line in shown.splitlines() if "━" in line]
    assert "alpha" not in bar, "the bar has a line of its own"


def test_the_table_shows_rungs_stops_and_the_spent_budget() -> None:
    at_rung = START.started("t1", "alpha=0.1", 110.0).reported("t1", EPOCH).passed("t1", "rung 1 of 2")
    assert "epoch 1/2, loss 1.500, past rung 1 of 2" in text(at_rung)
    stopped = at_rung.started("t2", "alpha=9", 111.0).ended("t2", "alpha=9", None, "", stopped=True)
    assert (stopped.done, stopped.stopped, stopped.failed) == (2, 1, ())
    shown = text(
        Tally(title="s", planned=4, done=2, began=100.0, stopped=1, spent="0.5 GPU hours of 2 GPU hours spent")
    )
    assert "2/4 done (1 stopped early), 0.5 GPU hours of 2 GPU hours spent" in shown


def test_the_table_stays_short_when_many_trials_run() -> None:
    tally = START
    for i in range(30):
        tally = tally.started(f"t{i}", f"trial {i}", 110.0)
    assert "and 22 more" in text(tally)
    assert len(text(tally).splitlines()) < 15


def test_the_clocks_of_a_drawn_table_run_between_events() -> None:
    out = io.StringIO()
    Console(file=out, width=100).print(Drawn(tally=START.started("t1", "alpha=0.1", 110.0)))
    assert "alpha=0.1" in out.getvalue()


def test_without_a_terminal_every_event_is_one_line_and_reports_are_none() -> None:
    out = io.StringIO()
    with display(out) as shown:
        assert isinstance(shown, Lines)
        shown.show(START, "")
        shown.show(START, "alpha=0.1: clean 50.0")
    (line,) = out.getvalue().splitlines()
    assert line.endswith("alpha=0.1: clean 50.0  [1/4 done]")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_last_state_stays_on_the_screen() -> None:
    out = Terminal()
    with display(out) as shown:
        shown.show(START, "")
        shown.show(START.ended("t1", "a", None, "alpha=0.1, harmonic 40.0"), "")
    assert "best so far: alpha=0.1, harmonic 40.0" in out.getvalue()
