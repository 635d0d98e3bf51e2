"""How the papers name the classes of each public set, and the templates that they put the names into.

``tga`` is the lineage of TeCoA, PMG-AFT, TGA-ZSR and UCAT (zhyblue424/TGA-ZSR, ``utils.py`` and ``replace/datasets/``),
``agft`` is YuboCui/AGFT (``clip_dataset.py``), ``openai-ensemble`` is OpenAI's (openai/CLIP, ``data/prompts.md``; of
ImageNet as open_clip ships it), which FARE's evaluation uses (chs20/RobustVLM, ``CLIP_benchmark``). Where a set has no
prompts of OpenAI's, ImageNet's stand in.

Known differences: names that two classes would share keep what tells them apart (:mod:`zsr_core.data.imagenet_names`,
:func:`car_models`); trailing blanks and AGFT's upper case, which CLIP's tokenizer drops, are dropped here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zsr_core.data.imagenet_names import TEMPLATES, openai_names, short_names
from zsr_core.names import PromptSet

TEMPLATE = "This is a photo of a {}"  # TeCoA's default: no full stop
Names = Callable[[Sequence[str]], Sequence[str]]


def words(name: str) -> str:
    """Return a name as words: lower case, ``_ - /`` as blanks."""
    return name.lower().replace("_", " ").replace("-", " ").replace("/", " ").strip()


def all_words(classes: Sequence[str]) -> Sequence[str]:
    return [words(name) for name in classes]


def as_spelled(classes: Sequence[str]) -> Sequence[str]:
    return list(classes)


@dataclass(frozen=True, kw_only=True)
class Prompts:
    """Templates, and what a class is called in them. With ``merge`` classes of one name are one class."""

    templates: tuple[str, ...]
    names: Names = all_words
    merge: bool = False


def prompts(
    tga: str | Prompts = TEMPLATE, agft: str | Prompts | None = None, openai: Sequence[str] | Prompts = TEMPLATES
) -> dict[PromptSet, Prompts]:
    """Return the three prompt sets of a task; ``agft`` is ``tga`` with a full stop where it is not given."""
    if agft is None:
        agft = f"{tga}." if isinstance(tga, str) else tga
    return {
        "tga": Prompts(templates=(tga,)) if isinstance(tga, str) else tga,
        "agft": Prompts(templates=(agft,)) if isinstance(agft, str) else agft,
        "openai-ensemble": openai if isinstance(openai, Prompts) else Prompts(templates=tuple(openai)),
    }


def both(
    template: str, names: Names = all_words, openai: Sequence[str] | Prompts = TEMPLATES
) -> dict[PromptSet, Prompts]:
    """Return the prompt sets of a task that TGA-ZSR and AGFT prompt alike."""
    same = Prompts(templates=(template,), names=names)
    return prompts(same, same, openai)


def imagenet_prompts() -> dict[PromptSet, Prompts]:
    def spoken(wnids: Sequence[str]) -> Sequence[str]:
        return all_words(short_names(wnids))

    return prompts(
        Prompts(templates=(TEMPLATE,), names=spoken),
        Prompts(templates=(f"{TEMPLATE}.",), names=spoken),
        Prompts(templates=TEMPLATES, names=openai_names),
    )


def called(published: Sequence[str], spoken: Sequence[str]) -> Names:
    """Return the names ``spoken`` for the ``published`` classes, by class; a class beyond them is said in words."""
    table = dict(zip(published, spoken, strict=True))
    return lambda classes: [table.get(name, words(name)) for name in classes]


def numbered_folders(classes: Sequence[str]) -> Sequence[str]:
    """Caltech-256: ``010.beer-mug`` and ``015.bonsai-101`` without number and suffix."""
    return [words(name[4:].removesuffix("-101") if name[:3].isdigit() else name) for name in classes]


def aircraft(classes: Sequence[str]) -> Sequence[str]:
    """FGVC-Aircraft: variants that start with a 7 are Boeing's. Hyphens stay."""
    return [f"Boeing {name}".lower() if name.startswith("7") else name.lower() for name in classes]


def car_models(classes: Sequence[str]) -> Sequence[str]:
    """Stanford Cars without the year, but for the seven pairs of models that nothing else tells apart."""
    bare = [name[:-5] if name[-4:].isdigit() else name for name in classes]
    twice = {name for name, n in Counter(bare).items() if n > 1}
    kept = [name if short in twice else short for name, short in zip(classes, bare, strict=True)]
    return [name.lower().replace("_", " ").replace("-", " ") for name in kept]


def flowers(classes: Sequence[str]) -> Sequence[str]:
    """AGFT's Flowers-102: words alone."""
    return [words(name).replace("'", "").replace("?", "") for name in classes]


def faces_are_people(classes: Sequence[str]) -> Sequence[str]:
    """AGFT's Caltech-101: ``Faces`` and ``Faces_easy`` are both ``person``, so that 100 classes are left."""
    return ["person" if name in ("Faces", "Faces_easy") else words(name) for name in classes]


LAND = ("annual crop land", "a forest", "brushland or shrubland", "a highway or a road", "industrial buildings",
         "pasture land", "permanent crop land", "residential buildings", "a river", "a sea or a lake")  # fmt: skip
LAND_OPENAI = ("annual crop land", "forest", "brushland or shrubland", "highway or road",
                "industrial buildings or commercial buildings", "pasture land", "permanent crop land",
                "residential buildings or homes or apartments", "river", "lake or sea")  # fmt: skip
TISSUE = ("healthy", "tumor")
FLOWERS_OPENAI = {"globe-flower": "globe flower", "pink-yellow dahlia?": "pink and yellow dahlia",
                   "ball moss": "air plant"}  # fmt: skip


PHOTO = tuple(
    f"a {how}photo of {one} {small}{{}}."
    for one in ("a", "the")
    for how, small in (
        ("", ""), ("blurry ", ""), ("black and white ", ""), ("low contrast ", ""), ("high contrast ", ""),
        ("bad ", ""), ("good ", ""), ("", "small "), ("", "big "),
    )
)  # fmt: skip
THINGS = ("a photo of {} {{}}.", "a painting of {} {{}}.", "{} plastic {{}}.", "a sculpture of {} {{}}.",
           "a sketch of {} {{}}.", "a tattoo of {} {{}}.", "{} toy {{}}.", "a rendition of {} {{}}.",
           "{} embroidered {{}}.", "{} cartoon {{}}.", "{} {{}} in a video game.", "{} plushie {{}}.",
           "{} origami {{}}.", "art of {} {{}}.", "graffiti of {} {{}}.", "a drawing of {} {{}}.",
           "a doodle of {} {{}}.")  # fmt: skip
CALTECH = tuple(template.format(one) for one in ("a", "the") for template in THINGS)
TEXTURE = tuple(
    f"a photo of {one} {{}} {what}." for one in ("a", "the") for what in ("texture", "pattern", "thing", "object")
)
CAR = ("a photo of a {}.", "a photo of the {}.", "a photo of my {}.", "i love my {}!", "a photo of my dirty {}.",
        "a photo of my clean {}.", "a photo of my new {}.", "a photo of my old {}.")  # fmt: skip
PLAIN = ("a photo of a {}.", "a photo of the {}.")
