"""``Sweep``: a question, the search space or variants that answer it, and the base configurations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search_spaces import Axis, Branch
from sweeps.engine.study.branches import chooser
from sweeps.engine.study.folder import SPLIT
from sweeps.engine.study.objectives import check_objectives, score_budget
from sweeps.engine.study.stopping import OFF, Stopping, stopping
from zsr_core.codec import require, unknown
from zsr_core.published import published
from zsr_core.space import Choice, Domain, Real, Variant, grid, short
from zsr_core.trial.config import TrialConfig

LEVELS = 5  # of an axis of the default grid


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question, and the configurations that answer it: a grid over ``space``, or ``variants``, around each base."""

    name: str
    question: str
    base: Mapping[str, TrialConfig]  # preset -> the configuration that every trial overrides
    space: tuple[Axis, ...] | Mapping[str, Domain] = ()
    # Of a conditional space: the axis `method` chooses a branch, and each has its own axes beside those of `space`.
    branches: tuple[Branch, ...] | Mapping[str, tuple[Branch, ...]] = ()
    # Instead of the default grid; a mapping by preset if presets differ.
    variants: tuple[Variant, ...] | Mapping[str, tuple[Variant, ...]] = ()
    levels: int | None = None  # of the default grid, for axes that list none of their own; None: 5
    samples: int | None = None  # of a search, unless --samples says otherwise; None: 25
    seeds: tuple[int, ...] = (0,)
    objectives: tuple[str, ...] = ("clean", "robust")
    stop: Stopping | str = OFF  # whether trials are stopped early: "none", "asha", "hyperband", or a rule of one's own
    # The budget at which robust scores are read, in [0, 1] pixel units, for all presets or by preset. None: the base's
    # training radius, which the suite must then evaluate.
    score_eps: float | Mapping[str, float] | None = None
    surfaces: tuple[tuple[str, str], ...] = ()  # (x, y) paths to draw the scores over
    # source -> its tables, as `zsr_core.published` names them. The sweep runs their rows, each on the report split too,
    # and prints the published numbers beside the measured ones.
    reproduces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_name = self.name.replace("_", "").replace("-", "").isalnum()
        require(plain_name, "name", self.name, "letters, digits, - and _: it names a folder")
        spaced = bool(self.space or self.branches or self.variants)
        require(spaced, "space", self.space, "at least one axis, branches, or variants")
        require(bool(self.base), "base", dict(self.base), "a configuration per preset")
        require(self.levels is None or self.levels >= 2, "levels", self.levels, "at least 2")
        require(self.samples is None or self.samples >= 1, "samples", self.samples, "at least 1")
        self._check_unread()
        self._check_branches()
        check_seeds(self.seeds)
        check_objectives(self.objectives)
        stopping(self.stop)
        for source, tables in self.reproduces.items():
            for table in tables:
                require(bool(published(source=source, table=table)), f"reproduces[{source!r}]", table, "a table of it")
        for preset, config in self.base.items():
            self._check_base(preset, config)
        for x, y in self.surfaces:
            require(x != y, "surfaces", (x, y), "two different axes")
            for path in (x, y):
                if self.domains and path not in self.domains:
                    raise unknown("surfaces", path, self.domains)

    def _check_unread(self) -> None:
        """Raise ``ConfigError`` for a field that nothing would read."""
        spaced = any(not self.listed(preset) for preset in self.base)
        every = [*self.axes, *(axis for preset in self.base for branch in self.ways(preset) for axis in branch.axes)]
        leveled = spaced and any(not axis.levels and not isinstance(axis.domain, Choice) for axis in every)
        expected = "none: the sweep lists its variants, or every axis its levels"
        require(self.levels is None or leveled, "levels", self.levels, expected)
        require(self.samples is None or self.searchable, "samples", self.samples, "none: there is no space to search")
        for field_name in ("branches", "variants", "score_eps"):
            by_preset = getattr(self, field_name)
            for preset in by_preset if isinstance(by_preset, Mapping) else ():
                if preset not in self.base:
                    raise unknown(field_name, preset, self.base)

    def _check_branches(self) -> None:
        if not self.branches:
            return
        require(not self.variants, "branches", "a design", "a sweep without variants: the branches are its rows")
        require(not self.surfaces, "surfaces", self.surfaces, "none: `zsr plot -x -y --facet method` draws a branch")
        labels = {preset: [branch.label for branch in self.ways(preset)] for preset in self.base}
        first = next(iter(labels.values()))
        for preset, names in labels.items():
            where = f"branches of preset {preset!r}"
            require(names == first, where, names, f"the branches of the other presets, {first}")
            require(len(names) > 1 and len(set(names)) == len(names), where, names, "two branches or more, none twice")
            for branch in self.ways(preset):
                own = branch.domains
                require(len(own) == len(branch.axes), where, list(own), "each axis once")
                taken = [path for path in own if path in self.domains]
                require(not taken, where, taken, "axes that the whole space does not have")

    def _check_base(self, preset: str, config: TrialConfig) -> None:
        split = config.eval_suite.split
        where = f"base[{preset!r}].{SPLIT}"
        require(split == "selection", where, split, "'selection': nothing is selected on a test split")
        for variant in (*self.corners(preset), *self.listed(preset)):
            require(SPLIT not in variant.overrides, SPLIT, variant.label, "a sweep whose variants share the split")
            config.with_(variant.overrides)
        self.budget(preset)

    def budget(self, preset: str) -> float:
        """Return the budget at which all rows' robust scores are read, in [0, 1] pixel units.

        Raises:
            ConfigError: if the preset's suite does not evaluate it.
        """
        asked = self.score_eps.get(preset) if isinstance(self.score_eps, Mapping) else self.score_eps
        return score_budget(self.base[preset], asked, f"score_eps of preset {preset!r}")

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The space as a list of axes."""
        if isinstance(self.space, Mapping):
            return tuple(Axis(path=path, domain=domain) for path, domain in self.space.items())
        return self.space

    def ways(self, preset: str) -> tuple[Branch, ...]:
        """Return the branches of a conditional space for a preset; none in a plain space."""
        return self.branches.get(preset, ()) if isinstance(self.branches, Mapping) else self.branches

    @property
    def searchable(self) -> bool:
        """Whether there is a space to search."""
        return bool(self.space or self.branches)

    @property
    def domains(self) -> dict[str, Domain]:
        """The axes that all points share, by dotted path, with the one that chooses the branch, if there are any."""
        return {**chooser(self.ways(next(iter(self.base)))), **{axis.path: axis.domain for axis in self.axes}}

    @property
    def published(self) -> dict[str, float]:
        return {axis.path: axis.published for axis in self.axes if axis.published is not None}

    def listed(self, preset: str) -> tuple[Variant, ...]:
        """Return the variants that are listed for a preset."""
        return self.variants.get(preset, ()) if isinstance(self.variants, Mapping) else self.variants

    def cells(self, preset: str) -> tuple[Variant, ...]:
        """Return the cells of matrix mode: the listed variants, or the grid of ``levels`` per axis.

        If axes can be off, the cells with all of these at 0 come last.
        """
        if self.listed(preset):
            return self.listed(preset)
        if not self.branches:
            return self._grid(self.axes)
        return tuple(cell for branch in self.ways(preset) for cell in self._branch_cells(branch))

    def _grid(self, axes: Sequence[Axis]) -> tuple[Variant, ...]:
        levels = {a.path: a.levels or axis_levels(a.domain, self.levels or LEVELS) for a in axes}
        off = {a.path: (0.0,) for a in axes if a.off}
        return (*grid(levels), *(grid({**levels, **off}) if off else ()))

    def _branch_cells(self, branch: Branch) -> Iterable[Variant]:
        """Yield the grid of one branch; a branch without an axis is one cell."""
        axes = [*self.axes, *branch.axes]
        for cell in self._grid(axes) if axes else (Variant(label=""),):
            overrides = {**branch.overrides, **cell.overrides}
            yield Variant(label=f"{branch.label} {cell.label}".strip(), overrides=overrides)

    def corners(self, preset: str) -> Iterable[Variant]:
        """Yield each axis at both ends, all else at the base, to check that the configurations there are valid.

        The axes of a branch, and those that all branches share, are looked at in each branch.
        """
        for branch in self.ways(preset) or (Branch(label=""),):
            for axis in (*self.axes, *branch.axes):
                domain = axis.domain
                for value in domain.values if isinstance(domain, Choice) else (domain.low, domain.high):
                    label = f"{branch.label} {axis.path}={short(value)}".strip()
                    yield Variant(label=label, overrides={**branch.overrides, axis.path: value})


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ``ConfigError`` unless ``seeds`` has at least one seed and no duplicates."""
    require(len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", tuple(seeds), "at least one seed, none twice")


def axis_levels(domain: Domain, n: int) -> tuple[Any, ...]:
    """Return at most ``n`` levels of an axis, including both ends; for a choice all its values."""
    if isinstance(domain, Choice):
        return domain.values
    if isinstance(domain, Real):
        return domain.levels(n)
    at = Real(low=domain.low, high=domain.high, log=domain.log).levels(n)
    return tuple(dict.fromkeys(round(value) for value in at))
