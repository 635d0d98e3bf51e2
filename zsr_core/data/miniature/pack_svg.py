"""Rasterise both vendors' SVG drawings at 96 pixels into the sheets of the finer miniature.

    npm pack @iconify-json/noto@1.2.9 @iconify-json/twemoji@1.2.5
    pip install resvg-py==0.5.0
    python -m zsr_core.data.miniature.pack_svg --noto iconify-json-noto-1.2.9.tgz \
                                               --twemoji iconify-json-twemoji-1.2.5.tgz

The shipped sheets were made by exactly these commands. They hold the emoji of `index.json`, which `pack.py` writes,
in the same cells as the sheets of 48 pixels.
"""

from __future__ import annotations

import argparse
import importlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

from zsr_core.data.miniature.pack import COLUMNS
from zsr_core.data.miniature.scenes import FINE_SIZE, sheet_name
from zsr_core.data.miniature.sets import PACKAGES, emoji_index

WEBP: dict[str, Any] = {"quality": 90, "alpha_quality": 90, "method": 6}  # 4.2 MB together; 3.3 MB at quality 80


def rasterised(icons: dict[str, Any], name: str) -> Image.Image:
    """One drawing as a square RGBA image of 96 pixels; a drawing that is not square lies in the middle."""
    icon = icons["icons"][name]
    width, height = (icon.get(side, icons.get(side, 16)) for side in ("width", "height"))
    box = f'viewBox="{icon.get("left", 0)} {icon.get("top", 0)} {width} {height}"'
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    svg = f'<svg {names} width="{width}" height="{height}" {box}>{icon["body"]}</svg>'
    # Only this command needs the package, so it is no dependency.
    png = importlib.import_module("resvg_py").svg_to_bytes(svg_string=svg, width=FINE_SIZE, height=FINE_SIZE)
    drawing = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    cell = Image.new("RGBA", (FINE_SIZE, FINE_SIZE))
    cell.paste(drawing, ((FINE_SIZE - drawing.width) // 2, (FINE_SIZE - drawing.height) // 2))
    return cell


def icon_names(chars: dict[str, str], codes: list[str]) -> list[str]:
    """The package's names of the emoji with these code points, as "1F600".

    Some code points carry the variation selector FE0F, which the package leaves out.
    """
    name_of = {code.lower(): name for code, name in chars.items()}
    wanted = [code.lower() for code in codes]
    return [name_of[code] if code in name_of else name_of[code.replace("-fe0f", "")] for code in wanted]


def sheet(tarball: Path) -> Image.Image:
    """All drawings of one vendor; cell i lies in column `i % COLUMNS` of row `i // COLUMNS`."""
    parts: dict[str, dict[str, Any]] = {}
    with tarfile.open(tarball) as tar:
        for part in ("icons", "chars"):
            file = tar.extractfile(f"package/{part}.json")
            if file is None:
                raise ValueError(f"{tarball}: package/{part}.json is not a file")
            parts[part] = json.load(file)
    names = icon_names(parts["chars"], [emoji.code for emoji in emoji_index()])
    page = Image.new("RGBA", (COLUMNS * FINE_SIZE, -(-len(names) // COLUMNS) * FINE_SIZE))
    for i, name in enumerate(names):
        page.paste(rasterised(parts["icons"], name), (i % COLUMNS * FINE_SIZE, i // COLUMNS * FINE_SIZE))
    return page


def main() -> None:
    parser = argparse.ArgumentParser(description="Rasterise both vendors' drawings at 96 pixels.")
    for vendor in PACKAGES:
        parser.add_argument(f"--{vendor}", type=Path, required=True, help="tarball of the icon package")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "assets")
    given = parser.parse_args()
    for vendor in PACKAGES:
        sheet(getattr(given, vendor)).save(given.out / sheet_name(vendor, FINE_SIZE), **WEBP)


if __name__ == "__main__":
    main()
