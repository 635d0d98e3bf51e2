"""The miniature's models: CLIPs of 0.7 million parameters for 48 and 96 pixels, their words and shipped weights."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import torch
from safetensors.torch import load
from torch import Tensor, nn

from zsr_core.data.miniature.scenes import FINE_SIZE, IMAGE_SIZE
from zsr_core.data.miniature.sets import ASSETS, emoji_index
from zsr_core.lazy import LazyModule
from zsr_core.names import MINIATURES

open_clip = LazyModule("open_clip")

NAME, FINE = MINIATURES
IMAGE_SIZE_OF: Final = {NAME: IMAGE_SIZE, FINE: FINE_SIZE}  # pixels a side
WEIGHTS: Final = {NAME: "weights.safetensors", FINE: "weights-96.safetensors"}  # files among the assets

# Pixel statistics of the pre-training renders, over all pixels and rounded.
MEAN: Final = (0.52, 0.51, 0.52)
STD: Final = (0.21, 0.20, 0.21)

TEMPLATES: Final = ("a photo of a {}.", "a picture of a {}.", "{}.")  # averaged at evaluation
# Captions of pre-training: the templates and some that add words met in other people's prompts.
CAPTIONS: Final = (
    *TEMPLATES,
    "this is a photo of a {}.",
    "an image of a {}.",
    "a drawing of a {}.",
    "a blurry photo of the {}.",
    "the {}.",
)
CONTEXT: Final = 20  # words, with the marks at both ends; the longest caption of pre-training has 17

PATCH_SIZE: Final = 8  # pixels
PATCHES: Final = (IMAGE_SIZE // PATCH_SIZE) ** 2  # 36, so attention maps are 6 x 6

PADDING, UNKNOWN = 0, 1  # ids; known words follow, then the marks of start and end


def split_words(text: str) -> list[str]:
    """Lower-case words and numbers of a text; punctuation is dropped."""
    return re.findall(r"[a-z0-9]+", text.lower())


@lru_cache(maxsize=1)
def vocabulary() -> dict[str, int]:
    """Word -> id, for every word of the emoji's names and of the captions, in alphabetical order."""
    names = [emoji.name for emoji in emoji_index()]
    words = {word for text in (*names, *CAPTIONS) for word in split_words(text)}
    return {word: UNKNOWN + 1 + i for i, word in enumerate(sorted(words))}


def vocabulary_hash() -> str:
    """Fingerprint of the vocabulary; weights are only good with the one they were trained with."""
    return hashlib.sha256(" ".join(vocabulary()).encode()).hexdigest()[:16]


def tokenize(texts: Sequence[str]) -> Tensor:
    """Token ids int64 [N, CONTEXT]: start, words, end, padding.

    Words that the model has never read become one "unknown" word, which pre-training met too, so that prompts
    written for other models can be used; texts that are too long are cut. The id of the end is the largest,
    because open_clip reads a text's embedding at the position of its largest id.
    """
    start = UNKNOWN + 1 + len(vocabulary())
    ids = torch.full((len(texts), CONTEXT), PADDING, dtype=torch.int64)
    for row, text in zip(ids, texts, strict=True):
        words = [vocabulary().get(word, UNKNOWN) for word in split_words(text)][: CONTEXT - 2]
        row[: len(words) + 2] = torch.tensor([start, *words, start + 1])
    return ids


def model_config(name: str = NAME) -> dict[str, Any]:
    """Keyword arguments for `open_clip.model.CLIP`. Both models cut an image into 6 x 6 patches."""
    size = IMAGE_SIZE_OF[name]
    return {
        "embed_dim": 96,
        "vision_cfg": {
            "image_size": size,
            "patch_size": size // (IMAGE_SIZE // PATCH_SIZE),
            "width": 96,
            "layers": 4,
            "head_width": 32,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": UNKNOWN + 1 + len(vocabulary()) + 2,
            "width": 64,
            "layers": 2,
            "heads": 2,
        },
        "quick_gelu": False,
    }


def weights_header(name: str = NAME) -> dict[str, str]:
    """What the shipped weights say of themselves: how they were made, what they are expected to score."""
    data = (ASSETS / WEIGHTS[name]).read_bytes()
    length = int.from_bytes(data[:8], "little")  # the format: eight bytes of length, that much JSON, tensors
    header: dict[str, str] = json.loads(data[8 : 8 + length])["__metadata__"]
    return header


def load_model(name: str = NAME) -> nn.Module:
    """The pre-trained model: fp32 on the CPU, in evaluation mode."""
    trained_with = weights_header(name)["vocabulary"]
    if trained_with != vocabulary_hash():
        raise ValueError(
            f"{name}: {WEIGHTS[name]} was trained with vocabulary {trained_with}, but the names and "
            f"captions now give {vocabulary_hash()}; pre-train again"
        )
    model: nn.Module = open_clip.model.CLIP(**model_config(name))
    weights = load((ASSETS / WEIGHTS[name]).read_bytes())
    model.load_state_dict({key: weight.float() for key, weight in weights.items()})
    return model.eval()
