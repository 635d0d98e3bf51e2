"""Pack the emoji art of two vendors into the sheets and the index that the miniature renders from.

    python -m zsr_core.data.miniature.pack --google emoji-datasource-google-16.0.0.tgz \
                                           --twitter emoji-datasource-twitter-16.0.0.tgz

The shipped assets were made by exactly this command; it is here so that they can be checked and remade.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import tarfile
from pathlib import Path
from typing import Any

from PIL import Image

CELL = 48  # pixels; equals the model's image size, so that a sprite at scale 1 is not resampled twice
COLUMNS = 36  # 36 x 35 cells hold 1260 sprites: the sheet is nearly square
VENDORS = {"google": "noto", "twitter": "twemoji"}  # folder in the tarball -> file name of our sheet
WEBP: dict[str, Any] = {
    "quality": 85,
    "alpha_quality": 90,
    "method": 6,
}  # 2.7 MB together; lossless would be 5.4 MB

# Flags cannot be told apart at 48 pixels, people come in skin tones, components are not pictures.
LEFT_OUT = ("Flags", "People & Body", "Component")


def readable_name(short_name: str) -> str:
    """`"small_red_triangle"` as it is written in a caption: `"small red triangle"`."""
    return re.sub(r"[_\-]+", " ", short_name).strip()


def choose(emoji: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The emoji that both vendors draw, in Unicode's sort order, so that neighbours are related."""
    kept = [e for e in emoji if e["category"] not in LEFT_OUT]
    kept = [e for e in kept if all(e[f"has_img_{vendor}"] for vendor in VENDORS)]
    return sorted(kept, key=lambda e: int(e["sort_order"]))


def sprite(png: bytes) -> Image.Image:
    """One drawing as a `CELL` x `CELL` RGBA image, reduced with premultiplied alpha to keep edges clean."""
    drawing = Image.open(io.BytesIO(png)).convert("RGBA").convert("RGBa")
    return drawing.resize((CELL, CELL), Image.Resampling.LANCZOS).convert("RGBA")


def sheet(tarball: tarfile.TarFile, vendor: str, chosen: list[dict[str, Any]]) -> Image.Image:
    """All drawings of one vendor; cell i lies in column `i % COLUMNS` of row `i // COLUMNS`."""
    rows = -(-len(chosen) // COLUMNS)
    page = Image.new("RGBA", (COLUMNS * CELL, rows * CELL))
    for i, entry in enumerate(chosen):
        drawing = sprite(read(tarball, f"package/img/{vendor}/64/{entry['image']}"))
        page.paste(drawing, (i % COLUMNS * CELL, i // COLUMNS * CELL))
    return page


def read(tarball: tarfile.TarFile, member: str) -> bytes:
    """The bytes of one file of a tarball."""
    file = tarball.extractfile(member)
    if file is None:
        raise ValueError(f"{tarball.name!r}: {member} is not a file")
    return file.read()


def write_index(path: Path, chosen: list[dict[str, Any]]) -> None:
    """One line per emoji, so that a change of the choice reads well in a diff."""
    rows = [
        {
            "name": readable_name(e["short_name"]),
            "category": e["category"],
            "subcategory": e["subcategory"],
            "code": e["unified"],
            "column": i % COLUMNS,
            "row": i // COLUMNS,
        }
        for i, e in enumerate(chosen)
    ]
    lines = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    path.write_text(f'{{"cell": {CELL}, "emoji": [\n{lines}\n]}}\n', encoding="utf-8")


def pack(tarballs: dict[str, Path], out: Path) -> None:
    """Write `index.json` and one WebP sheet per vendor into the folder `out`."""
    with tarfile.open(tarballs["google"]) as tarball:
        chosen = choose(json.loads(read(tarball, "package/emoji.json")))
    write_index(out / "index.json", chosen)
    for vendor, name in VENDORS.items():
        with tarfile.open(tarballs[vendor]) as tarball:
            sheet(tarball, vendor, chosen).save(out / f"{name}.webp", **WEBP)


def main() -> None:
    parser = argparse.ArgumentParser(description="Pack the emoji art of two vendors for the miniature.")
    for vendor in VENDORS:
        parser.add_argument(f"--{vendor}", type=Path, required=True, help="tarball of the image package")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "assets")
    given = parser.parse_args()
    pack({vendor: getattr(given, vendor) for vendor in VENDORS}, given.out)


if __name__ == "__main__":
    main()
