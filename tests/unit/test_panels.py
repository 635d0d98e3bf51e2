from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.choice import chosen
from sweeps.engine.analysis.panels import Source, panels, resolve_axis, varied_axes
from sweeps.engine.analysis.score_query import parse_score
from sweeps.engine.analysis.scores import scores
from sweeps.engine.study.folder import Study, StudyFolder, open_study
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]
X, Y = "method.alpha", "method.beta"


def source(path: Path) -> Source:
    folder = open_study(path)
    return Source(folder=folder, through=chosen(folder))


def test_without_a_facet_there_is_a_panel_per_study(tmp_path: Path, make_study: MakeStudy) -> None:
    for name in "ab":
        make_study(tmp_path / name, name=name, levels=(0.1, 1.0), report=False)
    both = [source(tmp_path / name) for name in "ab"]
    found = panels(both, parse_score("robust"), X, Y)
    assert [p.title for p in found] == ["a", "b"]
    cells = scores(both[0].folder)
    assert [p.mean for p in found[0].surface.points] == [
        c.value("robust") for c in sorted(cells, key=lambda c: (c.overrides[Y], c.overrides[X]))
    ]
    untouched = scores(both[0].folder, "baseline")[0]
    assert found[0].surface.baseline == untouched.value("robust")
    by_method = panels(both[:1], parse_score("robust"), X, Y, "method")
    assert [p.title for p in by_method] == ["TGA-ZSR"]


def test_a_facet_over_sets_or_attacks_asks_for_their_own_measurements(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    here = source(tmp_path)
    found = panels([here], parse_score("clean"), X, Y, "dataset")
    assert [p.title for p in found] == ["animals", "dishes", "sport"]
    mean = panels([here], parse_score("clean"), X, Y)[0].surface
    for i, point in enumerate(mean.points):
        each = [p.surface.points[i].mean for p in found]
        assert point.mean == pytest.approx(sum(v for v in each if v is not None) / 3)
    assert [p.title for p in panels([here], parse_score("robust"), X, Y, "eps")] == ["1/255"]
    assert [p.title for p in panels([here], parse_score("robust"), X, Y, "attack")] == ["pgd10"]
    two = panels([here, here], parse_score("robust"), X, Y, "eps")
    assert [p.title for p in two] == ["weights, 1/255", "weights, 1/255"]


def test_a_facet_over_seeds_has_each_seeds_own_surface(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1), report=False)
    here = source(tmp_path)
    found = panels([here], parse_score("clean"), X, Y, "seed")
    assert [p.title for p in found] == ["seed 0", "seed 1"]
    assert {point.n for p in found for point in p.surface.points} == {1}


def test_a_third_axis_is_held_at_the_chosen_cell(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1, 1.0), report=False)
    results = open_study(tmp_path).results
    plan = tuple(replace(t, overrides={**t.overrides, "batch_size": 128}) for t in study.plan)
    other = tuple(
        replace(t, overrides={**t.overrides, "batch_size": 64}, trial_id=f"{t.trial_id}-64") for t in study.plan
    )
    both = replace(study, plan=(*plan, *other))
    all_results = {**results, **{f"{key}-64": value for key, value in results.items()}}
    folder = StudyFolder(path=tmp_path, study=both, results=all_results)
    through = next(c for c in scores(folder) if c.overrides.get("batch_size") == 128)
    here = Source(folder=folder, through=through)
    (one,) = panels([here], parse_score("clean"), X, Y)
    assert len(one.surface.points) == 4
    assert [p.title for p in panels([here], parse_score("clean"), X, Y, "batch_size")] == [
        "batch_size 128", "batch_size 64",
    ]  # fmt: skip


def test_axes_are_found_by_their_last_name(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    here = source(tmp_path)
    assert varied_axes([here]) == [X, Y]
    assert resolve_axis("alpha", [here]) == resolve_axis(X, [here]) == X
    with pytest.raises(
        ConfigError,
        match=r"'alpa' does not vary .*; there are: method\.alpha, method\.beta",
    ):
        resolve_axis("alpa", [here])


@pytest.mark.parametrize(
    ("score", "facet", "message"),
    [
        ("clean", "eps", "clean accuracy does not depend on eps"),
        ("clean", "attack", "clean accuracy does not depend on attack"),
        ("clean", "mehtod", r"no trial has 'mehtod' \(did you mean 'method'\?\); expected eps"),
        ("cleen", None, "'cleen' was not measured"),
    ],
)
def test_a_panel_that_cannot_be_is_refused(
    tmp_path: Path, make_study: MakeStudy, score: str, facet: str | None, message: str
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    here = source(tmp_path)
    with pytest.raises(ConfigError, match=message):
        panels([here], parse_score(score), X, Y, facet)
