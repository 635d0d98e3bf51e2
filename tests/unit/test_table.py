from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sweeps.engine.analysis.difference import Cell, Column, Difference
from sweeps.engine.analysis.matrix import MatrixRequest, Row, matrix
from sweeps.engine.analysis.ranking import Ranking, in_order, ranked
from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.analysis.stats import summarise
from sweeps.engine.documents.forms.markdown import markdown_table
from sweeps.engine.documents.table import axes_names, axes_of, note_text, ranking_lines, write_table
from sweeps.engine.study.folder import PlannedTrial, Study, open_study, trial_folder
from sweeps.engine.study.objectives import HARMONIC
from zsr_core.data import Split

MakeStudy = Callable[..., Study]


def cells(*values: float | None, **changes: Any) -> tuple[Cell, ...]:
    """Return cells with an interval over images each."""
    return tuple(
        Cell() if v is None else Cell(**{"value": v, "low": v - 2, "high": v + 3, **changes})
        for v in values
    )  # fmt: skip


def row(label: str = "a", own: tuple[Cell, ...] = cells(60.0, 40.0, 50.0), **changes: Any) -> Row:
    values: dict[str, Any] = {
        "label": label, "role": "cell", "baseline": False, "chosen": False, "seeds": (0,), "planned": 1, "failed": 0,
        "reason": "", "fails": (), "warns": (), "cells": own, "overrides": {"m.alpha": 0.1}, **changes,
    }  # fmt: skip
    return Row(**values)


def ranking(*rows: Row, rivals: Mapping[str, Difference] | None = None) -> Ranking:
    columns = tuple(
        Column(metric=name, eps=1 / 255, title=name, sets=("t",), over="1-set mean", scope="zero-shot")
        for name in ("clean", "robust", "harmonic")
    )
    return Ranking(columns=columns, rows=rows, left_out=0, rivals=rivals or {})


def shown(*rows: Row, rivals: Mapping[str, Difference] | None = None) -> list[tuple[str, ...]]:
    """Return the body of the ranking's table, cell by cell."""
    return [
        tuple(part.strip() for part in re.split(r"(?<!\\)\|", line)[1:-1])
        for line in ranking_lines(ranking(*rows, rivals=rivals))[2:]
    ]


def sections(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the body rows of the selection table and of the report table."""
    parts = text.split("## Report split")
    tables = [[line for line in part.splitlines() if line.startswith("|")][2:] for part in parts]
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in table] for table in tables]
    return rows[0], rows[1] if len(rows) > 1 else []


def test_one_seed_shows_the_interval_over_images() -> None:
    assert shown(row()) == [("0.1", "60.0 [58.0, 63.0]", "40.0 [38.0, 43.0]", "50.0 [48.0, 53.0]", "–", "–", "–", "")]


def test_several_seeds_show_their_spread() -> None:
    own = tuple(replace(c, sd=sd) for c, sd in zip(cells(60.0, 40.0, 50.0), (1.25, 0.5, 0.0), strict=True))
    assert shown(row(own=own))[0][1:4] == ("60.0 ± 1.2", "40.0 ± 0.5", "50.0 ± 0.0")


def test_the_chosen_row_is_bold_and_the_ones_like_it_are_said() -> None:
    gaps = (
        Difference(value=1.0, low=0.5, high=1.5, seeds=1),
        Difference(value=-2.0, low=-3.0, high=-1.0, seeds=1),
        Difference(value=0.0, seeds=1),
    )
    plain = cells(60.0, 40.0, 50.0, low=None, high=None)
    own = tuple(replace(c, gap=gap) for c, gap in zip(plain, gaps, strict=True))
    first, second = shown(row(own=own, chosen=True), row("b", plain), rivals={"b": gaps[2]})
    assert first == (
        "**0.1**", "**60.0**", "**40.0**", "**50.0**", "**+1.0 [+0.5, +1.5]**", "**-2.0 [-3.0, -1.0]**", "**+0.0**",
        "chosen",
    )  # fmt: skip
    assert second[-1] == "≈ chosen"


def test_a_difference_is_starred_where_it_holds_after_correction_and_the_seeds_bear_it_out() -> None:
    gap = Difference(value=1.0, low=0.5, high=1.5, seeds=5, test="bootstrap", p=0.001, p_holm=0.01)
    few = replace(gap, seeds=3, t_low=-1.0, t_high=3.0)
    own = tuple(replace(c, gap=g) for c, g in zip(cells(60.0, 40.0, 50.0), (gap, few, None), strict=True))
    assert [text.replace("\\", "") for text in shown(row(own=own))[0][4:7]] == [
        "+1.0 [+0.5, +1.5]*",
        "+1.0 [+0.5, +1.5]",
        "–",
    ]


def test_a_resample_that_cannot_differ_shows_no_interval() -> None:
    none_stands = replace(Cell(), value=0.0, low=0.0, high=0.0)
    assert shown(row(own=(*cells(60.0), none_stands, none_stands)))[0][2] == "0.0"


def test_failures_show_their_reason() -> None:
    whole = row(own=cells(None, None, None), seeds=(), failed=1, reason="loss is NaN")
    part = row(planned=3, failed=1, reason="loss is NaN")
    rows = shown(whole, part)
    assert rows[0] == ("0.1", "–", "–", "–", "–", "–", "–", "failed: loss is NaN")
    assert rows[1][-1] == "failed in 1 of 3 seeds: loss is NaN; missing 1 of 3 seeds"


def test_rows_go_by_falling_harmonic_mean_and_failures_come_last() -> None:
    def scored(name: str, harmonic: float | None) -> CellScore:
        return CellScore(cell=name, over_seeds={} if harmonic is None else {"harmonic": summarise([harmonic])})

    unordered = [scored("a", 40.0), scored("none", None), scored("b", 60.0), scored("c", 50.0)]
    assert [cell.cell for cell in in_order(unordered, HARMONIC)] == ["b", "c", "a", "none"]


def test_listed_variants_are_named_by_their_label() -> None:
    rows = [row("full", overrides={}), row("w/o x", overrides={"m.x": 0})]
    assert axes_of(rows) == ()
    assert axes_names(()) == ("configuration",)
    assert shown(*rows)[1][0] == "w/o x"


def test_axes_that_share_a_last_name_keep_their_paths() -> None:
    assert axes_names(("method.alpha", "optim.lr")) == ("alpha", "lr")
    assert axes_names(("a.x", "b.x")) == ("a.x", "b.x")


def test_a_bar_in_a_reason_does_not_break_the_table() -> None:
    assert markdown_table(("a", "b"), [("x|y", "z\nw")]) == ["| a    | b   |", "|------|-----|", "| x\\|y | z w |"]


CLOSE = (0.09, 0.1, 0.11, 1.0)  # levels of which three score alike


def test_without_records_nothing_is_tied(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=CLOSE, report=False)
    assert ranked(open_study(tmp_path)).rivals
    for file in tmp_path.rglob("samples.parquet"):
        file.unlink()
    assert not ranked(open_study(tmp_path)).rivals


def test_a_rival_is_a_row_whose_interval_of_the_deciding_score_holds_0(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=CLOSE, report=False)
    folder = open_study(tmp_path)
    ranking = ranked(folder)
    assert ranking.rivals
    assert all(gap.low is not None and gap.low <= 0 <= (gap.high or 0) for gap in ranking.rivals.values())
    assert next(iter(ranking.rows)).chosen
    assert "alpha=1 beta=1" not in ranking.rivals, "the weakest cell is told apart"
    notes = {line[0]: line[-1] for line in [(r.label, note_text(r, ranking)) for r in ranking.rows]}
    assert {label for label, note in notes.items() if note == "≈ chosen"} == set(ranking.rivals)


def test_the_tables_differences_are_those_of_the_matrix(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1, 2))
    folder = open_study(tmp_path)
    splits: tuple[Split, ...] = ("selection", "report")
    for split in splits:
        ranking = ranked(folder, split)
        whole = matrix(folder, MatrixRequest(split=split, baseline="untouched"))
        own = {row.label: row.cells[:3] for row in whole.rows}
        assert {row.label: row.cells for row in ranking.rows} == own
        assert [c.sets for c in ranking.columns] == [("animals", "dishes", "sport")] * 3


def test_the_table_of_a_study_says_it_all(tmp_path: Path, make_study: MakeStudy) -> None:
    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == "alpha=1 beta=1" and trial.role == "cell"

    make_study(tmp_path, fails=fails)
    text = write_table(open_study(tmp_path)).read_text(encoding="utf-8")
    assert text.startswith("# Where should the weights stand?\n")
    assert "**Measured on the built-in miniature.**" in text
    assert "TGA-ZSR on miniature, trained on source for 2 epochs against pgd2, step 0.25 eps, at 1/255" in text
    assert "Mean of 3 zero-shot sets of 24 images, selection split; robust to pgd10 at 1/255; 1 seed" in text
    assert "12 trials: 11 done, 1 failed." in text
    assert "commit 0123456789ab;" in text
    body, report = sections(text)
    assert body[0][:2] == ["**0.1**", "**0.1**"]
    assert body[0][-1] == "chosen"
    assert body[-2][:2] == ["1", "1"]
    assert body[-2][-1] == "failed: loss is NaN at step 12, term larm"
    assert body[-1][0] == "untouched"
    assert [row[0] for row in report] == ["0.1", "untouched"]
    assert report[0][5].startswith("-")  # clean accuracy is what robustness costs
    assert report[0][6].startswith("+")
    assert "Published optimum: alpha=0.08 beta=0.05." in text


def test_the_table_made_again_is_the_same(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), seeds=(0, 1))
    first = write_table(open_study(tmp_path)).read_bytes()
    (tmp_path / "table.md").unlink()
    assert write_table(open_study(tmp_path)).read_bytes() == first


def test_without_records_the_gain_is_paired_by_seed(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, levels=(0.1,), seeds=(0, 1), report=False)
    with_records = sections(write_table(open_study(tmp_path)).read_text(encoding="utf-8"))[0][0]
    for trial in study.plan:
        (trial_folder(tmp_path, trial.trial_id) / "samples.parquet").unlink()
    without = sections(write_table(open_study(tmp_path)).read_text(encoding="utf-8"))[0][0]
    assert [cell.split()[0] for cell in without] == [cell.split()[0] for cell in with_records]


@pytest.mark.parametrize("levels", [(0.01, 0.1, 1.0)])
def test_a_study_without_a_finished_cell_is_still_a_table(
    tmp_path: Path, make_study: MakeStudy, levels: tuple[float, ...]
) -> None:
    make_study(tmp_path, levels=levels, fails=lambda trial: trial.role == "cell", report=False)
    body, _ = sections(write_table(open_study(tmp_path)).read_text(encoding="utf-8"))
    assert len(body) == 10
    assert all(row[-1].startswith("failed: ") for row in body[:-1])
