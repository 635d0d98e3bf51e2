"""Detection by crops on scenes whose answer is known: each class has a colour, and the model reads colours."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import Tensor

from sweeps.engine.analysis.score_query import parse_score, score_value
from sweeps.engine.commands.main import main
from sweeps.engine.study.objectives import headline
from sweeps.engine.study.plan import new_study
from sweeps.engine.study.set_groups import scene_groups
from sweeps.engine.study.sweep import Sweep
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import ImageSet
from zsr_core.data.formats.boxes import Boxes, Scenes
from zsr_core.evaluation.crops import Detection, detect, nearest_labels
from zsr_core.evaluation.measure import ZERO_SHOT_MEAN, score_task
from zsr_core.evaluation.metrics import DETECTION
from zsr_core.evaluation.metrics.boxed import class_gated_iou, mean_ap
from zsr_core.evaluation.metrics.crops import NO_LIBRARY
from zsr_core.evaluation.scenes.suite import DetectionSuite
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.evaluation.victim import Victim
from zsr_core.events import BatchJudged, Event
from zsr_core.methods import TeCoA
from zsr_core.space import grid
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel
from zsr_core.trial import presets
from zsr_core.trial.context import RunContext
from zsr_core.trial.cost import estimate, evaluation_parts
from zsr_core.trial.detecting import scenes_of
from zsr_core.trial.numbers import measure_again
from zsr_core.trial.result import TrialResult
from zsr_core.trial.run import run_trial

EPS = 4 / 255
COLOURS = ((200, 60, 60), (60, 200, 60), (60, 60, 200))


def colour_scenes() -> Scenes:
    """Two images of 40 x 40: a red and a green square, and a blue one."""
    box = np.array([[0.0, 0, 20, 20], [20, 20, 40, 40], [10, 10, 30, 30]])
    image, label = np.array([0, 0, 1]), np.array([0, 1, 2])

    def picture(row: int) -> Image.Image:
        pixels = np.full((40, 40, 3), 110, np.uint8)
        for i in np.flatnonzero(image == row):
            left, top, right, bottom = box[i].astype(int)
            pixels[top:bottom, left:right] = COLOURS[label[i]]
        return Image.fromarray(pixels)

    return Scenes(
        name="colours", classes=("red", "green", "blue"), templates=("{}",), ids=(0, 1), sizes=((40, 40),) * 2,
        objects=Boxes(image=image, box=box, label=label, score=np.ones(3)), picture=picture,
    )  # fmt: skip


def shifted(scenes: Scenes, by: float) -> Boxes:
    """Return every object's box moved right by this many pixels."""
    return replace(scenes.objects, box=scenes.objects.box + np.array([by, 0, 0, 0]), label=np.full(3, -1))


def bank(images: ImageSet) -> TextBank:
    return TextBank(unit=torch.eye(3), classes=images.classes, templates=("{}",))


def embed(x: Tensor) -> Tensor:
    """Return the mean colour of a crop, less grey, [B, 3]."""
    mean = x.mean(dim=(2, 3))
    return mean - mean.mean(dim=1, keepdim=True)


def numbers(found: list[Detection]) -> dict[tuple[str, str], Detection]:
    return {(row.metric, row.attack): row for row in found}


def test_exact_boxes_that_are_named_right_give_all_and_a_strong_attack_takes_all() -> None:
    scenes = colour_scenes()
    victim = Victim(embed=embed, scale=10.0, sha="colours")
    found = numbers(
        detect(victim, scenes, shifted(scenes, 0), bank, 16, [Pgd(steps=10)], [ThreatModel(eps=0.5)], batch_size=8)
    )
    assert found["crop_accuracy", "none"].value == 100
    assert found["crop_accuracy_small", "none"].n == 3
    assert found["crop_accuracy_medium", "none"].reason == "no object of this size"
    assert found["class_gated_iou", "none"].value == 100
    assert found["crop_accuracy", "pgd10"].value == 0
    assert found["class_gated_iou", "pgd10"].value == 0


def test_the_class_gated_iou_counts_only_boxes_that_are_named_right() -> None:
    scenes = colour_scenes()
    moved = shifted(scenes, 5.0)  # three quarters of each box, moved edge alone: IoU 15 / 20
    right = class_gated_iou(scenes.objects, moved, np.array([0, 1, 2]))
    np.testing.assert_allclose(right, [0.75, 0.75, 0.75])
    wrong = class_gated_iou(scenes.objects, moved, np.array([0, 0, 1]))
    np.testing.assert_allclose(wrong, [0.75, 0.0, 0.0])
    # A box of another image that is named right does not count.
    elsewhere = replace(moved, image=np.array([1, 1, 0]))
    np.testing.assert_allclose(class_gated_iou(scenes.objects, elsewhere, np.array([0, 1, 2])), [0, 0, 0])


def test_a_proposal_is_attacked_away_from_the_object_that_it_overlaps_most() -> None:
    scenes = colour_scenes()
    two = Boxes(
        image=np.array([0, 0]), box=np.array([[2.0, 2, 22, 22], [15, 15, 40, 40]]), label=np.full(2, -1),
        score=np.ones(2),
    )  # fmt: skip
    assert nearest_labels(scenes, two).tolist() == [0, 1]


@pytest.mark.skipif(importlib.util.find_spec("pycocotools") is None, reason="needs pycocotools")
def test_map_is_whole_for_exact_boxes_and_what_iou_leaves_of_it_for_moved_ones() -> None:
    """At an IoU of 0.75 six of the ten thresholds from 0.5 to 0.95 are met."""
    scenes, classes, sure = colour_scenes(), np.array([0, 1, 2]), np.ones(3)
    assert mean_ap(scenes.objects, shifted(scenes, 0), classes, sure) == pytest.approx(1.0)
    assert mean_ap(scenes.objects, shifted(scenes, 5.0), classes, sure) == pytest.approx(0.6)
    assert mean_ap(scenes.objects, shifted(scenes, 0), np.array([1, 0, 0]), sure) == pytest.approx(0.0)


def test_map_without_its_library_is_null_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scenes, victim = colour_scenes(), Victim(embed=embed, scale=10.0, sha="c")
    found = numbers(detect(victim, scenes, shifted(scenes, 0), bank, 16, [], [], batch_size=8))["map", "none"]
    assert (found.value, found.reason) == (None, NO_LIBRARY)


def test_the_command_measures_an_evaluated_model_and_refuses_what_it_cannot_use(
    evaluated: TrialResult, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["detect", "--evaluated", str(place), "--scenes", "2"]) == 0
    out = capsys.readouterr().out
    assert "Measured on the built-in miniature." in out
    assert "crop_accuracy" in out
    assert (place / "detection.json").is_file()
    assert main(["detect", "--evaluated", str(place), "--boxes", "x.json"]) == 2
    assert "--pictures: got None" in capsys.readouterr().err


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("evaluated")


@pytest.fixture(scope="module")
def seen() -> list[BatchJudged]:
    return []


@pytest.fixture(scope="module")
def evaluated(place: Path, seen: list[BatchJudged]) -> TrialResult:
    """One step of PGD on the untouched miniature, on two scenes of the selection split and two images of one set."""
    config = presets.miniature(TeCoA()).with_({"epochs": 0, "eval_suite.n": 2})
    suite = replace(
        config.eval_suite, tasks=config.eval_suite.tasks[:1], attacks=(Pgd(steps=1),), detection=DetectionSuite(n=2)
    )

    def note(event: Event) -> None:
        seen.extend([event] if isinstance(event, BatchJudged) else [])

    result = run_trial(replace(config, eval_suite=suite), place, RunContext(on_event=note))
    assert result.status == "done", result.error
    return result


def test_a_trial_measures_detection_as_rows_of_the_table_and_again_from_its_files(
    evaluated: TrialResult, place: Path
) -> None:
    own = [m for m in evaluated.measurements if m.task == "scenes"]
    assert {m.metric for m in own} == {metric.name for metric in DETECTION}
    assert {m.attack for m in own} == {"none", "pgd1", "worst"}
    assert {m.attack for m in own if m.metric == "map"} == {"none", "pgd1"}
    again = measure_again(evaluated, place, DETECTION)
    assert sorted(map(str, again.measurements)) == sorted(map(str, evaluated.measurements))
    crops, boxes = (pq.read_table(place / name).to_pandas() for name in ("crops.parquet", "boxes.parquet"))
    true = boxes[boxes.role == "object"]
    right = crops[(crops.condition == "none") & crops.sample_id.isin(true.sample_id)]
    value = {(m.metric, m.attack): m for m in own}["crop_accuracy", "none"]
    assert (value.value, value.n) == (pytest.approx(100 * (right.pred == right.label).mean()), len(true))
    mean = next(m for m in evaluated.measurements if (m.task, m.metric) == (ZERO_SHOT_MEAN, "crop_accuracy"))
    assert mean.value == value.value
    assert score_task(evaluated.measurements) != "scenes"  # scenes are no task
    assert headline(evaluated, EPS)["class_gated_iou"].task == ZERO_SHOT_MEAN
    assert score_value(evaluated, parse_score("crop_accuracy"), EPS) == value.value


def test_a_plan_has_every_pass_of_detection_and_of_attention_maps(
    evaluated: TrialResult, seen: list[BatchJudged]
) -> None:
    parts = evaluation_parts(evaluated.config)
    planned = {(part.task, part.condition, part.eps, part.stage): part.images for part in parts}
    assert {(e.task, e.condition, e.eps, e.stage) for e in seen} <= planned.keys()
    crops = {(e.task, e.of) for e in seen if e.condition == "none" and e.task.startswith("animals-")}
    assert crops == {(part.task, part.images) for part in parts if part.task.startswith("animals-")}
    assert len(crops) == 2
    looking = evaluation_parts(evaluated.config.with_({"eval_suite.attention": True}))
    more = [(own.condition, own.passes - before.passes) for own, before in zip(looking, parts, strict=True)]
    assert [added for _, added in more] == [2, 4, 0, 0, 0, 0]  # of the set alone: no map is made of crops
    cost, before = estimate(evaluated.config.with_({"eval_suite.attention": True})), estimate(evaluated.config)
    assert cost.forwards - before.forwards == 2 * (2 + 4)


def test_scenes_of_the_splits_share_no_image() -> None:
    scenes, proposals = scenes_of(DetectionSuite(n=4), "all", "miniature")
    parts = [scenes_of(DetectionSuite(n=2), split, "miniature") for split in ("selection", "report")]
    assert [part.ids for part, _ in parts] == [(0, 2), (1, 3)]
    assert sum(len(part.objects) for part, _ in parts) == len(scenes.objects)
    assert sum(len(found) for _, found in parts) == len(proposals)
    report, of_report = parts[1]
    np.testing.assert_array_equal(
        report.objects.box[report.objects.image == 1], scenes.objects.box[scenes.objects.image == 3]
    )
    np.testing.assert_array_equal(of_report.box[of_report.image == 0], proposals.box[proposals.image == 1])
    assert report.picture(0).tobytes() == scenes.picture(1).tobytes()


def test_an_objective_of_detection_asks_for_scenes_and_has_a_column() -> None:
    sweep = Sweep(
        name="asks", question="Does it?", variants=grid({"optim.lr": (1e-4, 1e-3)}), base=presets.scales(TeCoA()),
        objectives=("class_gated_iou", "robust"),
    )  # fmt: skip
    study = new_study(sweep, preset="miniature", search=None, seeds=(0,), objectives=sweep.objectives)
    assert study.base.eval_suite.detection == DetectionSuite()
    assert scene_groups(study) == [("scenes", "detection on scenes", ("scenes",))]
    with pytest.raises(ConfigError, match=r"eval_suite\.detection names no boxes"):
        new_study(sweep, preset="paper", search=None, seeds=(0,), objectives=sweep.objectives)


@pytest.mark.parametrize(
    ("fields", "named"),
    [({"n": 0}, "n: got 0"), ({"boxes": "a.json"}, "pictures: got None"), ({"proposals": "a"}, "proposals: got 'a'"),
     ({"pad": 2.0}, "pad: got 2.0")],
)  # fmt: skip
def test_a_suite_that_cannot_be_is_refused(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        DetectionSuite(**fields)
    with pytest.raises(ConfigError, match=r"detection\.name: got 'source'"):
        EvalSuite(detection=DetectionSuite(name="source"))
    with pytest.raises(ConfigError, match=r"boxes: got None, expected a file of COCO instances"):
        scenes_of(DetectionSuite(), "report", "ViT-B-32")
