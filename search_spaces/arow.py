"""ARoW: the weight of its divergence, and what switches its parts off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Range ours, around the published value for networks trained from scratch.
WEIGHTS = (
    Axis(
        path="method.lam",
        domain=Real(low=0.1, high=20.0, log=True),
        levels=(0.1, 0.5, 2.0, 6.0, 20.0),
        published=6.0,
        source="ARoW, its repository's default",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "divergence": {"method.lam": 0.0},
    "weighting": {"method.weighting": "none"},
    "smoothing": {"method.smoothing": 0.0},
}
