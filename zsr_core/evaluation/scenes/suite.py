"""What detection by crops is measured on: a field of the evaluation suite."""

from __future__ import annotations

from dataclasses import dataclass

from zsr_core.codec import is_finite, require

SCENES = "scenes"  # what tables call the miniature's own
USUAL = 16  # of the miniature


@dataclass(frozen=True, kw_only=True)
class DetectionSuite:
    """Scenes of several objects in boxes, whose crops are named without attack and under the suite's attacks.

    Without ``boxes`` the miniature composes ``n`` scenes (16 by default) and makes proposals. ``boxes`` is a file of
    COCO instances, ``pictures`` the folder that its file names start from, and ``proposals`` a Parquet file of a
    detector's boxes (:func:`zsr_core.data.formats.boxes.read_proposals`); without it the true boxes are proposed.
    ``n`` keeps so many of its pictures. The splits "selection" and "report" are halves of the scenes. ``pad`` widens a
    box on every side by this share of its size before it is cut out. ``name`` is what tables call the scenes.
    """

    n: int | None = None
    boxes: str | None = None
    pictures: str | None = None
    proposals: str | None = None
    pad: float = 0.0
    name: str = SCENES

    def __post_init__(self) -> None:
        good = self.n is None or (isinstance(self.n, int) and self.n >= 1)
        require(good, "n", self.n, "at least 1 scene")
        given = (self.boxes is None) == (self.pictures is None)
        require(given, "pictures", self.pictures, "a folder where boxes names a file, and only there")
        require(self.boxes is not None or self.proposals is None, "proposals", self.proposals, "boxes with them")
        good = is_finite(self.pad) and 0 <= self.pad <= 1
        require(good, "pad", self.pad, "a share of the box from 0 to 1")
        require(bool(self.name.strip()), "name", self.name, "what tables call the scenes")
