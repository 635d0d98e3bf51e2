"""The plan plane: a sweep expanded to trials; what is missing, what is re-scored, what it will cost. No Ray here."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from search_spaces import Axis
from sweeps.engine.select import OBJECTIVES, CellScore
from sweeps.engine.study import UNTOUCHED_LABEL, PlannedTrial, Study
from zsr_core import __version__
from zsr_core.codec import ConfigError, fingerprint, flatten, require, unknown
from zsr_core.cost import duration
from zsr_core.published import published
from zsr_core.space import Choice, Domain, Real, Variant, grid, short
from zsr_core.trial import TrialConfig, TrialResult

SPLIT = "eval_suite.split"  # cells are scored on the selection split, the chosen one then on the reporting split
UNTOUCHED = {"epochs": 0}  # the model as it came


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A question, and what answers it: a grid over ``space``, or listed ``variants``, around each preset's base."""

    name: str
    question: str
    base: Mapping[str, TrialConfig]  # preset -> what every trial starts from
    space: tuple[Axis, ...] | Mapping[str, Domain] = ()
    # Instead of the default grid; a mapping where presets ask for different ones.
    variants: tuple[Variant, ...] | Mapping[str, tuple[Variant, ...]] = ()
    levels: int = 5  # of the default grid, for axes that list none of their own
    samples: int = 25  # of a search, unless --samples says otherwise
    seeds: tuple[int, ...] = (0,)
    objectives: tuple[str, ...] = ("clean", "robust")
    surfaces: tuple[tuple[str, str], ...] = ()  # (x, y) paths to draw the scores over
    # source -> its tables, as `zsr_core.published` calls them: the sweep runs their rows, so that each one is scored on
    # the report split too, and the published numbers are printed beside the measured ones.
    reproduces: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        plain_name = self.name.replace("_", "").replace("-", "").isalnum()
        require(plain_name, "name", self.name, "letters, digits, - and _: it names a folder")
        require(bool(self.space or self.variants), "space", self.space, "at least one axis, or variants")
        require(bool(self.base), "base", dict(self.base), "a configuration per preset")
        require(self.levels >= 2, "levels", self.levels, "at least 2")
        require(self.samples >= 1, "samples", self.samples, "at least 1")
        check_seeds(self.seeds)
        check_objectives(self.objectives)
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

    def _check_base(self, preset: str, config: TrialConfig) -> None:
        split = config.eval_suite.split
        where = f"base[{preset!r}].{SPLIT}"
        require(split == "selection", where, split, "'selection': nothing is selected on a test split")
        for variant in (*self.corners(), *self.listed(preset)):
            require(SPLIT not in variant.overrides, SPLIT, variant.label, "a sweep whose variants share the split")
            config.with_(variant.overrides)

    @property
    def axes(self) -> tuple[Axis, ...]:
        """The space as rows."""
        if isinstance(self.space, Mapping):
            return tuple(Axis(path=path, domain=domain) for path, domain in self.space.items())
        return self.space

    @property
    def domains(self) -> dict[str, Domain]:
        return {axis.path: axis.domain for axis in self.axes}

    @property
    def published(self) -> dict[str, float]:
        return {axis.path: axis.published for axis in self.axes if axis.published is not None}

    def listed(self, preset: str) -> tuple[Variant, ...]:
        """Return the variants that are listed for a preset."""
        return self.variants.get(preset, ()) if isinstance(self.variants, Mapping) else self.variants

    def cells(self, preset: str) -> tuple[Variant, ...]:
        """Return what matrix mode runs: the listed variants, or the grid of ``levels`` per axis."""
        axes = {a.path: a.levels or axis_levels(a.domain, self.levels) for a in self.axes}
        return self.listed(preset) or grid(axes)

    def corners(self) -> Iterable[Variant]:
        """Return each axis at its ends, all else at the base: a configuration must be able to stand there."""
        for path, domain in self.domains.items():
            ends = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
            for value in ends:
                yield Variant(label=f"{path}={short(value)}", overrides={path: value})


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ``ConfigError`` unless ``seeds`` are one or more different whole numbers."""
    require(len(seeds) > 0 and len(set(seeds)) == len(seeds), "seeds", tuple(seeds), "at least one seed, none twice")


def check_objectives(objectives: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless ``objectives`` are one or more different scores."""
    for name in objectives:
        if name not in OBJECTIVES:
            raise unknown("objectives", name, OBJECTIVES)
    distinct = len(set(objectives)) == len(objectives)
    require(len(objectives) > 0 and distinct, "objectives", tuple(objectives), "at least one score, none twice")


def axis_levels(domain: Domain, n: int) -> tuple[Any, ...]:
    """Return at most ``n`` levels of an axis, both ends among them; a choice gives all its values."""
    if isinstance(domain, Choice):
        return domain.values
    if isinstance(domain, Real):
        return domain.levels(n)
    at = Real(low=domain.low, high=domain.high, log=domain.log).levels(n)
    return tuple(dict.fromkeys(round(value) for value in at))


def study_name(sweep: Sweep, preset: str, search: str | None) -> str:
    """Return the study's name, which is its folder's: one per sweep, way of searching and preset."""
    scale = "" if preset == "miniature" else f"-{preset}"
    return sweep.name + (f"-{search}" if search else "") + scale


def new_study(
    sweep: Sweep, *, preset: str, search: str | None, seeds: tuple[int, ...], objectives: tuple[str, ...]
) -> Study:
    """Return the study that is asked for: the untouched model, then in matrix mode every cell, seed by seed."""
    if preset not in sweep.base:
        raise unknown("preset", preset, sweep.base)
    base, space = sweep.base[preset], sweep.domains
    cells = () if search else sweep.cells(preset)
    plan = [planned(base, UNTOUCHED_ROW, seed, role="baseline") for seed in seeds]
    plan += [planned(base, cell, seed) for seed in seeds for cell in cells]
    plan += report_trials(base, cells, seeds) if sweep.reproduces else ()
    check_distinct(plan)
    return Study(
        name=sweep.name, study=study_name(sweep, preset, search), question=sweep.question, preset=preset,
        mode="search" if search else "matrix", search=search, space=space, objectives=objectives,
        surfaces=sweep.surfaces, published=sweep.published, base=base, seeds=seeds, plan=tuple(plan),
        fingerprint=fingerprint({"name": sweep.name, "preset": preset, "base": base, "space": space}),
        created=datetime.now(UTC).isoformat(timespec="seconds"), zsr=__version__,
        reproduces=sweep.reproduces,
        baseline=next((cell.label for cell in cells if cell.reference), UNTOUCHED_ROW.label),
    )  # fmt: skip


UNTOUCHED_ROW = Variant(label=UNTOUCHED_LABEL, overrides=UNTOUCHED)


def planned(base: TrialConfig, variant: Variant, seed: int, role: Any = "cell") -> PlannedTrial:
    """Return one planned trial; a variant that the base cannot take is an error naming the path."""
    config = base.with_({**variant.overrides, "seed": seed})
    return PlannedTrial(
        trial_id=config.trial_id,
        label=f"{variant.label} seed={seed}",
        cell=variant.label,
        overrides=dict(variant.overrides),
        seed=seed,
        role=role,
    )


def check_distinct(plan: Iterable[PlannedTrial]) -> None:
    """Raise ``ConfigError`` if two planned trials are the same configuration: it would run once and count twice."""
    seen: dict[str, str] = {}
    for trial in plan:
        if trial.trial_id in seen:
            raise ConfigError(f"variants: {seen[trial.trial_id]!r} and {trial.label!r} are the same configuration")
        seen[trial.trial_id] = trial.label


def continued(earlier: Study, asked: Study, results: Mapping[str, TrialResult], where: str) -> Study:
    """Return the study in folder ``where`` with what is asked now added: what has a result stays, whatever is asked.

    Raises:
        ConfigError: if the folder holds another study, saying what differs.
    """
    if earlier.fingerprint != asked.fingerprint:
        raise ConfigError(
            f"results: {where} holds another study ({_difference(earlier, asked)}); "
            "give another --results, or --fresh to set the old one aside"
        )
    if asked.mode == "search" and earlier.objectives != asked.objectives:
        raise ConfigError(
            f"objectives: {where} was searched for {', '.join(earlier.objectives)}, not {', '.join(asked.objectives)}; "
            "give another --results, or --fresh to set the old study aside"
        )
    wanted = {trial.trial_id for trial in asked.plan}
    kept = [t for t in earlier.plan if t.trial_id not in wanted and (t.trial_id in results or _suggestion(earlier, t))]
    plan = (*asked.plan, *kept)
    for cell in suggestions(replace(asked, plan=plan)):
        plan = (*plan, *_missing_seeds(asked, plan, cell))
    order = {"baseline": 0, "cell": 1, "final": 2}
    plan = tuple(sorted(plan, key=lambda t: (is_report(t), order[t.role])))
    seeds = tuple(dict.fromkeys((*asked.seeds, *earlier.seeds)))
    return replace(asked, plan=plan, seeds=seeds, created=earlier.created, notes=earlier.notes)


def _difference(earlier: Study, asked: Study) -> str:
    if earlier.name != asked.name or earlier.preset != asked.preset:
        return f"{earlier.name}, preset {earlier.preset}"
    sides = [flatten({"base": study.base, "space": dict(study.space)}) for study in (earlier, asked)]
    there, here = sides
    paths = [path for path in {**there, **here} if there.get(path) != here.get(path)]
    listing = ", ".join(f"{path} is {there.get(path)!r} there, {here.get(path)!r} here" for path in paths[:3])
    return listing + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def _suggestion(study: Study, trial: PlannedTrial) -> bool:
    return study.mode == "search" and trial.role == "cell"


def suggestions(study: Study) -> dict[str, dict[str, Any]]:
    """Return what a search has proposed so far, in order: cell -> overrides; nothing in matrix mode."""
    return {t.cell: dict(t.overrides) for t in study.plan if _suggestion(study, t)}


def _missing_seeds(asked: Study, plan: Iterable[PlannedTrial], cell: str) -> list[PlannedTrial]:
    of_cell = [t for t in plan if t.cell == cell and t.role == "cell"]
    variant = Variant(label=cell, overrides=of_cell[0].overrides)
    lacking = [seed for seed in asked.seeds if seed not in {t.seed for t in of_cell}]
    return [planned(asked.base, variant, seed) for seed in lacking]


def suggested(study: Study, overrides: Mapping[str, Any], seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the trials of one more proposal, one per seed; its number keeps cells apart that round to one label."""
    number = len(suggestions(study)) + 1
    values = " ".join(f"{path.rsplit('.', 1)[-1]}={short(value)}" for path, value in overrides.items())
    variant = Variant(label=f"#{number:03d} {values}", overrides=dict(overrides))
    return tuple(planned(study.base, variant, seed) for seed in seeds)


def to_come(study: Study, samples: int, seeds: int) -> int:
    """Return how many trials a search of ``samples`` proposals has yet to propose; a finite space bounds it."""
    if study.mode != "search":
        return 0
    return max(min(samples, points(study.space)) - len(suggestions(study)), 0) * seeds


def points(space: Mapping[str, Domain]) -> int:
    """Return how many points a space has; a large number where an axis is real."""
    sizes = [
        len(domain.values) if isinstance(domain, Choice) else 1 + domain.high - domain.low
        for domain in space.values()
        if not isinstance(domain, Real)
    ]
    return math.prod(sizes) if len(sizes) == len(space) else sys.maxsize


def is_report(trial: PlannedTrial) -> bool:
    """Return whether the trial is scored on the reporting split: the end of a study, not part of its selection."""
    return trial.overrides.get(SPLIT) == "report"


def closing(study: Study, chosen: CellScore, seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the end of the study: the chosen cell and the untouched model, scored on the reporting split."""
    return report_trials(study.base, (Variant(label=chosen.cell, overrides=chosen.overrides),), seeds)


def report_trials(base: TrialConfig, cells: Iterable[Variant], seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the untouched model and the cells, scored on the reporting split."""
    report = {SPLIT: "report"}
    untouched = Variant(label=f"{UNTOUCHED_LABEL} (report)", overrides={**UNTOUCHED, **report})
    finals = [Variant(label=cell.label, overrides={**cell.overrides, **report}) for cell in cells]
    return (
        *(planned(base, untouched, seed, role="baseline") for seed in seeds),
        *(planned(base, final, seed, role="final") for seed in seeds for final in finals),
    )


def with_closing(study: Study, end: Sequence[PlannedTrial]) -> Study:
    """Return the study ending in ``end`` alone: an earlier choice is no longer the answer."""
    return replace(study, plan=(*(t for t in study.plan if not is_report(t)), *end))


def missing(plan: Iterable[PlannedTrial], results: Mapping[str, TrialResult]) -> tuple[PlannedTrial, ...]:
    """Return the trials that are not done: never run, cut off, failed or stopped early."""
    return tuple(t for t in plan if t.trial_id not in results or results[t.trial_id].status != "done")


def listing(
    study: Study,
    results: Mapping[str, TrialResult],
    seconds: Callable[[TrialConfig], float],
    *,
    slots: int,
    to_come: int = 0,
    gpu: Gpu | None = None,
) -> list[str]:
    """Return the plan as lines: every trial with its state, then what is left and about how long it takes.

    ``to_come`` is the number of trials that a search has yet to propose, taken to cost what the base costs. ``gpu`` is
    another machine to say the cost on.
    """
    lines = [f"{study.study}: {study.question}", ""]
    for trial in study.plan:
        state = results[trial.trial_id].status if trial.trial_id in results else "missing"
        lines.append(f"  {trial.trial_id}  {state:<8} {trial.role:<9} {trial.label}")
    left = work_left(study, results, seconds, to_come)
    if to_come:
        lines.append(f"  and {to_come} trials that {study.search} has yet to propose")
    todo = len(missing(study.plan, results)) + to_come
    then = "; then the best cell and the untouched model on the report split"
    end = "" if any(is_report(t) for t in study.plan) else then
    lines += ["", f"{todo} of {len(study.plan) + to_come} trials to run{end}."]
    if todo:
        lines.append(f"About {duration(left)} of work: {duration(left / slots)} with {slots} at a time.")
    if todo and gpu is not None:
        hours = work_left(study, results, gpu.seconds, to_come) / 3600
        lines.append(f"On {gpu.name}: about {hours:.3g} GPU hours.")
    return lines


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """A card that a plan's cost is told for."""

    name: str
    seconds: Callable[[TrialConfig], float]


def work_left(
    study: Study, results: Mapping[str, TrialResult], cost: Callable[[TrialConfig], float], to_come: int = 0
) -> float:
    """Return the cost of what is left to run; weights that two trials share are trained once."""
    left = to_come * cost(study.base)
    trained: set[str] = set()
    for trial in sorted(study.plan, key=lambda t: t.trial_id not in results or results[t.trial_id].status != "done"):
        config = study.config(trial)
        if trial.trial_id not in results or results[trial.trial_id].status != "done":
            left += cost(config.with_(UNTOUCHED) if config.training_id in trained else config)
        trained.add(config.training_id)
    return left
