"""Image sets to train on and to evaluate: the built-in miniature, any ImageFolder, the public sets."""

from __future__ import annotations

from zsr_core.data.sets import DataRef, ImageSet, Split, batches, check_data, open_data

__all__ = ["DataRef", "ImageSet", "Split", "batches", "check_data", "open_data"]
