"""AGFT: how much the teacher is softened and how sharp the comparison is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# The paper prints a grid of gamma and 1 / tau; ranges ours around its choice.
WEIGHTS = (
    Axis(
        path="method.gamma",
        domain=Real(low=0.1, high=1.0),
        levels=(0.1, 0.2, 0.4, 0.7, 1.0),
        published=0.4,
        source="AGFT, table of gamma and 1 / tau",
    ),
    Axis(
        path="method.scale",
        domain=Real(low=50.0, high=300.0, log=True),
        levels=(50.0, 100.0, 180.0, 300.0),
        published=180.0,
        source="AGFT, table of gamma and 1 / tau",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "softening": {"method.gamma": 1.0},
    "sharper scale": {"method.scale": 100.0},
    "soft attack": {"method.attack": "hard"},
}
