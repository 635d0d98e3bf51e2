"""A model that ignores its input is marked, warned about, and fails a rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sweeps.engine.analysis.ranking import ranked
from sweeps.engine.analysis.searching.chance import chance_level
from sweeps.engine.documents.table import table_lines
from sweeps.engine.study.folder import Study, open_study
from sweeps.engine.wording.answer import answer
from sweeps.engine.wording.chance import warning_text
from zsr_core.audit.evidence import Evaluation, Evidence
from zsr_core.audit.rules.collapse import RULES, g27_answers
from zsr_core.audit.verdict import judge
from zsr_core.evaluation.collapse import Answers, answers_by_task, collapse
from zsr_core.records import read_samples
from zsr_core.threat import ThreatModel

MakeStudy = Callable[..., Study]
BEST = "alpha=0.1 beta=0.1"


def rows(predictions: list[int], labels: list[int]) -> list[tuple[str, int, int]]:
    return [("t", label, prediction) for label, prediction in zip(labels, predictions, strict=True)]


TRUE = [i % 4 for i in range(40)]


def test_counts_are_those_worked_by_hand() -> None:
    found = answers_by_task(rows([0] * 30 + TRUE[30:], TRUE))
    assert found == [Answers(task="t", n=40, classes=4, right=18, largest_predicted=32, largest_true=10)]
    assert found[0].excess == pytest.approx(22 / 30)


def test_one_answer_for_all_is_collapsed_and_the_truth_is_not() -> None:
    same, true = (collapse(answers_by_task(rows(p, TRUE))) for p in ([2] * 40, TRUE))
    assert same is not None
    assert true is not None
    assert (same.chance, same.clean, same.excess) == (25.0, 25.0, 1.0)
    assert same.one_class
    assert same.at_chance
    assert (true.clean, true.excess, true.collapsed) == (100.0, 0.0, False)


def test_guesses_are_at_chance_without_being_one_class() -> None:
    found = collapse(answers_by_task(rows([(i // 4) % 4 for i in range(40)], TRUE)))
    assert found is not None
    assert found.at_chance
    assert not found.one_class


def test_a_set_with_one_true_class_tells_nothing_about_evenness() -> None:
    assert answers_by_task(rows([1] * 9 + [0], [1] * 10))[0].excess == 0.0


def test_the_rule_grades_the_share_of_one_class() -> None:
    fine = collapse(answers_by_task(rows(TRUE, TRUE)))
    assert fine is not None
    assert g27_answers(fine).status == "PASS"
    assert g27_answers(replace(fine, excess=0.3)).status == "WARN"
    assert g27_answers(replace(fine, excess=0.6)).status == "FAIL"
    assert g27_answers(replace(fine, low=fine.chance)).status == "FAIL"


def test_without_records_the_rule_is_skipped() -> None:
    evidence = Evidence(threat=ThreatModel(), n=0, evaluation=Evaluation(attacks=()))
    assert [v.status for v in judge(evidence) if v.rule == RULES[0].id] == ["SKIP"]


@pytest.fixture
def collapsed(tmp_path: Path, make_study: MakeStudy) -> Path:
    """A study whose best cell predicts one class for every clean image, without a change of its scores."""
    study = make_study(tmp_path)
    for trial in study.plan:
        if trial.cell == BEST:
            file = tmp_path / "trials" / trial.trial_id / "samples.parquet"
            table = read_samples(file)
            at = table.schema.get_field_index("pred")
            pq.write_table(table.set_column(at, "pred", pa.array([0] * len(table))), file)
    return tmp_path


def test_a_collapsed_winner_is_crowned_with_a_warning_and_never_bold(collapsed: Path) -> None:
    folder = open_study(collapsed)
    assert warning_text(folder).startswith("WARNING: the chosen cell ignores its input")
    assert warning_text(folder) in answer(folder)
    ranking = ranked(folder)
    winner = next(row for row in ranking.rows if row.chosen)
    assert winner.collapse is not None
    assert winner.collapse.collapsed
    assert not any(cell.best for cell in winner.cells)
    text = "\n".join(table_lines(folder))
    assert "collapsed: 100 % of a set's predictions are one class" in text
    assert "Chance level: 25.0 %" in text


def test_a_sound_winner_has_no_warning_and_the_chance_is_one_in_the_classes(
    tmp_path: Path, make_study: MakeStudy
) -> None:
    make_study(tmp_path)
    folder = open_study(tmp_path)
    assert warning_text(folder) == ""
    assert chance_level(folder) == 25.0
