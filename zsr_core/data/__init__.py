"""Image sets to train on and to evaluate: the built-in miniature, any ImageFolder, the public sets."""

from __future__ import annotations

from zsr_core.data.feeding import batches
from zsr_core.data.sets import DataRef, ImageSet, SetSize, Split, check_data, open_data, set_size, task_ref

__all__ = ["DataRef", "ImageSet", "SetSize", "Split", "batches", "check_data", "open_data", "set_size", "task_ref"]
