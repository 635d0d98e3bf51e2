"""TTC: its budget, its steps, when it moves an image and how it mixes its steps, and what switches its parts off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Int, Real

# Paths are of a trial whose ``defence`` is ``Ttc()``. Ranges ours, around the values of the published script.
WEIGHTS = (
    Axis(
        path="defence.eps",
        domain=Real(low=1 / 255, high=8 / 255),
        levels=(1 / 255, 2 / 255, 4 / 255, 8 / 255),
        published=4 / 255,
        source="TTC, TTC.sh",
    ),
    Axis(path="defence.steps", domain=Int(low=1, high=5), levels=(1, 2, 3, 5), published=2, source="TTC, TTC.sh"),
    Axis(
        path="defence.threshold",
        domain=Real(low=0.05, high=0.4),
        levels=(0.05, 0.1, 0.2, 0.4),
        published=0.2,
        source="TTC, TTC.sh",
    ),
    Axis(
        path="defence.beta",
        domain=Real(low=0.0, high=4.0),
        levels=(0.0, 1.0, 2.0, 4.0),
        published=2.0,
        source="TTC, TTC.sh",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "counterattack": {"defence.steps": 0},  # what is left is noise
    "later steps first": {"defence.beta": 0.0},
    "judged by the original": {"defence.stability": "tuned"},
}
