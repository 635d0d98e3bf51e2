"""The built-in miniature: a CLIP and fourteen image sets small enough to fine-tune and attack in seconds.

The images are renders of emoji drawings and the model was pre-trained on such renders, so "zero-shot" means
what it means for the public sets: not seen in adversarial fine-tuning, though the names were met in
pre-training. There are two models, "miniature" for images of 48 pixels and "miniature-96" for the same scenes at 96,
which uses fine detail. Three further sets are out of distribution: they have no classes. Numbers measured here are the
miniature's and say nothing exact about a full-size CLIP.
"""

from zsr_core.data.miniature.model import (
    FINE,
    IMAGE_SIZE_OF,
    MEAN,
    NAME,
    STD,
    TEMPLATES,
    load_model,
    model_config,
    tokenize,
)
from zsr_core.data.miniature.outside import OUTSIDE, render_outside
from zsr_core.data.miniature.scenes import IMAGE_SIZE, IMAGE_SIZES, Rendered, images_of, render
from zsr_core.data.miniature.sets import SETS, SPLITS, ZERO_SHOT, SetSpec
from zsr_core.names import MINIATURES as NAMES

__all__ = [
    "FINE",
    "IMAGE_SIZE",
    "IMAGE_SIZES",
    "IMAGE_SIZE_OF",
    "MEAN",
    "NAME",
    "NAMES",
    "OUTSIDE",
    "SETS",
    "SPLITS",
    "STD",
    "TEMPLATES",
    "ZERO_SHOT",
    "Kind",
    "Rendered",
    "SetSpec",
    "images_of",
    "load_model",
    "model_config",
    "render",
    "render_outside",
    "tokenize",
]
