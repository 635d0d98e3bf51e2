"""The built-in miniature: a CLIP and fourteen image sets small enough to fine-tune and attack in seconds.

The images are renders of emoji drawings and the model was pre-trained on such renders, so "zero-shot" means
what it means for the public sets: not seen in adversarial fine-tuning, though the names were met in
pre-training. Numbers measured here are the miniature's and say nothing exact about a full-size CLIP.
"""

from zsr_core.data.miniature.model import MEAN, STD, TEMPLATES, load_model, model_config, tokenize
from zsr_core.data.miniature.scenes import IMAGE_SIZE, Rendered, render
from zsr_core.data.miniature.sets import SETS, SPLITS, ZERO_SHOT, SetSpec
from zsr_core.names import MINIATURE as NAME

__all__ = [
    "IMAGE_SIZE",
    "MEAN",
    "NAME",
    "SETS",
    "SPLITS",
    "STD",
    "TEMPLATES",
    "ZERO_SHOT",
    "Rendered",
    "SetSpec",
    "load_model",
    "model_config",
    "render",
    "tokenize",
]
