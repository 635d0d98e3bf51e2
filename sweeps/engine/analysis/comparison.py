"""Two studies side by side: which configurations they share, how their scores differ, and what changed between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.difference import Column, Difference, RowTrials, adjusted, differences, series_at
from sweeps.engine.analysis.outcomes import left_out
from sweeps.engine.analysis.scores import CellScore, row_score
from sweeps.engine.analysis.stats import Array, paired_difference
from sweeps.engine.format import MINIATURES, counted, value_text
from sweeps.engine.study.folder import PlannedRow, Role, Study, StudyFolder
from sweeps.engine.study.objectives import Score, headline, shown_scores
from zsr_core.codec import canonical, flatten, to_plain
from zsr_core.data import Split, same_set
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.content import PREFIX
from zsr_core.trial.result import TrialResult

LIMIT = 160  # characters of a setting that are shown


@dataclass(frozen=True, kw_only=True)
class Side:
    """A study as a side of a comparison."""

    name: str  # short, because it is a column heading
    folder: StudyFolder


@dataclass(frozen=True, kw_only=True)
class Basis:
    """The data behind a row's differences: paired seeds and images, else paired seeds, else unpaired means."""

    seeds: int = 0
    images: int = 0
    sets: int = 0
    unpaired: bool = False  # the sides share no seed


@dataclass(frozen=True, kw_only=True)
class Matched:
    """One configuration that both studies have: its scores on both sides, and first minus second."""

    label: str
    report: bool  # on the report split
    first: CellScore
    second: CellScore
    differences: Mapping[str, Difference]  # by score; absent where a side has no number
    basis: Basis
    budgets: tuple[float, float]  # at which each side's robust scores are read
    overrides: tuple[Change, ...] = ()  # overrides that differ, of rows matched by name
    same: bool = False  # every paired image has the same outcomes


@dataclass(frozen=True, kw_only=True)
class Change:
    """A setting that differs between the studies; None where a side has no such setting."""

    path: str
    first: str | None
    second: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The first study against the second."""

    first: str
    second: str
    chosen: tuple[CellScore | None, CellScore | None]  # the chosen cell of each study
    bases: tuple[TrialConfig, TrialConfig]  # what each study's trials start from
    unlike: tuple[str, ...]  # sets of both that have one name and other images, so that they are not compared
    scores: tuple[Score, ...]
    rows: tuple[Matched, ...]
    # The first's chosen row against the second's, by split; empty if they are one of ``rows``.
    best: tuple[Matched, ...]
    only_first: tuple[PlannedRow, ...]
    only_second: tuple[PlannedRow, ...]
    changes: tuple[Change, ...]  # of the configuration that all trials of a study share
    world: tuple[Change, ...]  # of code, versions and machine
    miniature: bool  # at least one study ran on the miniature


def compare(first: Side, second: Side) -> Comparison:
    """Return how the first study differs from the second, row by row, paired by seed and image where both have them."""
    one, two = first.folder.study, second.folder.study
    own, other = one.rows(), two.rows()
    pairs = match(own, other)
    scores = shown_scores(tuple(dict.fromkeys((*one.objectives, *two.objectives))))
    unlike = unlike_sets(first.folder, second.folder)
    kept = [(a, b) for a, b in pairs if first.folder.done(a.trials) and second.folder.done(b.trials)]
    rows = with_holm([matched(first.folder, second.folder, a, b, scores, unlike) for a, b in kept])
    return Comparison(
        first=first.name,
        second=second.name,
        chosen=(chosen(first.folder), chosen(second.folder)),
        bases=(one.base, two.base),
        unlike=unlike,
        scores=scores,
        rows=tuple(sorted(rows, key=lambda row: not row.report)),
        best=tuple(with_holm(best_against_best(first.folder, second.folder, scores, unlike))),
        only_first=tuple(row for row in own if all(row is not a for a, _ in pairs)),
        only_second=tuple(row for row in other if all(row is not b for _, b in pairs)),
        changes=changes(shared(one), shared(two)),
        world=changes(world(first.folder.results.values()), world(second.folder.results.values())),
        miniature=not {one.base.model.name, two.base.model.name}.isdisjoint(MINIATURES),
    )


def unlike_sets(first: StudyFolder, second: StudyFolder) -> tuple[str, ...]:
    """Return the sets that have one name in both studies and are not one set: neither the same place nor the same
    content."""
    one, two = (folder.study.base.eval_suite.tasks for folder in (first, second))
    names = {ref.called: ref for ref in two}
    pairs = [(ref.called, same_set(ref, names[ref.called])) for ref in one if ref.called in names]
    return tuple(name for name, same in pairs if not same and not _contents(first, name) & _contents(second, name))


def _contents(folder: StudyFolder, name: str) -> set[str]:
    """Return the digests of a set in the study's results; empty where they have none."""
    facts = (result.provenance.get(f"{PREFIX}{name}") for result in folder.done().values())
    return {digest for digest in facts if digest}


def best_against_best(
    first: StudyFolder, second: StudyFolder, scores: Sequence[Score], unlike: Collection[str] = ()
) -> list[Matched]:
    """Return the first study's chosen row against the second's, on each split that both have finished, report first.

    Empty if a study has chosen none, or if both have chosen one configuration, which is a shared row then.
    """
    winners = (chosen(first), chosen(second))
    if winners[0] is None or winners[1] is None:
        return []
    pairs = [(_chosen_row(first, winners[0], split), _chosen_row(second, winners[1], split)) for split in SPLITS]
    pairs = [(a, b) for a, b in pairs if a and b and first.done(a.trials) and second.done(b.trials)]
    if any(a and b and _by_overrides(a) == _by_overrides(b) for a, b in pairs):
        return []
    rows = [matched(first, second, a, b, scores, unlike) for a, b in pairs if a and b]
    return [replace(row, overrides=()) for row in rows]  # their names say how they differ


SPLITS: tuple[Split, ...] = ("report", "selection")


def _chosen_row(folder: StudyFolder, winner: CellScore, split: Split) -> PlannedRow | None:
    role: Role = "final" if split == "report" else "cell"
    return next((row for row in folder.study.rows(role=role, split=split) if row.cell == winner.cell), None)


def with_holm(rows: Sequence[Matched]) -> list[Matched]:
    """Return the rows with every p adjusted within one family: all these rows, all their scores."""
    (corrected,) = adjusted([[each for row in rows for each in row.differences.values()]])
    left = iter(corrected)
    return [
        replace(row, differences={name: each for name in row.differences if (each := next(left)) is not None})
        for row in rows
    ]


def tested(comparison: Comparison) -> int:
    """Return the number of tested differences: the size of the family in Holm's correction."""
    return sum(each.p_holm is not None for row in comparison.rows for each in row.differences.values())


def match(first: Sequence[PlannedRow], second: Sequence[PlannedRow]) -> list[tuple[PlannedRow, PlannedRow]]:
    """Return pairs of rows with the same overrides, else with the same name; each row is used once.

    Rows of a search are matched by overrides alone, because their names are only numbers.
    """
    left = list(second)
    pairs: dict[int, PlannedRow] = {}
    keys: tuple[Callable[[PlannedRow], str | None], ...] = (_by_overrides, _by_label)
    for key in keys:
        for i, row in enumerate(first):
            own = None if i in pairs else key(row)
            partner = None if own is None else next((other for other in left if key(other) == own), None)
            if partner is not None:
                pairs[i] = partner
                left = [other for other in left if other is not partner]
    return [(first[i], pairs[i]) for i in sorted(pairs)]


def _by_overrides(row: PlannedRow) -> str | None:
    return canonical([row.role, to_plain(dict(row.overrides))])


def _by_label(row: PlannedRow) -> str | None:
    return None if row.proposal is not None else canonical([row.role, row.cell, row.split])


def matched(
    first: StudyFolder,
    second: StudyFolder,
    a: PlannedRow,
    b: PlannedRow,
    scores: Sequence[Score],
    unlike: Collection[str] = (),
) -> Matched:
    """Return one matched row with its differences: from paired images, else from paired seeds, else from means.

    The sets in ``unlike`` are left out. Robust scores are compared only where both studies read them at one budget.
    """
    budgets = (first.study.score_eps, second.study.score_eps)
    alike = budgets[0] == budgets[1]
    wanted = [score for score in scores if alike or not score.attacked]
    sides = (row_score(first, a), row_score(second, b))
    own, other = (_at(RowTrials.of(folder, row), eps, budgets[0])
                  for folder, row, eps in zip((first, second), (a, b), budgets, strict=True))  # fmt: skip
    paired_sets = series_at([own.records, other.records], budgets[0])
    series = _zero_shot({name: arms for name, arms in paired_sets.items() if name not in unlike}, (own, other))
    gaps: dict[str, Difference] = {}
    if series:
        columns = [_column(score.name, budgets[0], tuple(series)) for score in wanted]
        paired = differences(own, other, columns)
        gaps = {score.name: gap for score, gap in zip(wanted, paired, strict=True) if gap is not None}
    unrecorded = {score.name: _of_scores(own, other, score, budgets[0]) for score in wanted if score.name not in gaps}
    gaps |= {name: gap for name, gap in unrecorded.items() if gap is not None}
    return Matched(
        label=a.cell, report=a.is_report, first=sides[0], second=sides[1],
        differences={score.name: gaps[score.name] for score in wanted if score.name in gaps},
        basis=_basis(gaps, series), budgets=budgets,
        overrides=() if _by_overrides(a) == _by_overrides(b) else override_changes(a.overrides, b.overrides),
        same=alike and bool(series) and all(np.array_equal(arms[:2], arms[2:]) for arms in series.values()),
    )  # fmt: skip


def _at(own: RowTrials, eps: float, called: float) -> RowTrials:
    """Return the row with the records of its study's budget alone, relabelled with the budget that pairs both sides."""
    return replace(own, records={seed: {called: each[eps]} for seed, each in own.records.items() if eps in each})


def _zero_shot(series: Mapping[str, Array], sides: Iterable[RowTrials]) -> dict[str, Array]:
    """Return the series of the sets that neither side was trained on and of which both have the same images."""
    trained = {name for side in sides for result in side.results.values() for name in left_out(result)}
    return {name: arms for name, arms in series.items() if name not in trained and arms.shape[2]}


def _column(metric: str, eps: float, sets: tuple[str, ...]) -> Column:
    return Column(metric=metric, eps=eps, title=metric, sets=sets, over="zero-shot mean", scope="zero-shot")


def _of_scores(own: RowTrials, other: RowTrials, score: Score, eps: float) -> Difference | None:
    """Return the difference of zero-shot means: paired by the shared seeds, else of the unpaired means."""
    values, others = (_means(side, score, eps) for side in (own, other))
    if not values or not others:
        return None
    over = paired_difference(values, others)
    if over is None:
        return Difference(value=fmean(values.values()) - fmean(others.values()), seeds=0)
    return Difference(value=over.mean, seeds=over.n, t_low=over.low, t_high=over.high)


def _means(side: RowTrials, score: Score, eps: float) -> dict[int, float]:
    read = {seed: headline(result, eps).get(score.name) for seed, result in side.results.items()}
    return {seed: m.value for seed, m in read.items() if m is not None and m.value is not None}


def _basis(gaps: Mapping[str, Difference], series: Mapping[str, Array]) -> Basis:
    if series:
        images = [arms.shape[2] for arms in series.values()]
        return Basis(seeds=next(iter(series.values())).shape[1], images=sum(images), sets=len(images))
    seeds = max((gap.seeds for gap in gaps.values()), default=0)
    return Basis(seeds=seeds, unpaired=bool(gaps) and seeds == 0)


def shared(study: Study) -> dict[str, str]:
    """Return the settings that all trials of a study share, and its launch options, by path."""
    asked = {"preset": study.preset, "mode": study.search or study.mode, "seeds": ", ".join(map(str, study.seeds)),
             "objectives": ", ".join(study.objectives)}  # fmt: skip
    space = {f"space.{path}": canonical(to_plain(domain)) for path, domain in study.space.items()}
    return {**asked, **{path: value_text(value) for path, value in flatten(study.base).items()}, **space}


def changes(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Change, ...]:
    """Return the settings that differ, in the order of the first, then those that only the second has."""
    paths = [*first, *(path for path in second if path not in first)]
    return tuple(
        Change(path=path, first=_cut(first.get(path)), second=_cut(second.get(path)))
        for path in paths
        if first.get(path) != second.get(path)
    )


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LIMIT else f"{text[: LIMIT - 1]}…"


def override_changes(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[Change, ...]:
    """Return which overrides differ, path by path."""
    a, b = ({path: _override_text(value) for path, value in each.items()} for each in (first, second))
    return changes(a, b)


def _override_text(value: Any) -> str:
    return value_text(value) if isinstance(value, (bool, int, float, str)) else canonical(to_plain(value))


def unchanged(rows: Iterable[Matched]) -> int:
    """Return how many rows are the same image by image."""
    return sum(row.same for row in rows)


WORLD = (
    ("commit", "git_sha"), ("zsr", "zsr"), ("torch", "torch"), ("open_clip", "open_clip"), ("python", "python"),
    ("device", "device"), ("host", "host"), ("threads", "threads"), ("untouched weights", "initial_weights_sha"),
)  # fmt: skip


def world(results: Iterable[TrialResult]) -> dict[str, str]:
    """Return code, versions and machine of the trials: each distinct value; of several, each with its count."""
    facts = [result.provenance for result in results]
    described = {}
    for words, key in WORLD:
        values = Counter(_value(fact, key) for fact in facts if fact.get(key))
        several = len(values) > 1
        texts = [f"{value} ({counted(n, 'trial')})" if several else value for value, n in values.items()]
        if texts:
            described[words] = ", ".join(texts)
    return described


def _value(fact: Mapping[str, str], key: str) -> str:
    if key != "git_sha":
        return fact[key]
    return fact[key][:12] + (" with uncommitted changes" if fact.get("git_dirty") == "true" else "")
