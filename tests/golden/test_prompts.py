"""What each class is asked as, word for word, checked by hand against the sources that each prompt set names.

``tga``: zhyblue424/TGA-ZSR, ``utils.py`` and ``replace/datasets/*.py``. ``agft``: YuboCui/AGFT, ``clip_dataset.py``.
``openai-ensemble``: openai/CLIP, ``data/prompts.md``; ImageNet's as open_clip ships them.
"""

from __future__ import annotations

import pytest

from zsr_core.codec import fingerprint
from zsr_core.data.tasks import NAMES, task

# set -> (position, tga, agft, the first of OpenAI's, how many of them)
PROMPTS: dict[str, tuple[int, str, str, str, int]] = {
    "tiny_imagenet": (0, "This is a photo of a goldfish", "This is a photo of a goldfish.",
                      "a bad photo of a goldfish.", 80),
    "cifar10": (1, "This is a photo of a automobile", "This is a photo of a automobile.",
                "a photo of a automobile.", 18),
    "cifar100": (1, "This is a photo of a aquarium fish", "This is a photo of a aquarium fish.",
                 "a photo of a aquarium fish.", 18),
    "stl10": (7, "This is a photo of a monkey", "This is a photo of a monkey.", "a photo of a monkey.", 2),
    "sun397": (8, "This is a photo of a apartment building outdoor", "This is a photo of a apartment building outdoor.",
               "a photo of a apartment building outdoor.", 2),
    "food101": (0, "A photo of apple pie, a type of food.", "A photo of apple pie, a type of food.",
                "a photo of apple pie, a type of food.", 1),
    "oxford_pets": (1, "A photo of a american bulldog, a type of pet.", "A photo of a american bulldog, a type of pet.",
                    "a photo of a american bulldog, a type of pet.", 1),
    "flowers102": (11, "A photo of a colt's foot, a type of flower.", "A photo of a colts foot, a type of flower.",
                   "a photo of a colt's foot, a type of flower.", 1),
    "dtd": (30, "A surface with a polka dotted texture.", "A surface with a polka dotted texture.",
            "a photo of a polka-dotted texture.", 8),
    "eurosat": (9, "A centered satellite photo of a sea or a lake.", "A centered satellite photo of a sea or a lake.",
                "a centered satellite photo of lake or sea.", 3),
    "fgvc_aircraft": (0, "A photo of a boeing 707-320, a type of aircraft.",
                      "A photo of a boeing 707-320, a type of aircraft.",
                      "a photo of a 707-320, a type of aircraft.", 2),
    "imagenet": (134, "This is a photo of a crane bird", "This is a photo of a crane bird.",
                 "a bad photo of a crane bird.", 80),
    "caltech101": (0, "This is a photo of a faces", "A photo of a person.", "a photo of a off-center face.", 34),
    "caltech256": (14, "A photo of a bonsai.", "A photo of a bonsai.", "a photo of a bonsai.", 34),
    "stanford_cars": (0, "A photo of a am general hummer suv.", "A photo of a am general hummer suv.",
                      "a photo of a AM General Hummer SUV 2000.", 8),
    "pcam": (0, "Tthis is a photo of healthy lymph node tissue.", "This is a photo of healthy lymph node tissue.",
             "this is a photo of lymph node", 1),
    "imagenet_a": (0, "This is a photo of a stingray", "This is a photo of a stingray.",
                   "a bad photo of a stingray.", 80),
    "imagenet_r": (0, "This is a photo of a goldfish", "This is a photo of a goldfish.",
                   "a bad photo of a goldfish.", 80),
    "imagenet_sketch": (0, "This is a photo of a tench", "This is a photo of a tench.", "a bad photo of a tench.", 80),
    "imagenet_v2": (999, "This is a photo of a toilet tissue", "This is a photo of a toilet tissue.",
                    "a bad photo of a toilet paper.", 80),
}  # fmt: skip


def _asked(name: str, prompt_set: str) -> list[list[str]]:
    row = task(name)
    prompts = row.prompts[prompt_set]  # type: ignore[index]
    return [[template.format(spoken) for template in prompts.templates] for spoken in prompts.names(row.classes)]


@pytest.mark.parametrize("name", NAMES)
def test_a_class_is_asked_as_the_papers_ask_it(name: str) -> None:
    at, tga, agft, openai, templates = PROMPTS[name]
    assert _asked(name, "tga")[at] == [tga]
    assert _asked(name, "agft")[at] == [agft]
    assert _asked(name, "openai-ensemble")[at][0] == openai
    assert len(_asked(name, "openai-ensemble")[at]) == templates


def test_models_of_cars_that_only_their_year_tells_apart_keep_it() -> None:
    spoken = list(task("stanford_cars").prompts["tga"].names(task("stanford_cars").classes))
    assert [name for name in spoken if name[-4:].isdigit()] == [
        "audi s4 sedan 2012", "audi s4 sedan 2007", "bentley continental gt coupe 2012",
        "bentley continental gt coupe 2007", "dodge caliber wagon 2012", "dodge caliber wagon 2007",
        "dodge durango suv 2012", "dodge durango suv 2007", "ford f 150 regular cab 2012",
        "ford f 150 regular cab 2007",
        "honda odyssey minivan 2012", "honda odyssey minivan 2007", "volkswagen golf hatchback 2012",
        "volkswagen golf hatchback 1991",
    ]  # fmt: skip


def test_classes_that_share_a_name_in_imagenets_lists_are_told_apart() -> None:
    row = task("imagenet")
    spoken = {name: list(row.prompts[name].names(row.classes)) for name in ("tga", "openai-ensemble")}
    pairs = [(134, 517), (264, 474), (638, 639)]
    assert [(spoken["tga"][a], spoken["tga"][b]) for a, b in pairs] == [
        ("crane bird", "crane"), ("cardigan welsh corgi", "cardigan"), ("maillot", "maillot tank suit"),
    ]  # fmt: skip
    assert [spoken["openai-ensemble"][i] for i in (657, 744, 836, 837)] == [
        "missile", "projectile missile", "sunglass", "sunglasses",
    ]  # fmt: skip


def test_all_prompts_of_all_sets_have_these_hashes() -> None:
    """Made by this test when the prompts above had been checked. If it fails, every text embedding has changed."""
    found = {f"{name}/{kind}": fingerprint(_asked(name, kind), 6) for name in NAMES for kind in task(name).prompts}
    assert fingerprint(found) == "7906118c48d3", found
