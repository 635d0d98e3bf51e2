"""Public sets of out-of-distribution images as they lie on disk: pictures alone, whatever their folders are called."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from zsr_core.codec import require
from zsr_core.data.formats.listing import Part, PartName, Reader, images_below, part_of_files, unread_text
from zsr_core.data.lists import numbered_lines, refused

CLASS = "out of distribution"  # the one class of such a set, which no text ever names
# The categories of DTD that ViM and OpenOOD leave out, because ImageNet has images of them (Wang et al., CVPR 2022).
NO_TEXTURES = ("bubbly", "cobwebbed", "honeycombed", "spiralled")


def reader(places: tuple[str, ...], *, listing: str = "", without: tuple[str, ...] = ()) -> Reader:
    """Return the reader of the images at any depth of the first of ``places`` that is there.

    Args:
        places: folders below that of all sets.
        listing: an image list of OpenOOD's, "folder/name.jpg -1" a line; only what it names is read.
        without: sub-folders that are left out.
    """

    def read(root: Path, part: PartName) -> Part:
        place = next((place for place in places if (root / place).is_dir()), places[0])
        require((root / place).is_dir(), "root", str(root / place), "a folder of images")
        if listing:
            names = _listed(root / listing, place)
            return part_of_files(root / place, names, [0] * len(names), (CLASS,))
        unread: Counter[str] = Counter()
        names = [name for name in images_below(root / place, "", unread) if not set(name.split("/")) & set(without)]
        notes = [unread_text(unread)] if unread else []
        return part_of_files(root / place, names, [0] * len(names), (CLASS,), notes)

    return read


def _listed(file: Path, place: str) -> list[str]:
    """Return the names below ``place`` that a list has; it names them from the folder above, as OpenOOD's loader does.

    Raises:
        ConfigError: naming file and line, for a line that names no image there.
    """
    above = place.partition("/")[2] + "/"
    names = []
    for number, line in numbered_lines(file):
        name, blank, label = line.rpartition(" ")
        if not (blank and label.lstrip("-").isdigit() and name.startswith(above) and ".." not in name.split("/")):
            raise refused(file, number, line, f"{above}NAME.jpg, a blank and a label")
        names.append(os.path.normpath(name.removeprefix(above)))
    return names
