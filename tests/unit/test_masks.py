"""Masks in the layout of ImageNet-S: read beside their images, cropped with them, and refused where they do not fit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from zsr_core.codec import ConfigError
from zsr_core.data import DataRef, ImageSet, open_data

CLASSES = ("n01443537", "n01491361")  # goldfish, tiger shark


def made(root: Path, *, each: int = 2, width: int = 40, height: int = 30) -> Path:
    """Write a small set: in class k's mask the k-th quarter from the left is the object, the rest ignored or other."""
    for k, name in enumerate(CLASSES):
        for i in range(each):
            image = np.full((height, width, 3), 40 * k, np.uint8)
            numbers = np.zeros((height, width), np.int64)
            numbers[: height // 2] = 1000
            part = slice(k * width // 4, (k + 1) * width // 4)
            numbers[:, part] = k + 1
            image[:, part] = 255
            mask = np.stack([numbers % 256, numbers // 256, np.zeros_like(numbers)], axis=2).astype(np.uint8)
            for folder, array, file in (
                ("validation", image, f"a_{i}.png"), ("validation-segmentation", mask, f"a_{i}.png"),
            ):  # fmt: skip
                (root / folder / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(root / folder / name / file)
    return root / "validation"


def opened(folder: Path, size: int = 32) -> ImageSet:
    return open_data(DataRef(source="imagefolder", root=str(folder)), "all", size, trained_on=DataRef())


def test_a_mask_covers_the_pixels_that_its_image_shows_the_object_in(tmp_path: Path) -> None:
    images = opened(made(tmp_path))
    assert images.masks is not None
    masks = images.masks([0, 2])
    assert masks.dtype == torch.bool
    assert masks.shape == (2, 32, 32)
    bright = images.pixels([0, 2]).float().mean(dim=1) > 200
    assert (masks == bright).float().mean() > 0.95
    assert 0 < masks[1].float().mean() < 0.5
    assert not torch.equal(masks[0], masks[1])


def test_a_folder_without_masks_beside_it_has_none(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (tmp_path / "validation-segmentation").rename(tmp_path / "elsewhere")
    assert opened(folder).masks is None


def test_a_missing_mask_is_named_when_the_set_is_opened(tmp_path: Path) -> None:
    folder = made(tmp_path)
    (tmp_path / "validation-segmentation" / CLASSES[1] / "a_1.png").unlink()
    with pytest.raises(ConfigError, match=r"a_1\.png.*a mask beside every image"):
        opened(folder)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (lambda mask: mask.convert("L"), "mode L.*mode RGB"),
        (lambda mask: mask.resize((20, 15)), r"\(20, 15\) pixels.*\(40, 30\) pixels"),
        (lambda mask: Image.new("RGB", mask.size), "a pixel of category 1"),
    ],
)
def test_a_mask_that_does_not_fit_is_named_with_what_was_expected(changed: object, words: str, tmp_path: Path) -> None:
    folder = made(tmp_path)
    file = tmp_path / "validation-segmentation" / CLASSES[0] / "a_0.png"
    with Image.open(file) as mask:
        wrong = changed(mask)  # type: ignore[operator]
    wrong.save(file)
    masks = opened(folder).masks
    assert masks is not None
    with pytest.raises(ConfigError, match=words):
        masks([0])
