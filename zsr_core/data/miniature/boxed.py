"""The miniature's scenes as :class:`Scenes`, and the boxes of a made detector: near its objects, and anywhere."""

from __future__ import annotations

from typing import Final

import numpy as np
from PIL import Image

from zsr_core.data.formats.boxes import Boxes, Floats, Scenes, iou
from zsr_core.data.miniature.composed import render_boxes
from zsr_core.data.miniature.model import TEMPLATES
from zsr_core.data.miniature.scenes import FINE_SIZE, keyed_generator
from zsr_core.data.miniature.sets import set_named

NEAR: Final = 3  # proposals around every object
ANYWHERE: Final = 4  # further ones in every image
JITTER: Final = 0.12  # standard deviation of an edge, in sides of the box


def boxed_scenes(name: str, n: int, size: int = FINE_SIZE) -> Scenes:
    """Return ``n`` scenes of two to four objects of a set of the miniature with their exact boxes."""
    made = render_boxes(name, n, size)
    counts = [len(boxes) for boxes in made.boxes]
    objects = Boxes(
        image=np.repeat(np.arange(n), counts), box=np.concatenate([b.numpy() for b in made.boxes]).astype(np.float64),
        label=np.concatenate([label.numpy() for label in made.labels]), score=np.ones(sum(counts)),
    )  # fmt: skip

    def picture(row: int) -> Image.Image:
        return Image.fromarray(made.images[row].permute(1, 2, 0).numpy())

    return Scenes(
        name=name, classes=set_named(name).classes, templates=TEMPLATES, ids=tuple(range(n)),
        sizes=((size, size),) * n, objects=objects, picture=picture, key=f"miniature/{name}/boxes/{n}/{size}",
    )  # fmt: skip


def made_proposals(scenes: Scenes) -> Boxes:
    """Return boxes around every object and anywhere; a score is the largest IoU with an object, as an ideal detector's.

    They depend on the scenes' name and rows alone.
    """
    image, box, score = [], [], []
    for row, (width, height) in enumerate(scenes.sizes):
        random = keyed_generator(scenes.name, "proposals", row)
        true = scenes.objects.box[scenes.objects.image == row]
        sides = np.tile(true[:, 2:] - true[:, :2], 2)
        near = [true + JITTER * sides * random.standard_normal(true.shape) for _ in range(NEAR)]
        corner = random.random((ANYWHERE, 2)) * 0.7
        far = np.concatenate([corner, corner + 0.2 + 0.1 * random.random((ANYWHERE, 2))], axis=1)
        boxes = _clipped(np.concatenate([*near, far * (width, height, width, height)]), width, height)
        image += [row] * len(boxes)
        box.append(boxes)
        score.append(iou(boxes, true).max(axis=1))
    return Boxes(
        image=np.array(image), box=np.concatenate(box), label=np.full(len(image), -1), score=np.concatenate(score)
    )


def _clipped(boxes: Floats, width: int, height: int) -> Floats:
    """Return the boxes inside the image, at least one pixel wide and high."""
    low = np.clip(boxes[:, :2], 0, (width - 1, height - 1))
    return np.concatenate([low, np.clip(boxes[:, 2:], low + 1, (width, height))], axis=1)
