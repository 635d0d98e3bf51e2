"""Objects in boxes: COCO's instance annotations read strictly, proposals of a detector, and their crops as image sets.

Boxes are [left, top, right, bottom] in pixels, right and bottom outside. COCO writes [left, top, width, height].
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from zsr_core.codec import ConfigError, is_finite, require
from zsr_core.data.pictures import to_tensor

Floats = npt.NDArray[np.float64]
PROPOSAL_COLUMNS = ("image_id", "x0", "y0", "x1", "y1", "score")
SLACK = 0.5  # pixels that a box may leave its image by, because annotations are rounded


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxes:
    """B boxes in N images: where each is, and for objects what it shows, for proposals how sure the detector is."""

    image: npt.NDArray[np.int64]  # [B], rows of the scenes' images
    box: Floats  # [B, 4]
    label: npt.NDArray[np.int64]  # [B], positions in the classes; -1 for a proposal
    score: Floats  # [B]; 1 for an object

    def __len__(self) -> int:
        return len(self.image)


@dataclass(frozen=True, kw_only=True, eq=False)
class Scenes:
    """Images of several objects. ``ids`` are COCO's image ids, by which proposals name an image."""

    name: str
    classes: tuple[str, ...]
    templates: tuple[str, ...]
    ids: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]  # [N], (width, height)
    objects: Boxes
    picture: Callable[[int], Image.Image]  # row -> RGB
    key: str = ""  # hash of what the images are


def read_coco(file: Path, images: Path, templates: tuple[str, ...]) -> Scenes:
    """Return the scenes of a file of COCO instances; crowd regions are left out, because they are no single object.

    Raises:
        ConfigError: naming the file, the entry and what was expected, for anything that is missing or does not fit.
    """
    whole = _json(file)
    pictures, categories = _entries(whole, "images", file), _entries(whole, "categories", file)
    rows = {_whole(p, "id", f"{file}: images[{i}]"): i for i, p in enumerate(pictures)}
    require(len(rows) == len(pictures), f"boxes: {file}: images", len(rows), f"{len(pictures)} different ids")
    names = [_text(c, "name", f"{file}: categories[{i}]") for i, c in enumerate(categories)]
    label = {_whole(c, "id", f"{file}: categories[{i}]"): i for i, c in enumerate(categories)}
    require(len(label) == len(names) == len(set(names)), f"boxes: {file}: categories", names, "different ids and names")
    sizes = tuple(
        (_whole(p, "width", f"{file}: images[{i}]"), _whole(p, "height", f"{file}: images[{i}]"))
        for i, p in enumerate(pictures)
    )
    files = [images / _text(p, "file_name", f"{file}: images[{i}]") for i, p in enumerate(pictures)]
    missing = next((path for path in files if not path.is_file()), None)
    require(missing is None, f"boxes: {file}: file_name", str(missing), f"a file below {images}")
    image, box, shown = [], [], []
    for i, entry in enumerate(_entries(whole, "annotations", file)):
        at = f"{file}: annotations[{i}]"
        row, kind = _whole(entry, "image_id", at), _whole(entry, "category_id", at)
        require(row in rows, f"boxes: {at}.image_id", row, "the id of one of its images")
        require(kind in label, f"boxes: {at}.category_id", kind, "the id of one of its categories")
        if entry.get("iscrowd", 0) == 1:
            continue
        image.append(rows[row])
        shown.append(label[kind])
        box.append(_box(entry.get("bbox"), sizes[rows[row]], at))
    require(len(box) > 0, f"boxes: {file}: annotations", 0, "at least one object that is no crowd")
    objects = Boxes(
        image=np.array(image), box=np.array(box), label=np.array(shown), score=np.ones(len(box), np.float64)
    )
    return Scenes(
        name=file.stem, classes=tuple(names), templates=templates, ids=tuple(rows), sizes=sizes, objects=objects,
        picture=_Opened(files=tuple(files), sizes=sizes), key=str(file.resolve()),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """Row to picture in RGB; a picture of another size than annotated is refused, because its boxes would be wrong."""

    files: tuple[Path, ...]
    sizes: tuple[tuple[int, int], ...]

    def __call__(self, row: int) -> Image.Image:
        try:
            with Image.open(self.files[row]) as image:
                picture = image.convert("RGB")
        except OSError as error:
            raise ConfigError(f"boxes: {self.files[row]} cannot be read as an image ({error})") from None
        require(picture.size == self.sizes[row], f"boxes: {self.files[row]}", picture.size, f"{self.sizes[row]} pixels")
        return picture


def part_of(scenes: Scenes, proposals: Boxes, rows: Sequence[int]) -> tuple[Scenes, Boxes]:
    """Return the scenes of these images alone, in their order, and the proposals in them."""
    place = {row: at for at, row in enumerate(rows)}
    picture = scenes.picture

    def kept(boxes: Boxes) -> Boxes:
        own = np.array([i for i, image in enumerate(boxes.image) if int(image) in place], np.int64)
        return Boxes(
            image=np.array([place[int(image)] for image in boxes.image[own]], np.int64), box=boxes.box[own],
            label=boxes.label[own], score=boxes.score[own],
        )  # fmt: skip

    own = Scenes(
        name=scenes.name, classes=scenes.classes, templates=scenes.templates, objects=kept(scenes.objects),
        ids=tuple(scenes.ids[row] for row in rows), sizes=tuple(scenes.sizes[row] for row in rows),
        picture=lambda row: picture(rows[row]), key=f"{scenes.key} {list(rows)}",
    )  # fmt: skip
    return own, kept(proposals)


def read_proposals(file: Path, scenes: Scenes) -> Boxes:
    """Return a detector's boxes from a Parquet file with the columns image_id, x0, y0, x1, y1, score.

    Raises:
        ConfigError: naming the file, the row and what was expected.
    """
    try:
        table = pq.read_table(file)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"proposals: {file} cannot be read ({error})") from None
    missing = [name for name in PROPOSAL_COLUMNS if name not in table.column_names]
    require(not missing, f"proposals: {file}", table.column_names, f"the columns {', '.join(PROPOSAL_COLUMNS)}")
    require(len(table) > 0, f"proposals: {file}", 0, "at least one box")
    rows = {name: row for row, name in enumerate(scenes.ids)}
    image, box, score = [], [], []
    for i, entry in enumerate(table.select(PROPOSAL_COLUMNS).to_pylist()):
        at = f"proposals: {file}, row {i}"
        require(entry["image_id"] in rows, f"{at}, image_id", entry["image_id"], "the id of one of the images")
        good = is_finite(entry["score"]) and 0 <= entry["score"] <= 1
        require(good, f"{at}, score", entry["score"], "a score in [0, 1]")
        row = rows[entry["image_id"]]
        image.append(row)
        box.append(_inside([entry[name] for name in ("x0", "y0", "x1", "y1")], scenes.sizes[row], at))
        score.append(float(entry["score"]))
    return Boxes(
        image=np.array(image), box=np.array(box), label=np.full(len(box), -1), score=np.array(score, np.float64)
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Crops:
    """Rows of boxes to uint8 [b, 3, S, S]: what a box holds, stretched to the model's square, so that nothing is cut.

    ``pad`` widens a box on every side by this share of its width and height, up to the image's edge;
    every box is widened to whole pixels.
    """

    scenes: Scenes
    boxes: Boxes
    size: int
    pad: float = 0.0

    def __call__(self, rows: Sequence[int]) -> Tensor:
        return torch.stack([self._one(int(row)) for row in rows])

    def _one(self, row: int) -> Tensor:
        picture = self.scenes.picture(int(self.boxes.image[row]))
        left, top, right, bottom = self.boxes.box[row]
        across, down = self.pad * (right - left), self.pad * (bottom - top)
        whole = (
            max(math.floor(left - across), 0), max(math.floor(top - down), 0),
            min(math.ceil(right + across), picture.width), min(math.ceil(bottom + down), picture.height),
        )  # fmt: skip
        # Cut out before it is resized, because the filter would otherwise see what lies beside the box.
        return to_tensor(picture.crop(whole).resize((self.size, self.size), Image.Resampling.BICUBIC))


def iou(a: Floats, b: Floats) -> Floats:
    """Return [A, B], the intersection over union of boxes [A, 4] and [B, 4]."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    both = np.clip(high - low, 0, None).prod(axis=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(axis=1) for x in (a, b))
    return np.asarray(both / (area_a[:, None] + area_b[None] - both), np.float64)


def _json(file: Path) -> Mapping[str, Any]:
    try:
        whole = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"boxes: {file} cannot be read as JSON ({error})") from None
    require(isinstance(whole, dict), f"boxes: {file}", type(whole).__name__, "an object, as COCO's instances are")
    return dict(whole)


def _entries(whole: Mapping[str, Any], name: str, file: Path) -> list[Mapping[str, Any]]:
    found = whole.get(name)
    good = isinstance(found, list) and len(found) > 0 and all(isinstance(entry, dict) for entry in found)
    require(good, f"boxes: {file}: {name}", type(found).__name__, "a list of one or more objects")
    return list(found or [])


def _whole(entry: Mapping[str, Any], name: str, at: str) -> int:
    value = entry.get(name)
    good = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    require(good, f"boxes: {at}.{name}", value, "a whole number from 0")
    return int(value or 0)


def _text(entry: Mapping[str, Any], name: str, at: str) -> str:
    value = entry.get(name)
    require(isinstance(value, str) and bool(value.strip()), f"boxes: {at}.{name}", value, "text")
    return str(value)


def _box(given: Any, size: tuple[int, int], at: str) -> list[float]:
    good = isinstance(given, list) and len(given) == 4 and all(is_finite(number) for number in given)
    require(good, f"boxes: {at}.bbox", given, "[left, top, width, height] in pixels")
    left, top, width, height = (float(number) for number in given)
    return _inside([left, top, left + width, top + height], size, f"boxes: {at}.bbox")


def _inside(box: Sequence[Any], size: tuple[int, int], at: str) -> list[float]:
    width, height = size
    good = all(is_finite(number) for number in box) and box[0] < box[2] and box[1] < box[3]
    require(good, at, list(box), "a box with a width and a height above 0")
    inside = min(box[:2]) >= -SLACK and box[2] <= width + SLACK and box[3] <= height + SLACK
    require(inside, at, list(box), f"a box inside its image of {width} x {height} pixels")
    return [max(box[0], 0.0), max(box[1], 0.0), min(box[2], float(width)), min(box[3], float(height))]
