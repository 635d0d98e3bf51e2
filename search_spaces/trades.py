"""TRADES: the weight of its divergence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Range ours, around the published value for networks trained from scratch.
WEIGHTS = (
    Axis(
        path="method.beta",
        domain=Real(low=0.1, high=20.0, log=True),
        levels=(0.1, 0.5, 2.0, 6.0, 20.0),
        published=6.0,
        source="TRADES, its CIFAR-10 tables",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "divergence": {"method.beta": 0.0},
}
