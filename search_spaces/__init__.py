"""The search space of each method's weights, the published optimum, and the overrides that switch each part off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from zsr_core.codec import require
from zsr_core.space import Domain


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One weight of a method: its dotted path in a configuration, its domain, and the published value."""

    path: str
    domain: Domain
    levels: tuple[float, ...] = ()  # of the default grid, in round numbers; empty: evenly spaced over the domain
    published: float | None = None
    source: str = ""  # where the published value is written
    off: bool = False  # 0 switches the term off: the grid has one more cell in which every such axis is 0

    def __post_init__(self) -> None:
        inside = self.published is None or self.domain.contains(self.published)
        require(inside, self.path, self.published, f"a published optimum inside the axis, {self.domain}")
        outside = not self.off or not self.domain.contains(0.0)
        require(outside, self.path, self.off, f"off only where the axis itself leaves out 0, not {self.domain}")
        for level in self.levels:
            require(self.domain.contains(level), self.path, level, f"a level inside the axis, {self.domain}")


@dataclass(frozen=True, kw_only=True)
class Branch:
    """One way through a conditional space: what it sets, and the axes that exist only where it is taken."""

    label: str  # the value of the axis that chooses the branch
    overrides: Mapping[str, Any] = field(default_factory=dict)
    axes: tuple[Axis, ...] = ()

    @property
    def domains(self) -> dict[str, Domain]:
        """The domains of its own axes, by dotted path."""
        return {axis.path: axis.domain for axis in self.axes}
