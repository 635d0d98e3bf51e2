"""Two studies whose sets have one name are compared on a set only if both read the same images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from sweeps.engine.analysis.comparison import Side, compare, unlike_sets
from sweeps.engine.study.folder import Study, StudyFolder, open_study, write_study
from sweeps.engine.wording.comparison import warnings
from zsr_core.codec import to_plain
from zsr_core.data import DataRef

MakeStudy = Callable[..., Study]


def renamed(folder: Path, study: Study, root: str, digest: str) -> StudyFolder:
    """Return the study as if its set "animals" had been the folder ``root`` of this digest."""
    tasks = tuple(
        DataRef(source="imagefolder", root=root, name="animals") if ref.called == "animals" else ref
        for ref in study.base.eval_suite.tasks
    )
    write_study(folder, replace(study, base=study.base.with_({"eval_suite.tasks": tasks})))
    for file in folder.glob("trials/*/result.json"):
        result = json.loads(file.read_text())
        result["provenance"]["content_animals"] = digest
        result["config"]["eval_suite"]["tasks"] = to_plain(tasks)
        file.write_text(json.dumps(result))
    return open_study(folder)


def test_other_images_under_one_name_are_left_out_and_said(tmp_path: Path, make_study: MakeStudy) -> None:
    sides = [
        renamed(tmp_path / name, make_study(tmp_path / name, name=name, levels=(0.1, 1.0)), f"/{name}", name)
        for name in ("a", "b")
    ]
    assert unlike_sets(*sides) == ("animals",)
    compared = compare(*(Side(name=folder.study.name, folder=folder) for folder in sides))
    assert {row.basis.sets for row in compared.rows} == {2}
    assert "Not compared, because other images have this name in each: animals." in warnings(compared)
    assert "The sets differ: differences are over the sets that both have." in warnings(compared)


def test_a_set_that_has_moved_is_the_same_by_its_content(tmp_path: Path, make_study: MakeStudy) -> None:
    sides = [
        renamed(tmp_path / name, make_study(tmp_path / name, name=name, levels=(0.1, 1.0)), f"/{name}", "same")
        for name in ("a", "b")
    ]
    assert unlike_sets(*sides) == ()
    compared = compare(*(Side(name=folder.study.name, folder=folder) for folder in sides))
    assert {row.basis.sets for row in compared.rows} == {3}
    assert warnings(compared) == ()
