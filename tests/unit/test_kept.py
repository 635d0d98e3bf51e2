"""Pixels that are decoded once and kept: the same to the bit, whole or absent, never stale."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, batches, check_data, open_data
from zsr_core.data import open as open_module
from zsr_core.data.feeding import Floats, ahead
from zsr_core.data.kept import CHUNK, Kept
from zsr_core.data.open import taken
from zsr_core.data.pictures import Files

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

SIDE = 24


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return _noise(tmp_path / "noise", 70)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def _noise(root: Path, n: int) -> Path:
    random = np.random.default_rng(0)
    for i in range(n):
        file = root / "ab"[i % 2] / f"{i:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(file)
    return root


def _open(root: Path, split: Any = "train", **changes: Any) -> ImageSet:
    return open_data(DataRef(source="imagefolder", root=str(root), **changes), split, SIDE)


def _files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.glob("*") if not p.name.endswith(".lock"))


def _seen(images: ImageSet, groups: list[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
    return list(batches(images, groups))


def _same(left: list[tuple[Tensor, Tensor, Tensor]], right: list[tuple[Tensor, Tensor, Tensor]]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all(torch.equal(a, b) for one, other in pairs for a, b in zip(one, other, strict=True))


def test_kept_pixels_are_bitwise_the_decoded_ones(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = _open(root)
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "kept"))
    kept = _open(root)
    n = len(plain.labels)
    assert n > CHUNK  # more than one worker has something to do
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    groups = [*order.split(9), torch.tensor([], dtype=torch.int64), torch.tensor([3, 3])]
    expected = _seen(plain, groups)
    assert _same(_seen(kept, groups), expected)  # built and read
    assert _same(_seen(_open(root), groups), expected)  # read by another
    assert torch.equal(kept.pixels([5, 0]), plain.pixels([5, 0]))
    assert (kept.key, kept.ids) == (plain.key, plain.ids)
    some = torch.arange(3)
    assert _same(_seen(taken(kept, [7, 2, 9]), [some]), _seen(taken(plain, [7, 2, 9]), [some]))


def test_nothing_is_built_before_a_batch_is_asked_for(root: Path, folder: Path) -> None:
    check_data(DataRef(source="imagefolder", root=str(root)), "train", "config.train_data", SIDE)
    images = _open(root)
    images.pixels([0])
    assert list(batches(images, [])) == []
    assert not folder.exists()
    next(batches(images, [torch.arange(2)]))
    (file,) = _files(folder)
    assert file.startswith("noise-train-24-")
    assert np.load(folder / file).shape == (len(images.labels), 3, SIDE, SIDE)


def test_an_image_is_decoded_once(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _open(root, limit=10)
    first = _seen(images, [torch.arange(10)])

    def never(self: Files, row: int) -> Image.Image:
        raise AssertionError("decoded again")

    monkeypatch.setattr(Files, "read", never)
    for again in (images, _open(root, limit=10)):
        assert _same(_seen(again, [torch.arange(10)]), first)
        assert torch.equal(again.pixels([4]).float() / 255, first[0][0][4:5])


def test_another_preprocessing_split_size_or_image_is_another_file(root: Path, folder: Path) -> None:
    rows = [torch.arange(3)]
    _seen(_open(root), rows)
    _seen(_open(root, "report"), rows)
    _seen(_open(root, preprocessing="resize224"), rows)
    _seen(open_data(DataRef(source="imagefolder", root=str(root)), "train", SIDE + 8), rows)
    assert len(_files(folder)) == 4
    images = _open(root)
    file = root / images.ids[0]
    size = file.stat().st_size
    Image.new("RGB", (40, 30), (200, 0, 0)).save(file)
    file.write_bytes(file.read_bytes().ljust(size, b"\0"))  # as long as before, and written later
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 1))
    (x, _, _), *_ = _seen(_open(root), rows)
    assert (x[0, 0] > 0.7).all()
    assert len(_files(folder)) == 5


@pytest.mark.parametrize("damage", [b"", b"no array", None])
def test_a_file_that_is_cut_short_or_foreign_is_built_again(root: Path, folder: Path, damage: bytes | None) -> None:
    images = _open(root, limit=6)
    assert isinstance(images.pixels, Kept)
    file = images.pixels.file
    folder.mkdir()
    expected = images.pixels.decoded(range(6))
    if damage is None:
        np.save(file, np.zeros((5, 3, SIDE, SIDE), dtype=np.uint8))  # another number of images
    else:
        file.write_bytes(damage)
    assert torch.equal(images.pixels(range(6)), expected)
    assert _same(_seen(images, [torch.arange(6)]), [(expected.float() / 255, images.labels, torch.arange(6))])
    assert np.array_equal(np.load(file), expected.numpy())


def test_what_a_killed_process_left_is_swept_away(root: Path, folder: Path) -> None:
    images = _open(root, limit=4)
    assert isinstance(images.pixels, Kept)
    folder.mkdir()
    (folder / f".{images.pixels.file.name}.abc.npy").write_bytes(b"half")
    (folder / ".another.npy.abc.npy").write_bytes(b"of a set that is being built")
    images.pixels.build()
    assert _files(folder) == [".another.npy.abc.npy", images.pixels.file.name]


def test_two_that_build_at_once_decode_once(root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [_open(root, limit=12) for _ in range(4)]
    read: Any = Files.read
    seen: list[int] = []

    def counted(self: Files, row: int) -> Image.Image:
        seen.append(row)
        image: Image.Image = read(self, row)
        return image

    monkeypatch.setattr(Files, "read", counted)
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda one: _seen(one, [torch.arange(12)]), images))
    assert len(seen) == 12
    assert all(_same(one, found[0]) for one in found)


def test_a_full_disk_is_told_before_anything_is_decoded(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = 10 * 3 * SIDE * SIDE
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=needed))
    with pytest.raises(ConfigError) as error:
        _seen(_open(root, limit=10), [torch.arange(2)])
    assert str(error.value).startswith(f"ZSR_CACHE: {folder} has ")
    assert "10 decoded images of 24 x 24 pixels" in str(error.value)
    assert _files(folder) == []
    assert len(_seen(_open(root, limit=9), [torch.arange(2)])) == 1  # a tenth less has room


def test_a_folder_that_cannot_be_written_is_named(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path / "file" / "kept"))
    with pytest.raises(ConfigError, match=r"^ZSR_CACHE: .*/file/kept cannot hold decoded images \(.*Not a directory"):
        _seen(_open(root), [torch.arange(2)])


def test_a_corrupt_image_stops_the_build_or_is_skipped_as_without(root: Path, folder: Path) -> None:
    bad = root / _open(root).ids[40]
    bad.write_bytes(bad.read_bytes()[:60])
    with pytest.raises(ConfigError) as error:
        _seen(_open(root), [torch.arange(2)])
    assert str(error.value).startswith(f"root: {bad} cannot be read as an image (")
    assert "\n" not in str(error.value)
    assert _files(folder) == []
    images = _open(root, on_corrupt="skip")
    assert images.skipped == (str(bad.relative_to(root)),)
    ((x, _, _),) = _seen(images, [torch.arange(len(images.labels))])
    assert isinstance(images.pixels, Kept)
    assert torch.equal(x, images.pixels.decoded(range(len(images.labels))).float() / 255)


def test_what_cannot_be_decoded_is_listed_once_and_missed_when_repaired(
    root: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = root / _open(root).ids[4]
    whole = bad.read_bytes()
    bad.write_bytes(whole[:60])
    when = bad.stat().st_mtime_ns
    calls: list[int] = []
    find = open_module._unreadable

    def counted(pictures: Any, rows: tuple[int, ...], stamp: tuple[int, ...]) -> tuple[int, ...]:
        calls.append(len(rows))
        return find(pictures, rows, stamp)

    monkeypatch.setattr(open_module, "_unreadable", counted)
    first, again = (_open(root, on_corrupt="skip") for _ in range(2))
    assert first.skipped == again.skipped == (str(bad.relative_to(root)),)
    assert len(calls) == 1
    find.cache_clear()
    bad.write_bytes(whole)
    os.utime(bad, ns=(when, when))  # as if nothing had been written
    assert _open(root, on_corrupt="skip").skipped == ()
    assert len(calls) == 2


def test_a_batch_that_is_still_held_is_not_written_over() -> None:
    floats, pixels = Floats(), torch.arange(2 * 3 * 4 * 4, dtype=torch.uint8).view(2, 3, 4, 4)
    first = floats.of(pixels, torch.tensor([1, 0]))
    place, view = first.data_ptr(), first[0]
    del first
    second = floats.of(pixels, None)
    assert second.data_ptr() != place  # a view of the first one lives
    assert torch.equal(view, pixels[1] / 255)
    del view
    third = floats.of(pixels[:1], None)
    assert third.data_ptr() == place
    assert torch.equal(third, pixels[:1] / 255)
    assert torch.equal(second, pixels / 255)


@pytest.mark.parametrize("side", [5, 200])  # many images at a time, and one
def test_floats_are_the_pixels_over_255_to_the_bit(side: int) -> None:
    pixels = torch.randint(0, 256, (7, 3, side, side), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    picked = torch.tensor([6, 0, 0, 3])
    assert torch.equal(Floats().of(pixels, picked), pixels[picked].float() / 255)
    assert torch.equal(Floats().of(pixels, None), pixels.float() / 255)


def test_reading_ahead_changes_neither_values_nor_errors() -> None:
    def failing() -> Iterator[int]:
        yield from range(3)
        raise ConfigError("root: broken")

    begun: list[str] = []
    assert list(ahead(iter(range(5)), lambda: begun.append(threading.current_thread().name))) == [0, 1, 2, 3, 4]
    assert len(begun) == 1
    assert begun[0] != threading.current_thread().name
    seen: list[int] = []
    with pytest.raises(ConfigError, match="root: broken"):
        seen.extend(ahead(failing(), lambda: None))
    assert seen == [0, 1, 2]
