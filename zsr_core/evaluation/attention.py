"""Where a model looks, per image and condition: attention maps against object masks, and against the clean image's.

Kinds of map, each scaled to [0, 1] per image and then resized bilinearly to the mask:

    text            patch tokens against the true class's text, as TGA-ZSR trains with (arXiv 2410.21802)
    complementary   the text map times 1 minus the map of "This is not a photo of a {}" (Comp-TGA, arXiv 2603.18598)
    gradcam         Grad-CAM of the true class's cosine at the last block's first layer norm; no text map is in it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from torch import Tensor

from zsr_core.codec import ConfigError
from zsr_core.evaluation.vectors import KEY, check_same_images, matrix
from zsr_core.files import write_whole
from zsr_core.methods.attention import class_gradcam_map, min_max, resize, text_map
from zsr_core.methods.views import Encoded
from zsr_core.model.layout import Features
from zsr_core.records import ATTENTION_COLUMNS, FLOATS, SampleRecord, read_samples
from zsr_core.text import TextBank

FILE = "attention.parquet"
SCHEMA_VERSION = "1"


@dataclass(frozen=True, kw_only=True, eq=False)
class Looking:
    """How maps of one task's images are made and what they are compared with."""

    features: Callable[[Tensor], Features]
    text: TextBank
    rest: TextBank  # the same classes in the prompt of what is not the class
    masks: Callable[[Sequence[int]], Tensor] | None  # rows of the set -> bool [b, S, S]; None where it has none

    def maps(self, x: Tensor, labels: Tensor, side: int) -> Tensor:
        """Return [B, K, side, side] in [0, 1]: the maps of ``x`` [B, 3, H, W], a kind each of the K kinds."""
        with torch.no_grad():
            encoded = Encoded(features=self.features(x), text=self.text)
            own, rest = self.text.unit[labels], self.rest.unit[labels]
            guided = resize(min_max(text_map(encoded, own, "token")), side)
            away = 1 - resize(min_max(text_map(encoded, rest, "token")), side)
            cam = resize(min_max(class_gradcam_map(encoded, own)), side)
        return torch.stack([guided, guided * away, cam], dim=1)

    def facts(self, x_adv: Tensor, x: Tensor, labels: Tensor, rows: Sequence[int]) -> Tensor:
        """Return [B, len(ATTENTION_COLUMNS)]: what records keep of the maps of ``x_adv``; NaN where undefined."""
        side = x.shape[-1]
        here = self.maps(x_adv, labels, side)
        before = here if torch.equal(x_adv, x) else self.maps(x, labels, side)
        b = len(x)
        if self.masks is None:
            share, against = here.new_full((b, 1), torch.nan), here.new_full((b, here.shape[1], 3), torch.nan)
        else:
            mask = self.masks(rows).to(here)[:, None]  # [B, 1, S, S]
            share = mask.mean(dim=(2, 3))
            share = torch.where(share > 0, share, torch.nan)  # of an object that was cut off, nothing can be said
            against = torch.stack([soft_iou(here, mask), pointing(here, mask), energy(here, mask)], dim=2)
            against = torch.where(share[..., None].isnan(), torch.nan, against)
        moved = torch.stack([drift(before, here), kept(before, here)], dim=2)  # [B, K, 2]
        return torch.cat([share, torch.cat([against, moved], dim=2).flatten(1)], dim=1)


def soft_iou(maps: Tensor, masks: Tensor) -> Tensor:
    """Return ``sum A M / (sum A + sum M - sum A M)`` over the last two axes, maps in [0, 1], masks 0 or 1.

    For such masks this is the min/max form and the Jaccard metric loss too. NaN where map and mask are both empty.
    """
    both = (maps * masks).sum(dim=(-2, -1))
    union: Tensor = maps.sum(dim=(-2, -1)) + masks.sum(dim=(-2, -1)) - both
    return both / torch.where(union > 0, union, torch.nan)


def pointing(maps: Tensor, masks: Tensor) -> Tensor:
    """Return 1 where the largest value of a map lies in the mask, else 0; NaN for a constant map, which has none."""
    flat = maps.flatten(-2)
    hit = masks.expand_as(maps).flatten(-2).gather(-1, flat.argmax(dim=-1, keepdim=True))[..., 0]
    return torch.where(flat.amax(dim=-1) > flat.amin(dim=-1), hit, torch.nan)


def energy(maps: Tensor, masks: Tensor) -> Tensor:
    """Return the share of a map's sum that lies in the mask; NaN for an empty map."""
    whole = maps.sum(dim=(-2, -1))
    return (maps * masks).sum(dim=(-2, -1)) / torch.where(whole > 0, whole, torch.nan)


def drift(before: Tensor, after: Tensor) -> Tensor:
    """Return 1 minus the cosine of two maps; NaN where one is empty."""
    a, b = before.flatten(-2), after.flatten(-2)
    there = (a.norm(dim=-1) > 0) & (b.norm(dim=-1) > 0)
    return torch.where(there, (1 - F.cosine_similarity(a, b, dim=-1)).clamp(min=0), torch.nan)


def kept(before: Tensor, after: Tensor) -> Tensor:
    """Return the soft IoU of two maps, ``sum min / sum max``: 1 for equal maps; NaN where both are empty."""
    most = torch.maximum(before, after).sum(dim=(-2, -1))
    return torch.minimum(before, after).sum(dim=(-2, -1)) / torch.where(most > 0, most, torch.nan)


def write_attention(folder: Path, records: Sequence[SampleRecord]) -> None:
    """Write ``attention.parquet``: the rows of ``samples.parquet`` in its order, if the records carry attention."""
    if not records or not all(r.attention for r in records):
        return
    table = pa.table({name: [getattr(r, name) for r in records] for name in KEY})
    facts = matrix([r.attention for r in records])
    for i, name in enumerate(ATTENTION_COLUMNS):
        table = table.append_column(name, pa.array(facts[:, i]))
    table = table.replace_schema_metadata({"zsr.attention": SCHEMA_VERSION})
    write_whole(folder / FILE, lambda part: pq.write_table(table, part, compression="zstd"))


def read_attention(folder: Path, samples: pa.Table) -> list[bytes]:
    """Return what each of a trial's records carries of attention, b"" where it kept none; ``samples`` are their rows.

    Raises:
        ConfigError: naming the file, if it cannot be read or is of other images than the records.
    """
    path = folder / FILE
    if not path.is_file():
        return [b""] * len(samples)
    table = read_samples(path)
    missing = [name for name in (*KEY, *ATTENTION_COLUMNS) if name not in table.column_names]
    if missing:
        raise ConfigError(f"attention: {path} has no column {missing[0]!r}")
    check_same_images(table, samples, f"attention: {path}")
    facts = np.stack([table.column(name).to_numpy() for name in ATTENTION_COLUMNS], axis=1)
    return [row.tobytes() for row in np.ascontiguousarray(facts, dtype=FLOATS)]
