"""Published numbers beside measured ones of the same kind; for a number without one, the reasons."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean

from sweeps.engine.analysis.stats import summarise
from sweeps.engine.format import MINIATURES, eps_text
from sweeps.engine.study.folder import StudyFolder
from zsr_core.attacks import AnyAttack
from zsr_core.attacks.profiles import PROFILES
from zsr_core.data import zero_shot_names
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.published import OUR_MODELS, UNTOUCHED, Published, same_eps
from zsr_core.threat import Norm, PixelSpace
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult

METRICS = ("clean", "robust")


@dataclass(frozen=True, kw_only=True)
class Measured:
    """One measured number, over the seeds of its cell, with the conditions that define its kind."""

    cell: str  # label of its row in the study
    method: str  # title; UNTOUCHED for the model before fine-tuning
    fields: Mapping[str, object]  # of the method
    defaults: Mapping[str, object]  # the same fields with the paper's values
    model: str  # its name in the papers' tables, else our name
    miniature: bool
    trained_on: str | None  # None for the untouched model
    train_eps: float | None  # in [0, 1] pixel units
    task: str  # a set, or ZERO_SHOT_MEAN
    tasks: tuple[str, ...]  # the sets of the mean
    prompts: str  # class names and templates; several if a mean's sets differ
    split: str
    attack: str  # a profile, else our name; "none" is clean
    eps: float
    norm: Norm
    space: PixelSpace
    metric: str
    value: float  # percent, like low and high
    low: float | None  # 95 %: over images, and over seeds if there are several
    high: float | None
    images: int
    seeds: int


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A published number and the measured one of its kind; without one, the ``reasons`` of the nearest."""

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
    """Return the published clean and robust accuracies of the measured methods, each with its measured number.

    Two numbers are of the same kind if these are equal: method and its fields, model, training set and budget, set or
    sets, prompts and split; for robust accuracy also the attack's profile, budget, norm and pixel space. A mean is
    compared with the mean of the published numbers of the same sets, which is computed here if all are printed.
    """
    methods = {m.method for m in measured}
    rows = [row for row in published if row.metric in METRICS and row.method in methods]
    averages = {m.tasks for m in measured if m.task == ZERO_SHOT_MEAN}
    rows += [mean for tasks in sorted(averages) for mean in over_sets(rows, tasks)]
    near: dict[tuple[str | None, str], list[Measured]] = {}
    on_miniature = set()  # of these the first one stands for all, because they differ from a row by the same reason
    for m in measured:
        if not m.miniature or (m.method, m.metric) not in on_miniature:
            near.setdefault((m.method, m.metric), []).append(m)
        if m.miniature:
            on_miniature.add((m.method, m.metric))
    return tuple(pair for row in rows for pair in _pairs(row, near.get((row.method, row.metric), [])))


def _pairs(row: Published, near: Sequence[Measured]) -> tuple[Pair, ...]:
    """Return a row's pairs with the numbers of its method and metric."""
    if not near:
        return (Pair(published=row, measured=None, reasons=(f"no {row.metric} accuracy was measured",)),)
    compared = [(m, differences(row, m)) for m in near]
    same = [m for m, reasons in compared if not reasons]
    if same:
        return tuple(Pair(published=row, measured=m) for m in same)
    return (Pair(published=row, measured=None, reasons=min((reasons for _, reasons in compared), key=len)),)


def differences(row: Published, m: Measured) -> tuple[str, ...]:
    """Return the reasons why a published and a measured number of one method and metric are not of the same kind."""
    if m.miniature:
        return ("measured on the built-in miniature: another model, other images",)
    reasons = list(row.why)
    if m.model != row.model:
        reasons.append(f"model: {m.model}, published {row.model}")
    if row.setting:
        reasons.append(f"printed for {row.setting}")
    if m.trained_on != row.trained_on:
        reasons.append(f"trained on {m.trained_on}, published {row.trained_on}")
    elif m.train_eps is not None and row.train_eps is not None and not same_eps(m.train_eps, row.train_eps):
        reasons.append(f"trained at {eps_text(m.train_eps)}, published at {eps_text(row.train_eps)}")
    reasons += _other_fields(row.fields, m)
    if set(m.tasks) != set(row.tasks) or (m.task == ZERO_SHOT_MEAN) == (row.task is not None):
        reasons.append("its set was not measured" if row.task is not None else "the measured means are over other sets")
    if m.prompts != row.prompts:
        reasons.append(f"prompts: {m.prompts}, published {row.prompts}")
    if m.split != "report":
        reasons.append(f"split: {m.split}, published on the test images")
    return tuple(reasons) if row.metric == "clean" else (*reasons, *_other_attack(row, m))


def _other_fields(stated: Mapping[str, object] | None, m: Measured) -> list[str]:
    """Return the fields that differ.

    A field that the row does not state has our default, which is the paper's. If the row states no field, weights are
    not compared.
    """
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
    reasons = []
    if m.attack != row.profile:
        reasons.append(f"attack: {m.attack}, published {row.profile or row.attack}")
    if len(row.eps) != 1 or not same_eps(m.eps, row.eps[0]):
        budgets = ", ".join(eps_text(eps) for eps in row.eps) or "a budget that is not stated"
        reasons.append(f"eps: {eps_text(m.eps)}, published at {'the mean over ' * (len(row.eps) > 1)}{budgets}")
    if m.norm != row.norm:
        reasons.append(f"norm: {m.norm}, published {row.norm}")
    if m.space != row.space:
        reasons.append(f"pixel space: {m.space}, published {row.space or 'native for some sets'}")
    return reasons


def _short(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def over_sets(rows: Iterable[Published], tasks: Sequence[str]) -> list[Published]:
    """Return the means over ``tasks``, for each row of a table that prints all of them."""
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


def measured_numbers(folder: StudyFolder) -> tuple[Measured, ...]:
    """Return the clean and robust accuracies of a study, a number per cell over its finished seeds."""
    rows = [(row.cell, list(folder.done(row.trials).values())) for row in folder.study.rows()]
    return tuple(number for cell, results in rows if results for number in cell_numbers(cell, results))


def cell_numbers(cell: str, results: Sequence[TrialResult]) -> tuple[Measured, ...]:
    """Return the accuracies of trials that differ by seed alone."""
    groups: dict[tuple[str, str, float, str], list[Measurement]] = {}
    for result in results:
        for m in result.measurements:
            if m.metric in METRICS and m.attack != WORST and m.value is not None:
                groups.setdefault((m.task, m.attack, m.eps, m.metric), []).append(m)
    return tuple(_measured(cell, results[0].config, over_seeds) for over_seeds in groups.values())


def _measured(cell: str, config: TrialConfig, seeds: Sequence[Measurement]) -> Measured:
    m, suite = seeds[0], config.eval_suite
    zero_shot = zero_shot_names(suite.tasks, config.train_data)
    tasks = zero_shot if m.task == ZERO_SHOT_MEAN else (m.task,)
    attacks = {attack.name: profile_of(attack) for attack in suite.attacks}
    parts = [part for part in (config.method if config.epochs else None, config.defence) if part is not None]
    low, high = interval(seeds)
    untouched = config.epochs == 0
    model = config.model
    return Measured(
        cell=cell,
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
        value=fmean(one.value for one in seeds if one.value is not None),
        low=low,
        high=high,
        images=m.n,
        seeds=len(seeds),
    )


def profile_of(attack: AnyAttack) -> str:
    """Return the attack's name, with ``another`` before it if it differs from the profile of that name."""
    known = PROFILES.get(attack.name)
    return attack.name if known is None or known.attack == attack else f"another {attack.name}"


def interval(seeds: Sequence[Measurement]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean over seeds, in percent; (None, None) where a seed has none over images.

    The half-widths over images (the mean of the seeds') and over seeds (Student's t) are added in squares. All seeds
    are measured on the same images, so more seeds do not narrow the half-width over images. With one seed the interval
    is the one over images.
    """
    ends = [(m.low, m.high) for m in seeds if m.low is not None and m.high is not None]
    if len(ends) < len(seeds):
        return None, None
    centre = summarise([m.value for m in seeds if m.value is not None])
    below = centre.mean - fmean(low for low, _ in ends)
    above = fmean(high for _, high in ends) - centre.mean
    half = 0.0 if centre.low is None else centre.mean - centre.low
    return max(0.0, centre.mean - math.hypot(below, half)), min(100.0, centre.mean + math.hypot(above, half))
