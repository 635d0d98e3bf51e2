"""WiSE-FT: how far from the original weights to the tuned ones, and what switches the interpolation off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces import Axis
from zsr_core.space import Real

# Paths are of a trial whose ``defence`` is ``WiseFt()``; all points share one training.
WEIGHTS = (
    Axis(
        path="defence.alpha",
        domain=Real(low=0.0, high=1.0),
        levels=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
        published=0.5,
        source="WiSE-FT, its choice where nothing is known of the target",
    ),
)

PARTS: Mapping[str, Mapping[str, Any]] = {
    "interpolation": {"defence.alpha": 1.0},
}
