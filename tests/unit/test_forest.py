from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from sweeps.engine.analysis.matrix import Matrix, MatrixRequest, Row, matrix
from sweeps.engine.figures.forest import forest_figure, reach
from sweeps.engine.figures.kinds import draw
from sweeps.engine.figures.scene import Request
from sweeps.engine.figures.style import ACCENT, COLUMN, PAGE
from sweeps.engine.format import eps_text
from sweeps.engine.study.folder import PlannedTrial, open_study
from sweeps.engine.wording.forest import Forest, Mark, forest
from zsr_core.codec import ConfigError

from .conftest import SETS, MakeStudy, build_study

MEANS = (0, 1, 2)  # clean, robust and harmonic of the zero-shot mean


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Matrix:
    """A grid of nine beside the untouched model, three seeds; two rows lack seeds."""

    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == "alpha=1 beta=1" or trial.label == "alpha=1 beta=0.1 seed=2"

    folder = tmp_path_factory.mktemp("grid")
    build_study(folder, seeds=(0, 1, 2), fails=fails)
    whole = matrix(open_study(folder), MatrixRequest(per_set=True, draws=400))
    return replace(whole, rows=tuple(map(first_holds, whole.rows)))


def first_holds(row: Row) -> Row:
    """The row with its first column's difference beyond doubt and all others within it."""
    cells = tuple(
        replace(cell, gap=cell.gap and replace(cell.gap, seeds=5, p_holm=0.2 if j else 0.01))
        for j, cell in enumerate(row.cells)
    )
    return replace(row, cells=cells)


def texts(figure: Figure) -> list[str]:
    return [*(t.get_text() for t in figure.texts), *(t.get_text() for axes in figure.axes for t in axes.texts)]


def test_every_line_is_its_rows_difference_interval_and_verdict(found: Matrix) -> None:
    data = forest(found, MEANS)
    assert data.panels == ("clean", "robust", "harmonic")
    values = {row.label: row.cells[2].value for row in found.rows if not row.baseline}
    assert {line.label for line in data.lines} == set(values)
    ranked = [value for line in data.lines if (value := values[line.label]) is not None]
    assert ranked == sorted(ranked, reverse=True), "the best row comes first"
    for line in data.lines:
        cells = next(row.cells for row in found.rows if row.label == line.label)
        for mark, cell in zip(line.marks, cells, strict=False):
            gap = cell.gap
            if gap is None:
                assert mark is None
                continue
            assert gap.p_holm is not None
            expected = Mark(value=gap.value, low=gap.low, high=gap.high, holds=gap.p_holm < 0.05, doubted=False)
            assert mark == expected
    assert {mark.holds for line in data.lines for mark in line.marks if mark} == {True, False}


def test_a_row_that_failed_is_a_line_with_its_reason(found: Matrix) -> None:
    lines = {line.label: line for line in forest(found, MEANS).lines}
    assert lines["alpha=1 beta=1"].marks == (None, None, None)
    assert lines["alpha=1 beta=1"].note == "failed: loss is NaN at step 12, term larm"
    assert lines["alpha=1 beta=0.1"].note == "1 failed of 3 seeds"
    assert any(text.startswith("failed: loss is NaN") for text in texts(forest_figure(forest(found, MEANS), ["Why?"])))


def test_the_words_name_the_baseline_the_mean_and_the_family(found: Matrix) -> None:
    said = " ".join(forest(found, MEANS).words)
    n = sum(row.cells[j].gap is not None for row in found.rows for j in MEANS)
    assert "Selection split. 3-set mean (without source): points above the row 'untouched'" in said
    assert "bootstrap over seeds, then images" in said
    assert f"Holm-corrected over the {n} comparisons on the zero-shot mean." in said


def test_sets_by_themselves_have_a_panel_each_on_one_axis(found: Matrix) -> None:
    columns = [j for j, c in enumerate(found.columns) if c.scope == "set" and c.metric == "robust"]
    data = forest(found, columns)
    assert data.panels == ("source", *SETS)
    assert "on single sets" in data.words[1]
    axes = forest_figure(data, ["Why?"]).axes
    assert len({panel.get_xlim() for panel in axes}) == 1


def test_of_many_rows_the_highest_are_kept_the_best_first(found: Matrix) -> None:
    data = forest(found, MEANS, most=3)
    ranked = sorted(
        (row for row in found.rows if not row.baseline and row.cells[2].value is not None),
        key=lambda row: -(row.cells[2].value or 0),
    )
    assert [line.label for line in data.lines] == [row.label for row in ranked[:3]]
    assert data.words[-1] == "6 of 9 configurations lower in rank are not shown."


def test_the_untouched_model_is_a_line_only_if_asked_for(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    whole = matrix(open_study(tmp_path), MatrixRequest(baseline="alpha=0.1 beta=0.1", draws=400))
    data = forest(whole, MEANS)
    assert "untouched" not in {line.label for line in data.lines}
    assert any(text.startswith("Not drawn: untouched, ") for text in data.words)
    assert any("over the 9 comparisons" in text for text in data.words), "three rows with three scores"
    assert {line.label for line in forest(whole, MEANS, untouched=True).lines} >= {"untouched", "alpha=1 beta=1"}


def test_a_matrix_of_its_baseline_alone_has_nothing_to_draw(found: Matrix) -> None:
    alone = replace(found, rows=tuple(row for row in found.rows if row.baseline))
    with pytest.raises(ConfigError, match="no row but the baseline 'untouched'"):
        forest(alone, MEANS)


def test_marks_are_filled_where_they_hold_and_the_chosen_row_is_the_accents(found: Matrix) -> None:
    data = forest(found, MEANS)
    for j, panel in enumerate(forest_figure(data, ["Why?"]).axes):
        check_panel(data, j, panel)


def check_panel(data: Forest, j: int, panel: Axes) -> None:
    drawn = [(float(dots.get_offsets()[0][0]), dots.get_facecolor()[0], dots.get_edgecolor()[0])
             for dots in panel.collections]  # type: ignore[index]  # fmt: skip
    marks = [(line.marks[j], line.chosen) for line in data.lines if line.marks[j] is not None]
    assert [at for at, _, _ in drawn] == pytest.approx([mark.value for mark, _ in marks if mark])
    for (_, face, edge), (mark, chosen) in zip(drawn, marks, strict=True):
        assert mark is not None
        assert (tuple(face) == to_rgba("white")) == (not mark.holds)
        assert (tuple(edge) == to_rgba(ACCENT)) == chosen


def test_the_axis_holds_zero_and_every_interval(found: Matrix) -> None:
    data = forest(found, MEANS)
    for j, scale in enumerate(data.scales):
        low, high = reach(data, scale)
        ends = [v for line in data.lines if (m := line.marks[j]) for v in (m.low, m.high) if v is not None]
        assert low < min(0.0, *ends) <= max(0.0, *ends) < high


@pytest.mark.parametrize(("panels", "width"), [(1, COLUMN), (3, COLUMN), (4, PAGE), (16, PAGE)])
def test_few_panels_fit_a_column_and_many_a_page(found: Matrix, panels: int, width: float) -> None:
    data = forest(found, MEANS)
    many = Forest(
        baseline=data.baseline,
        panels=tuple(f"set {i}" for i in range(panels)),
        scales=("robust",) * panels,
        lines=tuple(replace(line, marks=(line.marks[1],) * panels) for line in data.lines),
        words=data.words,
    )
    figure = forest_figure(many, ["Why?", "So."])
    assert figure.get_figwidth() == width
    assert len(figure.axes) == panels
    boxes = [axes.get_position() for axes in figure.axes]
    assert all(0 < box.x0 < box.x1 <= 1 and 0 < box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_a_doubted_number_has_a_dagger_and_its_reason(found: Matrix) -> None:
    rows = tuple(replace(r, cells=tuple(replace(c, doubted=j > 0) for j, c in enumerate(r.cells))) for r in found.rows)
    data = forest(replace(found, rows=rows), MEANS)
    assert data.words[-1] == "† robustness unverified, the audit fails."
    panels = forest_figure(data, ["Why?"]).axes
    assert ["†" in [t.get_text() for t in axes.texts] for axes in panels] == [False, True, True]


@pytest.mark.slow
def test_the_command_draws_the_means_a_score_by_set_and_another_baseline(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), eps=(1 / 255, 2 / 255))
    asked = (
        ({}, "forest"),
        ({"facet": "dataset", "z": f"robust@{eps_text(2 / 255)}"}, "forest_robust_2_255_by_dataset"),
        ({"baseline": "alpha=0.1 beta=0.1"}, "forest"),
    )
    for request, name in asked:
        drawn = draw(open_study(tmp_path), Request(kinds=("forest",), **request))  # type: ignore[arg-type]
        assert [path.name for path in drawn.paths] == [f"{name}.{kind}" for kind in ("png", "svg", "pdf")]


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"facet": "method"}, "expected dataset or none"),
        ({"z": "clean - robust"}, "expected clean, robust, harmonic"),
        ({"z": "robust.pgd10"}, "expected clean, robust, harmonic"),
        ({"z": "robust@8/255"}, "has not measured 'robust@8/255'"),
        ({"baseline": "fulll"}, "--baseline"),
    ],
)
def test_what_a_forest_cannot_show_is_refused(
    tmp_path: Path, make_study: MakeStudy, request_: dict[str, str], words: str
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0))
    with pytest.raises(ConfigError, match=words):
        draw(open_study(tmp_path), Request(kinds=("forest",), **request_))  # type: ignore[arg-type]
