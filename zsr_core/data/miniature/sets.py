"""The miniature's image sets: which emoji, in whose drawing, under which name."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Final, Literal, TypeAlias

Vendor: TypeAlias = Literal["noto", "twemoji"]

ASSETS: Final = files("zsr_core.data.miniature") / "assets"
SPLITS: Final = ("train", "selection", "report")

PACKAGES: Final[dict[Vendor, str]] = {
    "noto": "Noto Emoji 2.048, packaged in emoji-datasource-google 16.0.0",
    "twemoji": "Twemoji 16.0.1, packaged in emoji-datasource-twitter 16.0.0",
}
SVG_PACKAGES: Final[dict[Vendor, str]] = {
    "noto": "Noto Emoji, SVG packaged in @iconify-json/noto 1.2.9",
    "twemoji": "Twemoji, SVG packaged in @iconify-json/twemoji 1.2.5",
}
LICENCES: Final[dict[Vendor, str]] = {"noto": "Apache-2.0", "twemoji": "CC-BY-4.0"}


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """One row of the index: what a drawing shows and in which cell of the sheets it lies."""

    name: str
    category: str
    subcategory: str
    code: str  # Unicode code points, as "1F600"
    column: int
    row: int


@dataclass(frozen=True, kw_only=True)
class SetSpec:
    """One image-classification set rendered from the drawings of one vendor."""

    name: str
    vendor: Vendor
    classes: tuple[str, ...]  # names in Unicode's sort order; a label is a position in here
    source: str  # where the drawings come from
    licence: str  # SPDX identifier of the drawings


@lru_cache(maxsize=1)
def emoji_index() -> tuple[Emoji, ...]:
    """All packed emoji in Unicode's sort order, so that neighbours are related."""
    rows = json.loads((ASSETS / "index.json").read_text(encoding="utf-8"))["emoji"]
    return tuple(Emoji(**row) for row in rows)


@lru_cache(maxsize=1)
def rows_by_name() -> dict[str, int]:
    """Name of an emoji -> its row in the index, which is that of its drawing in ``scenes.cells``."""
    return {emoji.name: row for row, emoji in enumerate(emoji_index())}


def _set(name: str, vendor: Vendor, *subcategories: str) -> SetSpec:
    classes = tuple(emoji.name for emoji in emoji_index() if emoji.subcategory in subcategories)
    return SetSpec(name=name, vendor=vendor, classes=classes, source=PACKAGES[vendor], licence=LICENCES[vendor])


_SOURCE = ("household", "tool", "musical-instrument", "science", "medical")
_ANIMALS = (
    "animal-mammal",
    "animal-bird",
    "animal-amphibian",
    "animal-reptile",
    "animal-marine",
    "animal-bug",
)

# The source is drawn by one vendor and everything else by the other, so that what fine-tuning learns on the
# source has to survive a change of style, as it does between ImageNet and the public zero-shot sets.
SETS: Final[tuple[SetSpec, ...]] = (
    _set("source", "noto", *_SOURCE),
    _set("source_shift", "twemoji", *_SOURCE),
    _set("animals", "twemoji", *_ANIMALS),
    _set("fruitveg", "twemoji", "food-fruit", "food-vegetable"),
    _set("dishes", "twemoji", "food-prepared", "food-asian", "food-sweet"),
    _set("transport", "twemoji", "transport-ground", "transport-water", "transport-air"),
    _set("sport", "twemoji", "sport"),
    _set("buildings", "twemoji", "place-building"),
    _set("weather", "twemoji", "sky & weather"),
    _set("faces", "twemoji", "face-smiling", "face-neutral-skeptical", "face-concerned"),
    _set("arrows", "twemoji", "arrow"),
    _set("geometric", "twemoji", "geometric"),
    _set("hearts", "twemoji", "heart"),
    _set("plants", "twemoji", "plant-flower", "plant-other"),
)
ZERO_SHOT: Final[tuple[str, ...]] = tuple(spec.name for spec in SETS[2:])
# Drawings that no set above holds, in the zero-shot sets' style: near out-of-distribution images, never a task.
NEAR_SETS: Final[tuple[SetSpec, ...]] = (
    _set(
        "near_objects", "twemoji", "clothing", "drink", "dishware", "phone", "computer", "light & video", "book-paper",
        "mail", "office", "time", "event", "game", "award-medal",
    ),
)  # fmt: skip


def known(field: str, value: str, expected: tuple[str, ...]) -> str:
    """`value` if it is one of `expected`; otherwise an error naming the field and the nearest name."""
    if value in expected:
        return value
    near = difflib.get_close_matches(value, expected, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"miniature: {field} {value!r} is not one of {list(expected)}{hint}")


def set_named(name: str) -> SetSpec:
    """The row of `SETS` or `NEAR_SETS` with this name."""
    every = (*SETS, *NEAR_SETS)
    known("set", name, tuple(spec.name for spec in every))
    return next(spec for spec in every if spec.name == name)
