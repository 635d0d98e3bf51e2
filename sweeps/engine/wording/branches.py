"""The best cell of each branch of a conditional space, in words."""

from __future__ import annotations

from collections.abc import Sequence

from sweeps.engine.analysis.scores import CellScore, best
from sweeps.engine.format import mean_text
from sweeps.engine.study.branches import branch_of
from sweeps.engine.study.folder import Study
from sweeps.engine.study.objectives import deciding_score


def best_of_each(study: Study, cells: Sequence[CellScore]) -> list[str]:
    """Return the best cell of each method and how many cells it has had; nothing in a plain space.

    ``cells``: those that can be chosen.
    """
    if not study.branches:
        return []
    decides = deciding_score(study.objectives)
    lines = [f"Best cell of each method in {decides.title}, with the number of cells that the method has had:"]
    for branch in study.branches:
        own = [cell for cell in cells if cell.n and branch_of(study, cell.overrides) == branch]
        top = best(own, decides.name)
        score = "no cell has finished" if top is None else mean_text(top.value(decides.name), top.sd(decides.name))
        lines.append(f"  {branch.label if top is None else top.cell:<44} {score}  (of {len(own)})")
    return lines
