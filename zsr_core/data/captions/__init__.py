"""Images with captions, for retrieval: the miniature's, COCO and Flickr30k in Karpathy's splits, folders."""

from __future__ import annotations

from zsr_core.data.captions.open import CaptionSet, check_captions, open_captions, published_images
from zsr_core.data.captions.ref import CaptionRef, caption_ref, caption_refs

__all__ = [
    "CaptionRef",
    "CaptionSet",
    "caption_ref",
    "caption_refs",
    "check_captions",
    "open_captions",
    "published_images",
]
