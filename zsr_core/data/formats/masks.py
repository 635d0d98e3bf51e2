"""Object masks beside a folder of images, in the layout of ImageNet-S (Gao et al., TPAMI 2022, arXiv 2106.03149).

    ImageNetS50/validation/n01443537/ILSVRC2012_val_00000236.JPEG
    ImageNetS50/validation-segmentation/n01443537/ILSVRC2012_val_00000236.png

A pixel's category is red + 256 green: 0 other, 1000 ignored, k the k-th class folder in sorted order from 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from zsr_core.codec import ConfigError, require
from zsr_core.data.pictures import Files, Pictures, Preprocessing, prepared, shown

BESIDE = "-segmentation"  # what the folder of masks is called beyond the folder of images


def object_masks(
    pictures: Pictures, rows: Tensor, labels: Tensor, size: int, preprocessing: Preprocessing | None
) -> Callable[[Sequence[int]], Tensor] | None:
    """Return what reads the masks of these ``rows`` of a folder of images; None where there are none beside it.

    Args:
        labels: [N], the class of each row.
        size, preprocessing: of the images; masks are cropped alike, without interpolation.

    Raises:
        ConfigError: naming the first mask that is missing, if the folder has masks for the class of its first image.
    """
    if not isinstance(pictures, Files) or preprocessing is None or len(rows) == 0:
        return None
    if not _beside(pictures.base / pictures.names[int(rows[0])]).parent.is_dir():
        return None
    images = [pictures.base / pictures.names[row] for row in rows.tolist()]
    masks = [_beside(image) for image in images]
    missing = next((mask for mask in masks if not mask.is_file()), None)
    require(missing is None, "root", shown(str(missing)), "a mask beside every image, as ImageNet-S has")
    return Masks(images=tuple(images), masks=tuple(masks), labels=labels, size=size, preprocessing=preprocessing)


def _beside(image: Path) -> Path:
    split = image.parent.parent
    return split.with_name(split.name + BESIDE) / image.parent.name / f"{image.stem}.png"


@dataclass(frozen=True, kw_only=True, eq=False)
class Masks:
    """Rows to masks: bool [b, S, S], true where the object of the image's class is."""

    images: tuple[Path, ...]
    masks: tuple[Path, ...]
    labels: Tensor
    size: int
    preprocessing: Preprocessing

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return torch.stack([self._one(int(row)) for row in rows])

    def _one(self, row: int) -> Tensor:
        path, place = self.masks[row], shown(str(self.masks[row]))
        try:
            with Image.open(path) as image, Image.open(self.images[row]) as shows:
                require(image.mode == "RGB", "root", f"{place} in mode {image.mode}", "a mask in mode RGB")
                same = image.size == shows.size
                require(same, "root", f"{place} of {image.size} pixels", f"a mask of its image's {shows.size} pixels")
                numbers = np.asarray(image, dtype=np.int64)
        except OSError as error:
            raise ConfigError(f"root: {place} cannot be read as a mask ({error})") from None
        category = int(self.labels[row]) + 1
        own = numbers[..., 0] + 256 * numbers[..., 1] == category
        expected = f"a pixel of category {category}, its class: all classes of the set, and no other folders"
        require(bool(own.any()), "root", place, expected)
        mask = Image.fromarray(np.where(own, 255, 0).astype(np.uint8))
        cut = prepared(mask, self.size, self.preprocessing, Image.Resampling.NEAREST)
        return torch.from_numpy(np.array(cut) > 0)
