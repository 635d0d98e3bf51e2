"""Pictures of public sets: odd, broken, damaged, limited, native."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sweeps.engine.commands.main import main
from tests.support.public_sets import BUILD, cifar10, colours_match, dtd, eurosat, food101, jpeg, opened, put
from zsr_core.attacks import Pgd
from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, batches, check_data, open_data
from zsr_core.data.check import check_sets
from zsr_core.data.partition import stored_at
from zsr_core.data.tasks import task
from zsr_core.evaluation.suite import EvalSuite, evaluate
from zsr_core.evaluation.victim import Victim
from zsr_core.text import TextBank
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.provenance import skipped

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


def picture_of(mode: str, size: tuple[int, int]) -> Image.Image:
    return Image.fromarray(np.full(size[::-1], 40_000, dtype=np.uint16)) if mode == "I;16" else Image.new(mode, size)


@pytest.mark.parametrize(
    ("mode", "kind"), [("L", "JPEG"), ("CMYK", "JPEG"), ("RGBA", "PNG"), ("P", "GIF"), ("I;16", "PNG"), ("1", "PNG")]
)
@pytest.mark.parametrize("size", [(1, 1), (1, 3000), (40, 20)])
def test_odd_pictures_in_a_set_become_squares_of_rgb_bytes(
    tmp_path: Path, mode: str, kind: str, size: tuple[int, int]
) -> None:
    eurosat(tmp_path)
    images = opened("eurosat", tmp_path, "report")
    picture_of(mode, size).save(tmp_path / "eurosat" / "2750" / images.ids[0], kind)
    for how in ("resize256_crop224", "resize224", "resize224_bicubic"):
        pixels = opened("eurosat", tmp_path, "report", preprocessing=how).pixels([0])
        assert pixels.shape == (1, 3, 8, 8)
        assert pixels.dtype == torch.uint8


def test_a_broken_picture_stops_with_its_path_or_is_left_out_and_listed(tmp_path: Path) -> None:
    food101(tmp_path)
    images = opened("food101", tmp_path, "report")
    truncated, absent = (tmp_path / "food-101" / images.ids[i] for i in (3, 150))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(truncated)
    truncated.write_bytes(truncated.read_bytes()[:900])
    absent.unlink()
    for row, file in ((3, truncated), (150, absent)):
        with pytest.raises(ConfigError) as error:
            list(batches(opened("food101", tmp_path, "report"), [torch.tensor([row])]))
        assert str(error.value).startswith(f"root: {file} cannot be read as an image (")
        assert "\n" not in str(error.value)
    kept = opened("food101", tmp_path, "report", on_corrupt="skip")
    assert kept.skipped == (images.ids[3], images.ids[150])
    assert len(kept.ids) == len(images.ids) - 2
    assert colours_match(kept)
    assert kept.key != images.key
    assert images.skipped == ()
    ref = DataRef(source="task", name="food101", root=str(tmp_path), on_corrupt="skip")
    config = TrialConfig(epochs=0, eval_suite=EvalSuite(tasks=(ref,), split="report"))
    assert skipped(config, 8) == {"skipped_report_food101": f"2: {images.ids[3]}, {images.ids[150]}"}


def test_an_evaluation_leaves_out_what_cannot_be_decoded_if_so_asked_and_prompts_as_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several of EuroSAT's names are unknown to the miniature, which is refused; here only the images matter.
    for place in ("check", "deploy"):
        monkeypatch.setattr(f"zsr_core.trial.{place}.check_texts", lambda *_: None)
    eurosat(tmp_path)
    ids = opened("eurosat", tmp_path, "report").ids
    (tmp_path / "eurosat" / "2750" / ids[2]).write_bytes(b"")
    words = "evaluate --tasks eurosat --attacks pgd1 --n 0 --audit none --device cpu --root"
    asked = [*words.split(), str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(asked) == 1
    assert f"{ids[2]} cannot be read as an image" in capsys.readouterr().err
    assert main([*asked, "--on-corrupt", "skip", "--prompts", "openai-ensemble"]) == 0
    assert f"1 images of eurosat cannot be decoded and are left out, first {ids[2]} (all" in capsys.readouterr().out
    results = [json.loads(file.read_text()) for file in (tmp_path / "out").glob("*/result.json")]
    (done,) = (result for result in results if result["status"] == "done")
    assert done["provenance"]["skipped_report_eurosat"] == f"1: {ids[2]}"
    assert done["config"]["eval_suite"]["tasks"][0]["prompts"] == "openai-ensemble"
    assert {m["n"] for m in done["measurements"]} == {len(ids) - 1}


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("cifar10", lambda root: (root / "cifar-10-batches-py/test_batch").write_bytes(b"\x80\x02}q\x01(U")),
        ("cifar10", lambda root: (root / "cifar-10-batches-py/batches.meta").write_bytes(pickle.dumps(print))),
        ("cifar100", lambda root: (root / "cifar-100-python/test").unlink()),
        ("stl10", lambda root: (root / "stl10_binary/test_X.bin").write_bytes(b"0" * 100)),
        ("stl10", lambda root: (root / "stl10_binary/class_names.txt").write_text("one\n")),
        ("food101", lambda root: (root / "food-101/meta/test.json").write_text('{"apple_pie": [')),
        ("oxford_pets", lambda root: (root / "oxford-iiit-pet/annotations/test.txt").write_text("one two\n")),
        ("oxford_pets", lambda root: (root / "oxford-iiit-pet/annotations/test.txt").write_text("")),
        ("flowers102", lambda root: (root / "flowers-102/setid.mat").write_bytes(b"MATLAB 5.0" * 9)),
        ("flowers102", lambda root: (root / "flowers-102/imagelabels.mat").unlink()),
        ("dtd", lambda root: (root / "dtd/dtd/labels/test1.txt").write_text("a/b/c\n")),
        ("sun397", lambda root: (root / "SUN397/ClassName.txt").write_text("/a/abbey\n")),
        ("fgvc_aircraft", lambda root: (root / "fgvc-aircraft-2013b/data/variants.txt").write_text("707-320\n")),
        ("stanford_cars", lambda root: (root / "stanford_cars/devkit/cars_meta.mat").write_bytes(b"")),
        ("tiny_imagenet", lambda root: (root / "tiny-imagenet-200/val/val_annotations.txt").write_text("x\n")),
        ("imagenet", lambda root: put(root / "imagenet/val/n00000000/0.JPEG", 0)),
        ("imagenet_v2", lambda root: put(root / "imagenetv2-matched-frequency-format-val/1000/0.jpeg", 0)),
    ],
)
def test_a_damaged_set_is_one_sentence_and_incomplete(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: Callable[[Path], Any]
) -> None:
    BUILD[name](tmp_path)
    damage(tmp_path)
    with pytest.raises(ConfigError) as error:
        check_data(DataRef(source="task", name=name, root=str(tmp_path)), "report", "config.eval_suite.tasks[0]", 8)
    assert str(error.value).startswith("config.eval_suite.tasks[0].root: ")
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", name]) == 1
    said = capsys.readouterr()
    assert said.out.startswith(f"incomplete  {name}")
    assert "official page: " in said.out
    assert "Traceback" not in said.out + said.err


def test_a_pickle_that_would_run_code_is_not_read(tmp_path: Path) -> None:
    cifar10(tmp_path)
    marker = tmp_path / "ran"
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(
        b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    )
    with pytest.raises(ConfigError, match=r"holds arrays, not os\.system"):
        opened("cifar10", tmp_path, "report")
    assert not marker.exists()


def test_a_library_that_a_format_needs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pcam").mkdir()
    for path in (*task("pcam").layout, *task("pcam").train_layout):
        (tmp_path / path).write_bytes(b"")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ConfigError, match=r"holds no pcam that can be read \(h5py is not found"):
        opened("pcam", tmp_path, "report")


# --- splits ----------------------------------------------------------------------------------------------------------


def test_a_stored_split_wins_and_one_of_other_images_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cifar10(tmp_path)
    drawn = {split: opened("cifar10", tmp_path, split) for split in ("train", "selection")}
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    file = stored_at(tmp_path, "cifar10")
    assert not file.exists()  # 15 images are not the whole set, whose rows are others
    monkeypatch.setitem(vars(task("cifar10"))["counts"], "train", 15)
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    assert opened("cifar10", tmp_path, "selection").ids == drawn["selection"].ids
    stored = json.loads(file.read_text())
    file.write_text(json.dumps({**stored, "held_out": [0, 14]}))
    assert opened("cifar10", tmp_path, "selection").ids == ("train-0", "train-14")
    assert len(opened("cifar10", tmp_path, "train").ids) == 13
    check_sets(tmp_path, ["cifar10"], write_splits=True)
    assert json.loads(file.read_text())["held_out"] == [0, 14]
    for wrong in ({"images": 16}, {"digest": "0"}, {"held_out": [15]}, {"held_out": [1, 1]}, {"held_out": "all"}):
        file.write_text(json.dumps({**stored, **wrong}))
        with pytest.raises(ConfigError, match=rf"root: got '{file}', expected"):
            opened("cifar10", tmp_path, "train")
    file.write_text("[")
    with pytest.raises(ConfigError, match=f"root: {file} cannot be read as a stored split"):
        opened("cifar10", tmp_path, "train")


def test_a_limit_is_a_seeded_choice_of_the_split(sets: Callable[[str], Path]) -> None:
    few, more = (opened("food101", sets("food101"), "report", limit=n) for n in (5, 50))
    assert len(few.ids) == 5
    assert set(few.ids) < set(more.ids)
    assert len(set(more.labels.tolist())) > 20
    assert opened("food101", sets("food101"), "report", limit=5).ids == few.ids


# --- native pictures, keys -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["tiny_imagenet", "eurosat", "cifar10", "stl10", "pcam"])
def test_native_pictures_are_as_the_set_has_them(tmp_path: Path, name: str) -> None:
    BUILD[name](tmp_path)
    side = task(name).native
    assert side is not None
    for file in (*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.JPEG")):
        with Image.open(file) as image:
            image.resize((side, side)).save(file, quality=100, subsampling=0)
    images = open_data(DataRef(source="task", name=name, root=str(tmp_path)), "report", 8, space="native")
    assert images.space == "native"
    assert images.pixels([0, 1]).shape == (2, 3, side, side)
    assert colours_match(images)
    assert images.key != opened(name, tmp_path, "report", side).key


def test_a_native_picture_of_another_size_and_a_set_without_one_size_are_named(sets: Callable[[str], Path]) -> None:
    ref = DataRef(source="task", name="eurosat", root=str(sets("eurosat")))
    images = open_data(ref, "report", 224, space="native")
    with pytest.raises(ConfigError, match="has 8 x 8 pixels, expected 64 x 64"):
        images.pixels([0])
    with pytest.raises(ConfigError, match="space: got 'native', expected 'model_input': the images of dtd have no one"):
        open_data(DataRef(source="task", name="dtd", root=str(sets("dtd"))), "report", 224, space="native")
    with pytest.raises(ConfigError, match=r"t\.space: got 'native'.* of source have"):
        check_data(DataRef(), "report", "t", 48, space="native")


def test_an_attack_on_native_pictures_keeps_to_its_budget_on_them_and_the_model_resizes(
    sets: Callable[[str], Path], tiny: Any
) -> None:
    tower = tiny.tower()  # of 32 pixels; STL-10 has 96
    victim = Victim(embed=tower, scale=20.0, sha="w")
    suite = EvalSuite(
        tasks=(DataRef(source="task", name="stl10", root=str(sets("stl10"))),), split="report", space="native",
        attacks=(Pgd(steps=2, step_ratio=0.5),), eps=(4 / 255,),
    )  # fmt: skip
    seen: list[ImageSet] = []

    def bank(images: ImageSet) -> TextBank:
        seen.append(images)
        own = torch.nn.functional.normalize(tower(images.pixels([0]).float() / 255), dim=-1)
        unit = torch.cat([own if i == images.labels[0] else -own for i in range(len(images.classes))])
        return TextBank(unit=unit, classes=images.classes, templates=images.templates)

    records = evaluate(victim, suite, bank, tower.image_size)
    assert seen[0].pixels([0]).shape == (1, 3, 96, 96)
    assert {record.threat_space for record in records} == {"native"}
    attacked = [record for record in records if record.linf > 0]
    assert attacked
    assert all(record.linf <= 4 / 255 + 1e-6 for record in attacked)
    # A budget on 96 x 96 pixels is larger in l2 than one on the model's 32 x 32 could ever be.
    assert max(record.l2 for record in attacked) > (3 * 32 * 32) ** 0.5 * 4 / 255
    with pytest.raises(ConfigError, match="space: got 'native', expected 'model_input': images of no one native size"):
        EvalSuite(tasks=(DataRef(),), space="native")


def test_the_key_follows_pictures_and_preparation(tmp_path: Path) -> None:
    dtd(tmp_path)
    images = opened("dtd", tmp_path, "report")
    assert images.key == opened("dtd", tmp_path, "report", prompts="agft").key
    assert images.key != opened("dtd", tmp_path, "report", preprocessing="resize224").key
    assert images.key != opened("dtd", tmp_path, "report", size=16).key
    (tmp_path / "dtd" / "dtd" / images.ids[0]).write_bytes(jpeg(1) + b"more")
    assert images.key != opened("dtd", tmp_path, "report").key
