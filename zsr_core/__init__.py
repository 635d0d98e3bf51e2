"""The core of zsr: train and evaluate adversarially robust CLIP models. Needs torch, open_clip and pyarrow alone."""

__version__ = "0.1.0"
