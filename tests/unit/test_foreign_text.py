"""Text of a study from elsewhere is shown and does nothing: no path, no formula, no tag, no terminal command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeps.engine.documents.forms.csv import plain_cell
from sweeps.engine.documents.forms.markdown import document
from sweeps.engine.documents.forms.written import matrix_text
from sweeps.engine.documents.report.gather import write_report
from sweeps.engine.documents.table import write_table
from sweeps.engine.study.folder import Study, open_study, read_study, trial_folder
from sweeps.engine.tracking.notes import study_note, trial_note
from sweeps.engine.tracking.spool import Event, line_of, parse
from zsr_core.codec import ConfigError, parse_json

MakeStudy = Callable[..., Study]
BAD_IDS = ("../../outside", "..", ".", "", "/etc", "a/b", "a\\b", "a\0b", "-rf", "x" * 65)


@pytest.mark.parametrize("trial_id", BAD_IDS)
def test_an_id_that_names_another_folder_is_refused_wherever_it_is_read(
    tmp_path: Path, make_study: MakeStudy, trial_id: str
) -> None:
    make_study(tmp_path, levels=(0.1, 1.0), report=False)
    file = tmp_path / "study.json"
    plain = json.loads(file.read_text())
    plain["plan"][1]["trial_id"] = trial_id
    file.write_text(json.dumps(plain))
    with pytest.raises(ConfigError, match=r"study\.json\.plan\[1\]\.trial_id: got"):
        read_study(tmp_path)
    with pytest.raises(ConfigError, match="trial_id: got"):
        trial_folder(tmp_path, trial_id)
    assert parse(line_of(Event(kind="finished", time=1, trial_id=trial_id))) is None


@pytest.mark.parametrize("text", ["=1+1", "+cmd", "-2+3", "@SUM(A1)", "\t=1", " =1", "\r=1", '=HYPERLINK("http://x")'])
def test_a_text_that_begins_as_a_formula_is_a_text_in_csv(text: str) -> None:
    assert plain_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1.5, 0, None, "", "-1.5", "+3", "-1e-3", "alpha=0.1", "w/o larm", "clean - robust"])
def test_numbers_and_other_texts_stay_as_they_are_in_csv(value: object) -> None:
    assert plain_cell(value) == value


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a <script>", "a \\<script>"), ("\\<b>", "\\<b>"), ("\\\\<b>", "\\\\\\<b>"), ("<!-- x", "\\<!-- x"),
     ("</div>", "\\</div>"), ("p < 0.05", "p < 0.05"), ("a<b", "a\\<b")],
)  # fmt: skip
def test_no_text_begins_a_tag_in_a_markdown_file(text: str, shown: str) -> None:
    assert document([text]) == f"{shown}\n"


def test_control_characters_of_a_file_are_replaced() -> None:
    text = json.dumps({"\x1b[2J": ["a\x1b]0;x\x07", "b\tc\nd\r\ne", "\x7f\x9b31m", "\u202egnp.exe", "1.5 \u00b1 2"]})
    shown = ["a\ufffd]0;x\ufffd", "b\tc\nd\ne", "\ufffd\ufffd31m", "\ufffdgnp.exe", "1.5 \u00b1 2"]
    assert parse_json(text) == {"\ufffd[2J": shown}
    assert parse_json('"\x9b31m"') == "\ufffd31m"


def test_a_hostile_study_acts_in_no_document(tmp_path: Path, make_study: MakeStudy) -> None:
    hostile = "=cmd|' /C calc'!A0 <script>alert(1)</script> \x1b[2J [x](javascript:alert(1))"
    make_study(tmp_path, levels=(0.1, 1.0))
    file = tmp_path / "study.json"
    plain = json.loads(file.read_text())
    plain["question"] = f"# {hostile}\n\n<img src=x onerror=alert(1)>"
    for trial in plain["plan"]:
        if trial["role"] == "cell":
            trial["cell"] = f"{hostile} {trial['cell']}"
            trial["label"] = f"{hostile} {trial['label']}"
    file.write_text(json.dumps(plain))
    result = next(trial_folder(tmp_path, t["trial_id"]) for t in plain["plan"] if t["role"] == "cell") / "result.json"
    failed = {**json.loads(result.read_text()), "status": "failed", "error": hostile, "measurements": []}
    result.write_text(json.dumps(failed))
    folder = open_study(tmp_path)
    trial = next(t for t in folder.study.plan if t.role == "cell")
    texts = {form: matrix_text(folder, form) for form in ("terminal", "md", "latex", "csv", "html")}
    texts["table"] = write_table(folder).read_text()
    texts["report"] = write_report([folder]).read_text()
    texts["notes"] = study_note(folder, "") + trial_note(folder.study, trial, folder.results[trial.trial_id])
    for name, text in texts.items():
        assert "\x1b" not in text, name
        assert "alert(1)" in text, f"{name}: the text itself is shown"
        if name not in ("terminal", "csv"):
            assert "<script>alert" not in text.replace("\\<", ""), name
            assert "<img src=x" not in text.replace("\\<", ""), name
    assert not [row for row in csv.reader(io.StringIO(texts["csv"])) if any(cell.startswith("=") for cell in row)]
    assert "](javascript" not in texts["table"].replace("]\\(", "")
