"""Scores by the site of the training perturbation and its budget, for every row of a study."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from sweeps.engine.analysis.stats import Number, mean_of_seeds
from sweeps.engine.study.folder import PlannedRow, StudyFolder
from sweeps.engine.study.objectives import SCORES, Score, headline, score_named
from zsr_core.codec import ConfigError
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN
from zsr_core.evaluation.measurement import distinct
from zsr_core.threat import budget_text
from zsr_core.trial.config import TrialConfig

FEATURES = ("token", "embedding")
Site = Literal["untouched", "none", "pixel", "token", "embedding"]


@dataclass(frozen=True, kw_only=True)
class SiteRow:
    """One row: what its training moves, within which budget, and its scores by name."""

    site: Site
    radius: float  # in [0, 1] pixel units, or as a share of a token's or an embedding's length
    budget: str  # as a figure writes it
    points: dict[str, Number]


@dataclass(frozen=True, kw_only=True)
class Sites:
    """A study's rows on the selection split, by site, then by rising budget."""

    scores: tuple[Score, ...]
    rows: tuple[SiteRow, ...]
    captioned: str  # the sets of captions that retrieval was measured on, with their images; empty without any


def sites(folder: StudyFolder) -> Sites:
    """Return the study's objectives by site and budget.

    Raises:
        ConfigError: if no row of the study moves anything but pixels, or none has finished.
    """
    study = folder.study
    scores = tuple(score_named(name) for name in study.objectives)
    rows = [found for row in study.rows(split="selection") if (found := _row(folder, row, scores)) is not None]
    if not any(row.site in FEATURES for row in rows):
        raise ConfigError(f"sites: no finished trial of {study.study} moves tokens or embeddings in training")
    order = get_args(Site)
    rows.sort(key=lambda row: (order.index(row.site), row.radius))
    return Sites(scores=scores, rows=tuple(rows), captioned=_captioned(folder))


def _captioned(folder: StudyFolder) -> str:
    """Return ``48 images of captions``: how many images of which sets retrieval was measured on."""
    names = {score.metric for score in SCORES if score.of_captions}
    results = [
        result.measurements
        for result in folder.done(folder.study.plan).values()
        if any(metric in names for (metric,) in distinct(result.measurements, "metric"))
    ]
    own = [m for measurements in results for m in measurements if m.metric in names]
    of = {m.task: m.n for m in own if m.task != ZERO_SHOT_MEAN and m.split == "selection"}
    return ", ".join(f"{n:,} images of {task}" for task, n in of.items())


def is_moved(config: TrialConfig) -> bool:
    """Return whether a trial's training moves tokens or embeddings."""
    return site_of(config)[0] in FEATURES


def site_of(config: TrialConfig) -> tuple[Site, float, str]:
    """Return what a trial's training moves, its budget, and the budget as text."""
    if config.epochs == 0:
        return "untouched", 0.0, ""
    if config.perturbation is None:
        return "pixel", config.threat.eps, budget_text(config.threat.eps, config.threat.norm)
    radius = config.perturbation.radius
    return config.perturbation.site, radius, f"{radius:g}" if radius else ""


def _row(folder: StudyFolder, row: PlannedRow, scores: tuple[Score, ...]) -> SiteRow | None:
    results = list(folder.done(row.trials).values())
    if not results:
        return None
    means = [headline(result, folder.study.score_eps) for result in results]
    points = {score.name: mean_of_seeds([each[score.name] for each in means if score.name in each]) for score in scores}
    site, radius, budget = site_of(results[0].config)
    known = {name: point for name, point in points.items() if point is not None}
    return SiteRow(site=site, radius=radius, budget=budget, points=known)
