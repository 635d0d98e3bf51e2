"""What replays over a finished grid have shown, as lines."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sweeps.engine.analysis.searching.replay import GRID, Curve, Table, by_search
from sweeps.engine.format import counted
from zsr_core.duration import duration


def replay_lines(table: Table, curves: Sequence[Curve], workers: int, stop: str | None) -> list[str]:
    """Return a table of the searches with their shares of the grid's cost, and how to read it."""
    two = any(curve.volume is not None for curve in curves)
    left_out = f"; {counted(table.left_out, 'cell')} with a weight off left out" if table.left_out else ""
    lines = [
        f"{table.study}: {counted(len(table.cells), 'cell')}{left_out}. The whole grid took {duration(table.cost)} of "
        f"trials; its best {table.score} is {table.best:.2f}.",
        f"{counted(curves[0].repeats, 'replay')} each, {counted(workers, 'simulated worker')}, early stopping: "
        f"{stop or 'none'}. Median share of the grid's cost until the best cell found is",
        "",
        f"  {'search':<8} {'99 % of the best':>17} {'within its error':>17}"
        + (f" {'99 % of volume':>15}" if two else "")
        + (f" {'stopped':>8} {'wrong stops':>12} {'of plain ASHA':>14}" if stop else ""),
    ]  # fmt: skip
    for curve in curves:
        row = f"  {curve.search:<8} {_share(curve.to_near):>17} {_share(curve.to_error):>17}"
        row += f" {_share(curve.to_volume):>15}" if two else ""
        row += (
            f" {curve.stopped:>8.0%} {curve.wrong:>12.0%} {curve.plain_wrong:>14.0%}"
            if stop and curve.search != GRID
            else ""
        )
        lines.append(row)
    lines += ["", "within its error: less than one standard error of the best score below it."]
    if stop:
        lines.append("of plain ASHA: replays in which it would have stopped the best cell, or one of the front.")
    return lines


def profile_lines(curves: Sequence[Sequence[Curve]]) -> list[str]:
    """Return how often each search has reached 99 % of the best within shares of the cost, over several grids."""
    within = (0.1, 0.15, 0.25, 0.5, 1.0)
    lines = [
        f"Over {counted(len(curves), 'grid')}: replays that reach 99 % of the best within a share of the grid's cost",
        "",
        f"  {'search':<8} " + " ".join(f"{share:>6.0%}" for share in within) + f" {'wrong stops':>12}",
    ]
    for own in by_search(curves):
        reached = np.concatenate([each.near for each in own])
        wrong = sum(each.wrong * each.repeats for each in own) / sum(each.repeats for each in own)
        row = " ".join(f"{(reached <= share + 1e-9).mean():>6.0%}" for share in within)
        lines.append(f"  {own[0].search:<8} {row} {wrong:>12.1%}")
    return lines


def _share(value: float | None) -> str:
    return "never" if value is None else f"{value:.0%}"
