"""Two studies side by side: which configurations they share, how their scores differ, and what changed in between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.outcomes import Outcomes, paired, read_seeds, score_gaps
from sweeps.engine.analysis.scores import CellScore, headline, score_cell, trial_row
from sweeps.engine.analysis.stats import LEVEL, enough_draws, holm, mean_of, paired_difference, resample
from sweeps.engine.format import MINIATURES, counted, eps_text
from sweeps.engine.study.folder import PlannedTrial, Study
from sweeps.engine.study.objectives import OBJECTIVES, Objective, score_eps
from sweeps.engine.study.plan import is_report
from zsr_core.codec import canonical, flatten, to_plain
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

# ---- provenance

WORLD = (
    ("commit", "git_sha"), ("zsr", "zsr"), ("torch", "torch"), ("open_clip", "open_clip"), ("python", "python"),
    ("device", "device"), ("host", "host"), ("threads", "threads"), ("untouched weights", "initial_weights_sha"),
)  # fmt: skip


def world(results: Iterable[TrialResult]) -> dict[str, str]:
    """Return what made the numbers: each distinct value, and where there are several, of how many trials."""
    facts = [result.provenance for result in results]
    told = {}
    for words, key in WORLD:
        values = Counter(_value(fact, key) for fact in facts if fact.get(key))
        several = len(values) > 1
        texts = [f"{value} ({counted(n, 'trial')})" if several else value for value, n in values.items()]
        if texts:
            told[words] = ", ".join(texts)
    return told


def _value(fact: Mapping[str, str], key: str) -> str:
    if key != "git_sha":
        return fact[key]
    return fact[key][:12] + (" with uncommitted changes" if fact.get("git_dirty") == "true" else "")


LIMIT = 160  # characters of a setting that are shown


@dataclass(frozen=True, kw_only=True)
class Side:
    """A study as a side of a comparison."""

    name: str  # short: it heads columns
    folder: Path
    study: Study
    results: Mapping[str, TrialResult]


@dataclass(frozen=True, kw_only=True)
class Delta:
    """How many points the first study's score lies above the second's; no interval where nothing is paired."""

    value: float
    low: float | None = None
    high: float | None = None
    p: float | None = None  # by the bootstrap; None without records
    p_holm: float | None = None  # adjusted within the comparison: all its rows, all their scores

    @property
    def holds(self) -> bool:
        """Whether it is told from 0 after the correction."""
        return self.p_holm is not None and self.p_holm < LEVEL


Deltas = Mapping[Objective, Delta]


@dataclass(frozen=True, kw_only=True)
class Matched:
    """One configuration that both studies have: its scores' means on both sides, and their differences."""

    label: str
    report: bool  # on the report split
    first: CellScore
    second: CellScore
    deltas: Deltas
    basis: str  # what the differences rest on
    notes: tuple[str, ...] = ()
    same: bool = False  # every paired image has the same outcomes


@dataclass(frozen=True, kw_only=True)
class Change:
    """A setting that is not the same in both; None where a side has no such setting."""

    path: str
    first: str | None
    second: str | None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The first study against the second."""

    first: str
    second: str
    chosen: tuple[CellScore | None, CellScore | None]  # by the first, by the second
    bases: tuple[TrialConfig, TrialConfig]  # what each study's trials start from
    rows: tuple[Matched, ...]
    only_first: tuple[str, ...]
    only_second: tuple[str, ...]
    changes: tuple[Change, ...]  # of the configuration that all trials of a study share
    world: tuple[Change, ...]  # of code, versions and machine
    miniature: bool  # a side's numbers are the miniature's


Group = Sequence[PlannedTrial]  # the trials of one row: they differ by seed alone


def compare(first: Side, second: Side) -> Comparison:
    """Return how the first study differs from the second, row by row, paired by seed and image where both have them."""
    own, other = groups(first.study), groups(second.study)
    pairs = match(own, other)
    draws = enough_draws(len(OBJECTIVES) * len(pairs))
    taken_first, taken_second = {id(a) for a, _ in pairs}, {id(b) for _, b in pairs}
    kept = [(a, b) for a, b in pairs if _any_done(first, a) and _any_done(second, b)]
    rows = with_holm([matched(first, second, a, b, draws) for a, b in kept])
    return Comparison(
        first=first.name,
        second=second.name,
        chosen=(chosen(first.study, first.results), chosen(second.study, second.results)),
        bases=(first.study.base, second.study.base),
        rows=tuple(sorted(rows, key=lambda row: not row.report)),
        only_first=tuple(_placed(group) for group in own if id(group) not in taken_first),
        only_second=tuple(_placed(group) for group in other if id(group) not in taken_second),
        changes=changes(shared(first.study), shared(second.study)),
        world=changes(world(first.results.values()), world(second.results.values())),
        miniature=any(study.base.model.name in MINIATURES for study in (first.study, second.study)),
    )


def with_holm(rows: Sequence[Matched]) -> list[Matched]:
    """Return the rows with every p adjusted for being one of all the comparison's."""
    at = [(i, name) for i, row in enumerate(rows) for name, delta in row.deltas.items() if delta.p is not None]
    adjusted = dict(zip(at, holm([rows[i].deltas[name].p or 0.0 for i, name in at]), strict=True))
    return [
        replace(row, deltas={n: replace(d, p_holm=adjusted.get((i, n))) for n, d in row.deltas.items()})
        for i, row in enumerate(rows)
    ]


def tested(found: Comparison) -> int:
    """Return how many differences were tested: the family that the correction holds for."""
    return sum(delta.p_holm is not None for row in found.rows for delta in row.deltas.values())


def groups(study: Study) -> list[Group]:
    """Return the trials of each row, in plan order."""
    rows: dict[tuple[str, str, bool], list[PlannedTrial]] = {}
    for trial in study.plan:
        rows.setdefault((trial.role, trial.cell, is_report(trial)), []).append(trial)
    return list(rows.values())


def match(first: Sequence[Group], second: Sequence[Group]) -> list[tuple[Group, Group]]:
    """Return the rows of one configuration: with the same overrides, else of the same name, each used once.

    A search names its rows by number, which says nothing: there overrides alone decide.
    """
    left = list(second)
    pairs: dict[int, Group] = {}
    for key in (_by_overrides, _by_label):
        for i, group in enumerate(first):
            found = None if i in pairs else next((g for g in left if key(g) is not None and key(g) == key(group)), None)
            if found is not None:
                pairs[i] = found
                left = [g for g in left if g is not found]
    return [(first[i], pairs[i]) for i in sorted(pairs)]


def _by_overrides(group: Group) -> str | None:
    return canonical([group[0].role, to_plain(dict(group[0].overrides))])


def _by_label(group: Group) -> str | None:
    trial = group[0]
    return None if trial.cell.startswith("#") else canonical([trial.role, trial.cell, is_report(trial)])


def matched(first: Side, second: Side, a: Group, b: Group, draws: int) -> Matched:
    """Return one row of both studies with its differences, on the strongest ground that there is."""
    scores = [_score(side, group) for side, group in ((first, a), (second, b))]
    budgets = [{score_eps(side.study.config(t)) for t in group} for side, group in ((first, a), (second, b))]
    alike = len(set.union(*budgets)) == 1
    wanted = OBJECTIVES if alike else ("clean",)
    seeds = [read_seeds(side.folder, group, side.results) for side, group in ((first, a), (second, b))]
    deltas, basis, same = _deltas(seeds[0], seeds[1], first, second, a, b, draws)
    notes = []
    if not alike:
        told = " and ".join(", ".join(map(eps_text, sorted(each))) for each in budgets)
        notes.append(f"robust accuracy is not compared: the budgets are {told}")
    if _by_overrides(a) != _by_overrides(b):
        notes.append("the same name, other overrides: " + overrides_text(a[0].overrides, b[0].overrides))
    return Matched(
        label=_label(a), report=is_report(a[0]), first=scores[0], second=scores[1],
        deltas={name: delta for name, delta in deltas.items() if name in wanted}, basis=basis, notes=tuple(notes),
        same=same and alike,
    )  # fmt: skip


Seeds = Mapping[int, Mapping[str, Outcomes]]
Values = Mapping[Objective, Mapping[int, float]]  # by objective and seed


def _deltas(
    own: Seeds, other: Seeds, first: Side, second: Side, a: Group, b: Group, draws: int
) -> tuple[Deltas, str, bool]:
    """Return the differences, what they rest on, and whether every paired outcome is the same."""
    common = sorted(own.keys() & other.keys())
    series = paired([own, other], common) if common else {}
    if series and all(arms.shape[2] for arms in series.values()):
        images = sum(arms.shape[2] for arms in series.values())
        basis = f"{_n(len(common), 'seed')} × {_n(images, 'image')} of {_n(len(series), 'set')}"
        same = all(np.array_equal(arms[:2], arms[2:]) for arms in series.values())
        mean = mean_of(list(resample(series, score_gaps, np.random.default_rng(0), draws=draws).values()))
        found = zip(OBJECTIVES, mean.value, *mean.interval(), mean.p_values(), strict=True)
        deltas = {n: Delta(value=float(v), low=float(x), high=float(y), p=float(p)) for n, v, x, y, p in found}
        return deltas, basis, same
    return (*_without_records(_values(first, a), _values(second, b)), False)


def _without_records(own: Values, other: Values) -> tuple[Deltas, str]:
    """Return the differences of scores: by seed where both have the same, else of the means, without an interval."""
    deltas: dict[Objective, Delta] = {}
    basis = "no score in common"
    for name in OBJECTIVES:
        if not own[name] or not other[name]:
            continue
        found = paired_difference(own[name], other[name])
        if found is not None:
            deltas[name], basis = Delta(value=found.mean, low=found.low, high=found.high), f"{_n(found.n, 'seed')}"
        else:
            means = [float(np.mean(list(values[name].values()))) for values in (own, other)]
            deltas[name], basis = Delta(value=means[0] - means[1]), "means of other seeds, unpaired"
    return deltas, basis


def _n(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def _values(side: Side, group: Group) -> Values:
    """Return each objective's scores by seed."""
    done = {t.seed: headline(side.results[t.trial_id]) for t in group if _done(side, t)}
    return {name: {seed: found[name].value for seed, found in done.items() if name in found} for name in OBJECTIVES}


def _score(side: Side, group: Group) -> CellScore:
    rows = [trial_row(trial, side.results.get(trial.trial_id)) for trial in group]
    return score_cell(group[0].cell, group[0].overrides, rows)


def _done(side: Side, trial: PlannedTrial) -> bool:
    return trial.trial_id in side.results and side.results[trial.trial_id].status == "done"


def _any_done(side: Side, group: Group) -> bool:
    return any(_done(side, trial) for trial in group)


def _label(group: Group) -> str:
    cell = group[0].cell
    if cell.startswith("#"):
        return " ".join(f"{path.rsplit('.', 1)[-1]}={value}" for path, value in group[0].overrides.items())
    return cell.removesuffix(" (report)")


def _placed(group: Group) -> str:
    return f"{_label(group)} (report split)" if is_report(group[0]) else _label(group)


def shared(study: Study) -> dict[str, str]:
    """Return the settings that all trials of a study share, and how it was asked, by path."""
    asked = {"preset": study.preset, "mode": study.search or study.mode, "seeds": ", ".join(map(str, study.seeds)),
             "objectives": ", ".join(study.objectives)}  # fmt: skip
    space = {f"space.{path}": canonical(to_plain(domain)) for path, domain in study.space.items()}
    return {**asked, **{path: str(value) for path, value in flatten(study.base).items()}, **space}


def changes(first: Mapping[str, str], second: Mapping[str, str]) -> tuple[Change, ...]:
    """Return what is not the same, in the first's order, then what only the second has."""
    paths = [*first, *(path for path in second if path not in first)]
    return tuple(
        Change(path=path, first=_cut(first.get(path)), second=_cut(second.get(path)))
        for path in paths
        if first.get(path) != second.get(path)
    )


def _cut(text: str | None) -> str | None:
    return text if text is None or len(text) <= LIMIT else f"{text[: LIMIT - 1]}…"


def overrides_text(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """Return which overrides differ, path by path."""
    a, b = ({path: canonical(to_plain(value)) for path, value in each.items()} for each in (first, second))
    return "; ".join(f"{c.path}: {c.first or 'unset'}, {c.second or 'unset'}" for c in changes(a, b))


def unchanged(rows: Iterable[Matched]) -> int:
    """Return how many rows are the same image by image."""
    return sum(row.same for row in rows)
