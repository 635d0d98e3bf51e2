"""Image sets to train on and to evaluate: the built-in miniature, any ImageFolder, the public sets."""

from __future__ import annotations

from zsr_core.data.feeding import batches
from zsr_core.data.open import ImageSet, SetSize, check_apart, check_data, check_pictures, open_data, set_size
from zsr_core.data.partition import Split
from zsr_core.data.ref import (
    DataRef,
    is_flat,
    is_training_set,
    same_set,
    task_ref,
    task_refs,
    trained_names,
    zero_shot_names,
)

__all__ = [
    "DataRef",
    "ImageSet",
    "SetSize",
    "Split",
    "batches",
    "check_apart",
    "check_data",
    "check_pictures",
    "is_flat",
    "is_training_set",
    "open_data",
    "same_set",
    "set_size",
    "task_ref",
    "task_refs",
    "trained_names",
    "zero_shot_names",
]
