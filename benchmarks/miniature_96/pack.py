"""Rasterise both vendors' SVG drawings at 96 px, for the experiments with a finer miniature.

    npm pack @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5
    pip install resvg-py==0.5.0
    python benchmarks/miniature_96/pack.py --noto iconify-json-noto-1.2.9.tgz \
        --twemoji iconify-json-twemoji-1.2.5.tgz --out DIR

It needs NumPy, Pillow and resvg-py only. The licences are those of today's assets: Apache-2.0 and CC-BY-4.0.
"""

from __future__ import annotations

import argparse
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import resvg_py
from PIL import Image

CELL, COLUMNS = 96, 36  # pixels; cells of a row, as in the sheets of 48 px
INDEX = Path(__file__).parents[2] / "zsr_core" / "data" / "miniature" / "assets" / "index.json"
# Both sheets have 4.2 MB together; at quality 80 they have 3.3 MB. The experiments read the unreduced NAME96.npy.
WEBP: dict[str, Any] = {"quality": 90, "alpha_quality": 90, "method": 4}


def rasterised(icons: dict[str, Any], name: str) -> Image.Image:
    """One drawing as a `CELL` x `CELL` RGBA image; a drawing that is not square lies in the middle."""
    icon = icons["icons"][name]
    width, height = icon.get("width", icons.get("width", 16)), icon.get("height", icons.get("height", 16))
    box = f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}"'
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {names} width="{width}" height="{height}" {box}>{icon["body"]}</svg>'
    png = resvg_py.svg_to_bytes(svg_string=svg, width=CELL, height=CELL)
    drawing = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    cell = Image.new("RGBA", (CELL, CELL))
    cell.paste(drawing, ((CELL - drawing.width) // 2, (CELL - drawing.height) // 2))
    return cell


def vendor_cells(tarball: Path) -> list[Image.Image]:
    """All drawings of one vendor, in the order of the miniature's index."""
    with tarfile.open(tarball) as tar:
        parts = {}
        for part in ("icons", "chars"):
            file = tar.extractfile(f"package/{part}.json")
            if file is None:
                raise ValueError(f"{tarball}: package/{part}.json is not a file")
            parts[part] = json.load(file)
    name_of = {code.lower(): name for code, name in parts["chars"].items()}
    codes = [emoji["code"].lower() for emoji in json.loads(INDEX.read_text(encoding="utf-8"))["emoji"]]
    # Some codes carry the variation selector FE0F that the package's table leaves out.
    names = [name_of[code] if code in name_of else name_of[code.replace("-fe0f", "")] for code in codes]
    return [rasterised(parts["icons"], name) for name in names]


def main() -> None:
    parser = argparse.ArgumentParser(description="Rasterise both vendors' drawings at 96 px.")
    parser.add_argument("--noto", type=Path, required=True, help="tarball of @iconify-json/noto")
    parser.add_argument("--twemoji", type=Path, required=True, help="tarball of @iconify-json/twemoji")
    parser.add_argument("--out", type=Path, required=True, help="folder for NAME96.webp and NAME96.npy")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    for name in ("noto", "twemoji"):
        cells = vendor_cells(getattr(given, name))
        page = Image.new("RGBA", (COLUMNS * CELL, -(-len(cells) // COLUMNS) * CELL))
        for i, cell in enumerate(cells):
            page.paste(cell, (i % COLUMNS * CELL, i // COLUMNS * CELL))
        page.save(given.out / f"{name}96.webp", **WEBP)
        np.save(given.out / f"{name}96.npy", np.stack([np.array(cell) for cell in cells]).transpose(0, 3, 1, 2))


if __name__ == "__main__":
    main()
