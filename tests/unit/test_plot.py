from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from sweeps.engine.analysis.curves import Curve
from sweeps.engine.analysis.interpolation import cliffs
from sweeps.engine.analysis.noise import Noise
from sweeps.engine.analysis.panels import Panel
from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.analysis.stats import summarise
from sweeps.engine.analysis.surface import Surface, surface
from sweeps.engine.figures.kinds import KINDS, draw, plot_study, ranking
from sweeps.engine.figures.lines import NAMED, first_named
from sweeps.engine.figures.scene import Request
from sweeps.engine.figures.style import (
    LEAST_RANGE,
    MAP,
    SIGNED,
    colour_range,
    legend_columns,
    limits,
    short_names,
    text_colour,
    ticks,
)
from sweeps.engine.figures.surface_layout import layout
from sweeps.engine.figures.surface_views import (
    Box,
    How,
    View,
    beside,
    best_shown,
    box_at,
    boxes,
    caption,
    ends,
    place,
    star_place,
    views,
    x_ticks,
)
from sweeps.engine.figures.surfaces import surfaces_figure
from sweeps.engine.figures.tradeoff import frame, pair, tradeoff_figure
from sweeps.engine.format import setting_text
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, write_study
from zsr_core.codec import ConfigError
from zsr_core.space import Real

MakeStudy = Callable[..., Study]
AXES = {"m.x": Real(low=0.01, high=1.0, log=True), "m.y": Real(low=0.0, high=1.0)}


def surface_of(*points: tuple[float, float, float | None]) -> Surface:
    rows = [
        {"m.x": x, "m.y": y, "clean": z, "seed": 0, "status": "failed" if z is None else "done"} for x, y, z in points
    ]
    return surface(rows, "m.x", "m.y", "clean", domains=AXES, published={"m.x": 0.08, "m.y": 0.5}, baseline=70.0)


GRID = surface_of((0.01, 0.0, 50.0), (0.1, 0.0, 60.0), (0.01, 0.5, 55.0), (0.1, 0.5, None))
SETTING = ("What is best?", "TeCoA on a model", "three sets", "Measured on the built-in miniature.")


def shown(*data: Surface, how: How = "cells", chosen: tuple[float, float] | None = None) -> list[View]:
    return views([Panel(title="Clean accuracy", surface=each, chosen=chosen) for each in data], how, shared=False)


def words(figure: Figure) -> list[str]:
    """Return every text of the figure: titles, panels' texts and legends."""
    found = [text.get_text() for text in figure.texts]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return found


def test_a_grid_prints_the_cells_it_measured_and_nothing_else() -> None:
    figure = surfaces_figure(shown(GRID, chosen=(0.1, 0.0)), AXES, "chosen: best clean accuracy", SETTING)
    texts = words(figure)
    assert [text for text in texts if text in ("50.0", "60.0", "55.0")] == ["50.0", "60.0", "55.0"]
    assert "untouched model 70.0 %" in texts
    assert "Measured on the built-in miniature." in "\n".join(texts)
    assert "Each cell is one configuration, nothing is interpolated." in texts
    assert {"failed", "chosen: best clean accuracy", "published (x=0.08 y=0.5)", "best in the panel"} <= set(texts)
    assert figure.axes[0].get_xticklabels()[0].get_text() == "0.01"


def test_the_same_figure_without_failures_has_no_legend_for_them() -> None:
    whole = surface_of((0.01, 0.0, 50.0), (0.1, 0.0, 60.0))
    assert "failed" not in words(surfaces_figure(shown(whole), AXES, "", SETTING))


def test_scattered_points_say_how_they_were_joined() -> None:
    data = surface_of(*[(0.01 * 1.7**i, (i * 0.37) % 1, None if i == 3 else float(i)) for i in range(8)])
    assert not data.is_grid
    text = caption(shown(data))
    assert "Delaunay" in text
    assert "Left open: around a failure." in text
    assert surfaces_figure(shown(data), AXES, "", SETTING).axes


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_points_for_a_triangle_are_drawn_as_points(n: int) -> None:
    data = surface_of(*[(0.01 * 3**i, 0.2 * i, float(i)) for i in range(n)])
    assert surfaces_figure(shown(data), AXES, "", SETTING).axes


def test_numbers_are_readable_at_both_ends_of_the_map() -> None:
    assert text_colour(0.0) == "white"
    assert text_colour(1.0) != "white"


def test_a_log_axis_has_no_place_for_zero() -> None:
    assert place(GRID, (0.0, 0.5)) is None
    assert place(GRID, (0.1, 0.5)) == pytest.approx((-1.0, 0.5))


def test_weights_that_are_off_are_named_in_the_caption() -> None:
    data = surface_of((0.0, 0.1, 10.0), (0.1, 0.1, 20.0), (1.0, 0.1, 30.0))
    assert caption(shown(data, how="contour")).endswith("Off the log axes, in the table: (0, 0.1).")


def test_ticks_are_the_levels_of_a_grid_and_decades_of_a_search() -> None:
    assert ticks("m.x", (0.01, 0.1), (), AXES["m.x"], True) == [(-2.0, "0.01"), (-1.0, "0.1")]
    assert [name for _, name in ticks("m.x", (), (), AXES["m.x"], True)] == ["0.01", "0.03", "0.1", "0.3", "1"]
    assert len(ticks("m.y", (), (), AXES["m.y"], False)) == 5


def test_ticks_of_a_budget_are_whole_255ths() -> None:
    budgets = Real(low=1 / 255, high=8 / 255)
    assert ticks("threat.eps", (1 / 255, 4 / 255), (), budgets, False) == [
        (pytest.approx(1 / 255), "1/255"), (pytest.approx(4 / 255), "4/255")
    ]  # fmt: skip
    drawn = ticks("threat.eps", (), (), budgets, False)
    assert [name for _, name in drawn] == ["2/255", "4/255", "6/255", "8/255"]
    assert [at * 255 for at, _ in drawn] == pytest.approx([2, 4, 6, 8])
    assert setting_text("threat.eps", 2.5 / 255) == "2.5/255"
    assert setting_text("method.alpha", 2 / 255) == "0.007843"


def test_labels_of_panels_with_axes_of_their_own_do_not_overlap() -> None:
    data = [surface_of(*((x, y, 50.0) for x in (0.01, 0.1) for y in (0.0, top))) for top in (0.5, 0.25, 0.125)]
    figure = surfaces_figure(shown(*data), AXES, "", SETTING)
    FigureCanvasAgg(figure).draw()
    for bar, axes in zip(figure.axes[1::2], figure.axes[2::2], strict=False):
        left, right = bar.get_tightbbox(), axes.get_tightbbox()
        assert left is not None
        assert right is not None
        assert left.x1 < right.x0


def test_a_scattered_axis_runs_over_its_domain() -> None:
    assert limits((), AXES["m.x"], True) == pytest.approx((-2.08, 0.08))
    assert limits((2.0, 4.0), None, False) == pytest.approx((1.92, 4.08))


def test_the_untouched_model_is_in_the_frame_only_if_it_is_near() -> None:
    cells = [cell("a", 50.0, 30.0), cell("b", 60.0, 40.0)]
    left, right, bottom, top = frame(cells, cell("c", 63.0, 28.0))
    assert left < 50 < 63 < right
    assert bottom < 28 < 40 < top
    assert frame(cells, cell("c", 90.0, 1.0)) == frame(cells, None)


def test_an_unmeasured_cell_has_no_place_in_the_trade_off() -> None:
    assert np.isnan(pair(CellScore(cell="a", failed=1, reason="x"))).all()


@pytest.mark.slow
def test_a_study_has_its_figures_twice_the_same_to_the_byte(tmp_path: Path, make_study: MakeStudy) -> None:
    points = tuple((0.01 * 1.6**i, 0.01 * 1.6 ** (i * 3 % 10)) for i in range(9))
    make_study(tmp_path, points=points, seeds=(0, 1), report=False)
    paths = plot_study(open_study(tmp_path))
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "figures/surface_alpha_beta.png",
        "figures/surface_alpha_beta.svg",
        "figures/surface_alpha_beta.pdf",
        "figures/clean_vs_robust.png",
        "figures/clean_vs_robust.svg",
        "figures/clean_vs_robust.pdf",
    ]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert [path.read_bytes() for path in plot_study(open_study(tmp_path))] == before


def test_failed_and_missing_cells_do_not_keep_the_figure_from_being_drawn(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == "alpha=0.01 beta=1" or (trial.cell == "alpha=0.1 beta=1" and trial.seed == 1)

    make_study(tmp_path, seeds=(0, 1), fails=fails, missing=lambda trial: trial.cell == "alpha=1 beta=1", report=False)
    assert all(path.stat().st_size > 10_000 for path in plot_study(open_study(tmp_path)))


def test_a_study_without_a_finished_trial_has_nothing_to_draw(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), missing=lambda trial: True, report=False)
    with pytest.raises(ConfigError, match=r"plot: .* has no finished trial to draw"):
        plot_study(open_study(tmp_path))


def test_noise_does_not_fill_the_colour_bar() -> None:
    flat = colour_range([50.0, 50.2])
    assert flat.vmax - flat.vmin == pytest.approx(LEAST_RANGE)
    steep = colour_range([50.0, 60.0])
    assert (steep.vmin, steep.vmax) == (50.0, 60.0)


def test_panels_share_their_colours_where_they_show_one_score() -> None:
    low, high = surface_of((0.01, 0.0, 10.0), (0.1, 0.0, 20.0)), surface_of((0.01, 0.0, 50.0), (0.1, 0.0, 60.0))
    named = [Panel(title="a", surface=low), Panel(title="b", surface=high)]
    assert {(v.norm.vmin, v.norm.vmax) for v in views(named, "cells", shared=True)} == {(10.0, 60.0)}
    assert {v.norm.vmin for v in views(named, "cells", shared=False)} == {10.0, 50.0}


def test_a_difference_of_both_signs_is_coloured_about_zero() -> None:
    (view,) = shown(surface_of((0.01, 0.0, -10.0), (0.1, 0.0, 4.0)))
    assert (view.norm.vmin, view.norm.vmax, view.colours) == (-10.0, 10.0, SIGNED)
    (view,) = shown(surface_of((0.01, 0.0, -10.0), (0.1, 0.0, -4.0)))  # of one sign it has a range like any other
    assert (view.norm.vmin, view.norm.vmax, view.colours) == (-10.0, -4.0, MAP)


def test_a_gaussian_process_has_its_sd_beside_it() -> None:
    data = surface_of(*[(0.01 * 1.7**i, (i * 0.37) % 1, float(i % 4)) for i in range(8)])
    mean, sd = shown(data, how="gp")
    assert (mean.how, sd.how, sd.unit) == ("gp", "gp sd", "points")
    assert "with its sd; nothing outside" in caption([mean, sd])
    few = surface_of(*[(0.01 * 3**i, (i * 0.37) % 1, float(i)) for i in range(4)])
    assert [view.how for view in shown(few, how="gp")] == ["contour"]


def test_a_weight_at_zero_has_a_strip_of_its_own_in_a_heatmap() -> None:
    data = surface_of(*[(x, y, 10 * x + y) for x in (0.0, 0.01, 0.1) for y in (0.0, 0.5)])
    found = boxes(data)
    assert len(found) == 6
    assert all(box.point is not None for box in found)
    zero, first = found[0], found[1]
    assert zero.point is not None
    assert zero.point.x == 0.0
    assert zero.left + zero.width < first.left  # a gap: the axis does not reach it
    (view,) = shown(data)
    assert [name for _, name in x_ticks(view, AXES)] == ["0", "0.01", "0.1"]
    assert "Off the log axes" not in caption([view])
    assert "3 points" not in caption(shown(data, how="contour"))
    off_is_best = surface_of((0.0, 0.0, 90.0), (0.01, 0.0, 50.0), (0.1, 0.0, 60.0))
    assert (best_shown(shown(off_is_best)[0]).x, best_shown(shown(off_is_best, how="contour")[0]).x) == (0.0, 0.1)  # type: ignore[union-attr]


def test_a_cliff_opens_the_cells_on_both_its_sides() -> None:
    levels = (0.01, 0.1, 1.0)
    data = surface_of(*[(x, y, 50.0 if x == y == 0.1 else 10.0) for x in levels for y in levels])
    along = [c for c in cliffs(data) if c.a.y != c.b.y]
    assert [len(beside(data, c)) for c in along] == [2, 2]
    left, right = beside(data, along[0])
    assert left.left + left.width == pytest.approx(right.left)
    assert "unresolved: neighbours over 5 points apart" in words(
        surfaces_figure(shown(data, how="contour"), AXES, "", SETTING)
    )


def test_a_cell_has_room_for_its_number_below_and_its_star_above() -> None:
    box = Box(left=1.0, bottom=2.0, width=4.0, height=10.0, point=None)
    assert box.corners == ((1.0, 2.0), (5.0, 2.0), (5.0, 12.0), (1.0, 12.0))
    assert box.middle_at(0.25) == (3.0, 4.5)
    upper = box.upper(0.75)
    assert (upper.bottom, upper.height, upper.width) == (9.5, 2.5, 4.0)
    (view,) = shown(GRID)
    best = best_shown(view)
    assert best is not None
    cell = box_at(GRID, (best.x, best.y))
    assert cell is not None
    assert star_place(view, best) == cell.middle_at(0.72)
    assert box_at(GRID, (9.0, 9.0)) is None


def test_a_heatmaps_axes_end_with_its_cells_and_a_contours_near_its_outermost_samples() -> None:
    (cells,), (contour,) = shown(GRID), shown(GRID, how="contour")
    outer = boxes(GRID)
    assert ends(cells, AXES)[0] == pytest.approx((outer[0].left, outer[-1].left + outer[-1].width))
    assert ends(contour, AXES)[0] == pytest.approx((-2.04, -0.96))


def test_up_to_three_panels_stand_side_by_side_and_a_mean_has_its_sd_beside_it() -> None:
    (view,) = shown(GRID)
    plans = [layout([view] * n, AXES, ["sampled"], "A caption.") for n in (1, 2, 3, 4)]
    assert [(plan.columns, plan.rows) for plan in plans] == [(1, 1), (2, 1), (3, 1), (3, 2)]
    assert plans[0].width < plans[1].width == plans[3].width
    assert [plans[3].last_of_column(i, 4) for i in range(4)] == [False, True, True, True]
    data = surface_of(*[(0.01 * 1.7**i, (i * 0.37) % 1, float(i % 4)) for i in range(8)])
    gp = [*shown(data, how="gp"), *shown(data, how="gp")]
    assert (layout(gp, AXES, ["sampled"], "").columns, layout(gp, AXES, ["sampled"], "").rows) == (2, 2)


@pytest.mark.slow
def test_a_label_with_dollar_signs_is_drawn_as_it_is_written(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    write_study(tmp_path, replace(study, question="What does $5 buy, and what $\\frac$?"))
    assert len(plot_study(open_study(tmp_path))) == 6


def test_names_of_numbers_keep_apart_what_differs() -> None:
    assert short_names([0.003, 0.1]) == ["0.003", "0.1"]
    assert short_names([0.101, 0.102]) == ["0.101", "0.102"]
    assert short_names([100.0, 200.0]) == ["100", "200"]


def test_a_legend_has_as_many_columns_as_fit() -> None:
    assert legend_columns(["short"] * 4, 7.0) == 4
    assert legend_columns(["a name that is far too long for half of a column of text"] * 4, 3.35) == 1


def test_of_many_lines_the_best_are_named() -> None:
    curves = [Curve(label=str(i), x=(1.0,), mean=(float(i),), sd=(None,), n=1) for i in range(12)]
    assert first_named(curves[:NAMED], []) == (curves[:NAMED], [])
    named, others = first_named(curves, [str(i) for i in (11, 3, 5, 7, 9, 1, 2, 4)])
    assert [c.label for c in named] == ["1", "2", "3", "5", "7", "9", "11"]
    assert len(others) == 12 - NAMED


def cell(name: str, clean: float, robust: float) -> CellScore:
    values = {"clean": clean, "robust": robust, "harmonic": clean + robust}
    return CellScore(cell=name, n=1, over_seeds={score: summarise([value]) for score, value in values.items()})


def test_methods_are_told_apart_by_name() -> None:
    cells = [cell("TeCoA", 50.0, 30.0), cell("TGA-ZSR", 60.0, 40.0)]
    assert {"TeCoA", "TGA-ZSR", "Pareto front"} <= set(
        words(tradeoff_figure(cells, cells[1], "chosen", None, {}, SETTING, named=True))
    )
    assert "TeCoA" not in words(tradeoff_figure(cells, cells[1], "chosen", None, {}, SETTING))
    assert ranking(cells, cells[0]) == ["TeCoA", "TGA-ZSR"]
    assert ranking(cells, None) == ["TGA-ZSR", "TeCoA"]


@pytest.mark.parametrize("names", [("TeCoA", "FARE"), ("w/o the adversarial cross-entropy term", "x" * 70, "full")])
def test_the_names_of_methods_fit_the_legend(names: tuple[str, ...]) -> None:
    shown = [cell(name, 70.0 - i, 10.0 + i) for i, name in enumerate(names)]
    figure = tradeoff_figure(shown, shown[0], "chosen", None, {}, ["Why?"], named=True)
    FigureCanvasAgg(figure).draw()
    box = figure.legends[0].get_window_extent()
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert 0 <= box.y0 < box.y1 < figure.axes[0].get_window_extent().y0


def test_the_lines_below_a_title_stay_left_of_the_colour_bar() -> None:
    hidden = Noise(at=((0.01, 0.0), (0.1, 0.0)), value=np.array([50.0, 51.0]), drawn=np.array([[52.0, 49.0]]), seeds=1)
    data = replace(GRID, chance=12.5, baseline=81.6)
    panels = [Panel(title="Harmonic mean", surface=data, noise=noise) for noise in (None, hidden, hidden)]
    figure = surfaces_figure(views(panels, "cells", shared=False), AXES, "", SETTING)
    assert words(figure).count("untouched 81.6 %, chance 12.5 %\nrange within noise") == 2
    FigureCanvasAgg(figure).draw()
    for axes, bar in zip(figure.axes[::2], figure.axes[1::2], strict=True):
        below, unit = (at.get_window_extent() for at in (axes.texts[0], bar.title))
        assert below.x1 < unit.x0
        assert below.y1 < axes.title.get_window_extent().y0 + 1
    assert len({axes.title.get_window_extent().y0 for axes in figure.axes[::2]}) == 1


def test_chance_is_in_the_legend_where_its_line_is_in_view() -> None:
    cells = [cell("TeCoA", 50.0, 30.0), cell("TGA-ZSR", 60.0, 40.0)]

    def legend(chance: float) -> list[str]:
        figure = tradeoff_figure(cells, cells[1], "chosen", None, {}, SETTING, chance=chance)
        return [text for text in words(figure) if "chance" in text]

    assert legend(2.7) == []
    assert legend(35.0) == ["chance (35.0 %)"]
    assert legend(55.0) == ["chance (55.0 %)"]


def test_a_kind_or_an_axis_that_there_is_not_is_named(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    with pytest.raises(ConfigError, match=r"--kind: unknown value 'countour'.*did you mean 'contour'"):
        draw(open_study(tmp_path), Request(kinds=("countour",)))
    with pytest.raises(ConfigError, match=r"axis: 'alfa' does not vary \(did you mean 'method.alpha'\?\); there are"):
        draw(open_study(tmp_path), Request(x="alfa"))
    with pytest.raises(ConfigError, match="axis: 'gamma' does not vary"):
        draw(open_study(tmp_path), Request(x="gamma"))
    with pytest.raises(ConfigError, match="importance: weights has 4 completed configurations"):
        draw(open_study(tmp_path), Request(kinds=("importance",)))


def test_a_study_without_a_surface_has_the_trade_off_alone(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    write_study(tmp_path, replace(study, surfaces=(), space={}))
    assert [path.stem for path in plot_study(open_study(tmp_path))] == ["clean_vs_robust"] * 3


def test_a_facet_and_a_difference_are_in_the_files_name(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    request = Request(kinds=("contour",), x="beta", y="alpha", z="clean - robust", facet="dataset")
    drawn = draw(open_study(tmp_path), request)
    assert drawn.paths[0].name == "contour_beta_alpha_clean_-_robust_by_dataset.png"


@pytest.mark.slow
def test_every_kind_is_drawn_or_said_why_not(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1), report=False)
    drawn = draw(open_study(tmp_path), Request(kinds=("all",)))
    names = {path.name.split("_")[0].removesuffix(path.suffix) for path in drawn.paths}
    assert names == {
        "surface",
        "contour",
        "gp",
        "published",
        "clean",
        "forest",
        "pareto",
        "slices",
        "parallel",
        "reliability",
    }
    unfit = ["learning", "eps", "uncertainty", "corruptions", "factors", "sites", "importance"]
    assert [line.split(":")[0] for line in drawn.left_out] == unfit
    assert len(names) + len(drawn.left_out) == len(KINDS)
    assert all(path.stat().st_size > 5_000 for path in drawn.paths)
