"""`zsr data check` on public sets made small on disk."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sweeps.engine.commands.main import main
from tests.support.public_sets import cifar, fgvc_aircraft, opened, pcam
from zsr_core.data import class_lists
from zsr_core.data.check import archive_fault, check_sets
from zsr_core.data.tasks import EVERY, NAMES, task

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def as_published(sets: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """DTD with the counts of the small one in the place of the published ones."""
    for part, n in (("train", 94), ("report", 47)):
        monkeypatch.setitem(vars(task("dtd"))["counts"], part, n)
    return sets("dtd")


def test_a_set_as_published_is_found_and_its_held_out_share_is_shown(
    as_published: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(as_published), "--tasks", "dtd"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("found       dtd  (DTD)")
    assert "train (train1 and val1): 94 images of 94, 47 classes of 47" in out
    assert "selection: 19 images held out, 75 train; drawn by seed, digest " in out
    assert out.endswith("1 found, 0 incomplete, 0 missing\n")


def test_fewer_images_than_published_are_incomplete(
    sets: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(sets("caltech256")), "--tasks", "caltech256"]) == 1
    assert "all: 257 images, published are 30,607" in capsys.readouterr().out


def test_images_that_lack_and_images_that_are_broken_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fgvc_aircraft(tmp_path)
    place = tmp_path / "fgvc-aircraft-2013b" / "data" / "images"
    (place / "2000007.jpg").unlink()
    (place / "2000008.jpg").write_bytes(b"no image")
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", "fgvc_aircraft", "--decode"]) == 1
    out = capsys.readouterr().out
    assert f"report: 1 images are listed and not there, first {place / '2000007.jpg'}" in out
    assert "report: 1 of 100 images cannot be read\n" in out
    assert f"report: {place / '2000008.jpg'} cannot be read as an image" in out


def test_of_a_set_in_part_the_archives_are_told_too(tmp_path: Path) -> None:
    pcam(tmp_path)
    x = tmp_path / "pcam" / "camelyonpatch_level_2_split_test_x.h5"
    packed = gzip.compress(np.random.default_rng(0).bytes(5000))
    x.with_name(f"{x.name}.gz").write_bytes(packed[: len(packed) // 2])
    x.unlink()
    (finding,) = check_sets(tmp_path, ["pcam"])
    assert finding.state == "incomplete"
    assert any(f"{x.name} is missing" in line for line in finding.lines)
    assert any(line.startswith(f"{x}.gz is there, and cannot be read to its end (") for line in finding.lines)


def test_classes_in_another_order_are_told(tmp_path: Path) -> None:
    cifar(tmp_path, class_lists.CIFAR10[::-1], "cifar-10-batches-py", {"test_batch": [3]}, "labels", "batches.meta")
    (finding,) = check_sets(tmp_path, ["cifar10"])
    assert any(line == "report: classes in another order" for line in finding.lines)
    assert opened("cifar10", tmp_path, "report").classes == class_lists.CIFAR10[::-1]


def test_nothing_on_disk_is_missing_with_layout_and_page_and_no_error_unless_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert out.count("missing     ") == len(EVERY) == 27
    for row in EVERY:
        assert row.page in out
        assert all(path in out for path in (*row.layout, *row.train_layout))
    capsys.readouterr()
    for asked in (["cifar10", "pcam"], ["cifar10,pcam"]):
        assert main(["data", "check", "--root", str(tmp_path), "--tasks", *asked]) == 1
        assert capsys.readouterr().out.endswith("0 found, 0 incomplete, 2 missing\n")


def test_an_unknown_set_and_a_root_that_is_no_folder_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", "cifar11"]) == 2
    assert "did you mean 'cifar10" in capsys.readouterr().err
    assert main(["data", "check", "--root", str(tmp_path / "nope")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", NAMES)
def test_files_where_folders_should_be_are_no_reason_to_fall(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    row = task(name)
    for path in (*row.layout, *row.train_layout):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(b"a file")
    assert main(["data", "check", "--root", str(tmp_path), "--tasks", name]) == 1
    assert capsys.readouterr().out.startswith(f"incomplete  {name}")


def test_an_archive_that_was_not_unpacked_is_seen_and_a_truncated_one_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def add(packed: tarfile.TarFile, name: str) -> None:
        body = np.random.default_rng(0).bytes(5000)
        entry = tarfile.TarInfo(name)
        entry.size = len(body)
        packed.addfile(entry, io.BytesIO(body))

    for name in ("cifar-10-python.tar.gz", "256_ObjectCategories.tar"):
        with tarfile.open(tmp_path / name, "w:gz" if name.endswith("gz") else "w") as packed:
            for i in range(3):
                add(packed, f"folder/{i}")
    with zipfile.ZipFile(tmp_path / "tiny-imagenet-200.zip", "w") as zipped:
        zipped.writestr("tiny-imagenet-200/wnids.txt", "n01443537\n" * 99)
    asked = ["data", "check", "--root", str(tmp_path), "--tasks", "cifar10", "caltech256", "tiny_imagenet"]
    assert main(asked) == 1
    assert capsys.readouterr().out.count("is there, not unpacked") == 3
    for name in ("cifar-10-python.tar.gz", "256_ObjectCategories.tar", "tiny-imagenet-200.zip"):
        file = tmp_path / name
        file.write_bytes(file.read_bytes()[: -file.stat().st_size // 3])
        assert archive_fault(file)
    assert main(asked) == 1
    out = capsys.readouterr().out
    assert out.count("is there, and cannot be read to its end (") == 3
    assert "0 found, 3 incomplete, 0 missing" in out
