"""Comp-TGA: the weights of its two attention terms, and how each of its parts is switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Ranges ours, as TGA-ZSR's: two decades on the scale of 224 x 224 maps that hold the published pair.
WEIGHTS = (
    Axis(
        path="method.alpha",
        domain=Real(low=0.003, high=0.3, log=True),
        levels=(0.003, 0.01, 0.03, 0.1, 0.3),
        published=0.1,
        source="Comp-TGA, LARM's weight of the PGD and CW tables",
    ),
    Axis(
        path="method.beta",
        domain=Real(low=0.003, high=0.3, log=True),
        levels=(0.003, 0.01, 0.03, 0.1, 0.3),
        published=0.1,
        source="Comp-TGA, GACM's weight of the PGD and CW tables; 0.07 in the AutoAttack table",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "larm": {"method.alpha": 0.0},
    "gacm": {"method.beta": 0.0},
    "second prompt": {"method.fusion": "class"},
}
