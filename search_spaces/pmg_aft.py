"""PMG-AFT: the weights of its two divergences, and what switches each off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Ranges ours: two decades around the published 1. With divergences summed over a batch (the default) they are large.
WEIGHTS = (
    Axis(
        path="method.alpha",
        domain=Real(low=0.01, high=10.0, log=True),
        levels=(0.01, 0.1, 1.0, 10.0),
        published=1.0,
        source="PMG-AFT, its repository: both divergences at weight 1",
    ),
    Axis(
        path="method.beta",
        domain=Real(low=0.01, high=10.0, log=True),
        levels=(0.01, 0.1, 1.0, 10.0),
        published=1.0,
        source="PMG-AFT, its repository: both divergences at weight 1",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "frozen model": {"method.alpha": 0.0},
    "own clean prediction": {"method.beta": 0.0},
    "summed divergences": {"method.kl_reduction": "mean"},
    "unit scale": {"method.logit_scale": None},
}
