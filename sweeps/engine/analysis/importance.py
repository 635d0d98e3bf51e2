"""Which weight matters: fANOVA and PED-ANOVA side by side, each with a bootstrap interval over configurations.

They answer different questions, so their shares differ by construction. fANOVA: what share of the score's variance over
the whole space does a weight explain by itself (Hutter et al. 2014). PED-ANOVA: how much does a weight decide whether a
configuration is among the best (Watanabe et al. 2023). Both use log10 of a log axis.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.importance import BaseImportanceEvaluator, FanovaImportanceEvaluator, PedAnovaImportanceEvaluator
from optuna.trial import FrozenTrial, create_trial

from sweeps.engine.analysis.score_query import Query, check_score, score_rows, score_sense, score_text
from sweeps.engine.study.branches import point_of
from sweeps.engine.study.folder import Study, StudyFolder
from sweeps.engine.study.optuna_space import distributions
from zsr_core.codec import ConfigError, is_finite, require
from zsr_core.space import Choice, Domain, Real, transform

LEAST = 30  # completed configurations; with fewer, an importance is too uncertain to show
DRAWS = 60  # bootstrap resamples of the configurations
TREES = 32  # of fANOVA's forest; 64, optuna's default, moves a share by less than its interval
DEPTH = 6  # of each tree, ours: optuna's 64 fits the noise of single trials, at 20 times the cost for 1000 of them
WIDE, NARROW, MANY = 0.25, 0.10, 200  # PED-ANOVA's target quantile: the best 25 % below 200 configurations, else 10 %
ADAPTIVE = ("tpe", "gp", "nsga2", "nsga3", "cmaes")  # searches that sample more where scores were high


@dataclass(frozen=True, kw_only=True)
class Importance:
    """One weight's share by one evaluator (all weights sum to 1), with its 95 % bootstrap interval."""

    evaluator: str
    path: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Importances:
    """Both evaluators' shares, the most important weight by fANOVA first, and the data behind them."""

    score: str
    rows: tuple[Importance, ...]
    n: int  # configurations
    draws: int
    quantile: float  # of PED-ANOVA's target
    adaptive: str | None  # the name of an adaptive search, because its uneven sampling biases the shares

    @property
    def paths(self) -> tuple[str, ...]:
        """The weights, the most important by fANOVA first."""
        return tuple(dict.fromkeys(row.path for row in self.rows))

    def note(self) -> str:
        """Return one or two sentences on how to read the shares."""
        text = (
            f"{self.n} configurations, 95 % intervals over {self.draws} resamples of them; PED-ANOVA: what decides "
            f"the top {100 * self.quantile:.0f} %."
        )
        if self.adaptive:
            text += f" Sampled by {self.adaptive}, which samples more where scores are high, so both shares are biased."
        return text


def importances(folder: StudyFolder, score: Query, *, draws: int = DRAWS, seed: int = 0) -> Importances:
    """Return how much each axis of the study matters for ``score``; a configuration's seeds are averaged first.

    Raises:
        ConfigError: below :data:`LEAST` completed configurations, or if fewer than two axes vary.
    """
    check_score(score, folder)
    sense = score_sense(score)
    require(sense != 0, "importance", score_text(score), "a score with a direction; --best high or low gives it one")
    points, values = configurations(folder, score)
    domains = varied(folder.study, points)
    if len(domains) < 2:
        alone = ", besides the weights that each method has alone, whose importance over all cells is not defined"
        raise ConfigError(
            f"importance: {folder.study.study} varies {len(domains)} axes, expected at least 2 to compare"
            f"{alone if folder.study.branches else ''}"
        )
    if len(values) < LEAST:
        raise ConfigError(
            f"importance: {folder.study.study} has {len(values)} completed configurations, expected at least {LEAST}"
        )
    quantile = WIDE if len(values) < MANY else NARROW
    evaluators: tuple[tuple[str, Callable[[], BaseImportanceEvaluator]], ...] = (
        ("fANOVA", lambda: FanovaImportanceEvaluator(n_trees=TREES, max_depth=DEPTH, seed=seed)),
        ("PED-ANOVA", lambda: PedAnovaImportanceEvaluator(target_quantile=quantile)),
    )
    trials = as_trials(points, [sense * value for value in values], domains)
    rows = [row for name, make in evaluators for row in _with_intervals(name, make, trials, list(domains), draws, seed)]
    order = {row.path: -row.share for row in rows if row.evaluator == "fANOVA"}
    search = folder.study.search
    return Importances(
        score=score_text(score), rows=tuple(sorted(rows, key=lambda r: (r.evaluator, order[r.path]))),
        n=len(values), draws=draws, quantile=quantile, adaptive=search if search in ADAPTIVE else None,
    )  # fmt: skip


def configurations(folder: StudyFolder, score: Query) -> tuple[list[dict[str, Any]], list[float]]:
    """Return each cell whose seeds all finished: its parameters, and the score averaged over its seeds."""
    cells: dict[str, list[dict[str, Any]]] = {}
    for row in score_rows(folder, score):
        cells.setdefault(row["cell"], []).append(row)
    name = score_text(score)
    log = [path for path, domain in folder.study.space.items() if getattr(domain, "log", False)]
    whole = [
        rows
        for rows in cells.values()
        if all(row[name] is not None for row in rows) and all(rows[0]["overrides"].get(path, 1.0) > 0 for path in log)
    ]  # a log axis has no place for a weight that is off
    values = [float(np.mean([row[name] for row in rows])) for rows in whole]
    return [_common(folder.study, rows[0]["overrides"]) for rows in whole], values


def _common(study: Study, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a cell's overrides; in a conditional space the parameters that all cells have, the method among them."""
    if not study.branches:
        return dict(overrides)
    return {name: value for name, value in point_of(study, overrides).items() if name in study.space}


def varied(study: Study, points: Sequence[Mapping[str, Any]]) -> dict[str, Domain]:
    """Return the axes that take more than one value, with the study's domain, else the range of the values."""
    axes: dict[str, Domain] = {}
    for path in dict.fromkeys(path for point in points for path in point):
        values = [point[path] for point in points if path in point]
        distinct = list({repr(v): v for v in values}.values())
        if len(values) < len(points) or len(distinct) < 2:
            continue
        if path in study.space and all(study.space[path].contains(v) for v in values):
            axes[path] = study.space[path]
        elif all(is_finite(v) for v in values):
            axes[path] = Real(low=float(min(values)), high=float(max(values)))
        else:
            axes[path] = Choice(values=tuple(v if isinstance(v, str) else repr(v) for v in distinct))
    return axes


def as_trials(
    points: Sequence[Mapping[str, Any]], values: Sequence[float], domains: Mapping[str, Domain]
) -> list[FrozenTrial]:
    """Return the configurations as completed Optuna trials, with log10 of log axes."""
    spread = {path: _distribution(path, domain) for path, domain in domains.items()}
    return [
        create_trial(
            params={path: _drawn(domain, point[path]) for path, domain in domains.items()},
            distributions=dict(spread), value=value,
        )
        for point, value in zip(points, values, strict=True)
    ]  # fmt: skip


def _distribution(path: str, domain: Domain) -> BaseDistribution:
    if isinstance(domain, Choice):
        categorical = distributions({path: domain})[path]
        assert isinstance(categorical, CategoricalDistribution)
        return categorical
    return FloatDistribution(transform(domain, domain.low), transform(domain, domain.high))


def _drawn(domain: Domain, value: Any) -> Any:
    if isinstance(domain, Choice):
        return value if value in domain.values else repr(value)
    low, high = transform(domain, domain.low), transform(domain, domain.high)
    return min(max(transform(domain, value), low), high)  # log10 may round an end of the axis outwards


def _with_intervals(
    name: str, make: Callable[[], BaseImportanceEvaluator], trials: Sequence[FrozenTrial], paths: Sequence[str],
    draws: int, seed: int,
) -> list[Importance]:  # fmt: skip
    whole = _shares(make(), trials, paths)
    rng = np.random.default_rng(seed)
    resampled = [
        _shares(make(), [trials[i] for i in rng.integers(len(trials), size=len(trials))], paths) for _ in range(draws)
    ]
    low, high = np.nanquantile(np.array(resampled), [0.025, 0.975], axis=0)
    return [
        # A resample has fewer distinct points, so the interval may miss the share; it is widened to contain it.
        Importance(evaluator=name, path=path, share=whole[i], low=min(low[i], whole[i]), high=max(high[i], whole[i]))
        for i, path in enumerate(paths)
    ]


def _shares(evaluator: BaseImportanceEvaluator, trials: Sequence[FrozenTrial], paths: Sequence[str]) -> list[float]:
    """Return the normalised importances in the order of ``paths``; NaN if all importances are 0."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        importance = evaluator.evaluate(study, list(paths))
    total = sum(importance.values())
    return [importance[path] / total if total > 0 else math.nan for path in paths]
