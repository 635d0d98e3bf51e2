from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.analysis.ranking import Gain, Row, in_order, tied
from sweeps.engine.analysis.scores import CellScore
from sweeps.engine.analysis.stats import Interval
from sweeps.engine.documents.forms.markdown import markdown_table
from sweeps.engine.documents.table import axes_names, axes_of, table_rows, write_table
from sweeps.engine.study.folder import PlannedTrial, Study, trial_folder

MakeStudy = Callable[..., Study]


def score(cell: str = "a", harmonic: float | None = 50.0, **changes: object) -> CellScore:
    values = {
        "cell": cell, "overrides": {"m.alpha": 0.1}, "n": 1, "clean": 60.0, "robust": 40.0, "harmonic": harmonic,
        "clean_sd": None, "robust_sd": None, "harmonic_sd": None, "failed": 0, **changes,
    }  # fmt: skip
    return CellScore(**values)


def interval(value: float) -> Interval:
    return Interval(value=value, low=value - 2, high=value + 3, se=1.0, seeds=1, images=10)


def sections(text: str) -> tuple[list[list[str]], list[list[str]]]:
    """Return the body rows of the selection table and of the report table."""
    parts = text.split("## Report split")
    tables = [[line for line in part.splitlines() if line.startswith("|")][2:] for part in parts]
    rows = [[[cell.strip() for cell in line.strip("|").split("|")] for line in table] for table in tables]
    return rows[0], rows[1] if len(rows) > 1 else []


def test_one_seed_shows_the_interval_over_images() -> None:
    row = Row(score=score(), interval=(interval(60.0), interval(40.0), interval(50.0)))
    assert table_rows([row], ("m.alpha",)) == [
        ("0.1", "60.0 [58.0, 63.0]", "40.0 [38.0, 43.0]", "50.0 [48.0, 53.0]", "–", "–", "–", "")
    ]


def test_several_seeds_show_their_spread() -> None:
    row = Row(score=score(n=3, clean_sd=1.25, robust_sd=0.5, harmonic_sd=0.0), interval=(interval(60.0),) * 3)
    assert table_rows([row], ("m.alpha",))[0][1:4] == ("60.0 ± 1.2", "40.0 ± 0.5", "50.0 ± 0.0")


def test_the_chosen_row_is_bold_and_the_ones_like_it_are_said() -> None:
    gains = (
        Gain(value=1.0, low=0.5, high=1.5),
        Gain(value=-2.0, low=-3.0, high=-1.0),
        Gain(value=0.0, low=None, high=None),
    )
    first, second = table_rows(
        [Row(score=score(), gain=gains, chosen=True), Row(score=score(), tied=True)], ("m.alpha",)
    )
    assert first == (
        "**0.1**", "**60.0**", "**40.0**", "**50.0**", "**+1.0 [+0.5, +1.5]**", "**-2.0 [-3.0, -1.0]**", "**+0.0**",
        "chosen",
    )  # fmt: skip
    assert second[-1] == "≈ chosen"


def test_a_resample_that_cannot_differ_shows_no_interval() -> None:
    none_stands = Interval(value=0.0, low=0.0, high=0.0, se=0.0, seeds=1, images=10)
    row = Row(score=score(robust=0.0), interval=(interval(60.0), none_stands, none_stands))
    assert table_rows([row], ("m.alpha",))[0][2] == "0.0"


def test_failures_show_their_reason() -> None:
    nothing = {"clean": None, "robust": None}
    whole = score(harmonic=None, n=0, failed=1, reason="loss is NaN", **nothing)
    part = score(n=1, failed=1, missing=1, reason="loss is NaN")
    rows = table_rows([Row(score=whole), Row(score=part)], ("m.alpha",))
    assert rows[0] == ("0.1", "–", "–", "–", "–", "–", "–", "failed: loss is NaN")
    assert rows[1][-1] == "failed in 1 of 3 seeds: loss is NaN; missing 1 of 3 seeds"


def test_rows_go_by_falling_harmonic_mean_and_failures_come_last() -> None:
    cells = [score("a", 40.0), score("none", None), score("b", 60.0), score("c", 50.0)]
    assert [cell.cell for cell in in_order(cells)] == ["b", "c", "a", "none"]


def test_listed_variants_are_named_by_their_label() -> None:
    cells = [score("full", overrides={}), score("w/o x", overrides={"m.x": 0})]
    assert axes_of(cells) == ()
    assert axes_names(()) == ("configuration",)
    assert table_rows([Row(score=cells[1])], ())[0][0] == "w/o x"


def test_axes_that_share_a_last_name_keep_their_paths() -> None:
    assert axes_names(("method.alpha", "optim.lr")) == ("alpha", "lr")
    assert axes_names(("a.x", "b.x")) == ("a.x", "b.x")


def test_a_bar_in_a_reason_does_not_break_the_table() -> None:
    assert markdown_table(("a", "b"), [("x|y", "z\nw")]) == ["| a    | b   |", "|------|-----|", "| x\\|y | z w |"]


def test_without_records_nothing_is_tied() -> None:
    assert not tied({}, {})


def test_the_table_of_a_study_says_it_all(tmp_path: Path, make_study: MakeStudy) -> None:
    def fails(trial: PlannedTrial) -> bool:
        return trial.cell == "alpha=1 beta=1" and trial.role == "cell"

    make_study(tmp_path, fails=fails)
    text = write_table(open_study(tmp_path)).read_text(encoding="utf-8")
    assert text.startswith("# Where should the weights stand?\n")
    assert "**Measured on the built-in miniature.**" in text
    assert "TGA-ZSR on miniature, trained on source for 2 epochs against pgd2, step 0.25 eps, at 1/255" in text
    assert "Mean of 3 zero-shot sets, selection split; robust to pgd10 at 1/255; 1 seed" in text
    assert "12 trials: 11 done, 1 failed." in text
    assert "commit 0123456789ab;" in text
    cells, report = sections(text)
    assert cells[0][:2] == ["**0.1**", "**0.1**"]
    assert cells[0][-1] == "chosen"
    assert cells[-2][:2] == ["1", "1"]
    assert cells[-2][-1] == "failed: loss is NaN at step 12, term larm"
    assert cells[-1][0] == "untouched"
    assert [row[0] for row in report] == ["0.1", "untouched (report)"]
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
    cells, _ = sections(write_table(open_study(tmp_path)).read_text(encoding="utf-8"))
    assert len(cells) == 10
    assert all(row[-1].startswith("failed: ") for row in cells[:-1])
