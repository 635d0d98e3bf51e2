"""The replays of searches over a finished grid, printed and drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

from sweeps.engine.analysis.searching.replay import GRID, curve, replay
from sweeps.engine.analysis.searching.replay_table import replay_table
from sweeps.engine.figures.replay import replay_figure
from sweeps.engine.figures.style import STYLE, save
from sweeps.engine.format import sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.stopping import Stopping
from sweeps.engine.wording.replay import replay_lines
from sweeps.engine.wording.study import scale_note

BESIDE = "random"  # the search that learns nothing, as a yardstick


def write_replay(
    folder: StudyFolder,
    searches: Sequence[str],
    *,
    objectives: Sequence[str],
    stop: Stopping | None = None,
    workers: int = 1,
    repeats: int = 50,
) -> tuple[list[str], list[Path]]:
    """Replay ``searches``, random search and the grid's order, and return the lines and the files of the figure.

    The study's own values of a rule are used if it was run with it. Random search and the grid are never stopped early.

    Raises:
        ConfigError: if the study is no finished grid, or lacks the scores at rungs that ``stop`` needs.
    """
    own = folder.study.stop
    rule = replace(own, rule=stop.rule) if stop is not None and own is not None else stop
    table = replay_table(folder, objectives, rule)
    curves = []
    for name in dict.fromkeys([*searches, BESIDE, GRID]):
        stopped = rule if name in searches else None
        many = 1 if name == GRID else repeats
        replays = [replay(table, name, workers=workers, seed=seed, stop=stopped) for seed in range(many)]
        curves.append(curve(table, name, replays))
    lines = replay_lines(table, curves, workers, None if rule is None else rule.rule)
    words = (folder.study.question, f"Searches replayed over this grid, {workers} simulated workers",
             sentence(scale_note(folder.study)))  # fmt: skip
    with matplotlib.rc_context(STYLE):
        figure = replay_figure(table, curves, [each for each in words if each])
        return lines, list(save(figure, folder.path / "figures" / "replay"))
