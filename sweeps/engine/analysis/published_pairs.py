"""Published numbers beside measured ones: only where both are of the same kind, and where not, why not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean

from sweeps.engine.analysis.stats import summarise
from sweeps.engine.format import MINIATURES, eps_text
from sweeps.engine.study.folder import Study
from sweeps.engine.study.objectives import AVERAGE, WORST
from zsr_core.attacks import AnyAttack
from zsr_core.attacks.profiles import PROFILES
from zsr_core.evaluation.measure import Measurement
from zsr_core.published import OUR_MODELS, UNTOUCHED, Published, same_eps
from zsr_core.threat import Norm, PixelSpace
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

METRICS = ("clean", "robust")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured number, over the seeds of its cell, with what decides which published number is of its kind."""

    method: str  # title; UNTOUCHED for the model as it came
    fields: Mapping[str, object]  # of the method
    defaults: Mapping[str, object]  # the same fields as the paper has them
    model: str  # as the tables call it, else our name
    miniature: bool
    trained_on: str | None  # None for the model as it came
    train_eps: float | None  # in [0, 1] pixel units
    task: str  # a set, or AVERAGE
    tasks: tuple[str, ...]  # the sets it is over
    prompts: str  # names and templates of the classes; several where a mean's sets differ
    split: str
    attack: str  # a profile, else our name; "none" is clean
    eps: float
    norm: Norm
    space: PixelSpace
    metric: str
    value: float  # percent, as are the interval's ends
    low: float | None  # 95 %: over images, and over seeds where there are several
    high: float | None
    images: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A published number and the measured one of its kind; without one, ``reasons`` say what the nearest differs in."""

    published: Published
    measured: Measured | None
    reasons: tuple[str, ...] = ()

    @property
    def difference(self) -> float | None:
        """Measured minus published, in points."""
        return None if self.measured is None else self.measured.value - self.published.value

    @property
    def within(self) -> bool | None:
        """Whether the published number lies within the measured interval; None without an interval."""
        if self.measured is None or self.measured.low is None or self.measured.high is None:
            return None
        return self.measured.low <= self.published.value <= self.measured.high


def beside(measured: Sequence[Measured], published: Iterable[Published]) -> tuple[Pair, ...]:
    """Return every published clean or robust accuracy of a measured method, paired with what was measured of its kind.

    Of the same kind is: method and its fields, model, training set and budget, set or sets, prompts, split, and under
    attack its profile, budget, norm and pixel space. A mean is compared with the mean of the published numbers of the
    very sets that it is over, which are added here where all of them are printed.
    """
    rows = [row for row in published if row.metric in METRICS and row.method in {m.method for m in measured}]
    averages = {m.tasks for m in measured if m.task == AVERAGE}
    rows += [mean for tasks in sorted(averages) for mean in over_sets(rows, tasks)]
    return tuple(pair for row in rows for pair in _pairs(row, measured))


def _pairs(row: Published, measured: Sequence[Measured]) -> tuple[Pair, ...]:
    near = [m for m in measured if (m.method, m.metric) == (row.method, row.metric)]
    if not near:
        return (Pair(published=row, measured=None, reasons=(f"no {row.metric} accuracy was measured",)),)
    told = [(m, differences(row, m)) for m in near]
    same = [m for m, reasons in told if not reasons]
    if same:
        return tuple(Pair(published=row, measured=m) for m in same)
    return (Pair(published=row, measured=None, reasons=min((reasons for _, reasons in told), key=len)),)


def differences(row: Published, m: Measured) -> tuple[str, ...]:
    """Return what keeps a published and a measured number of one method and metric from being of the same kind."""
    if m.miniature:
        return ("measured on the built-in miniature: another model, other images",)
    found = list(row.why)
    if m.model != row.model:
        found.append(f"model: {m.model}, published {row.model}")
    if row.setting:
        found.append(f"printed for {row.setting}")
    if m.trained_on != row.trained_on:
        found.append(f"trained on {m.trained_on}, published {row.trained_on}")
    elif m.train_eps is not None and row.train_eps is not None and not same_eps(m.train_eps, row.train_eps):
        found.append(f"trained at {eps_text(m.train_eps)}, published at {eps_text(row.train_eps)}")
    found += _other_fields(row.fields, m)
    if set(m.tasks) != set(row.tasks) or (m.task == AVERAGE) == (row.task is not None):
        found.append("its set was not measured" if row.task is not None else "the measured means are over other sets")
    if m.prompts != row.prompts:
        found.append(f"prompts: {m.prompts}, published {row.prompts}")
    if m.split != "report":
        found.append(f"split: {m.split}, published on the test images")
    return tuple(found) if row.metric == "clean" else (*found, *_other_attack(row, m))


def _other_fields(stated: Mapping[str, object] | None, m: Measured) -> list[str]:
    """Fields that the row does not state are as in our defaults, which are the paper's; weights may be anything if the
    paper states none."""
    expected = {**m.defaults, **(stated or {})}
    return [
        f"{name}: {_short(value)}, published {_short(expected[name])}"
        for name, value in m.fields.items()
        if not _equal(value, expected[name]) and not (stated is None and _is_weight(value))
    ]


def _is_weight(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(a: object, b: object) -> bool:
    numbers = _is_weight(a) and _is_weight(b)
    return math.isclose(a, b, rel_tol=1e-9) if numbers else a == b  # type: ignore[arg-type]


def _other_attack(row: Published, m: Measured) -> list[str]:
    found = []
    if m.attack != row.profile:
        found.append(f"attack: {m.attack}, published {row.profile or row.attack}")
    if len(row.eps) != 1 or not same_eps(m.eps, row.eps[0]):
        budgets = ", ".join(eps_text(eps) for eps in row.eps) or "a budget that is not stated"
        found.append(f"eps: {eps_text(m.eps)}, published at {'the mean over ' * (len(row.eps) > 1)}{budgets}")
    if m.norm != row.norm:
        found.append(f"norm: {m.norm}, published {row.norm}")
    if m.space != row.space:
        found.append(f"pixel space: {m.space}, published {row.space or 'native for some sets'}")
    return found


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def over_sets(rows: Iterable[Published], tasks: Sequence[str]) -> list[Published]:
    """Return the means of the numbers of ``tasks`` alone, for each row of a table that prints all of them."""
    groups: dict[tuple[object, ...], dict[str, Published]] = {}
    for row in rows:
        key = (row.source, row.table, row.printed, row.attack, row.eps, row.metric)
        if row.task in tasks:
            groups.setdefault(key, {})[str(row.task)] = row
    return [
        replace(
            sets[tasks[0]],
            dataset=f"mean of these {len(tasks)} sets",
            tasks=tuple(tasks),
            space=sets[tasks[0]].space if len({row.space for row in sets.values()}) == 1 else None,
            value=fmean(row.value for row in sets.values()),
            std=None,
            notes=(*sets[tasks[0]].notes, "the mean of the sets' printed numbers"),
        )
        for sets in groups.values()
        if len(sets) == len(tasks) > 1
    ]


def measured_numbers(study: Study, results: Mapping[str, TrialResult]) -> tuple[Measured, ...]:
    """Return the clean and robust accuracies of a study, a number per cell over its finished seeds."""
    cells: dict[tuple[str, str], list[TrialResult]] = {}
    for trial in study.plan:
        result = results.get(trial.trial_id)
        if result is not None and result.status == "done":
            cells.setdefault((trial.role, trial.cell), []).append(result)
    return tuple(number for found in cells.values() for number in cell_numbers(found))


def cell_numbers(results: Sequence[TrialResult]) -> tuple[Measured, ...]:
    """Return the accuracies of trials that differ by seed alone."""
    groups: dict[tuple[str, str, float, str], list[Measurement]] = {}
    for result in results:
        for m in result.measurements:
            if m.metric in METRICS and m.attack != WORST:
                groups.setdefault((m.task, m.attack, m.eps, m.metric), []).append(m)
    return tuple(_measured(results[0].config, found) for found in groups.values())


def _measured(config: TrialConfig, seeds: Sequence[Measurement]) -> Measured:
    m, suite = seeds[0], config.eval_suite
    zero_shot = tuple(t.called for t in suite.tasks if t.called != config.train_data.called)
    tasks = zero_shot if m.task == AVERAGE else (m.task,)
    attacks = {attack.name: profile_of(attack) for attack in suite.attacks}
    parts = [part for part in (config.method if config.epochs else None, config.defence) if part is not None]
    low, high = interval(seeds)
    untouched = config.epochs == 0
    model = config.model
    return Measured(
        method=" + ".join(part.title for part in parts) or UNTOUCHED,
        fields={f.name: getattr(part, f.name) for part in parts for f in fields(part)},
        defaults={f.name: f.default for part in parts for f in fields(part)},
        model=OUR_MODELS.get((model.name, model.pretrained or ""), model.name),
        miniature=model.name in MINIATURES,
        trained_on=None if untouched else config.train_data.called,
        train_eps=None if untouched else config.threat.eps,
        task=m.task,
        tasks=tasks,
        prompts=", ".join(dict.fromkeys(t.prompts or "tga" for t in suite.tasks if t.called in tasks)),
        split=m.split,
        attack=attacks.get(m.attack, m.attack),
        eps=m.eps,
        norm=suite.norm,
        space=suite.space,
        metric=m.metric,
        value=fmean(one.value for one in seeds),
        low=low,
        high=high,
        images=m.n,
        seeds=len(seeds),
    )


def profile_of(attack: AnyAttack) -> str:
    """Return the attack's name, if it is what :data:`PROFILES` has by that name, or else that it is not."""
    known = PROFILES.get(attack.name)
    return attack.name if known is None or known.attack == attack else f"another {attack.name}"


def interval(seeds: Sequence[Measurement]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean over seeds, in percent; (None, None) where a seed has none over images.

    All seeds see the same images, so that more of them do not narrow the images' share: the half-widths over images
    (the seeds' mean) and over seeds (Student's t) are added in squares. With one seed it is the images' interval.
    """
    ends = [(m.low, m.high) for m in seeds if m.low is not None and m.high is not None]
    if len(ends) < len(seeds):
        return None, None
    centre = summarise([m.value for m in seeds])
    below = centre.mean - fmean(low for low, _ in ends)
    above = fmean(high for _, high in ends) - centre.mean
    half = 0.0 if centre.low is None else centre.mean - centre.low
    return max(0.0, centre.mean - math.hypot(below, half)), min(100.0, centre.mean + math.hypot(above, half))
