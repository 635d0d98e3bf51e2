"""Scenes of two to four objects with their exact boxes, and captions of single objects for retrieval.

Both are drawn from keys of their own: no training, selection or report image is among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import torch
from torch import Tensor

from zsr_core.data.miniature.factors import put
from zsr_core.data.miniature.model import CAPTIONS
from zsr_core.data.miniature.scenes import (
    CLOUD_CELLS,
    FINE_SIZE,
    UNIFORMS,
    between,
    cells,
    clouded,
    keyed_generator,
    premultiplied,
    rendered,
)
from zsr_core.data.miniature.sets import ZERO_SHOT, rows_by_name, set_named

QUARTERS: Final = ((-0.5, -0.5), (0.5, -0.5), (-0.5, 0.5), (0.5, 0.5))  # centres (x, y) in half image sides
CAPTIONS_EACH: Final = 5  # as COCO and Flickr30k have


@dataclass(frozen=True, kw_only=True, eq=False)
class Boxed:
    """Scenes of several objects. Shared between callers: read only."""

    images: Tensor  # uint8 [N, 3, S, S]
    boxes: tuple[Tensor, ...]  # per image float32 [K, 4]: left, top, right, bottom in pixels, right and bottom outside
    labels: tuple[Tensor, ...]  # per image int64 [K], positions in the set's classes


@dataclass(frozen=True, kw_only=True, eq=False)
class Captioned:
    """Images of which no two show the same object, with captions."""

    images: Tensor  # uint8 [N, 3, S, S]
    captions: tuple[tuple[str, ...], ...]  # per image
    names: tuple[str, ...]  # what each image shows


@torch.no_grad()
@lru_cache(maxsize=8)
def render_boxes(name: str, n: int, size: int = FINE_SIZE) -> Boxed:
    """Return ``n`` scenes of two to four objects of a set, each in a quarter of its own."""
    spec, rows = set_named(name), rows_by_name()
    art = cells(spec.vendor, size)
    images, boxes, labels = [], [], []
    for i in range(n):
        generator = keyed_generator(name, "boxes", i)
        u = torch.from_numpy(generator.random(UNIFORMS).astype("float32"))
        count = int(generator.integers(2, len(QUARTERS) + 1))
        quarters = generator.permutation(len(QUARTERS))[:count]
        shown = generator.integers(len(spec.classes), size=count)
        image = clouded(u[None, 10:13], u[13:].reshape(1, 3, CLOUD_CELLS, CLOUD_CELLS), size)[0]
        found = []
        for k, quarter in zip(shown, quarters, strict=True):
            scale = float(between((0.3, 0.45), torch.from_numpy(generator.random(1))[0]))
            drawing = premultiplied(art[rows[spec.classes[int(k)]]][None])[0]
            image, covered = put(image, drawing, 0.0, scale, QUARTERS[int(quarter)])
            found.append(box_of(covered > 0.5))
        images.append((image.clamp(0, 1) * 255 + 0.5).to(torch.uint8))
        boxes.append(torch.stack(found))
        labels.append(torch.from_numpy(shown))
    return Boxed(images=torch.stack(images), boxes=tuple(boxes), labels=tuple(labels))


def box_of(mask: Tensor) -> Tensor:
    """Return the smallest box around a mask [H, W]: left, top, right, bottom in pixels, right and bottom outside."""
    down, across = mask.any(dim=1).nonzero()[:, 0], mask.any(dim=0).nonzero()[:, 0]
    return torch.stack([across[0], down[0], across[-1] + 1, down[-1] + 1]).float()


@lru_cache(maxsize=4)
def render_captions(n: int, size: int = FINE_SIZE) -> Captioned:
    """Return ``n`` images, the sets in turn, each of another object, with :data:`CAPTIONS_EACH` captions.

    Raises:
        ValueError: if the zero-shot sets have fewer than ``n`` classes.
    """
    most = sum(len(set_named(name).classes) for name in ZERO_SHOT)
    if not 1 <= n <= most:
        raise ValueError(f"miniature: n {n} is not a number of objects from 1 to {most}")
    parts = [render_part(name, size) for name in ZERO_SHOT]
    order = [(name, k) for k in range(max(len(p) for p in parts)) for name, p in enumerate(parts) if k < len(p)][:n]
    names = tuple(set_named(ZERO_SHOT[name]).classes[k] for name, k in order)
    texts = tuple(_captions(name) for name in names)
    return Captioned(images=torch.stack([parts[name][k] for name, k in order]), captions=texts, names=names)


def render_part(name: str, size: int) -> Tensor:
    """Return one image of each class of a set, in the order of the classes: uint8 [C, 3, S, S]."""
    classes = len(set_named(name).classes)
    once = rendered(name, "captions", classes, size)
    return once.images[once.labels.argsort()]


def _captions(name: str) -> tuple[str, ...]:
    chosen = keyed_generator("captions", name).permutation(len(CAPTIONS))[:CAPTIONS_EACH]
    return tuple(CAPTIONS[int(k)].format(name) for k in chosen)
