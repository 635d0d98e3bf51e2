"""A study that measured retrieval: its columns, its scores, its panels, and the figure of perturbation sites."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from sweeps.engine.analysis.matrix import MatrixRequest, matrix
from sweeps.engine.analysis.score_query import Reading, parse_score, score_value
from sweeps.engine.analysis.scores import scores
from sweeps.engine.analysis.sites import sites
from sweeps.engine.documents.table import table_lines
from sweeps.engine.figures.kinds import draw
from sweeps.engine.figures.scene import Request
from sweeps.engine.running.preview import corrupted_lines
from sweeps.engine.study.folder import StudyFolder, open_study, trial_folder, write_study
from sweeps.engine.study.plan import new_study
from sweeps.engine.wording.study import images_per_set
from sweeps.feature_perturbations import SWEEP
from zsr_core.codec import ConfigError, to_plain
from zsr_core.evaluation.measure import WORST, ZERO_SHOT_MEAN, Measurement
from zsr_core.files import write_text
from zsr_core.trial.result import TrialResult

EPS = 2 / 255


def _numbers(trial_id: str, recall: float) -> tuple[Measurement, ...]:
    accuracy = [("clean", "none", 0.0, 80.0), ("robust", WORST, EPS, 30.0), ("harmonic", WORST, EPS, 43.6)]
    retrieval = [
        ("t2i_r1_corrupted", "none", 0.0, recall - 20), ("i2t_r1_corrupted", "none", 0.0, recall - 19),
        ("i2t_r1_corrupted", "corruption-fog-3", 0.0, recall - 9),
        ("t2i_r1", "none", 0.0, recall), ("i2t_r1", "none", 0.0, recall + 1), ("t2i_r1_hiding", "hiding", EPS, 20.0),
        ("i2t_r1_query", "query", EPS, 10.0), ("i2t_r1_embedding", "embedding", 0.2, 33.0),
        ("i2t_r1_embedding", "embedding", 0.1, 44.0),
    ]  # fmt: skip
    rows = [(task, *row, 32) for task in ("source", "animals", "sport", ZERO_SHOT_MEAN) for row in accuracy]
    rows += [(task, *row, 96) for task in ("captions", ZERO_SHOT_MEAN) for row in retrieval]
    return tuple(
        Measurement(
            trial_id=trial_id, weights_sha="w", task=task, split="selection", attack=attack, eps=eps, metric=metric,
            value=value, n=n, low=value - 5, high=value + 5,
        )
        for task, metric, attack, eps, value, n in rows
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> StudyFolder:
    study = new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=SWEEP.objectives)
    write_study(tmp_path, study)
    for i, trial in enumerate(study.plan):
        result = TrialResult(
            trial_id=trial.trial_id, config=study.config(trial), status="done",
            measurements=_numbers(trial.trial_id, 50.0 + i),
        )  # fmt: skip
        write_text(trial_folder(tmp_path, trial.trial_id) / "result.json", json.dumps(to_plain(result)))
    return open_study(tmp_path)


def test_retrieval_has_columns_beside_the_accuracies_and_its_sets_are_no_tasks(folder: StudyFolder) -> None:
    whole = matrix(folder, MatrixRequest(split="selection", draws=200))
    first = [whole.columns[j] for j in whole.blocks[0].columns]
    assert [c.metric for c in first] == ["clean", "robust", "harmonic", *SWEEP.objectives]
    assert {c.sets for c in first if c.scope == "captions"} == {("captions",)}
    assert all("captions" not in c.sets for c in whole.columns if c.scope != "captions")
    assert images_per_set(folder.done().values()) == {"source": 32, "animals": 32, "sport": 32}
    row = next(row for row in whole.rows if row.label == "token 0.1")
    values = {c.metric: cell.value for c, cell in zip(whole.columns, row.cells, strict=True) if c.scope == "captions"}
    assert values == {
        "t2i_r1_corrupted": 36.0,
        "i2t_r1_corrupted": 37.0,
        "t2i_r1": 56.0,
        "i2t_r1": 57.0,
        "t2i_r1_hiding": 20.0,
        "i2t_r1_query": 10.0,
    }
    text = "\n".join(table_lines(folder))
    assert "retrieval on captions" in text
    assert "| t2i_r1, %" in text


def test_scores_of_retrieval_are_read_under_their_own_condition_and_budget(folder: StudyFolder) -> None:
    trial = next(trial for trial in folder.study.plan if trial.cell == "token 0.1")
    result = folder.results[trial.trial_id]

    def read(text: str) -> float | None:
        return score_value(result, parse_score(text), EPS)

    assert read("t2i_r1") == 56.0
    assert read("t2i_r1:captions") == 56.0
    assert read("t2i_r1_hiding") == 20.0
    assert read("i2t_r1_corrupted") == 37.0  # over all corruptions, not under fog
    assert read("i2t_r1_embedding") == 44.0  # at the smallest radius
    assert read("i2t_r1_embedding@0.2") == 33.0
    assert read("t2i_r1 - clean") == 56.0 - 80.0
    cell = next(cell for cell in scores(folder) if cell.cell == "token 0.1")
    assert cell.value("i2t_r1_query") == 10.0


def test_a_score_of_retrieval_under_another_attack_is_none(folder: StudyFolder) -> None:
    result = next(iter(folder.results.values()))
    asked = Reading(name="i2t_r1_query", attack="query")
    assert score_value(result, asked, EPS) == 10.0
    assert score_value(result, replace(asked, attack="pgd10"), EPS) is None


def test_rows_are_sorted_by_site_and_budget_and_drawn(folder: StudyFolder, tmp_path: Path) -> None:
    found = sites(folder)
    assert [(row.site, row.budget) for row in found.rows] == [
        ("untouched", ""), ("none", ""), ("pixel", "1/255"), ("pixel", "2/255"), ("pixel", "4/255"), ("token", "0.05"),
        ("token", "0.1"), ("token", "0.2"), ("embedding", "0.1"), ("embedding", "0.2"), ("embedding", "0.4"),
    ]  # fmt: skip
    token = next(row for row in found.rows if (row.site, row.budget) == ("token", "0.1"))
    assert (token.points["t2i_r1"].value, token.points["t2i_r1"].low, token.points["t2i_r1"].high) == (56, 51, 61)
    assert found.captioned == "96 images of captions"
    paths = draw(folder, Request(kinds=("sites",))).paths
    assert any(path.name == "sites.png" and path.stat().st_size > 10_000 for path in paths)


def test_a_study_that_moves_pixels_alone_has_no_figure_of_sites(folder: StudyFolder) -> None:
    for trial in folder.study.plan:
        if trial.overrides.get("perturbation") is not None:
            (trial_folder(folder.path, trial.trial_id) / "result.json").unlink()
    with pytest.raises(ConfigError, match=r"no finished trial .* moves tokens or embeddings"):
        sites(open_study(folder.path))


def test_a_plan_says_how_many_corrupted_images_are_made() -> None:
    study = new_study(SWEEP, preset="miniature", search=None, seeds=(0,), objectives=SWEEP.objectives)
    (line,) = corrupted_lines(study)
    assert line.startswith("Making 1,440 corrupted images")  # 15 kinds of 96 images
    suite = study.base.eval_suite
    assert suite.retrieval is not None
    bare = study.base.with_({"eval_suite.retrieval": replace(suite.retrieval, corruptions=())})
    assert corrupted_lines(replace(study, base=bare)) == []
    both = bare.with_({"eval_suite.corruptions": ("fog:1", "snow")})
    assert corrupted_lines(replace(study, base=both))[0].startswith("Making 576 ")  # six of 32 images of three sets
