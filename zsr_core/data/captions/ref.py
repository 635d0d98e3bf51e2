"""A reference to images with captions that a config can hold, and how a command line names one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from zsr_core.codec import parse_names, require, unknown
from zsr_core.data.pictures import Preprocessing

CaptionSource = Literal["miniature", "coco", "flickr30k", "folder"]
MINIATURE = "captions"  # what tables call the miniature's own


@dataclass(frozen=True, kw_only=True)
class Karpathy:
    """A public set in the splits of Karpathy and Fei-Fei (CVPR 2015, arXiv 1412.2306): where it lies below the root."""

    file: str  # the splits, as published
    images: str  # the folder that the images' paths start from
    counts: Mapping[str, int]  # images of "val", which selects, and of "test", which reports


KARPATHY: Mapping[str, Karpathy] = {
    "coco": Karpathy(file="coco/dataset_coco.json", images="coco", counts={"val": 5000, "test": 5000}),
    "flickr30k": Karpathy(
        file="flickr30k/dataset_flickr30k.json", images="flickr30k/flickr30k-images",
        counts={"val": 1014, "test": 1000},
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class CaptionRef:
    """Images with captions: ``source`` says how to read them, ``root`` where, ``name`` what tables call them.

    "coco" and "flickr30k" are read in Karpathy's splits below ``root``, the folder that holds all sets; "folder" is
    ``root`` itself, which holds images and ``captions.tsv``, ``captions.csv`` or ``captions.json``. ``limit`` keeps so
    many images of the split, as ``DataRef.limit`` does. ``captions`` keeps the first so many captions of each image:
    COCO has 5 to 7, and many papers use 5.
    """

    source: CaptionSource = "miniature"
    name: str = ""
    root: str | None = None
    preprocessing: Preprocessing = "resize224_bicubic"  # CLIP's own, which retrieval is reported with
    limit: int | None = None
    captions: int | None = None

    def __post_init__(self) -> None:
        if self.source not in get_args(CaptionSource):
            raise unknown("source", self.source, get_args(CaptionSource))
        if self.preprocessing not in get_args(Preprocessing):
            raise unknown("preprocessing", self.preprocessing, get_args(Preprocessing))
        require(
            self.source == "miniature" or bool(self.root), "root", self.root, f"the folder of the {self.source} data"
        )
        require(self.limit is None or self.limit >= 1, "limit", self.limit, "at least 1 image")
        require(self.captions is None or self.captions >= 1, "captions", self.captions, "at least 1 caption an image")
        require(bool(self.called), "root", self.root, "a folder that has a name, or a name for the set")

    @property
    def called(self) -> str:
        """The name that tables use."""
        if self.name:
            return self.name
        named = {"miniature": MINIATURE, "folder": Path(str(self.root)).name}
        return named.get(self.source, self.source)


def caption_refs(text: str, root: str | Path) -> tuple[CaptionRef, ...]:
    """Return the sets of a list with commas, as :func:`caption_ref` reads each.

    Raises:
        ConfigError: for a piece that is no set and no folder, or if there is none.
    """
    refs = tuple(caption_ref(piece, root) for piece in parse_names(text))
    require(bool(refs), "retrieval", text, "at least one set of captions, such as coco")
    return refs


def caption_ref(name: str, root: str | Path) -> CaptionRef:
    """Return the set that a command line calls ``name``, looked for below ``root``: a name, a folder, or NAME=FOLDER.

    Raises:
        ConfigError: for a name that is no set and no folder, with the nearest name.
    """
    if name == MINIATURE:
        return CaptionRef()
    if name in KARPATHY:
        return CaptionRef(source="coco" if name == "coco" else "flickr30k", root=str(root))
    given, sign, path = name.partition("=")
    called, wanted = (given, path) if sign else ("", name)
    places = (Path(wanted).expanduser(), Path(root).expanduser() / wanted)
    folder = next((place for place in places if wanted and place.is_dir()), None)
    if folder is None:
        raise unknown("retrieval", name, (MINIATURE, *KARPATHY, "a folder with captions.tsv, .csv or .json"))
    return CaptionRef(source="folder", name=called, root=str(folder))
