"""Corrupted images: made here with equal bytes in every process, or read from a folder of ImageNet-C's layout."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, open_data
from zsr_core.data.open import taken
from zsr_core.data.shifts import corrupt as module
from zsr_core.data.shifts.corrupt import corrupt, corrupted, library
from zsr_core.data.shifts.kinds import COMMON, DEPTH, EXTRA, Cell, cells_of
from zsr_core.data.shifts.made import made

QUICK = ("gaussian_noise", "shot_noise", "impulse_noise", "contrast", "fog", "elastic_transform", "spatter")
DIGEST = """
import hashlib, sys
from zsr_core.data import DataRef, open_data
from zsr_core.data.shifts.corrupt import corrupted
from zsr_core.data.shifts.kinds import cells_of
images = open_data(DataRef(name="animals"), "report", 48, 2)
digest = hashlib.sha256()
for cell in cells_of(sys.argv[1:]):
    digest.update(corrupted(images, cell).pixels([0, 1]).numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.fixture(autouse=True)
def _forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_RECENT", {})


def _animals(n: int = 2) -> ImageSet:
    return open_data(DataRef(name="animals"), "report", 48, n)


def _needs_library() -> None:
    pytest.importorskip("imagecorruptions", reason="the extra 'corruptions' is not installed")


def test_common_and_all_stand_for_the_published_kinds_at_five_severities() -> None:
    assert (len(COMMON), len(EXTRA), len(DEPTH)) == (15, 4, 12)
    assert len(cells_of(["common"])) == 75
    assert len(cells_of(["all"])) == 95
    assert cells_of(["fog:2", "snow:1", "fog:2"]) == (Cell(kind="snow", severity=1), Cell(kind="fog", severity=2))
    assert {cell.severity for cell in cells_of(["common:3"])} == {3}


@pytest.mark.parametrize(
    ("name", "expected"), [("fogg", "did you mean 'fog'"), ("fog:6", "fog:1 to fog:5"), ("fog:", "fog:1 to fog:5")]
)
def test_an_unknown_kind_or_severity_is_refused(name: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=r"^corruptions: .*") as error:
        cells_of([name])
    assert expected in str(error.value)


def test_a_corruption_depends_on_nothing_that_was_drawn_or_made_before() -> None:
    _needs_library()
    for kind in QUICK:
        cell = Cell(kind=kind, severity=3)
        both = corrupted(_animals(), cell).pixels([0, 1])
        np.random.random(17)
        alone = open_data(DataRef(name="animals"), "report", 48, 2)
        last = taken(alone, [1])
        module._RECENT.clear()
        assert torch.equal(corrupted(last, cell).pixels([0])[0], both[1]), kind


@pytest.mark.slow
def test_every_kind_at_every_severity_gives_equal_bytes_in_two_processes() -> None:
    _needs_library()
    runs = [subprocess.run([sys.executable, "-c", DIGEST, "all"], capture_output=True, text=True, check=True)
            for _ in range(2)]  # fmt: skip
    assert runs[0].stdout == runs[1].stdout != ""


@pytest.mark.parametrize("kind", QUICK)
def test_a_corruption_keeps_shape_and_type_and_grows_with_its_severity(kind: str) -> None:
    _needs_library()
    x = _animals().pixels([0])[0]
    sizes = []
    for severity in (1, 5):
        y = corrupt(x, Cell(kind=kind, severity=severity), 7)
        assert (y.dtype, y.shape) == (torch.uint8, x.shape)
        sizes.append((y.float() - x.float()).abs().mean().item())
    assert 0 < sizes[0] < sizes[1]


def test_corrupting_leaves_numpys_generator_as_it_was() -> None:
    _needs_library()
    np.random.seed(3)
    expected = np.random.random()
    np.random.seed(3)
    corrupt(_animals().pixels([0])[0], Cell(kind="gaussian_noise", severity=1), 7)
    assert np.random.random() == expected


def test_another_image_severity_or_set_draws_another_noise() -> None:
    _needs_library()
    grey = torch.full((2, 3, 48, 48), 128, dtype=torch.uint8)
    images = dataclasses.replace(_animals(), pixels=lambda rows: grey[list(rows)], key="grey")
    weak = corrupted(images, Cell(kind="gaussian_noise", severity=1)).pixels([0, 1])
    assert not torch.equal(weak[0], weak[1])
    other = corrupted(dataclasses.replace(images, name="beasts"), Cell(kind="gaussian_noise", severity=1)).pixels([0])
    assert not torch.equal(weak[0], other[0])


def test_kept_pixels_are_those_made_and_a_torn_file_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _needs_library()
    cell = Cell(kind="contrast", severity=2)
    plain = corrupted(_animals(), cell).pixels([1, 0])
    module._RECENT.clear()
    monkeypatch.setenv("ZSR_CACHE", str(tmp_path))
    assert torch.equal(corrupted(_animals(), cell).pixels([1, 0]), plain)
    (file,) = (tmp_path / "corrupted").glob("contrast-2-*.npy")
    stored = np.load(file)
    np.save(file, 255 - stored)
    module._RECENT.clear()
    assert torch.equal(corrupted(_animals(), cell).pixels([1, 0]), 255 - plain), "the file is read"
    file.write_bytes(file.read_bytes()[:200])
    module._RECENT.clear()
    assert torch.equal(corrupted(_animals(), cell).pixels([1, 0]), plain)


def test_images_that_are_too_small_are_refused_by_name(tiny: Any) -> None:
    _needs_library()
    with pytest.raises(ConfigError, match=r"at least 32 pixels a side"):
        corrupted(tiny.images(2, side=16), Cell(kind="fog", severity=1)).pixels([0])


def test_without_the_package_an_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", "no-such-package")
    library.cache_clear()
    with pytest.raises(ConfigError, match=r"pip install 'zsr\[corruptions\]'"):
        corrupted(_animals(), Cell(kind="fog", severity=1))
    library.cache_clear()


# --- folders ---------------------------------------------------------------------------------------------------------


def _picture(file: Path, colour: int, side: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (side, side), (colour, 0, 0)).save(file)


def _imagenet(root: Path, cells: tuple[str, ...] = ("fog/1", "fog/5", "near_focus/3")) -> DataRef:
    """A folder of two classes with two images each, and its corrupted images as ImageNet-C and 3DCC lay them out."""
    wnids = ("n01440764", "n01443537")
    for c, wnid in enumerate(wnids):
        for i in range(2):
            name = f"ILSVRC2012_val_0000{c}{i}.JPEG"
            _picture(root / "clean" / wnid / name.replace("JPEG", "png"), 10, 40)
            for k, cell in enumerate(cells):
                _picture(root / "made" / cell / wnid / name.replace("JPEG", "png"), 100 + 20 * k + 4 * c + 2 * i, 32)
    return DataRef(source="imagefolder", root=str(root / "clean"), corrupted=str(root / "made"))


def test_a_folder_of_imagenet_cs_layout_gives_each_image_its_own_corrupted_one(tmp_path: Path) -> None:
    ref = _imagenet(tmp_path)
    images = open_data(ref, "all", 32, trained_on=DataRef())
    for k, cell in enumerate(cells_of(["fog:1", "fog:5", "near_focus:3"])):
        changed = made(images, tmp_path / "made", cell, 32, "resize256_crop224")
        assert changed.ids == images.ids
        x = changed.pixels([3, 0])
        assert (x.dtype, x.shape) == (torch.uint8, (2, 3, 32, 32))
        assert [int(each[0].float().mean()) for each in x] == [100 + 20 * k + 6, 100 + 20 * k]


def test_images_of_another_size_go_through_the_sets_preprocessing(tmp_path: Path) -> None:
    images = open_data(_imagenet(tmp_path), "all", 64, trained_on=DataRef())
    assert made(images, tmp_path / "made", Cell(kind="fog", severity=1), 64, "resize224").pixels([0]).shape == (
        1,
        3,
        64,
        64,
    )


def test_images_in_other_folders_are_found_by_their_file_names(tmp_path: Path) -> None:
    images = open_data(_imagenet(tmp_path), "all", 32, trained_on=DataRef())
    flat = dataclasses.replace(images, ids=tuple(f"val/images/{Path(name).name}" for name in images.ids))
    assert made(flat, tmp_path / "made", Cell(kind="fog", severity=1), 32, "resize224").pixels([3]).float().mean() > 30


def _without_an_image(root: Path) -> None:
    next((root / "made/fog/1/n01440764").glob("*.png")).unlink()


def _without_the_severity(root: Path) -> None:
    (root / "made/fog/1").rename(root / "made/fog/one")


def _empty(root: Path) -> None:
    for file in (root / "made/fog/1").rglob("*.png"):
        file.unlink()


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (_without_an_image, "1 are missing, first ['n01440764/ILSVRC2012_val_"),
        (_without_the_severity, "a folder KIND/SEVERITY"),
        (_empty, "found none"),
    ],
)
def test_a_cell_that_is_not_whole_is_refused_with_its_folder(
    tmp_path: Path, spoil: Callable[[Path], None], expected: str
) -> None:
    images = open_data(_imagenet(tmp_path), "all", 32, trained_on=DataRef())
    spoil(tmp_path)
    with pytest.raises(ConfigError) as error:
        made(images, tmp_path / "made", Cell(kind="fog", severity=1), 32, "resize224")
    assert str(tmp_path / "made" / "fog" / "1") in str(error.value)
    assert expected in str(error.value)


def test_a_damaged_image_is_named_when_it_is_read(tmp_path: Path) -> None:
    images = open_data(_imagenet(tmp_path), "all", 32, trained_on=DataRef())
    file = next((tmp_path / "made/fog/1/n01443537").glob("*.png"))
    file.write_bytes(b"no image")
    with pytest.raises(ConfigError, match=file.name):
        made(images, tmp_path / "made", Cell(kind="fog", severity=1), 32, "resize224").pixels([0, 1, 2, 3])
