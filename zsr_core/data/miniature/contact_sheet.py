"""Draw the miniature's contact sheet: a row of renders for every set, with some objects outlined.

    python -m zsr_core.data.miniature.contact_sheet --out docs/miniature.png

It needs Pillow only, so that the picture in the documentation can be redrawn wherever the core runs.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from zsr_core.data.miniature.outside import OUTSIDE, render_outside
from zsr_core.data.miniature.scenes import FINE_SIZE, Rendered, render
from zsr_core.data.miniature.sets import SETS

BoolArray: TypeAlias = npt.NDArray[np.bool_]

TILE, GAP = FINE_SIZE, 14  # screen pixels
LEFT, TOP, MARGIN, CAPTION = 216, 92, 24, 18
SHOWN = 12  # images of a set
LEVEL = 8  # colours are rounded to multiples of this: the images' noise would double the file
OUTLINED = range(SHOWN - 3, SHOWN)  # the last three show their masks

PAPER, INK, FAINT, OUTLINE = "#ffffff", "#1c2330", "#69727f", (255, 255, 255)
STYLES = {"noto": "Noto", "twemoji": "Twemoji"}


def mask_edge(mask: BoolArray) -> BoolArray:
    """The mask's pixels that touch a pixel outside it, or the border: bool [H, W]."""
    padded = np.pad(mask, 1)
    inside = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    edge: BoolArray = mask & ~inside
    return edge


def tile(image: Tensor, mask: Tensor | None) -> Image.Image:
    """One render; with a mask, its outside is dimmed and its edge drawn."""
    pixels = image.permute(1, 2, 0).numpy()
    pixels = np.minimum(pixels // LEVEL * LEVEL + LEVEL // 2, 255).astype(np.uint8)
    if mask is not None:
        covered = mask.numpy()
        pixels = np.where(covered[:, :, None], pixels, pixels // 3)
        pixels[mask_edge(covered)] = OUTLINE
    return Image.fromarray(pixels)


def draw_row(page: Image.Image, name: str, facts: str, rendered: Rendered, classes: tuple[str, ...], top: int) -> None:
    """One set: its name and facts on the left, its images with their classes on the right; without classes no masks."""
    pen = ImageDraw.Draw(page)
    pen.text((MARGIN, top + 18), name, fill=INK, font=ImageFont.load_default(24))
    pen.text((MARGIN, top + 52), facts, fill=FAINT, font=ImageFont.load_default(15))
    for i in range(SHOWN):
        left = LEFT + i * (TILE + GAP)
        mask = rendered.masks[i] if classes and i in OUTLINED else None
        page.paste(tile(rendered.images[i], mask), (left, top))
        label = shortened(classes[int(rendered.labels[i])], pen) if classes else ""
        centre = (left + TILE // 2, top + TILE + 2)
        pen.text(centre, label, fill=FAINT, font=ImageFont.load_default(12), anchor="ma")


def shortened(name: str, pen: ImageDraw.ImageDraw) -> str:
    """The name, or as much of it as fits under a tile."""
    font = ImageFont.load_default(12)
    if pen.textlength(name, font=font) <= TILE + GAP - 4:
        return name
    while pen.textlength(name + "…", font=font) > TILE + GAP - 4:
        name = name[:-1]
    return name.rstrip() + "…"


def contact_sheet() -> Image.Image:
    """All sets in reading order, about 1600 screen pixels wide."""
    row = TILE + CAPTION + 8
    width = LEFT + SHOWN * (TILE + GAP) - GAP + MARGIN
    page = Image.new("RGB", (width, TOP + (len(SETS) + len(OUTSIDE)) * row + MARGIN), PAPER)
    pen = ImageDraw.Draw(page)
    title = "The built-in miniature: fourteen sets and three out of distribution, first images of the report split"
    pen.text((MARGIN, 20), title, fill=INK, font=ImageFont.load_default(28))
    note = "96 x 96 pixels; the last three of each row of the fourteen show their exact object masks"
    pen.text((MARGIN, 58), note, fill=FAINT, font=ImageFont.load_default(16))
    for i, spec in enumerate(SETS):
        facts = f"{len(spec.classes)} classes, {STYLES[spec.vendor]}"
        draw_row(page, spec.name, facts, render(spec.name, "report", SHOWN, FINE_SIZE), spec.classes, TOP + i * row)
    for i, (name, kind) in enumerate(OUTSIDE.items(), start=len(SETS)):
        draw_row(page, name, f"{kind} OOD", render_outside(name, "report", SHOWN, FINE_SIZE), (), TOP + i * row)
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the miniature's contact sheet.")
    parser.add_argument("--out", type=Path, required=True, help="PNG to write")
    out: Path = parser.parse_args().out
    part = out.with_suffix(".part")
    contact_sheet().save(part, format="PNG", optimize=True)
    part.replace(out)


if __name__ == "__main__":
    main()
