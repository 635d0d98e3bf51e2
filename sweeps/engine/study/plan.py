"""The plan: a sweep expanded to trials, continued from an earlier plan, extended by proposals and the final trials."""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from sweeps.engine.study.branches import place_of, spaces, values_text
from sweeps.engine.study.folder import SPLIT, UNTOUCHED, UNTOUCHED_LABEL, PlannedRow, PlannedTrial, Role, Study
from sweeps.engine.study.objectives import check_corrupted_retrieval, check_ood, read_by
from sweeps.engine.study.sweep import Sweep
from zsr_core import __version__
from zsr_core.codec import ConfigError, fingerprint, flatten, require, unknown
from zsr_core.data import zero_shot_names
from zsr_core.evaluation.retrieval.suite import RetrievalSuite
from zsr_core.evaluation.scenes.suite import DetectionSuite
from zsr_core.names import MINIATURES
from zsr_core.space import Choice, Domain, Real, Variant
from zsr_core.trial.config import TrialConfig


def study_name(sweep: Sweep, preset: str, search: str | None) -> str:
    """Return the name of the study and of its folder: one per sweep, search and preset."""
    scale = "" if preset == "miniature" else f"-{preset}"
    return sweep.name + (f"-{search}" if search else "") + scale


def new_study(
    sweep: Sweep, *, preset: str, search: str | None, seeds: tuple[int, ...], objectives: tuple[str, ...]
) -> Study:
    """Return a new study: the plan has the untouched model, then in matrix mode every cell, seed by seed."""
    if preset not in sweep.base:
        raise unknown("preset", preset, sweep.base)
    base, space = sweep.base[preset], sweep.domains
    check_ood(objectives, base)
    check_corrupted_retrieval(objectives, base)
    reads, suite = read_by(objectives), base.eval_suite
    expected = "a sweep whose eval_suite.corruptions names some"
    require("corruptions" not in reads or bool(suite.corruptions), "objectives", objectives, expected)
    expected = "a sweep whose eval_suite.factors or eval_suite.annotations names some"
    require("factors" not in reads or suite.profiles, "objectives", objectives, expected)
    if "embeddings" in reads:
        base = base.with_({"eval_suite.embeddings": "all"})
    if "retrieval" in reads and suite.retrieval is None:
        small = base.model.name in MINIATURES
        require(small, "objectives", objectives, "none of retrieval: eval_suite.retrieval names no set of captions")
        base = base.with_({"eval_suite.retrieval": RetrievalSuite()})
    if "detection" in reads and suite.detection is None:
        small = base.model.name in MINIATURES
        require(small, "objectives", objectives, "none of detection: eval_suite.detection names no boxes")
        base = base.with_({"eval_suite.detection": DetectionSuite()})
    if "attention" in reads:
        base = base.with_({"eval_suite.attention": True})
    cells = () if search else sweep.cells(preset)
    plan = [planned(base, UNTOUCHED_ROW, seed, role="baseline") for seed in seeds]
    plan += [planned(base, cell, seed) for seed in seeds for cell in cells]
    plan += report_trials(base, cells, seeds) if sweep.reproduces else ()
    check_distinct(plan)
    check_scored(base, plan)
    branches = sweep.ways(preset)
    conditional = {"branches": branches} if branches else {}
    return Study(
        name=sweep.name, study=study_name(sweep, preset, search), question=sweep.question, preset=preset,
        mode="search" if search else "matrix", search=search, space=space, objectives=objectives,
        surfaces=sweep.surfaces, published=sweep.published, base=base, seeds=seeds, plan=tuple(plan),
        fingerprint=fingerprint({"name": sweep.name, "preset": preset, "base": base, "space": space, **conditional}),
        created=datetime.now(UTC).isoformat(timespec="seconds"), zsr=__version__,
        reproduces=sweep.reproduces, score_eps=sweep.budget(preset), branches=branches,
        baseline=next((cell.label for cell in cells if cell.reference), UNTOUCHED_ROW.label),
    )  # fmt: skip


UNTOUCHED_ROW = Variant(label=UNTOUCHED_LABEL, overrides=UNTOUCHED)


def planned(
    base: TrialConfig, variant: Variant, seed: int, role: Role = "cell", proposal: int | None = None
) -> PlannedTrial:
    """Return one planned trial; a variant that the base cannot take is an error naming the path."""
    config = base.with_({**variant.overrides, "seed": seed})
    return PlannedTrial(
        trial_id=config.trial_id,
        label=f"{variant.label} seed={seed}",
        cell=variant.label,
        overrides=dict(variant.overrides),
        seed=seed,
        role=role,
        split=config.eval_suite.split,
        proposal=proposal,
    )


def check_distinct(plan: Iterable[PlannedTrial]) -> None:
    """Raise ``ConfigError`` if two planned trials have the same configuration, because it would count twice."""
    seen: dict[str, str] = {}
    for trial in plan:
        if trial.trial_id in seen:
            raise ConfigError(f"variants: {seen[trial.trial_id]!r} and {trial.label!r} are the same configuration")
        seen[trial.trial_id] = trial.label


def check_scored(base: TrialConfig, plan: Iterable[PlannedTrial]) -> None:
    """Raise ``ConfigError`` if a trial evaluates its training set alone, under several names: none is its score.

    Under one name that set is the score.
    """
    own = [t for t in plan if any(path.startswith(("train_data", "eval_suite")) for path in t.overrides)]
    for config in (base, *(base.with_(trial.overrides) for trial in own)):
        names = [task.called for task in config.eval_suite.tasks]
        alone = len(names) == 1 or bool(zero_shot_names(config.eval_suite.tasks, config.train_data))
        expected = (
            f"a set beside {config.train_data.called}, which is trained on, or one name for it: that is the score"
        )
        require(alone, "eval_suite.tasks", names, expected)


def continued(earlier: Study, asked: Study, results: Collection[str], where: str) -> Study:
    """Return ``asked`` merged with the study in folder ``where``; earlier trials that have a result stay planned.

    Raises:
        ConfigError: naming what differs, if the folder holds another study.
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
    if earlier.stop is not None and asked.stop is not None:
        same = earlier.stop.rungs(earlier.score_eps) == asked.stop.rungs(earlier.score_eps)
        require(same, "stop", asked.stop.rungs(earlier.score_eps), f"the rungs of {where}, or --fresh")
    wanted = {trial.trial_id for trial in asked.plan}
    kept = [t for t in earlier.plan if t.trial_id not in wanted and (t.trial_id in results or t.proposal is not None)]
    plan = (*asked.plan, *kept)
    for cell in suggestions(replace(asked, plan=plan)):
        plan = (*plan, *_missing_seeds(asked, plan, cell))
    order = {"baseline": 0, "cell": 1, "final": 2}
    plan = tuple(sorted(plan, key=lambda t: (t.is_report, order[t.role])))
    seeds = tuple(dict.fromkeys((*asked.seeds, *earlier.seeds)))
    # A search keeps its budget, because the scores in its journal were read at it.
    score_eps = earlier.score_eps if asked.mode == "search" else asked.score_eps
    return replace(
        asked, plan=plan, seeds=seeds, created=earlier.created, notes=earlier.notes, score_eps=score_eps,
        report_all=asked.report_all or earlier.report_all,
        report_rows=tuple(dict.fromkeys((*earlier.report_rows, *asked.report_rows))),
    )  # fmt: skip


def _difference(earlier: Study, asked: Study) -> str:
    if earlier.name != asked.name or earlier.preset != asked.preset:
        return f"{earlier.name}, preset {earlier.preset}"
    sides = [
        flatten({"base": study.base, "space": dict(study.space), "branches": {b.label: b for b in study.branches}})
        for study in (earlier, asked)
    ]
    old, new = sides
    paths = [path for path in {**old, **new} if old.get(path) != new.get(path)]
    listing = ", ".join(f"{path} is {old.get(path)!r} there, {new.get(path)!r} here" for path in paths[:3])
    return listing + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")


def suggestions(study: Study) -> dict[str, dict[str, Any]]:
    """Return the proposals of a search so far, in order, as cell -> overrides; empty in matrix mode."""
    return {t.cell: dict(t.overrides) for t in study.plan if t.proposal is not None and t.role == "cell"}


def _missing_seeds(asked: Study, plan: Iterable[PlannedTrial], cell: str) -> list[PlannedTrial]:
    of_cell = [t for t in plan if t.cell == cell and t.role == "cell"]
    variant = Variant(label=cell, overrides=of_cell[0].overrides)
    lacking = [seed for seed in asked.seeds if seed not in {t.seed for t in of_cell}]
    return [planned(asked.base, variant, seed, proposal=of_cell[0].proposal) for seed in lacking]


def suggested(study: Study, overrides: Mapping[str, Any], seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the trials of one more proposal, one per seed; its number keeps labels unique after rounding."""
    number = len(suggestions(study)) + 1
    variant = Variant(label=f"#{number:03d} {values_text(study, overrides)}", overrides=dict(overrides))
    return tuple(planned(study.base, variant, seed, proposal=number) for seed in seeds)


def recovered(asked: Study, begun: Iterable[TrialConfig]) -> Study:
    """Return a new plan with the trials that ``begun`` has beside it: points of the space, in the order given.

    They are the proposals of a search, or the cells between neighbours that refining has added.
    """
    study, searches = asked, asked.mode == "search"
    known = {trial.trial_id for trial in asked.plan}
    for config in begun:
        point = None if config.trial_id in known else place_of(study, config)
        if point is None:
            continue
        seeds = tuple(dict.fromkeys((config.seed, *asked.seeds)))
        variant = Variant(label=values_text(study, point), overrides=point)
        trials = (suggested(study, point, seeds) if searches
                  else tuple(planned(study.base, variant, seed) for seed in seeds))  # fmt: skip
        study = replace(study, plan=(*study.plan, *trials))
        known |= {trial.trial_id for trial in trials}
    return study


def to_come(study: Study, samples: int, seeds: int) -> int:
    """Return how many trials a search of ``samples`` proposals has yet to plan; a finite space may have fewer."""
    if study.mode != "search":
        return 0
    every = sum(points(space) for _, space in spaces(study))
    return max(min(samples, every) - len(suggestions(study)), 0) * seeds


def points(space: Mapping[str, Domain]) -> int:
    """Return how many points a space has; ``sys.maxsize`` if an axis is real."""
    sizes = [
        len(domain.values) if isinstance(domain, Choice) else 1 + domain.high - domain.low
        for domain in space.values()
        if not isinstance(domain, Real)
    ]
    return math.prod(sizes) if len(sizes) == len(space) else sys.maxsize


def reported_rows(study: Study) -> tuple[PlannedRow, ...]:
    """Return the cells that run on the report split besides the chosen one, as ``--report-all`` and its like ask.

    Raises:
        ConfigError: naming the row, for one that the plan does not have.
    """
    rows = study.rows(role="cell")
    if study.report_all:
        return rows
    known_later = study.mode == "search" and bool(study.report_rows) and not rows
    require(
        not known_later, "--report-rows", list(study.report_rows), "a search that has run; --report-all needs no names"
    )
    names = {name: row for row in rows for name in (row.cell, row.cell.split(" ")[0] if row.proposal else row.cell)}
    for name in study.report_rows:
        if name not in names:
            raise unknown("--report-rows", name, [row.cell for row in rows])
    return tuple({id(names[name]): names[name] for name in study.report_rows}.values())


def with_reported(study: Study, seeds: Sequence[int]) -> Study:
    """Return the study with the asked rows on the report split planned from the start.

    A search is returned as it is, because its rows are not known before it has ended.
    """
    rows = reported_rows(study)
    if study.mode == "search" or not rows:
        return study
    known = {trial.trial_id for trial in study.plan}
    new = report_trials(study.base, [Variant(label=row.cell, overrides=row.overrides) for row in rows], seeds)
    return replace(study, plan=(*study.plan, *(trial for trial in new if trial.trial_id not in known)))


def closing(study: Study, chosen: Variant, seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the final trials of the study: the chosen cell, the asked rows and the untouched model, on the report
    split."""
    others = [row for row in reported_rows(study) if row.cell != chosen.label]
    cells = (chosen, *(Variant(label=row.cell, overrides=row.overrides) for row in others))
    numbers = {trial.cell: trial.proposal for trial in study.plan if trial.role == "cell"}
    return tuple(replace(trial, proposal=numbers.get(trial.cell) if trial.role == "final" else None)
                 for trial in report_trials(study.base, cells, seeds))  # fmt: skip


def closing_to_come(study: Study, samples: int, seeds: int) -> int:
    """Return how many trials on the report split are not planned yet, because the choice decides them."""
    if study.rows(split="report"):
        return 0
    proposals = len(suggestions(study)) + to_come(study, samples, 1)
    cells = proposals if study.report_all else 1 + len(study.report_rows)
    return (1 + cells) * seeds


def report_trials(base: TrialConfig, cells: Iterable[Variant], seeds: Sequence[int]) -> tuple[PlannedTrial, ...]:
    """Return the trials of the untouched model and of the cells on the report split."""
    report = {SPLIT: "report"}
    untouched = Variant(label=UNTOUCHED_LABEL, overrides={**UNTOUCHED, **report})
    finals = [Variant(label=cell.label, overrides={**cell.overrides, **report}) for cell in cells]
    return (
        *(planned(base, untouched, seed, role="baseline") for seed in seeds),
        *(planned(base, final, seed, role="final") for seed in seeds for final in finals),
    )


def with_closing(study: Study, end: Sequence[PlannedTrial]) -> Study:
    """Return the study with ``end`` in place of its earlier trials on the report split."""
    return replace(study, plan=(*(t for t in study.plan if not t.is_report), *end))
