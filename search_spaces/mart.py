"""MART: the weight of its divergence."""

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
        levels=(0.1, 0.5, 2.0, 5.0, 20.0),
        published=5.0,
        source="MART, its published scripts",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "divergence": {"method.lam": 0.0},
}
