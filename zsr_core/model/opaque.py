"""Any other visual module: it is called as it is and has an embedding alone."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from zsr_core.model.layout import Features, Layout, Watch, no_patches


def features(visual: Any, normal: Tensor, watch: Watch) -> Features:
    """Return the embedding of normalised pixels ``normal`` [B, 3, H, W]; asking for more raises ``ConfigError``."""
    out = visual(normal)
    embedding = watch(out[0] if isinstance(out, tuple) else out)
    return Features(
        embedding=embedding, patches=lambda: no_patches(visual), last_norm=lambda: no_patches(visual), grid=(0, 0)
    )


LAYOUT = Layout(name="opaque", fits=lambda _: True, features=features, has_patches=False, has_last_norm=False)
