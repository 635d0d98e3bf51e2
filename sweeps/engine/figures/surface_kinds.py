"""Figures of scores over two axes: heatmaps, contours, Gaussian processes, and the papers' own grids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from sweeps.engine.analysis.panels import Panel, panels, resolve_axis, unseen_axes, varied_axes
from sweeps.engine.analysis.published.grids import OVERALL, SHOWN, published_grids
from sweeps.engine.analysis.ranking import rivals_among
from sweeps.engine.analysis.score_query import Reading, score_label, score_text, score_unit
from sweeps.engine.analysis.searching.edges import best_on_edge
from sweeps.engine.analysis.sensitivity import sensitivity
from sweeps.engine.figures.scene import Scene
from sweeps.engine.figures.surface_views import How, views
from sweeps.engine.figures.surfaces import surfaces_figure
from sweeps.engine.format import leaf, sentence
from sweeps.engine.study.objectives import TITLES, shown_scores
from sweeps.engine.wording.edges import edges_text
from sweeps.engine.wording.sensitivity import sensitivity_note
from sweeps.engine.wording.study import spread_text, unseen_text
from zsr_core.codec import ConfigError


def axes_pairs(scene: Scene) -> list[tuple[str, str]]:
    """Return the pairs of axes to draw over: the requested ones, else the study's surfaces, else its first two axes.

    Raises:
        ConfigError: if a requested axis does not vary, or fewer than two axes vary.
    """
    asked = [resolve_axis(name, scene.sources) for name in (scene.request.x, scene.request.y) if name]
    if len(asked) == 2:
        return [(asked[0], asked[1])]
    if not asked and scene.study.surfaces:
        return list(scene.study.surfaces)
    if len(asked) < 2 and scene.study.branches:
        raise ConfigError(f"plot: each method of {scene.study.study} has its own axes; give both, with --facet method")
    others = [path for path in varied_axes(scene.sources) if path not in asked]
    pair = [*asked, *others] if scene.request.x else [*others[:1], *asked, *others[1:]]
    if len(pair) < 2:
        named = ", ".join(pair) or "no number"
        raise ConfigError(f"plot: {scene.study.study} varies {named}; a surface needs two axes")
    return [(pair[0], pair[1])]


def drawn_surfaces(how: How, name: str) -> Callable[[Scene], list[Path]]:
    def draw_all(scene: Scene) -> list[Path]:
        return [path for x, y in axes_pairs(scene) for path in _surface(scene, how, name, x, y)]

    return draw_all


def _surface(scene: Scene, how: How, name: str, x: str, y: str) -> list[Path]:
    parts, unit = surface_panels(scene, how, x, y)
    notes = [spread_text(scene.folder)] if how == "cells" else []
    notes += _numbers(scene, parts, how)
    edges = best_on_edge(scene.folder)
    notes += [edges_text(edges, rivals_among(scene.folder, [edge.neighbour for edge in edges]))] if edges else []
    shown = views(parts, how, shared=not three_scores(scene, how), unit=unit)
    scores_shown = () if three_scores(scene, how) else (scene.score,)
    unseen = unseen_text(unseen_axes(scene.sources[0], x, y, scene.request.facet))
    setting = (*scene.setting_of(*scores_shown, facet=scene.request.facet), unseen, *_common(scene, parts))
    figure = surfaces_figure(shown, scene.domains, scene.chosen_label, setting, " ".join(notes), scene.request.cliff)
    z = f"_{score_text(scene.score)}" if scene.request.z else ""
    facet = f"_by_{leaf(scene.request.facet)}" if scene.request.facet else ""
    return scene.save(figure, f"{name}_{leaf(x)}_{leaf(y)}{z}{facet}")


def surface_panels(scene: Scene, how: How, x: str, y: str) -> tuple[list[Panel], str]:
    """Return the panels and their unit: the three objectives, or the requested score, split by the facet."""
    request = scene.request
    if three_scores(scene, how):
        shown = shown_scores(scene.study.objectives)
        parts = [panels(scene.sources, Reading(name=score.name), x, y, noisy=True)[0] for score in shown]
        return [replace(p, title=TITLES[p.surface.z].capitalize()) for p in parts], "%"
    parts = panels(scene.sources, scene.score, x, y, request.facet, noisy=True)
    if len(parts) == 1 and request.facet is None:
        parts = [replace(parts[0], title=sentence(score_label(scene.score)).rstrip("."))]
    return parts, score_unit(scene.score)


def _common(scene: Scene, parts: Sequence[Panel]) -> list[str]:
    """Return a line on what the panels of a facet share, because their titles name only the differences."""
    if len(parts) < 2 or (three_scores(scene, "cells") and not scene.request.facet):
        return []
    split = f"by {scene.request.facet}" if scene.request.facet else "by study"
    beside = [source.study.study for source in scene.sources[1:]]
    more = f"; beside it {', '.join(beside)}" if beside else ""
    return [f"{sentence(score_label(scene.score)).rstrip('.')} {split}, in one scale of colours{more}."]


def three_scores(scene: Scene, how: How) -> bool:
    """Return whether the three objectives are drawn, each with its colour scale; a Gaussian process shows one score."""
    request = scene.request
    return how != "gp" and request.z is None and request.facet is None and not request.beside


def _numbers(scene: Scene, parts: Sequence[Panel], how: How) -> list[str]:
    """Return the sensitivity of the score shown; if three are shown, of the deciding score."""
    if how != "contour":
        return []
    wanted = parts[0] if len(parts) == 1 else next((p for p in parts if p.surface.z == score_text(scene.score)), None)
    if wanted is None or wanted.surface.optimum is None or (wanted.surface.optimum.mean or 0) <= 0:
        return []
    words = sensitivity_note(sensitivity(wanted.surface, scene.request.cliff))
    return [f"{sentence(TITLES.get(wanted.surface.z, wanted.surface.z)).rstrip('.')}: {words}."]


def drawn_grids(scene: Scene) -> list[Path]:
    study, paths = scene.study, list[Path]()
    for x, y in axes_pairs(scene):
        for grid in published_grids(study.base.method.title, x, y, scene.domains, study.published):
            score_panels = [Panel(title=TITLES[name].capitalize(), surface=grid.surfaces[name]) for name in SHOWN]
            setting = (f"{grid.method} as published", f"{grid.place}: {grid.conditions}", *map(sentence, grid.notes))
            words = sensitivity_note(sensitivity(grid.surfaces[OVERALL], scene.request.cliff))
            note = f"Harmonic mean: ours, of the two means. Mean of clean and robust: {words}."
            figure = surfaces_figure(views(score_panels, "cells", shared=False), scene.domains, "", setting, note)
            paths += scene.save(figure, f"published_{leaf(x)}_{leaf(y)}_{grid.place.split()[-1]}")
    if not paths:
        raise ConfigError(f"published: no paper prints a grid of {study.base.method.title} over these axes")
    return paths
