"""ImageNet's classes: WordNet ids in label order, the classes of its variants, and two ways to name them.

The lists come with the libraries: ids, lemmas and the subsets with timm, OpenAI's names and templates with open_clip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from zsr_core.codec import ConfigError
from zsr_core.lazy import folder_of, module_alone

_INFO = folder_of("timm") / "data" / "_info"
_OPEN_CLIP = module_alone("open_clip", "zero_shot_metadata.py")


def _lines(name: str) -> tuple[str, ...]:
    return tuple((_INFO / name).read_text(encoding="utf-8").splitlines())


WNIDS = _lines("imagenet_synsets.txt")  # 1000, sorted, which is the challenge's label order
SUBSETS: Mapping[str, tuple[str, ...]] = {
    "a": tuple(sorted(_lines("imagenet_a_synsets.txt"))),  # 200
    "r": tuple(sorted(_lines("imagenet_r_synsets.txt"))),  # 200
    "sketch": WNIDS,
}
TEMPLATES: tuple[str, ...] = tuple(template("{}") for template in _OPEN_CLIP.OPENAI_IMAGENET_TEMPLATES)  # 80

# Both lists name some classes alike; with one text for two classes the second could never be right. Each of these is
# distinguished by another of its own WordNet or OpenAI names; the papers leave the pairs as they are (0.2 -
# 0.3 % of the images are of a second of a pair).
APART_SHORT: Mapping[str, str] = {
    "n02012849": "crane bird",  # n03126707: crane
    "n02113186": "cardigan welsh corgi",  # n02963159: cardigan
    "n03710721": "maillot tank suit",  # n03710637: maillot
}
APART_OPENAI: Mapping[str, str] = {
    "n04008634": "projectile missile",  # n03773504: missile
    "n04355933": "sunglass",  # n04356056: sunglasses
}


def _first() -> Mapping[str, str]:
    lemmas = (line.split("\t", 1) for line in _lines("imagenet_synset_to_lemma.txt"))
    return {wnid: names.split(",")[0].strip() for wnid, names in lemmas}


_FIRST = _first()  # of ImageNet-21k
_SHORT = {wnid: _FIRST[wnid] for wnid in WNIDS}
_OPENAI = dict(zip(WNIDS, _OPEN_CLIP.IMAGENET_CLASSNAMES, strict=True))


def short_names(wnids: Sequence[str]) -> tuple[str, ...]:
    """Return the first WordNet lemma of each class: TeCoA's, TGA-ZSR's and AGFT's list of one name a class."""
    return tuple(APART_SHORT.get(wnid) or _known(_SHORT, wnid) for wnid in wnids)


def openai_names(wnids: Sequence[str]) -> tuple[str, ...]:
    """Return OpenAI's curated name of each class, as open_clip ships them."""
    return tuple(APART_OPENAI.get(wnid) or _known(_OPENAI, wnid) for wnid in wnids)


def wordnet_name(wnid: str) -> str | None:
    """Return the first lemma of a WordNet id of ImageNet-21k; None of any other text."""
    return APART_SHORT.get(wnid) or _FIRST.get(wnid)


def _known(names: Mapping[str, str], wnid: str) -> str:
    if wnid not in names:
        raise ConfigError(f"root: {wnid!r} is no class of ImageNet-1k, whose names these prompts need")
    return names[wnid]
