"""TGA-ZSR: the weights of its two attention terms, and the overrides that switch each off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# The ranges are ours: two decades that hold the published pair. They are on the scale of 224 x 224 maps, as the
# paper's are, because the distance between two maps grows with their side. With both weights off the method is TeCoA.
LEVELS = (0.003, 0.01, 0.03, 0.1, 0.3)

WEIGHTS = (
    Axis(
        path="method.alpha",
        domain=Real(low=0.003, high=0.3, log=True),
        levels=LEVELS,
        published=0.08,
        off=True,
        source="TGA-ZSR, attention refinement weight of the PGD and CW tables",
    ),
    Axis(
        path="method.beta",
        domain=Real(low=0.003, high=0.3, log=True),
        levels=LEVELS,
        published=0.05,
        off=True,
        source="TGA-ZSR, attention constraint weight of the PGD and CW tables",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "alpha": {"method.alpha": 0.0},
    "beta": {"method.beta": 0.0},
}
