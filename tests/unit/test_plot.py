from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.tri import Triangulation

from sweeps.engine.plot import (
    LEAST_RANGE,
    caption,
    colour_range,
    frame,
    holding,
    limits,
    pair,
    place,
    plot_study,
    spans_a_plane,
    surfaces_figure,
    surfaces_of,
    text_colour,
    ticks,
)
from sweeps.engine.select import best, score_cell, scores
from sweeps.engine.study import PlannedTrial, Study, read_results
from sweeps.engine.surface import Surface, surface
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


def words(figure: Figure) -> list[str]:
    """Return every text of the figure: titles, panels' texts and legends."""
    found = [text.get_text() for text in figure.texts]
    found += [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        found += [axes.get_title(), axes.get_xlabel(), axes.get_ylabel(), *(text.get_text() for text in axes.texts)]
    return found


def test_a_grid_prints_the_cells_it_measured_and_nothing_else() -> None:
    figure = surfaces_figure([GRID], AXES, (0.1, 0.0), "chosen: best clean accuracy", SETTING)
    texts = words(figure)
    assert [text for text in texts if text in ("50.0", "60.0", "55.0")] == ["50.0", "60.0", "55.0"]
    assert "untouched model 70.0 %" in texts
    assert "Measured on the built-in miniature." in "\n".join(texts)
    assert "Each cell is one configuration, nothing is interpolated." in texts
    assert {"failed", "chosen: best clean accuracy", "published (x=0.08 y=0.5)", "highest in the panel"} <= set(texts)
    assert figure.axes[0].get_xticklabels()[0].get_text() == "0.01"


def test_the_same_figure_without_failures_has_no_legend_for_them() -> None:
    whole = surface_of((0.01, 0.0, 50.0), (0.1, 0.0, 60.0))
    assert "failed" not in words(surfaces_figure([whole], AXES, None, "", SETTING))


def test_scattered_points_say_how_they_were_joined() -> None:
    data = surface_of(*[(0.01 * 1.7**i, (i * 0.37) % 1, None if i == 3 else float(i)) for i in range(8)])
    assert not data.is_grid
    text = caption([data])
    assert "Delaunay" in text
    assert "Left open: triangles around a failure." in text
    assert surfaces_figure([data], AXES, None, "", SETTING).axes


@pytest.mark.parametrize("n", [1, 2])
def test_too_few_points_for_a_triangle_are_drawn_as_points(n: int) -> None:
    data = surface_of(*[(0.01 * 3**i, 0.2 * i, float(i)) for i in range(n)])
    assert surfaces_figure([data], AXES, None, "", SETTING).axes


def test_points_on_a_line_span_no_plane() -> None:
    line = np.array([0.0, 1.0, 2.0, 5.0])
    assert not spans_a_plane(line, 2 * line)
    assert not spans_a_plane(line[:2], line[:2])
    assert spans_a_plane(line, np.array([0.0, 1.0, 0.0, 1.0]))


def test_a_triangle_around_a_failure_is_left_open() -> None:
    square = Triangulation([0.0, 1.0, 1.0, 0.0], [0.0, 0.0, 1.0, 1.0], [[0, 1, 2], [0, 2, 3]])
    assert holding(square, np.array([0.7, 9.0]), np.array([0.2, 9.0])).tolist() == [True, False]
    assert holding(square, np.array([]), np.array([])).tolist() == [False, False]


def test_noise_does_not_fill_the_colour_bar() -> None:
    flat = colour_range(surface_of((0.01, 0.0, 50.0), (0.1, 0.0, 50.2)))
    assert flat.vmax - flat.vmin == pytest.approx(LEAST_RANGE)
    steep = colour_range(GRID)
    assert (steep.vmin, steep.vmax) == (50.0, 60.0)


def test_numbers_are_readable_at_both_ends_of_the_map() -> None:
    assert text_colour(0.0) == "white"
    assert text_colour(1.0) != "white"


def test_a_log_axis_has_no_place_for_zero() -> None:
    assert place(GRID, (0.0, 0.5)) is None
    assert place(GRID, (0.1, 0.5)) == pytest.approx((-1.0, 0.5))


def test_weights_that_are_off_are_named_in_the_caption() -> None:
    data = surface_of((0.0, 0.1, 10.0), (0.1, 0.1, 20.0), (1.0, 0.1, 30.0))
    assert caption([data]).endswith("Off the log axes, in the table: (0, 0.1).")


def test_ticks_are_the_levels_of_a_grid_and_decades_of_a_search() -> None:
    assert ticks((0.01, 0.1), (), AXES["m.x"], True) == [(-2.0, "0.01"), (-1.0, "0.1")]
    assert [name for _, name in ticks((), (), AXES["m.x"], True)] == ["0.01", "0.03", "0.1", "0.3", "1"]
    assert len(ticks((), (), AXES["m.y"], False)) == 5


def test_a_scattered_axis_runs_over_its_domain() -> None:
    assert limits((), AXES["m.x"], True) == pytest.approx((-2.08, 0.08))
    assert limits((2.0, 4.0), None, False) == pytest.approx((1.92, 4.08))


def test_the_untouched_model_is_in_the_frame_only_if_it_is_near() -> None:
    def cell(clean: float, robust: float) -> object:
        return score_cell("a", {}, [{"status": "done", "clean": clean, "robust": robust, "harmonic": 1.0}])

    cells = [cell(50.0, 30.0), cell(60.0, 40.0)]
    left, right, bottom, top = frame(cells, cell(63.0, 28.0))
    assert left < 50 < 63 < right
    assert bottom < 28 < 40 < top
    assert frame(cells, cell(90.0, 1.0)) == frame(cells, None)


def test_an_unmeasured_cell_has_no_place_in_the_trade_off() -> None:
    failed = score_cell("a", {}, [{"status": "failed", "error": "x", "clean": None, "robust": None, "harmonic": None}])
    assert np.isnan(pair(failed)).all()


@pytest.mark.parametrize("points", [(), tuple((0.01 * 1.6**i, 0.01 * 1.6 ** (i * 3 % 10)) for i in range(9))])
def test_a_study_has_its_figures_twice_the_same(
    tmp_path: Path, make_study: MakeStudy, points: tuple[tuple[float, float], ...]
) -> None:
    make_study(tmp_path, points=points, levels=(0.01, 0.1), seeds=(0, 1), report=False)
    paths = plot_study(tmp_path)
    assert [path.relative_to(tmp_path).as_posix() for path in paths] == [
        "figures/surface_alpha_beta.png",
        "figures/surface_alpha_beta.svg",
        "figures/clean_vs_robust.png",
        "figures/clean_vs_robust.svg",
    ]
    before = [path.read_bytes() for path in paths]
    for path in paths:
        path.unlink()
    assert [path.read_bytes() for path in plot_study(tmp_path)] == before


def test_failed_and_missing_cells_do_not_keep_the_figure_from_being_drawn(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == "alpha=0.01 beta=1" or (trial.cell == "alpha=0.1 beta=1" and trial.seed == 1)

    make_study(tmp_path, seeds=(0, 1), fails=fails, missing=lambda trial: trial.cell == "alpha=1 beta=1", report=False)
    assert all(path.stat().st_size > 10_000 for path in plot_study(tmp_path))


def test_an_axis_beside_the_surface_is_held_at_the_chosen_cell(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, report=False)
    results = read_results(tmp_path, study)
    winner = best(scores(study, results))
    assert winner is not None
    clean, _, _ = surfaces_of(study, results, winner, None, "method.alpha", "method.alpha")  # beta is beside it
    at_winner = [row for row in scores(study, results) if row.overrides["method.beta"] == 0.1]
    assert [p.mean for p in clean.points] == [row.clean for row in at_winner]


def test_a_study_without_a_finished_trial_has_nothing_to_draw(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), missing=lambda trial: True, report=False)
    with pytest.raises(ConfigError, match=r"plot: .* has no finished trial to draw"):
        plot_study(tmp_path)
