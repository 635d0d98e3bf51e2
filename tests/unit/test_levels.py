"""Which stored number is white is known by the format or the set; one picture never decides, and doubt is refused."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, check_data, open_data


def _set(root: Path, arrays: list[np.ndarray], suffix: str = ".tif") -> DataRef:
    (root / "a").mkdir(parents=True)
    for i, array in enumerate(arrays):
        Image.fromarray(array).save(root / "a" / f"{i:02d}{suffix}")
    return DataRef(source="imagefolder", root=str(root), preprocessing="resize224")


def _grey(ref: DataRef) -> list[int]:
    """The middle of every picture, which is of one colour, in the order of the files."""
    images = [open_data(ref, split, 8) for split in ("train", "selection", "report")]  # type: ignore[arg-type]
    seen = {i: int(x[0, 4, 4]) for one in images for i, x in zip(one.ids, one.pixels(range(len(one.ids))), strict=True)}
    return [seen[i] for i in sorted(seen)]


def _flat(values: list[float], kind: Any) -> list[np.ndarray]:
    return [np.full((9, 9), value, dtype=kind) for value in values]


@pytest.mark.parametrize(
    ("values", "kind", "expected"),
    [
        ([0.0, 0.25, 0.5, 1.0, 0.1], np.float32, [0, 64, 128, 255, 26]),
        ([0.0, 1.0, 64.0, 200.0, 255.0], np.float32, [0, 1, 64, 200, 255]),
        ([0.0, 257.0, 32896.0, 65535.0, 1.0], np.float32, [0, 1, 128, 255, 0]),
        ([0, 200, 0x4080, 0xFFFF, 0x0100], np.uint16, [0, 0, 0x40, 0xFF, 1]),  # the dark ones are dark
        ([0, 7, 255, 128, 1], np.uint16, [0, 7, 255, 128, 1]),  # 8 bits in a wider file
        ([0, 300, 40000, 65535, 255], np.int32, [0, 1, 156, 255, 0]),
    ],
)
def test_the_set_says_which_number_is_white(values: Any, kind: Any, expected: list[int], tmp_path: Path) -> None:
    assert _grey(_set(tmp_path, _flat(values, kind))) == expected


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([0, 100, 1023, 512, 300], np.uint16),  # 10 bits
        ([0, 100, 4095, 2000, 300], np.uint16),  # 12 bits
        ([0, 100, 16383, 2000, 300], np.uint16),  # 14 bits
        ([0, 1, 70000, 5, 9], np.int32),
        ([-5, 1, 200, 5, 9], np.int32),
        ([-1.0, 0.0, 1.0, 0.5, 0.2], np.float32),
        ([0.0, 0.1, 0.2, 0.05, 0.0], np.float32),
        ([0.0, 1.7, 0.5, 3.0, 0.2], np.float32),
        ([0.0, 4095.0, 2000.0, 1.0, 2.0], np.float32),
    ],
)
def test_a_range_that_nothing_tells_is_refused_with_path_and_values(values: Any, kind: Any, tmp_path: Path) -> None:
    ref = _set(tmp_path, _flat(values, kind))
    with pytest.raises(ConfigError) as error:
        _grey(ref)
    low, high = f"{min(values):.6g}", f"{max(values):.6g}"
    assert str(tmp_path / "a") in str(error.value)
    assert f"in a set with values from {low} to {high}: nothing says which value is white" in str(error.value)


def test_doubt_is_met_before_anything_runs(tmp_path: Path) -> None:
    ref = _set(tmp_path, _flat([4095] * 5, np.uint16))
    (tmp_path / "b").mkdir()
    (tmp_path / "a" / "00.tif").rename(tmp_path / "b" / "00.tif")
    with pytest.raises(ConfigError, match=r"here\.root: .*\.tif cannot be read as an image \(16-bit values"):
        check_data(ref, "train", "here", 8)


def test_not_a_number_spoils_its_own_picture_alone(tmp_path: Path) -> None:
    ref = _set(tmp_path, _flat([0.0, 1.0, np.nan, 0.5, 0.2], np.float32))
    skipping = DataRef(source="imagefolder", root=ref.root, preprocessing="resize224", on_corrupt="skip")
    assert _grey(skipping) == [0, 255, 128, 51]


def test_the_range_does_not_depend_on_which_picture_is_read_first(tmp_path: Path) -> None:
    ref = _set(tmp_path, _flat([10, 20, 200, 65535, 30, 40], np.uint16))
    one = [open_data(ref, "train", 8).pixels([row]) for row in range(4)]
    back = [open_data(ref, "train", 8).pixels([row]) for row in reversed(range(4))]
    assert all(torch.equal(a, b) for a, b in zip(one, reversed(back), strict=True))


def test_a_pgm_says_its_range_in_its_header(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for i, value in enumerate((0, 16, 2048, 4095, 1)):
        content = b"P5 9 9 4095\n" + np.full((9, 9), value, dtype=">u2").tobytes()
        (tmp_path / "a" / f"{i}.pgm").write_bytes(content)
    assert _grey(DataRef(source="imagefolder", root=str(tmp_path))) == [0, 1, 128, 255, 0]


def _wide_png(value: int, channels: int = 3) -> bytes:
    """A PNG of 16 bits a channel, which PIL cannot write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    row = b"\0" + np.array([[value] * 3 + [65535]] * 9, dtype=">u2")[:, :channels].tobytes()
    header = struct.pack(">IIBBBBB", 9, 9, 16, {3: 2, 4: 6}[channels], 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(row * 9)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


@pytest.mark.parametrize("channels", [3, 4])
def test_colours_of_sixteen_bits_are_scaled_or_refused_as_greys_are(channels: int, tmp_path: Path) -> None:
    for name, values in (("full", (0, 0x4080, 0xFFFF, 0x0100, 0x8000)), ("dark", (0, 1023, 4095, 200, 100))):
        (tmp_path / name / "a").mkdir(parents=True)
        for i, value in enumerate(values):
            (tmp_path / name / "a" / f"{i}.png").write_bytes(_wide_png(value, channels))
    assert _grey(DataRef(source="imagefolder", root=str(tmp_path / "full"))) == [0, 0x40, 0xFF, 1, 0x80]
    with pytest.raises(ConfigError, match="16-bit colour values"):
        _grey(DataRef(source="imagefolder", root=str(tmp_path / "dark")))


def test_pictures_of_eight_bits_are_never_looked_at_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> Tensor:
        raise AssertionError("the set was looked at")

    monkeypatch.setattr("zsr_core.data.pictures.extent_in", never)
    ref = _set(tmp_path, [np.full((9, 9, 3), value, dtype=np.uint8) for value in (0, 3, 200, 9, 1)], ".png")
    assert _grey(ref) == [0, 3, 200, 9, 1]
