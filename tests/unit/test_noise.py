from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.analysis.noise import Noise, noise_of
from sweeps.engine.analysis.panels import Panel, Source, panels, unseen_axes
from sweeps.engine.analysis.score_query import parse_score, readings
from sweeps.engine.analysis.sensitivity import sensitivity
from sweeps.engine.figures.surface_views import caption, views
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from sweeps.engine.wording.study import hidden_range_text, scoring_text, unseen_text
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]
X, Y = "method.alpha", "method.beta"


def noise(*drawn: list[float], value: list[float]) -> Noise:
    at = tuple((float(i), 0.0) for i in range(len(value)))
    return Noise(at=at, value=np.array(value), drawn=np.array(drawn), seeds=1)


def test_what_all_points_share_is_no_noise_between_them() -> None:
    shared = noise([51.0, 53.0], [49.0, 51.0], value=[50.0, 52.0])
    assert list(shared.errors().values()) == [0.0, 0.0]
    assert shared.range == 2.0
    assert shared.equal_range == 0.0
    assert hidden_range_text(shared) == ""


def test_a_range_that_equal_points_reach_too_is_said_to_lie_within_the_noise() -> None:
    opposed = noise([52.0, 49.0], [48.0, 53.0], value=[50.0, 51.0])
    assert opposed.equal_range == pytest.approx(4.0)
    assert "range of 1.0 points lies within the noise, because 2 equally good points" in hidden_range_text(opposed)


def test_the_noise_of_a_study_has_its_scores_and_is_paired(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    source = Source(folder=open_study(tmp_path))
    for text in ("clean", "robust", "clean - robust"):
        (panel,) = panels([source], parse_score(text), X, Y, noisy=True)
        assert panel.noise is not None
        means = {(p.x, p.y): p.mean for p in panel.surface.points}
        assert dict(zip(panel.noise.at, panel.noise.value, strict=True)) == pytest.approx(means)
        assert panel.noise.hides_the_range == (text == "clean - robust"), "both made-up scores fall together"
    assert noise_of(source.folder, parse_score("robust.pgd10"), {(0.0, 0.0): [], (1.0, 0.0): []}) is None


def test_a_drop_has_an_interval_where_the_noise_is_known(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.05, 0.1, 0.2), report=False)
    (panel,) = panels([Source(folder=open_study(tmp_path))], parse_score("harmonic"), X, Y, noisy=True)
    with_noise = sensitivity(panel.surface, noise=panel.noise)
    without = sensitivity(panel.surface)
    assert [s.drop for s in with_noise.slopes] == [s.drop for s in without.slopes]
    assert all(s.ends is not None and s.ends[0] <= s.drop <= s.ends[1] for s in with_noise.slopes)
    assert all(s.ends is None for s in without.slopes)


def test_a_difference_of_two_scores_has_no_best_unless_its_direction_is_given(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    source = Source(folder=open_study(tmp_path))
    (plain,) = panels([source], parse_score("clean - robust"), X, Y)
    assert plain.surface.optimum is None
    with pytest.raises(ConfigError, match="a score with a direction; --best"):
        sensitivity(plain.surface)
    means = [p.mean for p in plain.surface.points if p.mean is not None]
    for best, value in (("low", min(means)), ("high", max(means))):
        (given,) = panels([source], parse_score("clean - robust", best), X, Y)  # type: ignore[arg-type]
        assert given.surface.optimum is not None
        assert given.surface.optimum.mean == value
    with pytest.raises(ConfigError, match="--best"):
        parse_score("clean", "low")


def test_an_axis_that_varied_and_is_not_shown_is_named(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    plan = tuple(replace(t, overrides={**t.overrides, "optim.lr": 1e-4 * (1 + i)}) for i, t in enumerate(study.plan))
    folder = StudyFolder(path=tmp_path, study=replace(study, plan=plan, mode="search"), results={})
    assert unseen_text(unseen_axes(Source(folder=folder), X, Y)).startswith("Not shown although varied: lr (")
    assert unseen_axes(Source(folder=folder), X, Y, "optim.lr") == ()
    assert unseen_text(()) == ""


def test_the_header_names_the_budget_and_the_sets_that_the_panels_show(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    folder = open_study(tmp_path)
    assert "at 4/255; " in scoring_text(folder, readings(parse_score("robust@4/255")))
    assert "at 2/255 and 4/255; " in scoring_text(folder, readings(parse_score("robust@2/255 - robust@4/255")))
    assert "robust to" not in scoring_text(folder, readings(parse_score("clean")))
    assert scoring_text(folder, readings(parse_score("clean:animals"))).startswith("Set animals,")
    assert "each by itself" in scoring_text(folder, readings(parse_score("clean")), "dataset")


def test_scattered_points_are_smoothed_and_their_triangles_are_drawn_on_request(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    (grid,) = panels([Source(folder=open_study(tmp_path))], parse_score("clean"), X, Y)
    point = grid.surface.points[0]
    spread = [(0.01 * 1.7**i, 0.01 + (i * 0.37) % 1, float(i % 4)) for i in range(9)]
    points = tuple(replace(point, x=x, y=y, mean=z) for x, y, z in spread)
    scattered = Panel(title="Clean", surface=replace(grid.surface, points=points, xs=(), ys=(), optimum=points[3]))
    assert [view.how for view in views([scattered], "cells", shared=False)] == ["gp", "gp sd"]
    assert [view.how for view in views([scattered] * 3, "cells", shared=False)] == ["gp"] * 3 + ["gp sd"] * 3
    drawn = views([scattered], "contour", shared=False)
    assert [view.how for view in drawn] == ["contour"]
    assert "Delaunay triangles" in caption(drawn)
