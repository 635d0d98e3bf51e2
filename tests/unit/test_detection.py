"""Detection by crops on scenes whose answer is known: each class has a colour, and the model reads colours."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sweeps.engine.commands.main import main
from zsr_core.attacks import Pgd
from zsr_core.data import ImageSet
from zsr_core.data.formats.boxes import Boxes, Scenes
from zsr_core.evaluation.crops import NO_LIBRARY, Detection, class_gated_iou, detect, mean_ap, nearest_labels
from zsr_core.evaluation.victim import Victim
from zsr_core.methods import TeCoA
from zsr_core.text import TextBank
from zsr_core.threat import ThreatModel
from zsr_core.trial import presets
from zsr_core.trial.run import run_trial

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
    assert found["class_gated_iou", "none"].value == 1
    assert found["crop_accuracy", "pgd10"].value == 0
    assert found["class_gated_iou", "pgd10"].value == 0


def test_the_class_gated_iou_counts_only_boxes_that_are_named_right() -> None:
    scenes = colour_scenes()
    moved = shifted(scenes, 5.0)  # three quarters of each box, moved edge alone: IoU 15 / 20
    right = class_gated_iou(scenes, moved, np.array([0, 1, 2]))
    np.testing.assert_allclose(right, [0.75, 0.75, 0.75])
    wrong = class_gated_iou(scenes, moved, np.array([0, 0, 1]))
    np.testing.assert_allclose(wrong, [0.75, 0.0, 0.0])
    # A box of another image that is named right does not count.
    elsewhere = replace(moved, image=np.array([1, 1, 0]))
    np.testing.assert_allclose(class_gated_iou(scenes, elsewhere, np.array([0, 1, 2])), [0, 0, 0])


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
    assert mean_ap(scenes, shifted(scenes, 0), classes, sure) == pytest.approx(1.0)
    assert mean_ap(scenes, shifted(scenes, 5.0), classes, sure) == pytest.approx(0.6)
    assert mean_ap(scenes, shifted(scenes, 0), np.array([1, 0, 0]), sure) == pytest.approx(0.0)


def test_map_without_its_library_is_null_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    scenes, victim = colour_scenes(), Victim(embed=embed, scale=10.0, sha="c")
    found = numbers(detect(victim, scenes, shifted(scenes, 0), bank, 16, [], [], batch_size=8))["map", "none"]
    assert (found.value, found.reason) == (None, NO_LIBRARY)


def test_the_command_measures_an_evaluated_model_and_refuses_what_it_cannot_use(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = presets.miniature(TeCoA()).with_({"epochs": 0, "eval_suite.n": 2})
    suite = replace(config.eval_suite, tasks=config.eval_suite.tasks[:1], attacks=(Pgd(steps=1),))
    assert run_trial(replace(config, eval_suite=suite), tmp_path).status == "done"
    assert main(["detect", "--evaluated", str(tmp_path), "--scenes", "2"]) == 0
    out = capsys.readouterr().out
    assert "Measured on the built-in miniature." in out
    assert "crop_accuracy" in out
    assert (tmp_path / "detection.json").is_file()
    assert main(["detect", "--evaluated", str(tmp_path), "--boxes", "x.json"]) == 2
    assert "--pictures: got None" in capsys.readouterr().err
