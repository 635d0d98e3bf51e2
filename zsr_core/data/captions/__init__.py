"""Images with captions, for retrieval: the miniature's, COCO and Flickr30k in Karpathy's splits, folders."""

from __future__ import annotations

from zsr_core.data.captions.open import CaptionCount, CaptionSet, check_captions, count_captions, open_captions
from zsr_core.data.captions.ref import CaptionRef, caption_ref, caption_refs

__all__ = [
    "CaptionCount",
    "CaptionRef",
    "CaptionSet",
    "caption_ref",
    "caption_refs",
    "check_captions",
    "count_captions",
    "open_captions",
]
