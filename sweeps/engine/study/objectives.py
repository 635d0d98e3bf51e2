"""The scores: named measurements of a trial that a sweep can select by and every table can show.

Clean, robust and harmonic accuracy come first. Every other metric of the core's table is a score too, under its own
name. It is read on clean images if it is measured on them, otherwise on the worst attack per image; a metric of
retrieval under the one condition that its name says.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from zsr_core.codec import require, unknown
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement, score_task
from zsr_core.evaluation.measurement import picked
from zsr_core.evaluation.metrics import CORRUPTED_RETRIEVAL, METRICS, OWN_SETS, RETRIEVAL_NAMES, Metric, metric_named
from zsr_core.evaluation.metrics.metric import Reads
from zsr_core.evaluation.metrics.outside import OUTSIDE
from zsr_core.evaluation.metrics.retrieval import PIXEL
from zsr_core.names import LISTED_BY
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.result import TrialResult


@dataclass(frozen=True, kw_only=True)
class Score:
    """One score: its name, its title, and the measurement that it reads."""

    name: str
    title: str  # "robust accuracy"
    metric: str  # the measurement's metric
    condition: str  # "none" on clean images, "worst" per image over all attacks of the suite, or retrieval's own
    unit: str = "%"
    higher_is_better: bool = True

    @property
    def sense(self) -> float:
        """1 for a score that should be high, -1 for one that should be low."""
        return 1.0 if self.higher_is_better else -1.0

    @property
    def attacked(self) -> bool:
        """Whether the score is of attacked images, so that the audit applies to it."""
        return self.condition == WORST or self.condition in PIXEL

    @property
    def of_captions(self) -> bool:
        """Whether it is a score of retrieval, which is measured on sets of captions and on no task."""
        return self.metric in RETRIEVAL_NAMES

    @property
    def sets(self) -> Literal["tasks", "captions", "scenes"]:
        """What it is a score of; sets of captions and of scenes are no tasks."""
        return "tasks" if self.metric not in OWN_SETS else "captions" if self.of_captions else "scenes"

    def budget(self, eps: float) -> float:
        """Return the budget at which the score is read: ``eps`` for attacked images, 0 for clean ones."""
        return eps if self.attacked else 0.0

    def read(self, measurements: Iterable[Measurement], eps: float) -> list[Measurement]:
        """Return the score's measurements at the budget ``eps``, one per set.

        A score under moved embeddings or tokens has budgets of its own, and is read at the smallest of them.
        """
        own = [m for m in measurements if m.metric == self.metric and m.attack == self.condition]
        at = self.budget(eps)
        if not self.attacked and self.condition != "none":
            at = min((m.eps for m in own), default=0.0)
        return [m for m in own if m.eps == at]


def score_of(metric: Metric) -> Score:
    """Return a metric's score: of clean images if it is measured on them, otherwise of the worst attack per image.

    One of retrieval is read under its own condition, because its threat models are never merged.
    """
    own = metric.conditions[0] if metric.reads == "retrieval" else WORST
    return Score(
        name=metric.name, title=metric.title, metric=metric.name, unit=metric.unit,
        condition="none" if "clean" in metric.conditions else own, higher_is_better=metric.higher_is_better,
    )  # fmt: skip


CLEAN, ROBUST, HARMONIC = (score_of(metric_named(name)) for name in ("clean", "robust", "harmonic"))
SCORES: tuple[Score, ...] = tuple(score_of(metric) for metric in METRICS)
BY_NAME = {score.name: score for score in SCORES}
TITLES = {score.name: score.title for score in SCORES}
# Scores that every trial has at its end, whatever it keeps; others can be undefined, an AUROC where all are wrong.
AWAITED = (CLEAN.name, ROBUST.name, HARMONIC.name)


def score_named(name: str, field: str = "score") -> Score:
    """Return the score with this name.

    Raises:
        ConfigError: naming ``field`` and the nearest name.
    """
    if name not in BY_NAME:
        raise unknown(field, name, BY_NAME, LISTED_BY)
    return BY_NAME[name]


def check_objectives(names: Sequence[str]) -> None:
    """Raise ``ConfigError`` unless ``names`` are one or more different scores."""
    for name in names:
        score_named(name, "objectives")
    distinct = len(set(names)) == len(names)
    require(len(names) > 0 and distinct, "objectives", tuple(names), "at least one score, none twice")


def check_ood(objectives: Sequence[str], config: TrialConfig) -> None:
    """Raise ``ConfigError`` if an objective is of out-of-distribution sets or attacks that the suite does not have."""
    suite = config.eval_suite
    for name in objectives:
        if metric_named(name) not in OUTSIDE:
            continue
        kind = name.partition("_")[0]
        require(kind in suite.kinds, "objectives", name, f"a sweep whose eval_suite.ood_{kind} names a set")
        attacked = not name.endswith("_adv_ood") or bool(suite.ood_attacks)
        require(attacked, "objectives", name, "a sweep whose eval_suite.ood_attacks attacks a detector")


def check_corrupted_retrieval(objectives: Sequence[str], config: TrialConfig) -> None:
    """Raise ``ConfigError`` if an objective is of retrieval under corruptions, and the suite names none."""
    names, suite = {metric.name for metric in CORRUPTED_RETRIEVAL}, config.eval_suite.retrieval
    asked = [name for name in objectives if score_named(name).metric in names]
    some = suite is not None and bool(suite.corruptions)
    require(some or not asked, "objectives", asked, "a sweep whose eval_suite.retrieval.corruptions names some")


def read_by(objectives: Sequence[str]) -> set[Reads]:
    """Return what the objectives' metrics read, such as "embeddings"."""
    return {metric_named(score_named(name).metric).reads for name in objectives}


def shown_scores(objectives: Sequence[str]) -> tuple[Score, ...]:
    """Return the scores that tables and figures show: clean, robust, harmonic, then the other objectives."""
    first = (CLEAN, ROBUST, HARMONIC)
    return (*first, *(score_named(name) for name in objectives if name not in {score.name for score in first}))


def deciding_score(objectives: Sequence[str]) -> Score:
    """Return the score by which the best cell is chosen.

    With clean and robust accuracy as objectives it is their harmonic mean, otherwise the first objective.
    """
    if {CLEAN.name, ROBUST.name} <= set(objectives):
        return HARMONIC
    return score_named(objectives[0])


def score_budget(config: TrialConfig, asked: float | None, field: str) -> float:
    """Return the budget at which a study's robust scores are read, in [0, 1] pixel units.

    ``asked`` is the sweep's own value; None stands for the base's training radius.

    Raises:
        ConfigError: naming ``field``, if the suite does not evaluate the budget.
    """
    budgets = config.eval_suite.eps
    wanted = config.threat.eps if asked is None else asked
    if not budgets:  # the suite measures clean accuracy only
        require(asked is None, field, asked, "none: the suite has no budget")
        return wanted
    held = [eps for eps in budgets if abs(eps - wanted) <= 1e-9]
    expected = f"one of the suite's budgets ({', '.join(f'{255 * eps:g}/255' for eps in budgets)}), named by the sweep"
    require(bool(held), field, f"{255 * wanted:g}/255", expected)
    return held[0]


def headline(result: TrialResult, eps: float) -> dict[str, Measurement]:
    """Return a trial's zero-shot means by score, attacked images at the budget ``eps``; unmeasured ones are absent.

    If only the training set is evaluated, they are the numbers of that set.
    """
    return picked(result.measurements, ("headline", eps), lambda rows: _headline(rows, eps))


def _headline(rows: Sequence[Measurement], eps: float) -> dict[str, Measurement]:
    of: dict[tuple[str, str], list[Measurement]] = {}
    for m in rows:
        of.setdefault((m.metric, m.task), []).append(m)
    scored = score_task(rows)
    read = {
        score.name: score.read(of.get((score.metric, scored if score.sets == "tasks" else ZERO_SHOT_MEAN), ()), eps)
        for score in SCORES
    }
    return {name: found[-1] for name, found in read.items() if found}


def shown_headline(result: TrialResult, eps: float, objectives: Sequence[str]) -> dict[str, Measurement]:
    """Return those of :func:`headline` that tables show: clean, robust, harmonic, then the other objectives."""
    means = headline(result, eps)
    return {score.name: means[score.name] for score in shown_scores(objectives) if score.name in means}
