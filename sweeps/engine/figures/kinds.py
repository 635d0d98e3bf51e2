"""The kinds of figures of a study, drawn from its folder to files under ``figures/``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import matplotlib

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.curves import columns, eps_curves, hypervolume_over_time, learning_curves, parallel, slices
from sweeps.engine.analysis.matrix import Matrix, MatrixRequest, matrix
from sweeps.engine.analysis.outcomes import row_interval
from sweeps.engine.analysis.panels import Source
from sweeps.engine.analysis.ranking import in_order
from sweeps.engine.analysis.reliability import diagrams
from sweeps.engine.analysis.rises import RISE_METRICS, rises
from sweeps.engine.analysis.score_query import (
    Reading,
    score_label,
    score_text,
    score_unit,
)
from sweeps.engine.analysis.scores import CellScore, pareto, scores, untouched_score
from sweeps.engine.analysis.searching.chance import chance_level
from sweeps.engine.analysis.shifts import corruption_maps, factor_profiles
from sweeps.engine.analysis.sites import is_moved, sites
from sweeps.engine.analysis.stats import Interval
from sweeps.engine.figures.corruptions import corruptions_figure
from sweeps.engine.figures.factors import factors_figure
from sweeps.engine.figures.forest import forest_figure
from sweeps.engine.figures.lines import eps_figure, importance_figure, learning_figure, parallel_figure, slices_figure
from sweeps.engine.figures.names import FIGURES, unread
from sweeps.engine.figures.reliability import reliability_figure
from sweeps.engine.figures.rises import rises_figure
from sweeps.engine.figures.scene import Drawn, Keep, Request, Scene
from sweeps.engine.figures.sites import sites_figure
from sweeps.engine.figures.style import STYLE
from sweeps.engine.figures.surface_kinds import drawn_grids, drawn_surfaces
from sweeps.engine.figures.tradeoff import pareto_figure, tradeoff_figure
from sweeps.engine.format import sentence
from sweeps.engine.study.folder import StudyFolder
from sweeps.engine.study.objectives import HARMONIC, ROBUST, TITLES, score_named
from sweeps.engine.wording.forest import MOST, MOST_SAMPLED, forest
from sweeps.engine.wording.rises import rise_lines
from sweeps.engine.wording.study import curves_text
from zsr_core.codec import ConfigError, unknown

# columns of a training history that are not a single term of the loss
WHOLE = ("loss", "grad_norm", "clean_accuracy", "robust_accuracy")
LEARNED = 8  # largest number of panels of training history


def plot_study(folder: StudyFolder, request: Request | None = None) -> list[Path]:
    """Draw the requested figures, by default those of a launch, and return the files' paths."""
    return list(draw(folder, request or Request()).paths)


def draw(folder: StudyFolder, request: Request) -> Drawn:
    """Draw the requested figures under ``figures/`` as PNG, SVG and PDF.

    Raises:
        ConfigError: if the study has no finished trial, or a kind requested by name cannot be drawn.
    """
    scene = _scene(folder, request)
    every = request.kinds == ("all",)
    for kind in request.kinds:
        if kind not in (*KINDS, "all"):
            raise unknown("--kind", kind, (*KINDS, "all"))
    paths: list[Path] = []
    left_out: list[str] = []
    kinds = tuple(KINDS) if every else request.kinds or usual(scene)
    ignored = unread(kinds, given_options(request))
    with matplotlib.rc_context(STYLE):
        for kind in kinds:
            try:
                paths += KINDS[kind].draw(scene)
            except ConfigError as error:
                if not every:
                    raise
                left_out.append(f"{kind}: {error}")
    return Drawn(paths=tuple(paths), left_out=tuple(left_out), unread=() if every else ignored)


def draw_into(folder: StudyFolder, request: Request, keep: Keep) -> None:
    """Draw the requested figures and pass each to ``keep`` instead of writing it.

    Raises:
        ConfigError: if the study has no finished trial, or a kind cannot be drawn.
    """
    scene = replace(_scene(folder, request), keep=keep)
    kinds = request.kinds or usual(scene)
    unread(kinds, given_options(request))
    with matplotlib.rc_context(STYLE):
        for kind in kinds:
            KINDS[kind].draw(scene)


def given_options(request: Request) -> dict[str, object]:
    """Return the options of a request that differ from their defaults, as text where they are studies."""
    plain = replace(request, kinds=(), beside=())
    given = {f.name: getattr(plain, f.name) for f in fields(Request) if getattr(plain, f.name) != f.default}
    studies = [str(folder.path) for folder in request.beside]
    return {**given, "beside": studies} if studies else given


def usual(scene: Scene) -> tuple[str, ...]:
    """Return the default kinds: the heatmap, if the study has surfaces or axes are requested, and the trade-off."""
    surfaces = bool(scene.study.surfaces or scene.request.x or scene.request.y)
    rising = bool(RISE_METRICS & set(scene.study.objectives))
    moved = any(is_moved(result.config) for result in scene.folder.done().values())
    extra = (*(("uncertainty",) if rising else ()), *(("sites",) if moved else ()))
    return (*(("heatmap",) if surfaces else ()), "clean_vs_robust", *extra)


def _scene(folder: StudyFolder, request: Request) -> Scene:
    sources = tuple(Source(folder=each, through=chosen(each)) for each in (folder, *request.beside))
    cells = scores(folder)
    if not any(row.n for row in cells):
        raise ConfigError(f"plot: {folder.path} has no finished trial to draw")
    domains = {path: domain for source in reversed(sources) for path, domain in source.study.space.items()}
    return Scene(
        folder=folder, cells=cells, winner=sources[0].through, request=request, sources=sources, domains=domains
    )


def _clean_vs_robust(scene: Scene) -> list[Path]:
    untouched = untouched_score(scene.folder)
    setting = (*scene.setting, curves_text(scene.folder))
    figure = tradeoff_figure(scene.cells, scene.winner, scene.chosen_label, untouched, scene.study.published,
                             setting, named=not scene.study.space, bars=bars_of(scene),
                             chance=chance_level(scene.folder))  # fmt: skip
    return scene.save(figure, "clean_vs_robust")


def bars_of(scene: Scene) -> dict[str, dict[str, Interval]]:
    """Return the 95 % intervals of the cells that get bars: all listed variants, else the front and the chosen cell.

    Of many cells the bars would hide each other.
    """
    front = [*pareto(scene.cells), *([scene.winner] if scene.winner else [])]
    cells = front if scene.study.space else [cell for cell in scene.cells if cell.n]
    found = {cell.cell: row_interval(scene.folder, cell) for cell in cells}
    return {name: intervals for name, intervals in found.items() if intervals}


def _forest(scene: Scene) -> list[Path]:
    request = scene.request
    if request.facet not in (None, "dataset"):
        raise ConfigError(f"forest: got --facet {request.facet!r}, expected dataset or none")
    score = scene.score if request.z or request.facet else None  # None: all three objectives
    if score is not None and not (isinstance(score, Reading) and score == Reading(name=score.name, eps=score.eps)
                                  and score.name in TITLES):  # fmt: skip
        raise ConfigError(f"forest: got --z {score_text(score)!r}, expected {', '.join(TITLES)}, or one at a budget")
    asked = MatrixRequest(baseline=request.baseline, per_set=request.facet is not None,
                          all_budgets=score is not None and score.eps is not None)  # fmt: skip
    whole = matrix(scene.folder, asked)
    shown = forest_columns(whole, score, per_set=request.facet is not None)
    most = MOST_SAMPLED if scene.study.space else MOST
    data = forest(whole, shown, most=most, untouched=request.untouched)
    budgets = sorted(
        {column.eps for j in shown for column in [whole.columns[j]] if score_named(column.metric).attacked}
    )
    setting = scene.setting_of(*(Reading(name=ROBUST.name, eps=eps) for eps in budgets), facet=request.facet)
    figure = forest_figure(data, (*setting, *_shown(score, request.facet)))
    facet = f"_by_{request.facet}" if request.facet else ""
    return scene.save(figure, f"{_named(scene, 'forest')}{facet}")


def _shown(score: Reading | None, facet: str | None) -> tuple[str, ...]:
    return () if score is None else (sentence(f"{score_label(score)}{', set by set' if facet else ''}"),)


def forest_columns(whole: Matrix, score: Reading | None, *, per_set: bool) -> list[int]:
    """Return the columns of a forest plot: those of the first mean or of single sets, for the requested score.

    Raises:
        ConfigError: if the score was not measured, or not at the requested budget.
    """
    scope = "set" if per_set else whole.columns[0].scope if whole.columns else ""
    beside = "tasks" if score is None else score_named(score.name).sets
    if not per_set and beside != "tasks":
        scope = beside
    columns = [
        j
        for j, column in enumerate(whole.columns)
        if column.scope == scope
        and (score is None or column.metric == score.name)
        and (score is None or score.eps is None or math.isclose(column.eps, score.eps, rel_tol=1e-6))
    ]
    if not columns:
        asked = "any score" if score is None else repr(score_text(score))
        raise ConfigError(f"forest: {whole.study} has not measured {asked}")
    return columns


def _pareto(scene: Scene) -> list[Path]:
    progress = hypervolume_over_time(scene.folder)
    figure = pareto_figure(progress, scene.cells, scene.winner, scene.chosen_label, scene.setting,
                           untouched_score(scene.folder), bars_of(scene))  # fmt: skip
    return scene.save(figure, "pareto")


def _slices(scene: Scene) -> list[Path]:
    parts = slices(scene.folder, scene.score, scene.winner)
    label, unit, setting = score_label(scene.score), score_unit(scene.score), scene.setting_of(scene.score)
    return scene.save(slices_figure(parts, label, unit, scene.chosen_label, setting), _named(scene, "slices"))


def _parallel(scene: Scene) -> list[Path]:
    shown = [Reading(name=name) for name in ("clean", "robust")]
    data = parallel(scene.folder, scene.score, shown)
    label, unit = score_label(scene.score), score_unit(scene.score)
    setting = scene.setting_of(scene.score, *shown)
    return scene.save(parallel_figure(data, label, unit, setting), _named(scene, "parallel"))


def _learning(scene: Scene) -> list[Path]:
    known = columns(scene.folder)
    if not known:
        raise ConfigError(f"learning: no trial of {scene.study.study} has a training history")
    shown = sorted(known, key=lambda name: name not in WHOLE)[:LEARNED]
    curves = [(name if name in WHOLE else f"loss term: {name}", learning_curves(scene.folder, name)) for name in shown]
    if all(len(curve.x) < 2 for _, of_column in curves for curve in of_column):
        raise ConfigError(f"learning: every trial of {scene.study.study} trained for one epoch; a curve needs two")
    return scene.save(learning_figure(curves, ranking(scene.cells, scene.winner), scene.setting), "learning")


def ranking(cells: Sequence[CellScore], winner: CellScore | None) -> list[str]:
    """Return the measured cells' names, the chosen one first, then by falling harmonic mean."""
    measured = in_order([cell for cell in cells if cell.value(HARMONIC.name) is not None], HARMONIC)
    return list(dict.fromkeys([*([winner.cell] if winner else []), *(cell.cell for cell in measured)]))


def _eps(scene: Scene) -> list[Path]:
    best = scene.winner.cell if scene.winner else None
    return scene.save(eps_figure(eps_curves(scene.folder), best, scene.setting_of(facet="eps"),
                                 chance_level(scene.folder)), "eps")  # fmt: skip


def _reliability(scene: Scene) -> list[Path]:
    return scene.save(reliability_figure(diagrams(scene.folder), scene.setting), "reliability")


def _uncertainty(scene: Scene) -> list[Path]:
    found = rises(scene.folder)
    return scene.save(rises_figure(found, [*scene.setting, *rise_lines(found)]), "uncertainty")


def _corruptions(scene: Scene) -> list[Path]:
    return scene.save(corruptions_figure(corruption_maps(scene.folder), scene.setting), "corruptions")


def _factors(scene: Scene) -> list[Path]:
    return scene.save(factors_figure(factor_profiles(scene.folder), scene.setting), "factors")


def _sites(scene: Scene) -> list[Path]:
    found = sites(scene.folder)
    retrieval = [f"Retrieval: {found.captioned}."] if found.captioned else []
    return scene.save(sites_figure(found, [*scene.setting, *retrieval]), "sites")


def _importance(scene: Scene) -> list[Path]:
    from sweeps.engine.analysis.importance import importances  # noqa: PLC0415 - brings Optuna

    shares = importances(scene.folder, scene.score)
    setting = scene.setting_of(scene.score)
    return scene.save(importance_figure(shares, score_label(scene.score), setting), _named(scene, "importance"))


def _named(scene: Scene, name: str) -> str:
    return f"{name}_{score_text(scene.score)}" if scene.request.z else name


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of figure: its drawing function and its description."""

    draw: Callable[[Scene], list[Path]]
    words: str


_DRAWN_BY: Mapping[str, Callable[[Scene], list[Path]]] = {
    "heatmap": drawn_surfaces("cells", "surface"),
    "contour": drawn_surfaces("contour", "contour"),
    "gp": drawn_surfaces("gp", "gp"),
    "published": drawn_grids,
    "clean_vs_robust": _clean_vs_robust,
    "forest": _forest,
    "pareto": _pareto,
    "slices": _slices,
    "parallel": _parallel,
    "learning": _learning,
    "eps": _eps,
    "reliability": _reliability,
    "uncertainty": _uncertainty,
    "corruptions": _corruptions,
    "factors": _factors,
    "sites": _sites,
    "importance": _importance,
}
KINDS: Mapping[str, Kind] = {name: Kind(draw=_DRAWN_BY[name], words=words) for name, words in FIGURES.items()}
