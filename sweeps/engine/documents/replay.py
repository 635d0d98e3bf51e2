"""The replays of searches over finished grids, printed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import matplotlib

from sweeps.engine.analysis.early_stopping.arrivals import Read
from sweeps.engine.analysis.searching.grid import Grid, table_of
from sweeps.engine.analysis.searching.replay import GRID, Curve, Table, curve, replay
from sweeps.engine.figures.replay import profile_figure, replay_figure
from sweeps.engine.figures.style import STYLE, save
from sweeps.engine.format import counted
from sweeps.engine.study.objectives import deciding_score
from sweeps.engine.study.stopping import Stopping
from sweeps.engine.wording.replay import profile_lines, replay_lines

BESIDE = "random"  # the search that learns nothing, as a yardstick


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is replayed."""

    searches: tuple[str, ...]
    objectives: tuple[str, ...] | None = None  # None: each grid's deciding score
    stop: Stopping | None = None
    workers: int = 1
    repeats: int = 50

    def told(self, grid: Grid) -> tuple[str, ...]:
        """Return the scores that a search over ``grid`` is told."""
        return self.objectives or (deciding_score(grid.objectives).name,)


def write_replays(grids: Sequence[tuple[Grid, Read, Path]], asked: Asked, profile: Path) -> list[object]:
    """Replay every grid, each with the path of its figure; return lines and files, with a profile of several grids."""
    lines: list[object] = []
    every = []
    for grid, read, path in grids:
        words, drawn, curves = write_replay(grid, read, asked, path)
        lines += [*words, "", *drawn, ""]
        every.append(curves)
    if len(every) > 1:
        words, drawn = write_profile(every, profile)
        lines += [*words, "", *drawn, ""]
    return lines[:-1]


def write_replay(grid: Grid, read: Read, asked: Asked, path: Path) -> tuple[list[str], list[Path], list[Curve]]:
    """Replay the searches, random search and the grid's order; return lines, the figure's files and the curves.

    The grid's own values of a rule are used if it was run with it. Random search and the grid are never stopped early.

    Args:
        path: of the figure, without an ending.

    Raises:
        ConfigError: if the grid lacks the scores at rungs that ``asked.stop`` needs.
    """
    rule = asked.stop if asked.stop is None or grid.stop is None else replace(grid.stop, rule=asked.stop.rule)
    table = table_of(grid, read, asked.told(grid), rule)
    curves = [_curve(table, name, asked, rule) for name in dict.fromkeys([*asked.searches, BESIDE, GRID])]
    lines = replay_lines(table, curves, asked.workers, None if rule is None else rule.rule)
    words = [
        grid.question,
        f"Searches replayed over this grid, {counted(asked.workers, 'simulated worker')}",
        grid.note,
    ]
    with matplotlib.rc_context(STYLE):
        figure = replay_figure(table, curves, [each for each in words if each])
        return lines, list(save(figure, path)), curves


def write_profile(curves: Sequence[Sequence[Curve]], path: Path) -> tuple[list[str], list[Path]]:
    """Return the lines and the files of the performance profile of searches that were replayed over several grids."""
    with matplotlib.rc_context(STYLE):
        return profile_lines(curves), list(save(profile_figure(curves), path))


def _curve(table: Table, name: str, asked: Asked, rule: Stopping | None) -> Curve:
    stopped = rule if name in asked.searches else None
    seeds = range(1 if name == GRID else asked.repeats)
    return curve(table, name, [replay(table, name, workers=asked.workers, seed=s, stop=stopped) for s in seeds])
