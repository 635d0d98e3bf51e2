"""UCAT: its effective weight and its temperature, and what switches its parts off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# The weight is lambda E[alpha_0], which the paper's own lambda makes 16 at 10 classes and 240 at 200. Ranges ours.
WEIGHTS = (
    Axis(
        path="method.weight",
        domain=Real(low=1.0, high=1000.0, log=True),
        levels=(1.0, 10.0, 100.0, 240.0, 1000.0),
        published=240.0,
        source="UCAT, its repository's lambda at Tiny-ImageNet's 200 classes",
    ),
    Axis(
        path="method.tau",
        domain=Real(low=0.03, high=0.3, log=True),
        levels=(0.03, 0.05, 0.07, 0.15, 0.3),
        published=0.07,
        source="UCAT, its repository's default",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "divergence": {"method.weight": 0.0},
    "evidence": {"method.divergence": "categorical"},
    "adversarial first": {"method.direction": "clean_first"},
}
