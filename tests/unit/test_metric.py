from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.score_query import (
    Contrast,
    Reading,
    check_score,
    over,
    parse_score,
    score_label,
    score_rows,
    score_text,
    score_unit,
    score_value,
)
from sweeps.engine.analysis.scores import known, scores
from sweeps.engine.study.folder import Study, open_study
from zsr_core.codec import ConfigError

MakeStudy = Callable[..., Study]


@pytest.mark.parametrize(
    ("text", "score", "label"),
    [
        ("clean", Reading(name="clean"), "clean accuracy"),
        ("robust@2/255", Reading(name="robust", eps=2 / 255), "robust accuracy at 2/255"),
        ("robust.pgd10@2/255:dishes", Reading(name="robust", attack="pgd10", eps=2 / 255, task="dishes"),
         "robust accuracy under pgd10 at 2/255 on dishes"),
        ("clean - robust", Contrast(first=Reading(name="clean"), second=Reading(name="robust")),
         "clean accuracy − robust accuracy"),
    ],
)  # fmt: skip
def test_a_score_is_read_from_its_text_and_written_as_it(text: str, score: Reading | Contrast, label: str) -> None:
    assert parse_score(text) == score
    assert score_text(score) == text
    assert score_label(score) == label


@pytest.mark.parametrize("text", ["", "robust@", "a - b - c", "robust@9", "robust@x/255", "two words"])
def test_a_text_that_is_no_score_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^(score|eps): got .*expected a "):
        parse_score(text)


def test_the_objectives_are_what_the_table_has(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path, report=False)
    folder = open_study(tmp_path)
    for row in scores(folder):
        result = next(folder.results[t.trial_id] for t in study.plan if t.cell == row.cell)
        assert score_value(result, parse_score("clean"), 1 / 255) == row.value("clean")
        assert score_value(result, parse_score("robust@1/255"), 1 / 255) == row.value("robust")
        assert score_value(result, parse_score("harmonic"), 1 / 255) == row.value("harmonic")
        assert score_value(result, parse_score("clean - robust"), 1 / 255) == known(row.value("clean")) - known(
            row.value("robust")
        )
        assert score_value(result, parse_score("robust@2/255"), 1 / 255) is None


def test_a_clean_number_comes_before_one_under_attack_unless_a_budget_is_named(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    (result, *_) = open_study(tmp_path).results.values()
    row = result.measurements[0]
    error = [
        replace(row, metric="ece", task="zero_shot_mean", attack=attack, eps=eps, value=value)
        for attack, eps, value in (("none", 0.0, 3.0), ("worst", 1 / 255, 9.0))
    ]
    measured = replace(result, measurements=(*result.measurements, *error))
    assert score_value(measured, parse_score("ece"), 1 / 255) == 3.0
    assert score_value(measured, parse_score("ece@1/255"), 1 / 255) == 9.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("robst", r"'robst' was not measured \(did you mean 'robust'\?\); there are: clean, robust, harmonic"),
        ("robust:dish", "nothing was measured on 'dish'.*did you mean 'dishes'"),
        ("robust@2/255", "'robust@2/255' was not measured; robust was under pgd10 at 1/255, worst at 1/255"),
        ("clean - robust@2/255", "'robust@2/255' was not measured"),
    ],
)
def test_a_score_that_was_not_measured_says_what_was(
    tmp_path: Path, make_study: MakeStudy, text: str, message: str
) -> None:
    make_study(tmp_path, levels=(0.1,), report=False)
    with pytest.raises(ConfigError, match=message):
        check_score(parse_score(text), open_study(tmp_path))


def test_rows_carry_the_whole_configuration_and_no_score_where_there_is_none(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), fails=lambda t: t.cell == "alpha=1 beta=1", report=False)
    rows = score_rows(open_study(tmp_path), parse_score("robust"))
    assert [row["status"] for row in rows] == ["done", "done", "done", "failed"]
    assert rows[-1]["robust"] is None
    assert {(row["method"], row["optim.name"], row["study"]) for row in rows} == {("TGA-ZSR", "sgd", "weights")}


def test_clean_accuracy_has_no_budget() -> None:
    assert over(parse_score("clean"), eps=0.1) == parse_score("clean")
    assert over(parse_score("clean - robust"), eps=2 / 255) == parse_score("clean - robust@2/255")
    assert over(parse_score("clean"), task="dishes") == parse_score("clean:dishes")
    assert (score_unit(parse_score("clean")), score_unit(parse_score("clean - robust"))) == ("%", "points")
