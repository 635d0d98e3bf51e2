"""The progress of a sweep while it runs: a live table on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from zsr_core.duration import duration

SHOWN = 8  # running trials that a table lists at most


@dataclass(frozen=True, kw_only=True)
class Running:
    """A running trial: when it started, the share that is done, and its last report."""

    label: str
    since: float
    share: float = 0.0
    report: str = ""
    rung: str = ""  # the last one at which it was told to go on, as "rung 1 of 2"
    slow: bool = False  # takes several times as long as expected


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The counts of a sweep in progress: an immutable value, replaced at every event."""

    title: str
    planned: int  # trials of the study that are known so far
    done: int
    began: float
    ended_here: int = 0  # trials that ended in this launch
    stopped: int = 0  # of those that are done, the trials that were stopped early
    spent: str = ""  # what is spent of a budget, in words
    failed: tuple[tuple[str, str], ...] = ()  # (label, reason)
    running: Mapping[str, Running] = field(default_factory=dict)  # by trial id
    best: str = ""

    def started(self, trial_id: str, label: str, now: float) -> Tally:
        return replace(self, running={**self.running, trial_id: Running(label=label, since=now)})

    def reported(self, trial_id: str, metrics: Mapping[str, float]) -> Tally:
        """Return the tally after a report of a running trial."""
        share = min(max(metrics.get("done_share", 0.0), 0.0), 1.0)
        now = replace(self.running[trial_id], share=share, report=report_text(metrics))
        return replace(self, running={**self.running, trial_id: now})

    def passed(self, trial_id: str, rung: str) -> Tally:
        """Return the tally after a running trial was told to go on at ``rung``."""
        return replace(self, running={**self.running, trial_id: replace(self.running[trial_id], rung=rung)})

    def slowed(self, trial_id: str) -> Tally:
        """Return the tally after a running trial was found to take several times as long as expected."""
        return replace(self, running={**self.running, trial_id: replace(self.running[trial_id], slow=True)})

    def ended(self, trial_id: str, label: str, error: str | None, best: str, *, stopped: bool = False) -> Tally:
        """Return the tally after the end of a trial; ``error`` is None if it is done or was ``stopped`` early."""
        return replace(
            self,
            done=self.done + (error is None),
            stopped=self.stopped + stopped,
            ended_here=self.ended_here + 1,
            failed=self.failed if error is None else (*self.failed, (label, error)),
            running={key: value for key, value in self.running.items() if key != trial_id},
            best=best,
        )

    def eta(self, now: float) -> float | None:
        """Return the seconds left at the rate so far, with shares of running trials; None if the rate is unknown."""
        shares = sum(trial.share for trial in self.running.values())
        work = self.ended_here + shares
        left = self.planned - self.done - len(self.failed) - shares
        return (now - self.began) / work * max(left, 0.0) if work >= 0.05 else None


def report_text(metrics: Mapping[str, float]) -> str:
    """Return a trial's report as text: ``epoch 2/3, loss 1.84`` or ``task 4/12``; empty for one that only begins."""
    if not metrics:
        return ""
    if "task" in metrics:
        return f"task {metrics['task']:.0f}/{metrics['tasks']:.0f}"
    return f"epoch {metrics['epoch']:.0f}/{metrics['epochs']:.0f}, loss {metrics['loss']:.3f}"


def counts(tally: Tally, now: float) -> str:
    """Return the tally in one line: ``12/27 done, 2 running, 1 failed, about 3 min left``."""
    parts = [f"{tally.done}/{tally.planned} done{f' ({tally.stopped} stopped early)' if tally.stopped else ''}"]
    if tally.running:
        parts.append(f"{len(tally.running)} running")
    if tally.failed:
        parts.append(f"{len(tally.failed)} failed")
    eta = tally.eta(now)
    if eta is not None and tally.done + len(tally.failed) < tally.planned:
        parts.append(f"about {duration(eta)} left")
    parts += [tally.spent] if tally.spent else []
    return ", ".join(parts)


class Display(Protocol):
    """Shows a tally."""

    def show(self, tally: Tally, event: str) -> None:
        """Show the tally after ``event``, a line of text; an empty event prints no line."""
        ...


class Lines:
    """One line per event, for logs."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def show(self, tally: Tally, event: str) -> None:
        if event:
            stamp = time.strftime("%H:%M:%S")
            print(f"{stamp}  {event}  [{counts(tally, time.monotonic())}]", file=self._out, flush=True)


class Screen:
    """A table that is redrawn in place."""

    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, tally: Tally, event: str) -> None:
        self._live.update(Drawn(tally=tally))


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A tally that rich draws. It reads the time at each drawing, so that clocks run between events."""

    tally: Tally

    def __rich__(self) -> Group:
        return drawing(self.tally, time.monotonic())


def drawing(tally: Tally, now: float) -> Group:
    """Return the live table at time ``now``."""
    bar = Table.grid()  # a bar without a grid does not end its line
    bar.add_row(ProgressBar(total=max(tally.planned, 1), completed=tally.done + len(tally.failed), width=40))
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False)
    for trial in list(tally.running.values())[:SHOWN]:
        clock = f"{duration(now - trial.since)}{', slow' if trial.slow else ''}"
        style = "yellow" if trial.slow else "cyan"
        said = ", ".join(filter(None, [trial.report, f"past {trial.rung}" if trial.rung else ""]))
        table.add_row(trial.label, f"{trial.share:>4.0%}", said, clock, style=style)
    more = len(tally.running) - SHOWN
    if more > 0:
        table.add_row(f"and {more} more")
    for label, reason in tally.failed[-3:]:
        table.add_row(label, "failed", reason[:80], "", style="red")
    head = Text(f"{tally.title}  {counts(tally, now)}", style="bold")
    return Group(head, bar, table, *([Text(f"best so far: {tally.best}")] if tally.best else []))


@contextmanager
def display(out: TextIO | None = None) -> Iterator[Display]:
    """Yield the display that suits ``out``: a live table on a terminal, lines elsewhere."""
    stream = out or sys.stdout
    if not stream.isatty():
        yield Lines(stream)
        return
    with Live(console=Console(file=stream), refresh_per_second=2, redirect_stdout=False, redirect_stderr=False) as live:
        yield Screen(live)
