"""What metrics of corruptions and visual factors read: which images are right under each of them, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zsr_core.data.shifts.kinds import Cell
from zsr_core.evaluation.metrics.outputs import Floats, Rows


@dataclass(frozen=True, kw_only=True, eq=False)
class Corruptions:
    """N images under C corruptions; row i is one image under all of them."""

    cells: tuple[Cell, ...]  # [C]
    correct: npt.NDArray[np.bool_]  # [N, C]
    p_max: Floats  # [N, C], largest softmax probability
    untouched: npt.NDArray[np.bool_]  # [N, C], whether the untouched model is right

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds, each once, in the order of the cells."""
        return tuple(dict.fromkeys(cell.kind for cell in self.cells))

    def take(self, rows: npt.NDArray[np.intp]) -> Corruptions:
        """Return the images at ``rows``, which may repeat."""
        return Corruptions(
            cells=self.cells, correct=self.correct[rows], p_max=self.p_max[rows], untouched=self.untouched[rows]
        )

    def only(self, kind: str, severity: int | None = None) -> Corruptions:
        """Return the same images under one kind, or one kind at one severity."""
        at = [i for i, c in enumerate(self.cells) if c.kind == kind and severity in (None, c.severity)]
        return Corruptions(
            cells=tuple(self.cells[i] for i in at), correct=self.correct[:, at], p_max=self.p_max[:, at],
            untouched=self.untouched[:, at],
        )  # fmt: skip

    def of_kind(self) -> Floats:
        """Return [C, K] with a 1 where a cell is of a kind."""
        return np.array([[cell.kind == kind for kind in self.kinds] for cell in self.cells], np.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """The n images that show a factor, or show it at one level."""

    name: str
    rows: Rows  # [n], which of the profile's images each of them is, or is a changed version of
    correct: npt.NDArray[np.bool_]  # [n]


@dataclass(frozen=True, kw_only=True, eq=False)
class Profile:
    """N images without regard to factors, and the groups that show one."""

    correct: npt.NDArray[np.bool_]  # [N]
    groups: tuple[Group, ...]

    @property
    def shown(self) -> int:
        """How many images show a factor, one that shows several counted for each."""
        return sum(len(group.rows) for group in self.groups)

    def only(self, name: str) -> Profile:
        """Return the profile of one group."""
        return Profile(correct=self.correct, groups=tuple(g for g in self.groups if g.name == name))
