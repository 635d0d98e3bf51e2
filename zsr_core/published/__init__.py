"""The papers' numbers as data, to print beside ours."""

from __future__ import annotations

from zsr_core.published.names import METHODS, OUR_MODELS, SOURCES, UNTOUCHED, Source
from zsr_core.published.rows import Published, published, published_numbers, read_published, same_eps

__all__ = [
    "METHODS", "OUR_MODELS", "SOURCES", "UNTOUCHED", "Published", "Source", "published", "published_numbers",
    "read_published", "same_eps",
]  # fmt: skip
