"""LAAT: the weight of its consistency term and its temperature, and what switches its parts off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Published for small networks from scratch; the code's comments allow tau 0.07. Ranges ours.
WEIGHTS = (
    Axis(
        path="method.beta",
        domain=Real(low=0.05, high=5.0, log=True),
        levels=(0.05, 0.2, 1.0, 5.0),
        published=1.0,
        source="LAAT, its repository's default",
    ),
    Axis(
        path="method.tau",
        domain=Real(low=0.01, high=1.0, log=True),
        levels=(0.01, 0.07, 0.3, 1.0),
        published=1.0,
        source="LAAT, its repository's default",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "consistency": {"method.beta": 0.0},
    "expansion": {"method.expansion": None},
}
