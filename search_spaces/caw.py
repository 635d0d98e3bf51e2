"""CAW: the weights of its two terms, and what switches each off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# No optimum is published. Ranges ours: distances of raw features are 1 to 8, divergences 0 to 10.
WEIGHTS = (
    Axis(
        path="method.alpha",
        domain=Real(low=0.1, high=30.0, log=True),
        levels=(0.1, 1.0, 3.0, 10.0, 30.0),
        source="not published",
    ),
    Axis(
        path="method.beta",
        domain=Real(low=0.01, high=10.0, log=True),
        levels=(0.01, 0.1, 1.0, 10.0),
        source="not published",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "confidence": {"method.alpha": 0.0},
    "regularisation": {"method.beta": 0.0},
}
