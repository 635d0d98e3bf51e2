"""A set is what it reads: names in tables decide nothing, and give a set a name where a command line asks for one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, check_apart, is_flat, open_data, same_set, set_size, task_refs, zero_shot_names
from zsr_core.evaluation.suite import EvalSuite
from zsr_core.methods import FtClean
from zsr_core.trial.beyond_accuracy import with_outside, worded
from zsr_core.trial.config import TrialConfig
from zsr_core.trial.provenance import set_notes


def _tree(root: Path, each: int = 10, names: tuple[str, ...] = ("cat", "dog")) -> Path:
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True, exist_ok=True)
        for i in range(each):
            Image.new("RGB", (6, 6), (40 * label, i, 0)).save(root / name / f"{i}.png")
    return root


def _ref(root: Path, **changes: Any) -> DataRef:
    return DataRef(source="imagefolder", root=str(root), **changes)


def test_folders_of_one_name_are_two_sets_and_names_limits_and_prompts_make_no_other_set(tmp_path: Path) -> None:
    here, there = _ref(tmp_path / "a" / "pets"), _ref(tmp_path / "b" / "pets")
    assert here.called == there.called
    assert not same_set(here, there)
    assert same_set(here, _ref(tmp_path / "b" / ".." / "a" / "pets", name="x", limit=3, prompts="agft"))
    assert zero_shot_names((there, here), here) == ("pets",)


def test_a_folder_called_as_a_miniature_set_is_not_that_set(tmp_path: Path) -> None:
    folder = _ref(tmp_path / "source")
    assert zero_shot_names((folder, DataRef(name="hearts")), DataRef()) == ("source", "hearts")
    assert zero_shot_names((folder, DataRef(limit=3)), folder) == ("source",)
    assert same_set(DataRef(), DataRef(name="source", limit=5))


def test_what_lies_inside_a_training_folder_is_of_the_training_set(tmp_path: Path) -> None:
    train = _ref(tmp_path / "pets")
    for place in (tmp_path / "pets" / "val", tmp_path):
        assert zero_shot_names((_ref(place),), train) == ()
    imagenet = DataRef(source="task", name="imagenet", root=str(tmp_path))
    assert same_set(_ref(tmp_path / "imagenet" / "val"), imagenet)
    assert not same_set(_ref(tmp_path / "imagenet-a"), imagenet)
    assert same_set(imagenet, DataRef(source="task", name="imagenet", root="/elsewhere"))
    assert same_set(DataRef(source="cifar10", root="x"), DataRef(source="task", name="cifar10", root="y"))


def test_a_link_to_the_training_folder_is_the_training_set_and_a_copy_is_refused(tmp_path: Path) -> None:
    root = _tree(tmp_path / "pets")
    (tmp_path / "link").symlink_to(root)
    assert same_set(_ref(root), _ref(tmp_path / "link"))
    shutil.copytree(root, tmp_path / "copy")
    with pytest.raises(ConfigError, match=r"t\.root: got '.*copy', .* it is a copy of"):
        check_apart(_ref(tmp_path / "copy"), _ref(root), "t")
    Image.new("RGB", (9, 9)).save(tmp_path / "copy" / "cat" / "more.png")
    check_apart(_ref(tmp_path / "copy"), _ref(root), "t")


def test_two_sets_of_one_name_are_refused_with_the_way_to_name_them(tmp_path: Path) -> None:
    here, there = _ref(tmp_path / "a" / "pets"), _ref(tmp_path / "b" / "pets")
    with pytest.raises(ConfigError, match=r"tasks: .* a name for each of .*a/pets and .*b/pets; --tasks name=PATH"):
        EvalSuite(tasks=(here, there))
    EvalSuite(tasks=(here, _ref(tmp_path / "b" / "pets", name="others")))
    with pytest.raises(ConfigError, match="every task once"):
        EvalSuite(tasks=(here, here))
    with pytest.raises(ConfigError, match="one name for "):
        EvalSuite(tasks=(here, _ref(tmp_path / "a" / "pets", name="again")))
    with pytest.raises(ConfigError, match="a name that no mean over sets has"):
        _ref(tmp_path / "zero_shot_mean")
    with pytest.raises(ConfigError, match="a folder that has a name"):
        _ref(Path("/"))


def test_a_list_of_tasks_takes_commas_in_paths_names_and_blanks(tmp_path: Path) -> None:
    for name in ("a,b", "c", "x=y"):
        _tree(tmp_path / name)
    refs = task_refs(f"hearts, sport,{tmp_path}/a,b,mine={tmp_path}/c,{tmp_path}/x=y", tmp_path)
    assert [ref.called for ref in refs] == ["hearts", "sport", "a,b", "mine", "x=y"]
    assert [ref.called for ref in task_refs("c,d=c,e=a,b", tmp_path)] == ["c", "d", "e"]
    assert task_refs("d=c", tmp_path)[0] == _ref(tmp_path / "c", name="d")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (",", "at least one set"),
        ("hart", "did you mean 'hearts'?"),
        ("x=nowhere", "task: unknown value 'nowhere'"),
        ("x=cifar10", "cifar10 keeps its own name"),
        ("a/b=c", "a name of letters, digits"),
        ("x" * 5000, "task: unknown value"),
        ("~nobody/x", "task: unknown value"),
    ],
)
def test_a_list_of_tasks_that_cannot_be_is_one_line(text: str, says: str, tmp_path: Path) -> None:
    _tree(tmp_path / "c")
    with pytest.raises(ConfigError) as error:
        task_refs(text, tmp_path)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_paths_that_are_no_text_are_refused_in_one_line_and_class_folders_too(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"root: got .*caf.*e9.* expected text in UTF-8"):
        _ref(Path(os.fsdecode(b"/data/caf\xe9")))
    with pytest.raises(ConfigError, match=r"root: .* holds no zero byte"):
        DataRef(source="imagefolder", root="a\0b")
    with pytest.raises(ConfigError, match="expected a folder that can be found"):
        DataRef(source="imagefolder", root="~no-such-user-here/x")
    root = _tree(tmp_path / "pets")
    (root / "cat").rename(root / os.fsdecode(b"ch\xe9t"))
    with pytest.raises(ConfigError, match=r"ch.*xe9t.* expected a class folder whose name is UTF-8"):
        open_data(_ref(root), "train", 8)


def test_a_folder_without_splits_that_nothing_trains_on_gives_a_half_to_each_or_all(tmp_path: Path) -> None:
    ref, other = _ref(_tree(tmp_path / "pets", 25)), DataRef()
    assert is_flat(ref)
    ids = {s: open_data(ref, s, 8, trained_on=other).ids for s in ("selection", "report", "all")}  # type: ignore[arg-type]
    assert {split: len(found) for split, found in ids.items()} == {"selection": 25, "report": 25, "all": 50}
    assert set(ids["selection"]) | set(ids["report"]) == set(ids["all"])
    trained = {s: open_data(ref, s, 8, trained_on=ref).ids for s in ("train", "selection", "report", "all")}  # type: ignore[arg-type]
    assert [len(found) for found in trained.values()] == [30, 10, 10, 10]
    assert trained["all"] == trained["report"]
    for split in ("selection", "report", "all"):
        for on in (ref, other):
            found = set_size(ref, split, 8, trained_on=on)  # type: ignore[arg-type]
            assert found.images == len(open_data(ref, split, 8, trained_on=on).ids)  # type: ignore[arg-type]
    assert set_size(ref, "all", 8, 7, trained_on=other).images == 7


def test_of_sets_with_splits_of_their_own_all_is_what_is_reported(tmp_path: Path) -> None:
    _tree(tmp_path / "set" / "train")
    _tree(tmp_path / "set" / "val", 3)
    ref = _ref(tmp_path / "set")
    assert not is_flat(ref)
    assert open_data(ref, "all", 8, trained_on=DataRef()).ids == open_data(ref, "report", 8).ids
    assert open_data(DataRef(), "all", 48, 5).ids == open_data(DataRef(), "report", 48, 5).ids


def test_what_is_odd_in_a_folder_is_said(tmp_path: Path) -> None:
    root = _tree(tmp_path / "set", 10, ("n02084071", "007", "n99999999"))
    (root / "007" / "a.jfif").write_bytes(b"x")
    (root / "007" / "b.GIF").write_bytes(b"x")
    (root / "007" / "boxes.txt").write_text("x")
    (root / "empty").mkdir()
    images = open_data(_ref(root), "train", 8)
    assert images.classes == ("007", "dog", "n99999999")
    assert images.notes[0] == "2 files are not read as images: 1 of .gif, 1 of .jfif"
    assert images.notes[1].startswith("1 WordNet ids are read as their first names (n02084071: dog)")
    assert images.notes[2].startswith("1 WordNet ids are unknown")
    assert images.notes[3] == "1 classes are numbers; words.txt can name them, first '007'"
    config = TrialConfig(epochs=0, eval_suite=EvalSuite(tasks=(_ref(root),)))
    assert set_notes(config, 8) == tuple(f"set: {note}" for note in images.notes)


def test_a_folder_of_files_that_are_not_read_says_which(tmp_path: Path) -> None:
    (tmp_path / "set" / "a").mkdir(parents=True)
    (tmp_path / "set" / "a" / "1.jfif").write_bytes(b"x")
    with pytest.raises(ConfigError, match=r"found no image; 1 files are not read as images: 1 of \.jfif"):
        open_data(_ref(tmp_path / "set"), "train", 8)


def test_a_folder_that_may_not_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = _tree(tmp_path / "set")

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", str(root / "cat"))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(ConfigError, match=r"root: .*cat cannot be read \(Permission denied\)"):
        open_data(_ref(root), "train", 8)


@pytest.mark.parametrize(("prompts", "templates"), [(None, 3), ("tga", 1), ("agft", 1), ("openai-ensemble", 80)])
def test_the_miniature_is_asked_in_the_words_of_any_prompt_set(prompts: Any, templates: int) -> None:
    own, asked = (open_data(DataRef(name="sport", prompts=each), "selection", 48, 4) for each in (None, prompts))
    assert len(asked.templates) == templates
    assert (asked.ids, asked.classes, asked.key) == (own.ids, own.classes, own.key)  # other words, the same images


def test_what_has_no_classes_has_no_prompts() -> None:
    with pytest.raises(ConfigError, match="prompts: got 'tga', expected none: near_objects has no classes"):
        DataRef(name="near_objects", prompts="tga")
    with pytest.raises(
        ConfigError, match="preprocessing: got 'resize224', expected none: the miniature brings its own"
    ):
        DataRef(name="sport", preprocessing="resize224")


def test_the_rows_of_a_sweep_over_prompts_share_one_training() -> None:
    rows, base = worded(FtClean())["miniature"], with_outside()["miniature"]
    assert [row.label for row in rows] == [
        "FT-Clean own", "FT-Clean tga", "untouched tga", "FT-Clean openai-ensemble", "untouched openai-ensemble",
    ]  # fmt: skip
    configs = [base.with_(dict(row.overrides)) for row in rows]
    assert len({config.training_id for config in configs if config.epochs}) == 1
    assert [{task.prompts for task in config.eval_suite.tasks} for config in configs] == [
        {None}, {"tga"}, {"tga"}, {"openai-ensemble"}, {"openai-ensemble"},
    ]  # fmt: skip
