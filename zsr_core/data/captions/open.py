"""Opens a reference to images with captions: the images of one split, and every caption with its image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from zsr_core.codec import ConfigError, fingerprint, require
from zsr_core.data.captions.listing import Captions, in_folder, karpathy
from zsr_core.data.captions.ref import KARPATHY, CaptionRef
from zsr_core.data.kept import Kept, cache_folder, kept_file
from zsr_core.data.miniature.composed import CAPTIONS_EACH, render_captions
from zsr_core.data.miniature.sets import ZERO_SHOT, set_named
from zsr_core.data.open import ImageSet, check_miniature_size, smallest
from zsr_core.data.partition import Split
from zsr_core.data.pictures import Decoded, Files
from zsr_core.rng import generator, seed_for

OBJECTS = sum(len(set_named(name).classes) for name in ZERO_SHOT)  # of the miniature, each in one image
SHOWN = 3  # missing images that an error lists


@dataclass(frozen=True, kw_only=True, eq=False)
class CaptionSet:
    """N images with N_t captions. ``owner`` rises, so that the captions of an image stand together."""

    images: ImageSet  # its labels are all 0, because captions take the place of classes
    captions: tuple[str, ...]  # [N_t]
    owner: Tensor  # [N_t] int64, the row of each caption's image

    @property
    def key(self) -> str:
        """Hash of pixels and captions."""
        return fingerprint([self.images.key, list(self.images.ids), self.captions, self.owner.tolist()])


def open_captions(ref: CaptionRef, split: Split, size: int, limit: int | None = None) -> CaptionSet:
    """Return the split as images of ``size`` x ``size`` pixels with their captions.

    "selection" is Karpathy's ``val`` and "report" his ``test``; a folder's and the miniature's images are cut in
    halves. "all" is the whole of a folder and of the miniature.

    Raises:
        ConfigError: naming the file and the place in it, or an image that is not there.
    """
    require(split in ("selection", "report", "all"), "split", split, "'selection', 'report' or 'all'")
    cap = smallest(limit, ref.limit)
    if ref.source == "miniature":
        return _miniature(ref, split, size, cap)
    base, found = _listed(ref, split)
    names = list(found)
    order = torch.randperm(len(names), generator=generator(0, "limit", ref.source, split))
    names = [names[row] for row in order[:cap].sort().values.tolist()]
    missing = [name for name in names if not (base / name).is_file()]
    if missing:
        shown = ", ".join(missing[:SHOWN]) + (f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else "")
        raise ConfigError(f"root: {len(missing)} of {len(names)} images are not below {base}: {shown}")
    pixels = Decoded(
        pictures=Files(base=base, names=tuple(names)), rows=torch.arange(len(names)), size=size,
        preprocessing=ref.preprocessing,
    )  # fmt: skip
    sizes = [(base / name).stat().st_size for name in names]
    key = fingerprint([ref.source, str(base), split, size, ref.preprocessing, names, sizes])
    folder = cache_folder()
    kept = (
        Kept(decoded=pixels, file=kept_file(folder, f"{ref.called}-{split}-{size}", key, pixels)) if folder else pixels
    )
    images = ImageSet(
        name=ref.called, split=split, classes=(), templates=(), ids=tuple(names),
        labels=torch.zeros(len(names), dtype=torch.int64), key=key, pixels=kept,
    )  # fmt: skip
    return _with_captions(images, [found[name] for name in names], ref)


@dataclass(frozen=True, kw_only=True)
class CaptionCount:
    """How large a split is, for planning."""

    images: int
    captions: int
    published: bool  # counted from what is published, because the set is not here


def count_captions(ref: CaptionRef, split: Split, limit: int | None = None) -> CaptionCount:
    """Return how large a split is; no image is read or rendered. Captions of a set that is not here count as five each.

    Raises:
        ConfigError: naming the file and the place in it.
    """
    caps = [n for n in (limit, ref.limit) if n is not None]
    row, each = KARPATHY.get(ref.source), ref.captions
    if row is not None and not (Path(str(ref.root)).expanduser() / row.file).exists():
        n = min([row.counts["val" if split == "selection" else "test"], *caps])
        return CaptionCount(images=n, captions=n * min(CAPTIONS_EACH, each or CAPTIONS_EACH), published=True)
    if ref.source == "miniature":
        n = min([len(_miniature_rows(split)), *caps])
        return CaptionCount(images=n, captions=n * min(CAPTIONS_EACH, each or CAPTIONS_EACH), published=False)
    opened = open_captions(ref, split, 1, limit)
    return CaptionCount(images=len(opened.images.ids), captions=len(opened.captions), published=False)


def check_captions(ref: CaptionRef, split: Split, path: str, size: int) -> None:
    """Raise ``ConfigError`` naming ``path`` if the set cannot be read; one image is decoded, none is rendered."""
    try:
        if ref.source == "miniature":
            check_miniature_size(size)
        else:
            open_captions(ref, split, size, limit=1).images.pixels([0])
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _listed(ref: CaptionRef, split: Split) -> tuple[Path, Captions]:
    """Return the folder that the images' paths start from, and the captions of the split's images."""
    root = Path(str(ref.root)).expanduser()
    row = KARPATHY.get(ref.source)
    if row is not None:
        return root / row.images, karpathy(root / row.file, "val" if split == "selection" else "test")
    found = in_folder(root)
    # By the name alone, so that a new image moves no other one to the other half.
    own = {name for name in found if (seed_for(0, "captions", name) % 2 == 0) == (split == "selection")}
    kept = found if split == "all" else {name: captions for name, captions in found.items() if name in own}
    require(bool(kept), "root", str(root), f"images of the split {split!r}: there are {len(found)} in all")
    return root, kept


def _miniature(ref: CaptionRef, split: Split, size: int, cap: int | None) -> CaptionSet:
    check_miniature_size(size)
    whole = render_captions(OBJECTS, size)
    rows = _miniature_rows(split)[:cap]
    pixels = whole.images[rows]
    digest = hashlib.blake2b(pixels.contiguous().numpy().data, digest_size=8).hexdigest()
    images = ImageSet(
        name=ref.called, split=split, classes=(), templates=(), ids=tuple(whole.names[row] for row in rows.tolist()),
        labels=torch.zeros(len(rows), dtype=torch.int64), key=fingerprint(["miniature captions", digest]),
        pixels=lambda picked: pixels[torch.as_tensor(picked)], in_memory=True,
    )  # fmt: skip
    return _with_captions(images, [list(whole.captions[row]) for row in rows.tolist()], ref)


def _miniature_rows(split: Split) -> Tensor:
    """Return every second object of each set, in the order of the renders; all of them for "all"."""
    sizes = [len(set_named(name).classes) for name in ZERO_SHOT]
    position = torch.tensor([k for k in range(max(sizes)) for n in sizes if k < n])  # of each object within its set
    rows = torch.arange(len(position))
    return rows if split == "all" else rows[position % 2 == (0 if split == "selection" else 1)]


def _with_captions(images: ImageSet, captions: list[list[str]], ref: CaptionRef) -> CaptionSet:
    kept = [own[: ref.captions] for own in captions]
    owner = torch.repeat_interleave(torch.arange(len(kept)), torch.tensor([len(own) for own in kept]))
    return CaptionSet(images=images, captions=tuple(text for own in kept for text in own), owner=owner)
