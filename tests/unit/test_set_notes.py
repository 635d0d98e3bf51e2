"""Images per set and notes on sets stand in the plan, the table and the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from sweeps.engine import Sweep, launch
from sweeps.engine.commands.main import main
from sweeps.engine.study.folder import Study, open_study, trial_folder
from sweeps.engine.wording.study import images_text, sizes_text
from zsr_core.data import DataRef
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import TgaZsr
from zsr_core.space import Real
from zsr_core.trial.config import TrialConfig

MakeStudy = Callable[..., Study]
SPACE = {"method.alpha": Real(low=0.1, high=1)}


def pictures(folder: Path, each: int) -> DataRef:
    for shade, name in ((40, "cat"), (200, "dog")):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            Image.new("RGB", (50, 50), (shade, i, 90)).save(folder / name / f"{i}.png")
    return DataRef(source="imagefolder", root=str(folder))


def test_a_plan_lists_images_per_set_the_budget_and_what_is_odd_in_a_set(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pets = pictures(tmp_path / "pets", each=5)
    (tmp_path / "pets" / "cat" / "note.gif").write_bytes(b"GIF89a")
    suite = EvalSuite(tasks=(DataRef(limit=8), pets), eps=(2 / 255, 4 / 255))
    base = TrialConfig(method=TgaZsr(), train_data=DataRef(limit=16), eval_suite=suite)
    sweep = Sweep(name="p", question="?", space=SPACE, levels=2, base={"miniature": base}, score_eps=4 / 255)
    monkeypatch.chdir(tmp_path)
    assert launch(sweep, ["--plan"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "Trained on source 16 images." in lines
    assert "Images: source 8, pets 5 on the selection split; source 8, pets 5 on the report split." in lines
    assert "Scored on the mean of pets; robust accuracy is read at 4/255." in lines
    assert [line for line in lines if line.startswith("note: pets: ") and ".gif" in line]


def test_the_table_and_the_report_have_images_per_set_and_the_notes(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(tmp_path)
    file = trial_folder(tmp_path, study.plan[0].trial_id) / "result.json"
    result = json.loads(file.read_text())
    result["provenance"]["data_notes"] = "animals: 2 files are no images: a.gif, b.gif"
    file.write_text(json.dumps(result))
    for command in ("table", "report"):
        assert main([command, "--study", str(tmp_path)]) == 0
    for page in ("table.md", "report.html"):
        text = (tmp_path / page).read_text()
        each = "24 each of source, animals, dishes, sport"
        assert f"Images: {each} on the selection split; {each} on the report split." in text
        assert "Notes on the sets: animals: 2 files are no images: a.gif, b.gif." in text


def test_nothing_is_counted_before_a_trial_is_done(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(tmp_path, missing=lambda trial: True)
    assert images_text(open_study(tmp_path)) == ""


def test_sets_of_different_sizes_are_listed_one_by_one() -> None:
    assert sizes_text({"a": 1200, "b": 36}) == "a 1,200, b 36"
    assert sizes_text({"a": 36, "b": 36}) == "36 each of a, b"
    assert sizes_text({"a": 36}) == "a 36"
