"""Render drawings as photographs of themselves: posed, recoloured, on a random background, with noise.

Everything random about an image is drawn from a generator keyed by what the image is, so image i of a split
is the same whoever asks, however many are asked for, in whichever order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from zsr_core.data.miniature.sets import ASSETS, SPLITS, Vendor, emoji_index, known, rows_by_name, set_named

IMAGE_SIZE: Final = 48  # pixels; ours, because the packed drawings have it and 36 patches of 8 are enough
FINE_SIZE: Final = 96  # pixels; the finer miniature's, whose 36 patches of 16 leave room for fine detail
IMAGE_SIZES: Final = (IMAGE_SIZE, FINE_SIZE)

# Ranges of the scenes, all ours: hard enough that a linear probe on pixels fails, easy enough that a person
# names most objects.
MAX_ANGLE = 0.25  # radians, either way
SCALES = (0.67, 1.05)  # of the image's side
MAX_SHIFT = 0.08  # beyond the margin that the scale leaves, in half image sides
GAINS = (0.8, 1.2)  # per colour channel
CONTRASTS = (0.45, 0.85)  # 0 would be uniform grey; at 1 many objects withstand 4/255 without any training
MAX_NOISE = 0.004  # standard deviation in [0, 1] pixel units: a grey level, as a camera's in good light
CLOUDINESS = 0.6  # range of a cloudy background around its mean colour
CLOUD_CELLS = 4  # a cloudy background is this many random colours a side, interpolated

UNIFORMS = 13 + 3 * CLOUD_CELLS**2  # numbers in [0, 1) that fix one scene, apart from its noise
BLOCK = 64  # images composed together; whole blocks only, so that rounding cannot depend on n
SIZES = {"selection": 96, "report": 256}  # images of a split, unless asked otherwise
TRAIN_PER_CLASS = 15  # 1170 images of the source: an epoch of training takes seconds


@dataclass(frozen=True, kw_only=True, eq=False)
class Rendered:
    """Images of one split with everything that is known about them. Shared between callers: read only."""

    images: Tensor  # uint8 [N, 3, S, S]
    labels: Tensor  # int64 [N], positions in the set's classes
    masks: Tensor  # bool [N, S, S], true where the object covers more than half of the pixel
    ids: tuple[str, ...]  # "set/split/index"


def keyed_generator(*key: str | int) -> np.random.Generator:
    """A generator that depends on the key alone. Different keys give independent streams."""
    digest = hashlib.blake2b("/".join(map(str, key)).encode(), digest_size=16).digest()
    return np.random.Generator(np.random.Philox(key=int.from_bytes(digest, "little")))


def sheet_name(vendor: Vendor, size: int) -> str:
    """File name of the sheet that holds a vendor's drawings of `size` pixels."""
    return f"{vendor}.webp" if size == IMAGE_SIZE else f"{vendor}-{size}.webp"


@lru_cache(maxsize=2)
def sprites(vendor: Vendor) -> Tensor:
    """All drawings of one vendor in the index's order, at 48 pixels.

    float32 [E, 4, 48, 48], red, green, blue and alpha in [0, 1], premultiplied.
    """
    return premultiplied(cells(vendor, IMAGE_SIZE))


@lru_cache(maxsize=4)
def cells(vendor: Vendor, size: int) -> Tensor:
    """All drawings of one vendor in the index's order: uint8 [E, 4, S, S], colours not multiplied by alpha."""
    with (ASSETS / sheet_name(vendor, size)).open("rb") as file:
        page = torch.from_numpy(np.array(Image.open(file).convert("RGBA")))  # [rows * S, columns * S, 4]
    rows, columns = page.shape[0] // size, page.shape[1] // size
    sheet = page.reshape(rows, size, columns, size, 4).permute(0, 2, 4, 1, 3)
    order = torch.tensor([emoji.row * columns + emoji.column for emoji in emoji_index()])
    return sheet.reshape(rows * columns, 4, size, size)[order]


def premultiplied(cells: Tensor) -> Tensor:
    """Drawings uint8 [B, 4, S, S] as float32 in [0, 1], colours times alpha."""
    art = cells.float() / 255
    return torch.cat([art[:, :3] * art[:, 3:], art[:, 3:]], dim=1)


def draw(generator: np.random.Generator, count: int, size: int = IMAGE_SIZE) -> tuple[Tensor, Tensor]:
    """What is random in `count` scenes: uniforms [B, UNIFORMS] in [0, 1) and normals [B, 3, S, S].

    The uniforms come first, so that a scene has the same pose, colours and background at every size.
    """
    uniforms = generator.random((count, UNIFORMS), dtype=np.float32)
    normals = generator.standard_normal((count, 3, size, size), dtype=np.float32)
    return torch.from_numpy(uniforms), torch.from_numpy(normals)


def compose(
    drawings: Tensor,
    uniforms: Tensor,
    normals: Tensor,
    *,
    contrasts: tuple[float, float] = CONTRASTS,
    max_noise: float = MAX_NOISE,
) -> tuple[Tensor, Tensor]:
    """Scenes [B, 3, S, S] uint8 and the objects' coverage [B, S, S] in [0, 1].

    `drawings` is [B, 4, S, S] premultiplied; `uniforms` and `normals` come from `draw`; `contrasts` is
    their range; `max_noise` is the largest standard deviation of an image's noise, in [0, 1] pixel units.
    """
    posed = _pose(drawings, uniforms)  # [B, 4, H, W]
    gains = between(GAINS, uniforms[:, 6:9])[:, :, None, None]  # [B, 3, 1, 1]
    contrast = between(contrasts, uniforms[:, 2])[:, None, None, None]
    sigma = (max_noise * uniforms[:, 3])[:, None, None, None]

    colour, coverage = posed[:, :3] * gains, posed[:, 3:]
    scene = colour + (1 - coverage) * _background(uniforms, drawings.shape[-1])
    scene = 0.5 + contrast * (scene - 0.5) + sigma * normals
    images = (scene.clamp(0, 1) * 255 + 0.5).to(torch.uint8)
    return images, coverage[:, 0]


def between(limits: tuple[float, float], uniform: Tensor) -> Tensor:
    return limits[0] + (limits[1] - limits[0]) * uniform


def _pose(drawings: Tensor, uniforms: Tensor) -> Tensor:
    """The drawings rotated, scaled and moved; transparent where they do not reach: [B, 4, H, W]."""
    angle = MAX_ANGLE * (2 * uniforms[:, 0] - 1)
    scale = between(SCALES, uniforms[:, 1])
    reach = (1 - scale).clamp(min=0) + MAX_SHIFT  # [B]
    return placed(drawings, angle, scale, reach[:, None] * (2 * uniforms[:, 4:6] - 1))


def placed(drawings: Tensor, angle: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """Drawings [B, 4, H, W] rotated by ``angle`` [B], scaled by ``scale`` [B], moved by ``shift`` [B, 2]: [B, 4, H, W].

    Angles are in radians, scales in image sides, shifts (across, down) in half image sides.
    """
    # From output to input coordinates: undo the shift, then the rotation, then the scale.
    cos, sin = angle.cos() / scale, angle.sin() / scale
    rotation = torch.stack([cos, sin, -sin, cos], dim=1).reshape(-1, 2, 2)
    inverse = torch.cat([rotation, -rotation @ shift[:, :, None]], dim=2)  # [B, 2, 3]
    grid = F.affine_grid(inverse, list(drawings.shape), align_corners=False)
    return F.grid_sample(drawings, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def _background(uniforms: Tensor, size: int) -> Tensor:
    """A uniform colour or, for every second image on average, clouds of several: [B, 3, H, W]."""
    colours = uniforms[:, 13:].reshape(-1, 3, CLOUD_CELLS, CLOUD_CELLS)
    cloudy = (uniforms[:, 9] < 0.5)[:, None, None, None]
    return clouded(uniforms[:, 10:13], colours, size, cloudy)


def clouded(mean: Tensor, colours: Tensor, size: int, cloudy: Tensor | float = 1.0) -> Tensor:
    """Clouds of the ``colours`` [B, 3, C, C] around a ``mean`` colour [B, 3], where ``cloudy``: [B, 3, S, S]."""
    clouds = F.interpolate(colours, size=(size, size), mode="bilinear", align_corners=True)
    return (mean[:, :, None, None] + cloudy * CLOUDINESS * (clouds - 0.5)).clamp(0, 1)


def even_labels(name: str, split: str, classes: int, n: int) -> list[int]:
    """Labels of the first n images: each cycle of `classes` images shows every class once, shuffled."""
    cycles = -(-n // classes)
    labels = [keyed_generator(name, split, "labels", c).permutation(classes) for c in range(cycles)]
    return [int(label) for label in np.concatenate(labels)[:n]]


def _block(name: str, split: str, first: int, drawings: Tensor) -> tuple[Tensor, Tensor]:
    """Images and masks first ... first + BLOCK - 1 of a split."""
    size = drawings.shape[-1]
    drawn = [draw(keyed_generator(name, split, "scene", i), 1, size) for i in range(first, first + BLOCK)]
    uniforms, normals = (torch.cat(parts) for parts in zip(*drawn, strict=True))
    images, coverage = compose(drawings, uniforms, normals)
    return images, coverage > 0.5


@lru_cache(maxsize=64)
def rendered(name: str, split: str, n: int, size: int) -> Rendered:
    """Return the first n images of the stream ``split`` of a set; equal keys give equal images."""
    spec = set_named(name)
    whole = -(-n // BLOCK) * BLOCK
    labels = torch.tensor(even_labels(name, split, len(spec.classes), whole))
    rows = torch.tensor([rows_by_name()[spec.classes[label]] for label in labels.tolist()])
    art = cells(spec.vendor, size)
    blocks = [_block(name, split, i, premultiplied(art[rows[i : i + BLOCK]])) for i in range(0, whole, BLOCK)]
    return Rendered(
        images=torch.cat([images for images, _ in blocks])[:n],
        labels=labels[:n],
        masks=torch.cat([masks for _, masks in blocks])[:n],
        ids=tuple(f"{name}/{split}/{i:05d}" for i in range(n)),
    )


@torch.no_grad()
def render(name: str, split: str, n: int | None = None, size: int = IMAGE_SIZE) -> Rendered:
    """The first n images of a split of a set, of `size` pixels a side.

    Without n: 15 images per class to train, 96 to select by, 256 to report. Image i shows the same scene at both sizes.
    """
    if size not in IMAGE_SIZES:
        raise ValueError(f"miniature: size {size} is not one of {list(IMAGE_SIZES)}")
    return rendered(name, split, images_of(name, split, n), size)


def images_of(name: str, split: str, n: int | None = None) -> int:
    """Return how many images :func:`render` gives, without rendering one."""
    known("split", split, SPLITS)
    if n is None:
        return TRAIN_PER_CLASS * len(set_named(name).classes) if split == "train" else SIZES[split]
    if n < 1:
        raise ValueError(f"miniature: n {n} is not a positive number of images of {name}/{split}")
    return n
