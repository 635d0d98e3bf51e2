"""A folder of images with captions, made of the miniature's drawings of 48 pixels: small enough for any test."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from zsr_core.data import miniature
from zsr_core.data.miniature.model import CAPTIONS


def captioned_folder(root: Path, n: int = 12, each: int = 2) -> Path:
    """Write ``n`` images of different sports with ``each`` captions; return the folder."""
    root.mkdir(parents=True, exist_ok=True)
    spec = next(spec for spec in miniature.SETS if spec.name == "sport")
    drawn = miniature.render("sport", "report", len(spec.classes), 48)
    lines = []
    for row in drawn.labels.argsort()[:n].tolist():
        name = spec.classes[int(drawn.labels[row])]
        Image.fromarray(drawn.images[row].permute(1, 2, 0).numpy()).save(root / f"{row}.png")
        lines += [f"{row}.png\t{CAPTIONS[k].format(name)}\n" for k in range(each)]
    (root / "captions.tsv").write_text("".join(lines), encoding="utf-8")
    return root
